"""dk.train: the loop against PyTorch's and against itself, bit for bit; callbacks, history, interruption."""

from __future__ import annotations

import csv
import doctest
import importlib
import math
import os
import re
import signal
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import dlkernels as dk
from dlkernels import data, nn, train
from dlkernels.progress import Bar, Lines, Silent, reporter
from dlkernels.schedules import warmup_cosine


def blobs(n: int = 400, classes: int = 3, features: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian clouds, one a class, far enough apart to learn in a few epochs."""
    rng = np.random.default_rng(5)
    centers = rng.normal(0, 1.5, (classes, features))
    y = rng.integers(0, classes, n)
    return (centers[y] + rng.normal(size=(n, features))).astype("f4"), y


def mlp(seed: int = 0) -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(0.2), nn.Linear(16, 3), seed=seed)


def fit(model, **options):
    return train.fit(
        model, options.pop("data", blobs()), **{"epochs": 3, "batch_size": 32, "verbose": False, **options}
    )


def bits(model: nn.Layer) -> list[bytes]:
    return [array.tobytes() for array in model.params()]


def without_times(history: train.History) -> list[dict[str, float]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history.rows]


@pytest.mark.parametrize(
    "name", ["init", "layer", "sequential", "schedules", "nn", "data", "train", "checkpoint", "callbacks", "history"]
)
def test_the_examples_in_the_docstrings_run(name):
    module = importlib.import_module(f"dlkernels.{name}")
    assert doctest.testmod(module).failed == 0


# -- learning ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_fit_learns(optimizer):
    model, test = mlp(), blobs(1000)
    before = train.evaluate(model, test)["accuracy"]
    history = fit(model, optimizer=optimizer, lr=0.01 if optimizer == "adamw" else 0.1, epochs=8, validation_data=test)
    assert before < 0.7
    assert history["val_accuracy"][-1] > 0.9
    assert history["loss"][-1] < history["loss"][0]


def test_the_manual_loop_of_the_documentation_runs():
    code = re.search(r"\n\n((?:    .*\n|\n)+)", train.__doc__)[1]
    assert len(code.strip().splitlines()) == 8
    X, Y = blobs()
    model = mlp()
    before = train.evaluate(model, (X, Y))["loss"]
    exec(textwrap.dedent(code), {"dk": dk, "model": model, "X": X, "Y": Y, "epochs": 30})
    assert train.evaluate(model, (X, Y))["loss"] < before / 2


def test_fit_is_the_manual_loop():
    X, Y = blobs()
    ours, by_hand = mlp(), mlp()
    fit(ours, lr=0.01)
    optimizer = dk.optim.AdamW(by_hand.params(), lr=0.01)
    for epoch in range(3):
        for x, t in data.batches(X, Y, 32, seed=(0, 0, epoch)):
            y, backprop = by_hand(x, train=True)
            _, dy = dk.cross_entropy.value_and_grad(y, t)
            by_hand.zero_grad()
            backprop(dy)
            optimizer.step(by_hand.grads())
    assert bits(ours) == bits(by_hand)


@pytest.mark.torch
def test_the_training_curve_is_pytorchs():
    """The same weights, the same batches, float64: what differs is the order in which sums are rounded."""
    import torch

    X, Y = blobs()
    X = X.astype("f8")
    layers = [nn.Linear(8, 16, dtype="f8"), nn.Tanh(), nn.Linear(16, 3, dtype="f8")]
    ours = nn.Sequential(*layers, seed=0)
    theirs = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 3)).double()
    theirs.load_state_dict({name: torch.from_numpy(a.copy()) for name, a in ours.state_dict().items()})
    optimizer = torch.optim.AdamW(theirs.parameters(), lr=0.01)
    curve = []
    for epoch in range(3):
        losses = []
        for x, t in data.batches(X, Y, 32, seed=(0, 0, epoch)):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(x)), torch.from_numpy(t))
            loss.backward()
            optimizer.step()
            losses.append((len(x), loss.item()))
        curve.append(sum(n * value for n, value in losses) / len(X))
    history = fit(ours, data=(X, Y), lr=0.01)
    # A step changes a weight by at most lr = 0.01 whatever the size of its gradient, so a relative gradient
    # error e moves it by at most 0.01 e. Sums of 32 products err by about 32 * 1.1e-16; elements that cancel
    # by a hundred times more. Thirty-nine steps are 39 * 0.01 * 3.5e-13 = 1.4e-13; a margin of 50.
    np.testing.assert_allclose(history["loss"], curve, rtol=1e-11)
    for array, parameter in zip(ours.params(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(array, parameter.detach().numpy(), rtol=0, atol=1e-11)


def test_regression_and_losses_of_ones_own():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4)).astype("f4")
    Y = (X @ rng.normal(size=(4, 2))).astype("f4")

    def halved(y, target):
        loss, dy = dk.mse_loss.value_and_grad(y, target)
        return loss / 2, dy / 2

    curves = []
    for loss in ("mse_loss", dk.mse_loss, partial(dk.mse_loss, reduction="mean"), halved):
        model = nn.Sequential(nn.Linear(4, 2), seed=0)
        history = fit(model, data=(X, Y), loss=loss, optimizer="sgd", lr=0.1, epochs=10)
        assert history.columns == ["epoch", "loss", "seconds", "lr"], "accuracy is for classes"
        assert history["loss"][-1] < 0.3 * history["loss"][0]
        curves.append(history["loss"])
    assert curves[0] == curves[1] == curves[2] != curves[3]


def test_every_loss_of_a_prediction_and_a_target_by_name():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(256, 4)).astype("f4")
    scores = (X @ rng.normal(size=(4, 3))).astype("f4")
    hard = (scores > 0).astype("f4")
    targets = {
        "l1_loss rmse_loss huber_loss smooth_l1_loss pseudo_huber_loss log_cosh_loss quantile_loss": scores,
        "binary_cross_entropy_with_logits sigmoid_focal_loss": hard,
        "hinge_loss squared_hinge_loss soft_margin_loss": 2 * hard - 1,
        "poisson_nll_loss": hard,
    }
    for names, Y in targets.items():
        for name in names.split():
            model = nn.Sequential(nn.Linear(4, 3), seed=0)
            history = fit(model, data=(X, Y), loss=name, optimizer="sgd", lr=0.1, epochs=5)
            assert history["loss"][-1] < 0.9 * history["loss"][0], name


def test_the_gradient_in_place_of_y_changes_nothing():
    """fit lets the loss overwrite y where it may; an output that its layer needs is left alone."""
    for last in (nn.Tanh, nn.GELU):
        in_place, careful = (nn.Sequential(nn.Linear(8, 3), last(), nn.Linear(3, 3), last(), seed=0) for _ in range(2))
        fit(in_place)
        fit(careful, loss=lambda y, t: dk.cross_entropy.value_and_grad(y.copy(), t))
        assert bits(in_place) == bits(careful)


def test_averages_weigh_a_short_batch_by_what_it_holds():
    X, Y = blobs(10)
    model = mlp()
    whole = train.evaluate(model, (X, Y), batch_size=10)
    parts = train.evaluate(model, (X, Y), batch_size=4)
    assert parts["accuracy"] == pytest.approx(whole["accuracy"], rel=1e-15)
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-6)  # float32 sums in another order
    wrong = np.mean([train.evaluate(model, (X[i : i + 4], Y[i : i + 4]))["loss"] for i in (0, 4, 8)])
    assert abs(wrong - whole["loss"]) > 1e-3, "the test would see unweighted means"


def test_metrics_of_ones_own():
    def first_class(y, target):
        return float(np.mean(target == 0))

    X, Y = blobs()
    history = fit(mlp(), metrics=["accuracy", first_class], validation_data=(X, Y))
    assert history["val_first_class"] == [np.mean(Y == 0)] * 3
    assert train.evaluate(mlp(), (X, Y), metrics=())["loss"] > 0


def test_accuracy_takes_the_first_of_equals_and_probabilities():
    scores = np.array([[1, 1, 0], [0, 2, 2], [0, 0, 0]], "f4")
    assert train.accuracy(scores, np.array([0, 2, 0])) == pytest.approx(2 / 3)
    assert train.accuracy(scores, np.eye(3, dtype="f4")[[0, 1, 0]]) == 1


# -- the same bits -----------------------------------------------------------------------------------------


def test_two_seeded_runs_agree_bit_for_bit():
    runs = []
    for seed in (0, 0, 1):
        model = mlp(seed)
        history = fit(model, seed=seed, validation_split=0.2)
        runs.append((bits(model), without_times(history)))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]


def test_the_seed_alone_changes_the_order():
    first, second = mlp(), mlp()
    fit(first, seed=0)
    fit(second, seed=1)
    assert bits(first) != bits(second)


def callbacks(folder) -> list[train.Callback]:
    return [train.Checkpoint(folder), train.EarlyStopping(patience=50, monitor="val_loss")]


def schedule(step: int) -> float:
    return 0.01 * math.cos(step / 100)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", partial(dk.optim.SGD, momentum=0.9, nesterov=True)])
@pytest.mark.parametrize("stop", [1, 2, 5])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, optimizer, stop):
    options = {"optimizer": optimizer, "lr": schedule, "validation_split": 0.1}
    whole = mlp()
    reference = fit(whole, epochs=5, callbacks=callbacks(tmp_path / "whole"), **options)
    fit(mlp(), epochs=stop, callbacks=callbacks(tmp_path / "part"), **options)
    resumed = mlp(seed=99)  # everything comes from the file
    history = fit(resumed, epochs=5, callbacks=callbacks(tmp_path / "part"), resume=tmp_path / "part", **options)
    assert bits(resumed) == bits(whole)
    assert without_times(history) == without_times(reference)
    last = [train.load(tmp_path / name / "last.safetensors") for name in ("whole", "part")]
    assert last[0].arrays.keys() == last[1].arrays.keys()
    assert all(last[0].arrays[name].tobytes() == last[1].arrays[name].tobytes() for name in last[0].arrays)


def test_a_run_resumed_in_another_process_is_the_uninterrupted_one(tmp_path):
    whole = mlp()
    fit(whole, epochs=4, lr=0.01, callbacks=[train.Checkpoint(tmp_path / "whole")])
    fit(mlp(), epochs=2, lr=0.01, callbacks=[train.Checkpoint(tmp_path / "part")])
    code = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import test_train
        from dlkernels import train
        model = test_train.mlp(seed=7)
        test_train.fit(model, epochs=4, lr=0.01, resume=sys.argv[2])
        model.save(sys.argv[2] + "/end.safetensors")
    """
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", textwrap.dedent(code), here, tmp_path / "part"], check=True)
    resumed = mlp(seed=3)
    resumed.load(tmp_path / "part" / "end.safetensors")
    assert bits(resumed) == bits(whole)


def test_an_optimizer_may_be_a_class():
    by_class, by_name = mlp(), mlp()
    fit(by_class, optimizer=dk.optim.AdamW)
    fit(by_name, optimizer="adamw")
    assert bits(by_class) == bits(by_name)


def test_the_schedule_climbs_and_comes_down():
    lr = warmup_cosine(0.1, 100, warmup=20)
    values = [lr(step) for step in range(102)]
    assert values[0] == pytest.approx(0.1 / 20)
    assert max(values) == values[19] == values[20] == 0.1
    assert values[:20] == sorted(values[:20])
    assert values[20:] == sorted(values[20:], reverse=True)
    assert values[60] == pytest.approx(0.05)
    assert values[100] == values[101] == 0
    assert warmup_cosine(0.1, 1)(0) == warmup_cosine(0.1, 1, 1)(0) == 0.1
    with pytest.raises(ValueError, match="total must be at least 20"):
        warmup_cosine(0.1, 10, warmup=20)


def test_an_optimizer_with_groups_in_another_order():
    X, Y = blobs()
    plain, grouped = mlp(), mlp()
    fit(plain, optimizer=partial(dk.optim.AdamW, weight_decay=0.0), lr=0.01)
    named = grouped.named_parameters()
    biases = [array for name, array in named.items() if name.endswith("bias")]
    weights = [array for name, array in named.items() if name.endswith("weight")]
    optimizer = dk.optim.AdamW([{"params": biases}, {"params": weights}], weight_decay=0.0)
    fit(grouped, optimizer=optimizer, lr=0.01)
    assert bits(plain) == bits(grouped)
    assert train.evaluate(grouped, (X, Y)) == train.evaluate(plain, (X, Y))


# -- checkpoints -------------------------------------------------------------------------------------------


def test_a_damaged_last_checkpoint_falls_back_to_the_best_loudly(tmp_path):
    fit(mlp(), callbacks=[train.Checkpoint(tmp_path)])
    last = tmp_path / "last.safetensors"
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.warns(RuntimeWarning, match=r"must hold .* Going on from .*best\.safetensors"):
        history = fit(mlp(), epochs=4, resume=tmp_path)
    assert len(history) == 4
    with pytest.raises(train.CheckpointError):
        fit(mlp(), resume=last)


def test_a_checkpoint_of_another_run_is_refused_before_anything_changes(tmp_path):
    fit(mlp(), callbacks=[train.Checkpoint(tmp_path)])
    model = mlp(seed=5)
    before = bits(model)
    for options, message in [
        ({"seed": 1}, "seed must be 0 as in .*, got 1"),
        ({"batch_size": 16}, "batch_size must be 32"),
        ({"data": blobs(300)}, "examples must be 400"),
        ({"optimizer": "sgd"}, "optimizer must be AdamW as in .*, got SGD"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit(model, resume=tmp_path, **options)
    other = nn.Sequential(nn.Linear(8, 3), seed=0)
    with pytest.raises(ValueError, match="not in this model"):
        fit(other, resume=tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint .*nowhere\.safetensors\. Train without resume first"):
        fit(model, resume=tmp_path / "nowhere.safetensors")
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        fit(model, resume=tmp_path.parent)
    dry = nn.Sequential(*(layer for layer in mlp().layers if not isinstance(layer, nn.Dropout)))
    wet = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 3), seed=2)
    fit(dry, callbacks=[train.Checkpoint(tmp_path / "dry")], epochs=1)
    drier = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 3), nn.Dropout(0.5), seed=2)
    untouched = bits(wet), bits(drier)
    with pytest.raises(ValueError, match="load_random_state: wanted"):
        fit(drier, resume=tmp_path / "dry")
    assert untouched == (bits(wet), bits(drier))
    model.save(tmp_path / "weights.safetensors")
    with pytest.raises(train.CheckpointError, match="no training state"):
        fit(model, resume=tmp_path / "weights.safetensors")
    assert bits(model) == before


def test_weights_load_from_a_training_checkpoint(tmp_path):
    model, twin = mlp(), mlp(seed=1)
    fit(model, callbacks=[train.Checkpoint(tmp_path)])
    twin.load(tmp_path / "last.safetensors")
    assert bits(twin) == bits(model)


def test_the_best_checkpoint_is_the_best_epoch(tmp_path):
    # the learning rate turns absurd after two epochs
    history = fit(mlp(), epochs=4, lr=lambda step: 0.01 if step < 26 else 3.0, callbacks=[train.Checkpoint(tmp_path)])
    best = train.load(tmp_path / "best.safetensors").metadata["epoch"]
    assert best == 1 + int(np.argmin(history["loss"])) == 2
    assert train.load(tmp_path / "last.safetensors").metadata["epoch"] == 4


# -- callbacks ---------------------------------------------------------------------------------------------


class Scripted(train.Callback):
    """Puts given values into the history, as if they had been measured."""

    order = -1

    def __init__(self, name: str, values: list[float]) -> None:
        self.name, self.values = name, values

    def on_epoch_end(self, run: train.Run) -> None:
        run.row[self.name] = self.values[run.epoch - 1]


@pytest.mark.parametrize(
    ("name", "values", "options", "stopped_after", "best"),
    [
        ("val_loss", [3, 2, 2.5, 2.4, 1], {"patience": 2}, 4, 2),
        ("val_loss", [3, 2, 2.5, 1, 1], {"patience": 2}, None, 4),
        ("val_loss", [3, 2, 1.95, 1.9, 1], {"patience": 2, "min_delta": 0.2}, 4, 2),
        ("val_loss", [3, math.nan, math.nan, 1, 1], {"patience": 2}, 3, 1),
        ("accuracy_x", [0.1, 0.9, 0.8, 0.85, 1], {"patience": 2, "monitor": "accuracy_x"}, 4, 2),
        ("gain", [1, 5, 4, 3, 9], {"patience": 2, "monitor": "gain", "mode": "max"}, 4, 2),
    ],
)
def test_early_stopping(name, values, options, stopped_after, best):
    model, weights = mlp(), []
    keep = train.LambdaCallback(on_epoch_end=lambda run: weights.append(bits(run.model)))
    history = fit(model, epochs=5, callbacks=[Scripted(name, values), train.EarlyStopping(**options), keep])
    assert len(history) == (stopped_after or 5)
    assert (history.stopped is None) == (stopped_after is None)
    assert stopped_after is None or f"the best was epoch {best}" in history.stopped
    assert bits(model) == weights[best - 1]


def test_early_stopping_can_keep_the_last_weights():
    model, weights = mlp(), []
    keep = train.LambdaCallback(on_epoch_end=lambda run: weights.append(bits(run.model)))
    stop = train.EarlyStopping(patience=1, restore_best=False)
    fit(model, callbacks=[Scripted("val_loss", [1, 2, 3]), stop, keep])
    assert len(weights) == 2
    assert bits(model) == weights[-1]


def test_the_memory_of_early_stopping_survives_a_resume(tmp_path):
    values = [3, 2, 2.5, 2.4, 2.3, 2.2]

    def both():
        return [Scripted("val_loss", values), train.EarlyStopping(patience=3), train.Checkpoint(tmp_path)]

    whole, resumed = mlp(), mlp(seed=1)
    reference = fit(whole, epochs=6, callbacks=both())
    fit(mlp(), epochs=3, callbacks=both())
    history = fit(resumed, epochs=6, callbacks=both(), resume=tmp_path)
    assert len(history) == len(reference) == 5
    assert bits(resumed) == bits(whole), "the best epoch was before the interruption"


def test_callbacks_can_serve_a_second_fit(tmp_path):
    """What the first fit left must neither stop the second one nor overwrite its model."""
    stop, keep = train.EarlyStopping(patience=1), train.Checkpoint(tmp_path)
    fit(mlp(), lr=0.05, epochs=5, callbacks=[stop, keep])
    alone, after = mlp(seed=1), mlp(seed=1)
    reference = fit(alone, lr=1e-5, callbacks=[train.EarlyStopping(patience=1)])
    history = fit(after, lr=1e-5, callbacks=[stop, keep])
    assert without_times(history) == without_times(reference)
    assert bits(after) == bits(alone)
    assert train.load(tmp_path / "best.safetensors").metadata["epoch"] == 1 + int(np.argmin(history["loss"]))
    fit(after, lr=1e-5, callbacks=stop)  # one callback needs no list


def test_callbacks_check_their_arguments():
    for patience, error in ((0, ValueError), (-3, ValueError), (1.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="EarlyStopping: patience must be"):
            train.EarlyStopping(patience=patience)
    for delta, error in ((-1, ValueError), (math.nan, ValueError), ("x", TypeError)):
        with pytest.raises(error, match="EarlyStopping: min_delta must be"):
            train.EarlyStopping(min_delta=delta)


def test_terminate_on_nan_stops_at_the_batch():
    X, Y = blobs()
    X[7] = np.nan
    steps = []
    count = train.LambdaCallback(on_batch_end=lambda run: steps.append(run.step))
    history = fit(mlp(), data=(X, Y), callbacks=[count, train.TerminateOnNaN()])
    assert re.fullmatch(r"the loss is nan at step \d+", history.stopped)
    assert history.stopped.endswith(f" {steps[-1]}")
    assert len(steps) <= 13
    assert len(history) == 0


def test_csv_logger_and_history(tmp_path):
    path = tmp_path / "history.csv"
    lengths = []
    watch = train.LambdaCallback(on_epoch_end=lambda _: lengths.append(len(path.read_text().splitlines())))
    history = fit(mlp(), validation_split=0.25, callbacks=[train.CSVLogger(path), watch])
    assert lengths == [2, 3, 4]
    rows = list(csv.DictReader(path.read_text().splitlines()))
    columns = ["epoch", "loss", "accuracy", "seconds", "val_loss", "val_accuracy", "lr"]
    assert history.columns == list(rows[0]) == columns
    assert [{name: float(text) for name, text in row.items()} for row in rows] == history.rows
    assert history["epoch"] == [1, 2, 3]
    with pytest.raises(KeyError, match=r"no 'f1'; it has epoch"):
        history["f1"]


def test_the_plot_is_a_png(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    path = tmp_path / "plot.png"
    fit(mlp(), validation_split=0.25).plot(path)
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert path.stat().st_size > 5000


def test_callbacks_run_in_order_and_at_their_points(tmp_path):
    seen = []
    points = ["on_fit_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_fit_end"]
    note = train.LambdaCallback(**{point: (lambda _run, point=point: seen.append(point)) for point in points})
    fit(mlp(), epochs=2, batch_size=200, callbacks=[note])
    epoch = ["on_epoch_begin", "on_batch_end", "on_batch_end", "on_epoch_end"]
    assert seen == ["on_fit_begin", *epoch, *epoch, "on_fit_end"]
    with pytest.raises(TypeError, match="on_epoch_ends must be one of on_fit_begin"):
        train.LambdaCallback(on_epoch_ends=print)
    with pytest.raises(ValueError, match=r"monitor must be one of epoch, loss.*got 'val_f1'"):
        fit(mlp(), callbacks=[train.EarlyStopping("val_f1")])
    with pytest.raises(ValueError, match='"auto", "min" or "max"'):
        train.Checkpoint(tmp_path, mode="best")


# -- interruption ------------------------------------------------------------------------------------------


def test_ctrl_c_ends_after_the_batch_and_gives_the_history(tmp_path):
    steps = []

    def press(run):
        steps.append(run.step)
        if run.step == 17:
            signal.raise_signal(signal.SIGINT)

    model = mlp()
    options = {"batch_size": 40, "lr": 0.01}
    hooks = [train.LambdaCallback(on_batch_end=press), train.Checkpoint(tmp_path)]
    with pytest.raises(train.TrainingInterrupted) as stop:
        fit(model, epochs=4, callbacks=hooks, **options)
    assert isinstance(stop.value, KeyboardInterrupt)
    assert steps[-1] == 17
    assert stop.value.history["epoch"] == [1]
    assert stop.value.history.stopped == "interrupted"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    whole, resumed = mlp(), mlp(seed=1)
    fit(whole, epochs=4, **options)
    fit(resumed, epochs=4, resume=tmp_path, **options)
    assert bits(resumed) == bits(whole)


def test_a_second_ctrl_c_does_not_wait():
    def press(_run):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as stop:
        fit(mlp(), callbacks=[train.LambdaCallback(on_batch_end=press)])
    assert not isinstance(stop.value, train.TrainingInterrupted)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# -- progress and errors -----------------------------------------------------------------------------------


class Stream:
    def __init__(self, terminal: bool) -> None:
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_progress_is_a_bar_on_a_terminal_and_lines_elsewhere(monkeypatch):
    assert type(reporter(False, Stream(True))) is Silent
    assert type(reporter(True, Stream(False))) is Lines
    monkeypatch.setitem(sys.modules, "rich", None)
    assert type(reporter(True, Stream(True))) is Lines
    monkeypatch.undo()
    pytest.importorskip("rich", reason="rich is not installed")
    assert type(reporter(True, Stream(True))) is Bar


def test_lines_say_what_happened_on_stderr(capsys):
    fit(mlp(), epochs=2, verbose=True, validation_split=0.2)
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert re.match(r"epoch 1/2  loss \d\.\d{4}  accuracy 0\.\d{4}  val_loss .*  val_accuracy .*  lr 0\.001  ", first)
    assert second.startswith("epoch 2/2  ")


@pytest.mark.parametrize("no_color", [False, True])
def test_the_bar_on_a_real_terminal(no_color):
    """In a pseudo-terminal: colors by default, none with NO_COLOR, the epochs' lines in both."""
    pty = pytest.importorskip("pty", reason="no pseudo-terminals here")
    pytest.importorskip("rich", reason="rich is not installed")
    code = """
        import sys
        sys.path.insert(0, sys.argv[1])
        import test_train
        test_train.fit(test_train.mlp(), epochs=2, verbose=True)
    """
    leader, follower = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "FORCE_COLOR"}}
    environment |= {"TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    here = str(Path(__file__).parent)
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), here],
        stderr=follower,
        stdout=subprocess.PIPE,
        env=environment,
    )
    os.close(follower)
    seen = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # Linux says EIO when the last writer is gone
            break
        if not part:
            break
        seen += part
    os.close(leader)
    assert child.communicate()[0] == b""
    assert child.returncode == 0, seen
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", seen).decode()
    assert "epoch 1/2  loss" in text
    assert "epoch 2/2  loss" in text
    colored = re.search(rb"\x1b\[[0-9;]*3[0-9][0-9;]*m", seen) is not None
    assert colored != no_color


def test_errors_say_what_was_wanted():
    X, Y = blobs(20)
    with pytest.raises(TypeError, match=r"fit: model must be a dk\.nn layer, got NoneType"):
        fit(None)
    for options, error, message in [
        ({"loss": "hinge"}, ValueError, "loss must be .*got 'hinge'"),
        ({"loss": "relu"}, ValueError, "relu is an op but no loss"),
        (
            {"loss": "gaussian_nll_loss"},
            ValueError,
            "gaussian_nll_loss is not one of a prediction and a target, but of input, ",
        ),
        ({"loss": "js_div"}, ValueError, "js_div is not one of a prediction and a target, but of p, q"),
        ({"loss": "gan_generator_loss"}, ValueError, "but of fake"),
        ({"loss": "gan_discriminator_loss"}, ValueError, "but of real, fake"),
        ({"optimizer": "adam"}, ValueError, "optimizer must be one of adamw, sgd.*got 'adam'"),
        ({"metrics": ["f1"]}, ValueError, "one of accuracy, got 'f1'"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1"),
        ({"epochs": 1.5}, TypeError, r"epochs must be a whole number, got 1\.5"),
        ({"lr": "x"}, TypeError, "lr must be a number, got 'x'"),
        ({"validation_split": 1.5}, ValueError, "validation_split must be in"),
        ({"validation_split": 1.0}, ValueError, "validation_split must be in"),
        ({"data": X}, TypeError, r"data must be a pair \(X, Y\), got ndarray"),
        ({"data": ([[1.0]], [0])}, TypeError, "X must be an array, got list"),
        ({"callbacks": [print]}, TypeError, "callbacks must be dk.train.Callback objects"),
        ({"loss": partial(dk.cross_entropy, reduction="sum")}, ValueError, "reduction must be \"mean\".*got 'sum'"),
        ({"loss": partial(dk.cross_entropy, reduction="none")}, ValueError, "got 'none'"),
        ({"optimizer": lambda params: 3}, TypeError, r"must have step\(grads\) and param_groups, got int"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"data": (X, Y[:3])}, ValueError, "same length"),
        ({"data": (X[:0], Y[:0])}, ValueError, "at least one example"),
        ({"optimizer": dk.optim.SGD(mlp().params())}, ValueError, "parameters that are not the model's"),
    ]:
        with pytest.raises(error, match=message):
            fit(mlp(), **options)
