"""What training is judged by: losses in one spelling, metrics by name, and means over examples."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import dlkernels as dk
from dlkernels.layer import Array

Metric = Callable[[Array, Array], float]  # (y, target) -> mean over the batch


def accuracy(y: Array, target: Array) -> float:
    """The share of rows whose largest score (the first of equals) is the target's class; target ids or
    probabilities.
    """
    classes = target if target.ndim < y.ndim else target.argmax(axis=1)
    return float((y.argmax(axis=1) == classes).mean())


METRICS: dict[str, Metric] = {"accuracy": accuracy}


class Loss:
    """One spelling for every kind of loss: ``value(y, target)`` and ``value_and_grad(y, target, out)``."""

    def __init__(self, loss: str | Callable[..., Any]) -> None:
        call: Any = getattr(dk, loss, None) if isinstance(loss, str) else loss
        self._options: dict[str, Any] = {}
        if isinstance(call, partial) and not call.args:
            call, self._options = call.func, call.keywords
        if not callable(call):
            raise ValueError(
                'loss must be the name of a loss such as "cross_entropy", "mse_loss" or "huber_loss", a loss op or '
                f"(y, target) -> (loss, gradient), got {loss!r}."
            )
        self._call, self._fused = call, getattr(call, "value_and_grad", None)
        if isinstance(loss, str) and self._fused is None:
            raise ValueError(f"loss: {loss} is an op but no loss. Use cross_entropy or mse_loss.")
        if self._fused is not None:
            self._refuse_others(call)
        self.default_metrics = ("accuracy",) if call is dk.cross_entropy else ()

    def _refuse_others(self, call: Any) -> None:
        """A loss op is for fit if it is a mean over examples of one prediction and one target."""
        arrays = [p.name for p in inspect.signature(call).parameters.values() if p.default is p.empty]
        if len(arrays) != 2 or len(getattr(call, "grads", arrays[:1])) != 1 or arrays[1] != "target":
            raise ValueError(
                f"loss: {call.__name__} is not one of a prediction and a target, but of {', '.join(arrays)}. "
                "Pass a function (y, target) -> (loss, gradient) that calls it."
            )
        reduction = self._options.get("reduction", "mean")
        if reduction not in {"mean", "batchmean"}:
            raise ValueError(f'loss: reduction must be "mean", which fit averages over batches, got {reduction!r}.')

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


def choose_metrics(metrics: Sequence[str | Metric] | None, loss: Loss) -> dict[str, Metric]:
    """The metrics by name; for None those that go with the loss."""
    chosen: dict[str, Metric] = {}
    for metric in loss.default_metrics if metrics is None else metrics:
        if callable(metric):
            chosen[getattr(metric, "__name__", type(metric).__name__)] = metric
        elif metric in METRICS:
            chosen[metric] = METRICS[metric]
        else:
            raise ValueError(f"metrics: each must be callable or one of {', '.join(METRICS)}, got {metric!r}.")
    return chosen


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
