"""Training: `fit` for the usual case, and eight lines for every other.

    optimizer = dk.optim.AdamW(model.params(), lr=1e-3)
    for epoch in range(epochs):
        for x, t in dk.data.batches(X, Y, batch_size=128, seed=(0, epoch)):
            y, backprop = model(x, train=True)
            loss, dy = dk.cross_entropy.value_and_grad(y, t)
            model.zero_grad()
            backprop(dy, need_dx=False)
            optimizer.step(model.grads())

`fit` is this loop plus validation, metrics, callbacks, a history and a way to go on from a checkpoint.
Everything random is a function of the seed: the order of epoch e of (seed, e), a dropout mask of (layer's
seed, pass, element). So two runs agree bit for bit, and so do a run and the same run stopped at any epoch and
resumed in another process.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np

import dlkernels as dk
from dlkernels import arguments
from dlkernels.callbacks import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    TerminateOnNaN,
)
from dlkernels.checkpoint import CheckpointError, load, save
from dlkernels.criteria import Averages, Loss, Metric, accuracy, choose_metrics
from dlkernels.data import batches, check_pair, train_test_split
from dlkernels.history import History
from dlkernels.layer import Array, Layer
from dlkernels.progress import Silent, reporter
from dlkernels.run import ResumeError, Run, TrainingInterrupted, deferred_interrupt

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "ResumeError",
    "Run",
    "TerminateOnNaN",
    "TrainingInterrupted",
    "accuracy",
    "evaluate",
    "fit",
    "load",
    "save",
]

Pair = tuple[Array, Array]
Schedule = Callable[[int], float]  # step from 0 -> learning rate
_ALMOST_ONE = math.nextafter(1.0, 0.0)


def _optimizer(optimizer: str | Any, model: Layer) -> Any:
    if isinstance(optimizer, str):
        known = {"adamw": dk.optim.AdamW, "sgd": dk.optim.SGD}
        if optimizer not in known:
            raise ValueError(
                f"optimizer must be one of {', '.join(known)}, an optimizer or callable, got {optimizer!r}."
            )
        return known[optimizer](model.params())
    made = optimizer if hasattr(optimizer, "step") and not isinstance(optimizer, type) else optimizer(model.params())
    if not hasattr(made, "param_groups"):
        raise TypeError(f"optimizer must have step(grads) and param_groups, got {type(made).__name__}.")
    return made


def _checked(where: str, model: Any, data: Any) -> Pair:
    """`data` as (X, Y), once it and the model are what they should be."""
    if not isinstance(model, Layer):
        raise TypeError(f"{where}: model must be a dk.nn layer, got {type(model).__name__}.")
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"{where}: data must be a pair (X, Y), got {type(data).__name__}.")
    check_pair(where, *data)
    return data[0], data[1]


def _callbacks(callbacks: Callback | Sequence[Callback]) -> Sequence[Callback]:
    several = [callbacks] if isinstance(callbacks, Callback) else list(callbacks)
    for callback in several:
        if not isinstance(callback, Callback):
            raise TypeError(f"fit: callbacks must be dk.train.Callback objects, got {callback!r}.")
    return several


def evaluate(
    model: Layer,
    data: Pair,
    *,
    loss: str | Callable[..., Any] = "cross_entropy",
    metrics: Sequence[str | Metric] | None = None,
    batch_size: int = 1024,
) -> dict[str, float]:
    """{"loss": ..., "accuracy": ...} of the model in inference, averaged over the examples.

    `metrics` defaults to accuracy for cross_entropy and to none for other losses.
    """
    criterion = Loss(loss)
    chosen, averages = choose_metrics(metrics, criterion), Averages()
    for x, target in batches(*_checked("evaluate", model, data), batch_size, shuffle=False):
        y = model.predict(x)
        values = {name: metric(y, target) for name, metric in chosen.items()}
        averages.add(len(x), {"loss": criterion.value(y, target), **values})
    return averages.means()


def fit(
    model: Layer,
    data: Pair,
    *,
    loss: str | Callable[..., Any] = "cross_entropy",
    optimizer: str | Any = "adamw",
    lr: float | Schedule | None = None,
    epochs: int = 10,
    batch_size: int = 128,
    validation_data: Pair | None = None,
    validation_split: float = 0.0,
    metrics: Sequence[str | Metric] | None = None,
    callbacks: Callback | Sequence[Callback] = (),
    seed: int = 0,
    resume: str | PathLike[str] | None = None,
    verbose: bool = True,
) -> History:
    """Train `model` on (X, Y) and return its History.

    - loss: an op's name, a loss op, ``functools.partial(dk.cross_entropy, label_smoothing=0.1)``, or any
      (y, target) -> (mean loss, its gradient with respect to y)
    - optimizer: "adamw", "sgd", an optimizer over model.params(), or params -> optimizer
    - lr: a number, or a function of the step (from 0) set on every parameter group before the step; else the
      optimizer's own
    - validation_split: the fraction held out at random (by seed) when there is no validation_data
    - metrics: names or (y, target) -> mean; by default accuracy for cross_entropy. Those of the training data
      are taken as the epoch runs, with dropout on
    - seed: of the order of the examples; weights and dropout have the model's
    - resume: a checkpoint, or the folder of `Checkpoint`, to go on from, up to `epochs` in all; what is compared
      says `Run.load`

    Ctrl-C raises TrainingInterrupted once the batch is done.

    >>> X = np.random.default_rng(0).normal(size=(256, 2)).astype("float32")
    >>> model = dk.nn.Sequential(dk.nn.Linear(2, 2), seed=0)
    >>> history = fit(model, (X, (X[:, 0] > 0).astype(int)), epochs=40, lr=0.05, verbose=False)
    >>> history["accuracy"][-1] > 0.95
    True
    """
    criterion = Loss(loss)
    data = _checked("fit", model, data)
    arguments.whole("fit", "epochs", epochs)
    arguments.whole("fit", "batch_size", batch_size)
    if arguments.real("fit", "validation_split", validation_split, 0, _ALMOST_ONE) and validation_data is None:
        data, validation_data = train_test_split(*data, float(validation_split), seed=(seed, 1))
    count = len(data[0])
    settings = {"seed": seed, "batch_size": batch_size, "examples": count}
    run = Run(model, _optimizer(optimizer, model), _callbacks(callbacks), settings)
    if resume is not None:
        run.resume(resume)
    if lr is not None and not callable(lr):
        run.set_lr(arguments.real("fit", "lr", lr))
    step = _Step(run, criterion, choose_metrics(metrics, criterion), lr if callable(lr) else None)
    report = reporter(verbose)
    # A run that diverges says so in its loss; NumPy need not warn of every overflow on the way there.
    with deferred_interrupt() as interrupted, np.errstate(over="ignore", invalid="ignore"):
        report.begin(epochs, -(-count // batch_size))
        try:
            run.tell("on_fit_begin")
            while run.epoch < epochs and not run.ending(interrupted):
                run.tell("on_epoch_begin")
                order = batches(*data, batch_size, seed=(seed, 0, run.epoch), reuse=True)
                row = _epoch(run, step, order, report, interrupted)
                if row is None:
                    break
                if validation_data is not None:
                    scores = evaluate(model, validation_data, loss=loss, metrics=metrics)
                    row.update({f"val_{name}": value for name, value in scores.items()})
                run.finish_epoch(row)
                report.epoch(run.epoch, row)
                run.tell("on_epoch_end")
            run.tell("on_fit_end")
        finally:
            report.end()
        if interrupted():
            run.history.stopped = "interrupted"
            raise TrainingInterrupted(run.history)
    return run.history


def _epoch(
    run: Run, step: _Step, order: Iterator[Pair], report: Silent, interrupted: Callable[[], bool]
) -> dict[str, float] | None:
    """One pass over the batches: the row for the history, or None if training has to end within it."""
    averages, started = Averages(), time.perf_counter()
    for index, (x, target) in enumerate(order, 1):
        averages.add(len(x), step(x, target))
        report.batch(run.epoch + 1, index, run.loss)
        run.tell("on_batch_end")
        if run.ending(interrupted):
            return None
    return {"epoch": run.epoch + 1, **averages.means(), "seconds": time.perf_counter() - started}


class _Step:
    """Forward, loss, backward, update; returns the loss and the metrics of the batch."""

    def __init__(self, run: Run, loss: Loss, metrics: Mapping[str, Metric], lr: Schedule | None) -> None:
        self._run, self._loss, self._metrics, self._lr = run, loss, metrics, lr
        # The gradient of the loss may overwrite y where backprop does not need y and y is not the caller's x.
        self._in_place = not (run.model.keeps_output or run.model.is_view)

    def __call__(self, x: Array, target: Array) -> dict[str, float]:
        run = self._run
        y, backprop = run.model(x, train=True)
        values = {name: metric(y, target) for name, metric in self._metrics.items()}
        run.loss, dy = self._loss.value_and_grad(y, target, y if self._in_place else None)
        run.model.zero_grad()
        backprop(dy, need_dx=False)
        run.update(self._lr)
        return {"loss": run.loss, **values}
