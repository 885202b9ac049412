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

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any

import numpy as np

import dlkernels as dk
from dlkernels.callbacks import (
    Callback,
    Checkpoint,
    CSVLogger,
    EarlyStopping,
    LambdaCallback,
    TerminateOnNaN,
)
from dlkernels.checkpoint import CheckpointError, load, save
from dlkernels.data import batches, check_pair, train_test_split
from dlkernels.history import History
from dlkernels.layer import Array, Layer
from dlkernels.progress import Silent, reporter
from dlkernels.run import Run, TrainingInterrupted, deferred_interrupt

__all__ = [
    "CSVLogger",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "Run",
    "TerminateOnNaN",
    "TrainingInterrupted",
    "evaluate",
    "fit",
    "load",
    "save",
]

Pair = tuple[Array, Array]
Schedule = Callable[[int], float]  # step from 0 -> learning rate
Metric = Callable[[Array, Array], float]  # (y, target) -> mean over the batch


# -- losses, metrics, optimizers by name -------------------------------------------------------------


def accuracy(y: Array, target: Array) -> float:
    """The share of rows whose largest score (the first of equals) is the target's class; target ids or
    probabilities.
    """
    classes = target if target.ndim < y.ndim else target.argmax(axis=1)
    return float((y.argmax(axis=1) == classes).mean())


_METRICS: dict[str, Metric] = {"accuracy": accuracy}


class Loss:
    """One spelling for every kind of loss: ``value(y, target)`` and ``value_and_grad(y, target, out)``."""

    def __init__(self, loss: str | Callable[..., Any]) -> None:
        call: Any = getattr(dk, loss, None) if isinstance(loss, str) else loss
        self._options: dict[str, Any] = {}
        if isinstance(call, partial) and not call.args:
            call, self._options = call.func, call.keywords
        if not callable(call):
            raise ValueError(
                f'loss must be "cross_entropy", "mse_loss", a loss op or (y, target) -> (loss, gradient), got {loss!r}.'
            )
        self._call, self._fused = call, getattr(call, "value_and_grad", None)
        if isinstance(loss, str) and self._fused is None:
            raise ValueError(f"loss: {loss} is an op but no loss. Use cross_entropy or mse_loss.")
        self.default_metrics = ("accuracy",) if call is dk.cross_entropy else ()

    def value(self, y: Array, target: Array) -> float:
        """The mean loss."""
        result = self._call(y, target, **self._options)
        return float(result if self._fused else result[0])

    def value_and_grad(self, y: Array, target: Array, out: Array | None) -> tuple[float, Array]:
        """The mean loss and its gradient, which an op writes into `out`."""
        if self._fused is None:
            loss, dy = self._call(y, target, **self._options)
        else:
            loss, dy = self._fused(y, target, **self._options, out=out)
        return float(loss), dy


def _metrics(metrics: Sequence[str | Metric] | None, loss: Loss) -> dict[str, Metric]:
    chosen: dict[str, Metric] = {}
    for metric in loss.default_metrics if metrics is None else metrics:
        if callable(metric):
            chosen[getattr(metric, "__name__", type(metric).__name__)] = metric
        elif metric in _METRICS:
            chosen[metric] = _METRICS[metric]
        else:
            raise ValueError(f"metrics: each must be callable or one of {', '.join(_METRICS)}, got {metric!r}.")
    return chosen


def _optimizer(optimizer: str | Any, model: Layer) -> Any:
    if isinstance(optimizer, str):
        known = {"adamw": dk.optim.AdamW, "sgd": dk.optim.SGD}
        if optimizer not in known:
            raise ValueError(
                f"optimizer must be one of {', '.join(known)}, an optimizer or callable, got {optimizer!r}."
            )
        return known[optimizer](model.params())
    return optimizer if hasattr(optimizer, "step") else optimizer(model.params())


class Averages:
    """Means over examples: a short last batch weighs what it holds."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, count: int, values: Mapping[str, float]) -> None:
        self._count += count
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + count * value

    def means(self, prefix: str = "") -> dict[str, float]:
        return {prefix + name: total / self._count for name, total in self._sums.items()}


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
    chosen, averages = _metrics(metrics, criterion), Averages()
    for x, target in batches(*data, batch_size, shuffle=False):
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
    callbacks: Sequence[Callback] = (),
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
    - resume: a checkpoint, or the folder of `Checkpoint`, to go on from, up to `epochs` in all

    Ctrl-C raises TrainingInterrupted once the batch is done.

    >>> X = np.random.default_rng(0).normal(size=(256, 2)).astype("float32")
    >>> model = dk.nn.Sequential(dk.nn.Linear(2, 2), seed=0)
    >>> history = fit(model, (X, (X[:, 0] > 0).astype(int)), epochs=40, lr=0.05, verbose=False)
    >>> history["accuracy"][-1] > 0.95
    True
    """
    criterion = Loss(loss)
    if validation_data is None and validation_split:
        data, validation_data = train_test_split(*data, validation_split, seed=(seed, 1))
    count = check_pair("fit", *data)
    for name, value in (("epochs", epochs), ("batch_size", batch_size)):
        if value < 1:
            raise ValueError(f"fit: {name} must be at least 1, got {value}.")
    settings = {"seed": seed, "batch_size": batch_size, "examples": count}
    run = Run(model, _optimizer(optimizer, model), callbacks, settings)
    if resume is not None:
        run.resume(resume)
    if lr is not None and not callable(lr):
        run.set_lr(lr)
    step = _Step(run, criterion, _metrics(metrics, criterion), lr if callable(lr) else None)
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
