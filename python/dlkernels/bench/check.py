"""Are the numbers right? Before a form is timed, what it gives on a small shape is compared with the op's definition in float64.

A value is compared number by number. A gradient is compared along random directions v with the definition's central difference,
<g, v> against (f(x + hv) - f(x - hv)) / 2h, in units of sqrt(sum g^2 v^2). That finds another formula, not a last digit: bounds in ULP
are the tests' matter.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from .problem import Problem
from .row import VALUE, VALUE_AND_GRAD, Row

# The largest error of the right formula in this dtype: some hundred roundings of it.
TOLERANCE = {"float64": 1e-5, "float32": 1e-3, "float16": 3e-2, "bfloat16": 2e-1}
_STEP, _DIRECTIONS = 1e-6, 4


class WrongResultError(Exception):
    """A form computes something else; not timed."""


def _double(a: Any) -> Any:
    a = np.asarray(a)
    return a if a.dtype.kind in "iu" else a.astype(np.float64)


def definition(p: Problem, arrays: dict[str, Any]) -> Any:
    """The op's value by its definition."""
    value = p.op.reference(**arrays, **p.options)
    return np.asarray(value[0] if isinstance(value, tuple) else value)


def error_of(p: Problem, row: Row, numbers: list[Any]) -> float:
    """The error of a form's results, relative to their size."""
    if p.options.get("p"):
        return _dropped(p, row, numbers)
    arrays = {name: _double(a) for name, a in p.arrays.items()}
    if row.part == VALUE:
        return _difference(_double(numbers[0]), definition(p, arrays))
    worst = 0.0
    if row.part == VALUE_AND_GRAD:
        worst = _difference(_double(numbers[0]), definition(p, arrays))
        numbers = numbers[1:]
    along = _along_directions(p, arrays, [_double(g) for g in numbers[-len(p.wrt) :]])
    return float(np.max([worst, along]))  # max() would lose a NaN


def _difference(got: Any, want: Any) -> float:
    if got.shape != want.shape:
        raise WrongResultError(f"a result of shape {got.shape}, not {want.shape}")
    largest = float(np.max(np.abs(want), initial=0.0)) or 1.0
    return float(np.max(np.abs(got - want), initial=0.0)) / largest


def _along_directions(p: Problem, arrays: dict[str, Any], grads: list[Any]) -> float:
    dy = 1.0 if p.dy is None else _double(p.dy)
    rng = np.random.default_rng(5)

    def moved(directions: list[Any], step: float) -> Any:
        at = {name: arrays[name] + step * v for name, v in zip(p.wrt, directions, strict=True)}
        return definition(p, {**arrays, **at})

    off = []
    for _ in range(_DIRECTIONS):
        directions = [rng.standard_normal(arrays[name].shape) for name in p.wrt]
        slope = np.sum(dy * (moved(directions, _STEP) - moved(directions, -_STEP))) / (2 * _STEP)
        got = sum(float(np.sum(g * v)) for g, v in zip(grads, directions, strict=True))
        size = float(np.sqrt(sum(np.sum((g * v) ** 2) for g, v in zip(grads, directions, strict=True))))
        off.append(abs(got - float(slope)) / (size or 1.0))
    return float(np.max(off))


def _dropped(p: Problem, row: Row, numbers: list[Any]) -> float:
    """Every number is 0 or what it is without dropout over 1 - p, and as many are 0 as chance allows."""
    arrays = {name: _double(a) for name, a in p.arrays.items()}
    source = definition(replace(p, options={**p.options, "p": 0.0}), arrays) if row.part == VALUE else _double(p.dy)
    got = _double(numbers[0])
    rate = p.options["p"]
    gone = float(np.mean(got == 0))
    if abs(gone - rate) > 6 * np.sqrt(rate / got.size):
        raise WrongResultError(f"{gone:.3f} of the numbers are dropped, not {rate}")
    return _difference(got, np.where(got == 0, 0.0, source / (1 - rate)))
