"""How this library runs a row: each pass once to learn what it returns, then into the same memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .problem import Problem
from .row import BACKWARD, FROM_Y, THERE_AND_BACK, VALUE, VALUE_AND_GRAD

Timed = Callable[[], Any]


def _bind(call: Any, args: tuple[Any, ...], options: dict[str, Any], out: Any) -> Timed:
    """The call with its arguments, by place as far as they can be: what a caller in a hurry writes."""
    if out is None:
        return (lambda: call(*args, **options)) if options else (lambda: call(*args))
    if options:
        return lambda: call(*args, **options, out=out)
    if len(args) == 1:
        (x,) = args
        return lambda: call(x, out=out)
    return lambda: call(*args, out=out)


def _split(p: Problem) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arrays by place, and those that are optional by name."""
    by_place = {name: a for name, a in p.arrays.items() if name not in {"weight", "bias"}}
    by_name = {name: a for name, a in p.arrays.items() if name not in by_place}
    return tuple(by_place.values()), {**by_name, **p.options}


def _without(options: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in names}


def run_ours(p: Problem, part: str, *, allocating: bool = False) -> Timed:
    """A callable that runs the pass; it returns what the op returns."""
    args, options = _split(p)
    op = p.op
    if part == THERE_AND_BACK:
        return _there_and_back(p)
    if part == VALUE:
        call = op
    elif part == VALUE_AND_GRAD:
        call = op.value_and_grad
    else:
        call, args, options = op.backward, *_backward_arguments(p, part)
    if allocating or (part == VALUE and op.kind == "loss"):
        return _bind(call, args, options, None)
    return _bind(call, args, options, _output(op, part, call(*args, **options)))


def _output(op: Any, part: str, result: Any) -> Any:
    """What `out=` receives: gradients of a loss, dx of a norm or of bias_act, else the result."""
    if part == VALUE_AND_GRAD:
        return result[1]
    if part == BACKWARD and op.kind in {"norm", "fused"}:
        return result[0] if isinstance(result, tuple) else result
    return result


def _backward_arguments(p: Problem, part: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    args, options = _split(p)
    op = p.op
    if part == FROM_Y:
        return (p.dy,), {**options, "y": op(*args, **options)}
    if op.kind == "loss":
        value = op(*args, **options)
        one = value - value + 1  # in the library and dtype of the loss
        return (np.asarray(one) if isinstance(one, np.generic) else one, *args), options
    if op.kind == "rows":
        return (p.dy, op(*args, **options)), options
    if op.kind == "random":
        return (p.dy,), options
    if op.kind == "norm":
        *_, stats = op(*args, **options, return_stats=True)
        return (p.dy, *args), {**_without(options, "bias"), "stats": stats}
    return (p.dy, *args), options


def _there_and_back(p: Problem) -> Timed:
    """A norm's training step: forward with statistics, and back with them, both into memory that is there."""
    args, options = _split(p)
    op, dy = p.op, p.dy
    y, stats = op(*args, **options, return_stats=True)
    dx, *_ = op.backward(dy, *args, **_without(options, "bias"), stats=stats)

    def run() -> Any:
        _, stats = op(*args, **options, return_stats=True, out=y)
        return op.backward(dy, *args, **_without(options, "bias"), stats=stats, out=dx)

    return run
