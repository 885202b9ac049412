"""The command line: what it prints, writes and returns; and that selftest can fail."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import dlkernels as dk
from dlkernels import selftest
from dlkernels.__main__ import main
from dlkernels.datasets import DEBIAN_FASHION_MNIST
from dlkernels.history import History

KEYS = {
    "dataset", "test_accuracy", "test_loss", "seconds", "examples_per_second", "target", "threads", "seed",
    "epochs", "stopped", "weights_sha256", "settings", "versions",
}  # fmt: skip
needs_digits = pytest.mark.usefixtures("digits_are_here")


@pytest.fixture(scope="module")
def digits_are_here():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")


def train(out, *options: object) -> tuple[int, dict]:
    """Exit code and JSON of ``dlkernels train --quiet``."""
    report = out / "result.json"
    code = main(["train", "--out", str(out), "--json", str(report), "--quiet", *map(str, options)])
    return code, json.loads(report.read_text())


@needs_digits
def test_train_writes_what_it_says(tmp_path, capsys):
    code, result = train(tmp_path, "--epochs", 2, "--hidden", "32,16")
    assert code == 0
    assert result.keys() == KEYS
    assert result["target"] == dk.get_target()
    assert result["threads"] == dk.get_num_threads()
    assert result["epochs"] == result["settings"]["epochs"] == 2
    assert 0.2 < result["test_accuracy"] < 1
    assert result["seconds"] > 0
    assert result["examples_per_second"] > 0
    assert result["versions"]["numpy"] == np.__version__
    files = {
        "best.safetensors",
        "history.csv",
        "history.png",
        "last.safetensors",
        "model.safetensors",
        "result.json",
    }
    assert {path.name for path in tmp_path.iterdir()} == files
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 3
    out, err = capsys.readouterr()
    assert f"test accuracy {result['test_accuracy']:.4f}" in out
    assert result["weights_sha256"][:16] in out
    assert "1,294 training, 144 validation, 359 test images" in err
    assert "Linear(32, 16)" in err


@needs_digits
def test_digits_reach_97_percent_with_the_defaults(tmp_path):
    _, result = train(tmp_path)
    assert result["test_accuracy"] >= 0.97


@needs_digits
def test_equal_seeds_give_equal_bits(tmp_path):
    options = ("--epochs", 2, "--dropout", 0.3)
    hashes = [
        train(tmp_path / str(i), *options, "--seed", seed)[1]["weights_sha256"] for i, seed in enumerate((5, 5, 6))
    ]
    assert hashes[0] == hashes[1] != hashes[2]
    models = [(tmp_path / str(i) / "model.safetensors").read_bytes() for i in range(3)]
    assert models[0] == models[1] != models[2]


@needs_digits
def test_threads_are_limited_and_given_back(tmp_path, monkeypatch):
    pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")
    before = dk.get_num_threads()
    _, result = train(tmp_path, "--epochs", 1, "--threads", 1)
    assert result["threads"] == 1
    assert dk.get_num_threads() == before
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert main(["train", "--out", str(tmp_path), "--threads", "1", "--quiet"]) == 2


@needs_digits
def test_an_interrupted_run_reports_and_can_be_resumed(tmp_path):
    options = ["--epochs", "8", "--hidden", "32", "--out", str(tmp_path / "run")]
    report = tmp_path / "result.json"
    child = subprocess.Popen(
        [sys.executable, "-m", "dlkernels", "train", *options, "--json", str(report)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    for line in child.stderr:
        if line.startswith("epoch 2/8"):
            child.send_signal(signal.SIGINT)
            break
    out, err = child.communicate()
    assert child.returncode == 130, err
    assert re.search(r"stopped after \d epochs: interrupted", err)
    assert "test accuracy" in out
    stopped = json.loads(report.read_text())
    assert 2 <= stopped["epochs"] < 8
    code, resumed = train(tmp_path / "run", *options[:4], "--resume")
    _, whole = train(tmp_path / "whole", *options[:4])
    assert code == 0
    assert resumed["weights_sha256"] == whole["weights_sha256"]


@needs_digits
def test_resuming_another_run_or_none_is_a_message_and_2(tmp_path, capsys):
    options = ["train", "--out", str(tmp_path), "--epochs", "1", "--hidden", "16", "--quiet"]
    assert main([*options, "--resume"]) == 2
    assert re.search(
        r"^dlkernels train: resume: there is no checkpoint .*last\.safetensors\.", capsys.readouterr().err, re.MULTILINE
    )
    assert main(options) == 0
    capsys.readouterr()
    assert main([*options, "--resume", "--batch-size", "64"]) == 2
    assert "dlkernels train: resume: batch_size must be 32 as in" in capsys.readouterr().err


@needs_digits
def test_without_matplotlib_nothing_is_trained_in_vain(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["train", "--out", str(tmp_path / "run"), "--quiet"]) == 2
    assert 'pip install "dlkernels[train]"' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@needs_digits
def test_a_plot_that_fails_costs_no_result(tmp_path, monkeypatch):
    def fail(self, path):
        raise OSError("no font")

    monkeypatch.setattr(History, "plot", fail)
    code, result = train(tmp_path, "--epochs", 1, "--hidden", 16)
    assert code == 2
    assert result["test_accuracy"] > 0
    assert (tmp_path / "model.safetensors").exists()


@pytest.mark.slow
@needs_digits
@pytest.mark.skipif(not DEBIAN_FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_reaches_89_percent_with_the_defaults(tmp_path):
    _, result = train(tmp_path, "--dataset", "fashion-mnist")
    assert result["test_accuracy"] >= 0.89


@needs_digits
def test_training_that_breaks_down_says_so(tmp_path, capsys):
    # float32 overflows within a few steps of this size
    code, result = train(tmp_path, "--lr", 1e30, "--epochs", 3)
    assert code == 1
    assert re.fullmatch(r"the loss is (nan|inf) at step \d+", result["stopped"])
    assert result["examples_per_second"] == 0
    assert "stopped after" in capsys.readouterr().err


def test_missing_or_damaged_data_is_a_message_and_2(tmp_path, capsys):
    arguments = [
        "train",
        "--dataset",
        "fashion-mnist",
        "--data-dir",
        str(tmp_path),
        "--out",
        str(tmp_path / "run"),
    ]
    assert main(arguments) == 2
    assert "apt-get install dataset-fashion-mnist" in capsys.readouterr().err
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0" * 100)
    assert main(arguments) == 2
    assert "IDX magic must be 0x00000803" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["bench-nothing"],
        ["train", "--epochs", "0"],
        ["train", "--dropout", "1"],
        ["train", "--hidden", "32,,16"],
        ["train", "--activation", "mish"],
        ["train", "--seed", "-1"],
        ["train", "--lr", "-1"],
        ["train", "--lr", "nan"],
        ["train", "--threads", "5000"],
        ["train", "--dataset", "mnist"],
    ],
)
def test_wrong_arguments_are_a_usage_message_and_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: dlkernels" in capsys.readouterr().err


def test_every_command_has_help(capsys):
    for command in ([], ["train"], ["bench"], ["info"], ["selftest"]):
        with pytest.raises(SystemExit) as end:
            main([*command, "--help"])
        assert end.value.code == 0
        assert "usage: dlkernels" in capsys.readouterr().out


def test_info(capsys):
    assert main(["info", "--json"]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["version"] == dk.__version__
    assert info["target"] in info["targets"]
    assert info["packages"]["numpy"] == np.__version__
    assert main(["info"]) == 0
    lines = {line[:14].strip(): line[14:] for line in capsys.readouterr().out.splitlines()}
    assert lines.keys() == info.keys()
    assert lines["targets"].split() == info["targets"]


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_no_traceback(unbuffered):
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m dlkernels info | true"],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}
    assert done.stderr == ""


def test_info_imports_no_framework():
    code = (
        "import sys; from dlkernels.__main__ import main; main(['info']); "
        "print({'torch', 'cupy', 'jax', 'sklearn', 'matplotlib', 'rich'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


# -- selftest ----------------------------------------------------------------------------------------------


def test_selftest_passes_here(capsys):
    code = main(["selftest"])
    out = capsys.readouterr().out
    assert code == 0, out
    rows = re.findall(r"^(.+?)  +\S.* same$", out, re.MULTILINE)
    assert f"{len(rows)} rows: all right" in out
    known = {name for name, op in dk.ops.registry.items() if selftest.knows(op)}
    assert len(known) > 40
    assert known < set(rows)
    assert {"gelu tanh", "cross_entropy soft", "cross_entropy weighted", "sgd nesterov", "adamw"} < set(rows)


class Broken(SimpleNamespace):
    """tanh, but for one part that is wrong."""

    def __init__(self, **parts) -> None:
        right = {name: getattr(dk.tanh, name) for name in ("kind", "ulp", "domain", "reference", "backward")}
        super().__init__(**{"call": dk.tanh, **right, **parts})

    def __call__(self, *args, **options):
        return self.call(*args, **options)


def a_little_off(x):
    return dk.tanh(x) * (1 + 4 * np.finfo("f4").eps) if x.dtype == np.float32 else dk.tanh(x)


def wrong_at_infinity(x):
    return np.where(np.isinf(x), np.asarray(0, x.dtype), dk.tanh(x))


def loses_nan(x):
    return np.where(np.isnan(x), np.asarray(0, x.dtype), dk.tanh(x))


def depends_on_threads(x):
    y = dk.tanh(x)
    y[-1] += dk.get_num_threads() * (len(y) > 1000)
    return y


@pytest.mark.parametrize(
    "parts",
    [
        {"call": a_little_off},
        {"call": wrong_at_infinity},
        {"call": loses_nan},
        {"call": depends_on_threads},
        {"backward": lambda dy, x: dk.tanh.backward(dy, x) * 1.000001},
        {"backward": lambda dy, x: dk.tanh.backward(dy, x) + np.nan},
        {"call": lambda x: np.full_like(x, np.nan)},
        {"ulp": 0.1},
    ],
    ids=["value", "infinity", "nan", "threads", "gradient", "gradient nan", "all nan", "bound"],
)
def test_selftest_finds_a_broken_op(monkeypatch, capsys, parts):
    monkeypatch.setattr(selftest.updates, "RULES", {})
    monkeypatch.setattr(selftest, "registry", {"tanh": dk.tanh})
    assert main(["selftest"]) == 0
    monkeypatch.setattr(selftest, "registry", {"tanh": Broken(**parts)})
    assert main(["selftest"]) == 1
    assert "FAILED (marked !)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.0100001}, {"weight_decay": 0.1001}, {"name": "SGD", "weight_decay": 0.0}],
    ids=["lr", "decay", "rule"],
)
def test_selftest_finds_a_broken_update(monkeypatch, capsys, change):
    monkeypatch.setattr(selftest, "registry", {})
    name, formula, options = selftest.updates.RULES["adamw"]
    monkeypatch.setattr(selftest.updates, "RULES", {"adamw": (name, formula, options)})
    assert main(["selftest"]) == 0
    real = selftest.updates.steps

    def broken(rule, dtype, count):
        wrong = (change.get("name", name), formula, {**options, **{k: v for k, v in change.items() if k != "name"}})
        with monkeypatch.context() as patch:
            patch.setitem(selftest.updates.RULES, rule, wrong)
            return real(rule, dtype, count)

    monkeypatch.setattr(selftest.updates, "steps", broken)
    assert main(["selftest"]) == 1
    assert "FAILED (marked !)" in capsys.readouterr().out


def test_ulp_error_counts_the_last_place():
    one = np.array([1.0, 1.0, 2.0, 0.0, np.inf, np.nan, np.nan, 1.0], "f4")
    wanted = np.array([1.0, 1 + 2.0**-23, 2 + 2.0**-23, 2.0**-149, np.inf, np.nan, 1.0, np.nan])
    assert selftest.ulp_error(one, wanted).tolist() == [
        0,
        1,
        0.5,
        1,
        0,
        0,
        np.inf,
        np.inf,
    ]
    assert selftest.ulp_error(np.array([np.inf], "f4"), np.array([1e39])).tolist() == [0]
    extremes = selftest.ulp_error(np.array([np.inf, 1.0, -np.inf]), np.full(3, np.inf))
    assert extremes.tolist() == [0, np.inf, np.inf]
    assert selftest.ulp_error(np.array([1e-8], "f4"), np.array([2e-8]), least=1.0)[0] < 0.1
