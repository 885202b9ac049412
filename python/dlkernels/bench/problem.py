"""A row's arrays: what an op is called with, drawn from the domains that the registry states."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import dlkernels as dk

from .row import Row

_BLOCK = 1 << 20  # numbers drawn; longer arrays repeat them, so that making an array costs as little as copying it


@dataclass(frozen=True)
class Problem:
    """Arguments of an op in the order in which a peer's formula takes them."""

    op: Any
    arrays: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    wrt: tuple[str, ...] = ()  # which arrays have a gradient
    dy: Any = None  # what flows in from above; None for a loss

    @property
    def places(self) -> tuple[int, ...]:
        """Where the arrays with a gradient stand."""
        return tuple(list(self.arrays).index(name) for name in self.wrt)


def dtype_of(name: str) -> Any:
    """NumPy's dtype, or ml_dtypes'."""
    if hasattr(np, name):
        return np.dtype(name)
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, name))


def required(call: Any) -> list[str]:
    """Names of the arguments without default."""
    return [p.name for p in inspect.signature(call).parameters.values() if p.default is p.empty]


def filled(shape: tuple[int, ...], dtype: str, domain: Any = (-3.0, 3.0), seed: int = 0) -> Any:
    """An array of numbers from an interval (low, high) or from a set; none of an interval's is a half or a whole, where slopes jump."""
    n = int(np.prod(shape))
    rng = np.random.default_rng(seed)
    count = min(n, _BLOCK)
    if isinstance(domain, set):
        drawn = rng.choice(sorted(domain), count).astype(dtype_of(dtype))
    else:
        low, high = domain
        drawn = rng.uniform(low, high, count).astype(dtype_of(dtype))
        halves = np.asarray(2 * drawn == np.rint(2 * drawn), bool)
        drawn[halves] = (0.9375 * drawn + (drawn == 0) / 16).astype(drawn.dtype)[halves]
    return np.resize(drawn, n).reshape(shape)


# What the ops of a kind are called with, beside what their signature says. Domains are narrowed to where networks work.
_NARROW = (-4.0, 4.0)
_PAST_KINKS = (-8.0, 8.0)  # relu6 bends at 6
_OPTIONS: dict[str, dict[str, Any]] = {
    "dropout": {"p": 0.1, "seed": 1},
    "batch_norm": {"training": True},
    "group_norm": {"num_groups": 4},
    "bi_tempered_logistic_loss": {"t1": 0.8, "t2": 1.25},
    "tempered_softmax": {"t": 1.25},
}
CHANNELS = {"batch_norm", "group_norm", "instance_norm"}


def problem(row: Row, shape: tuple[int, ...] | None = None) -> Problem:
    """The arrays of a row; of another shape, to check its numbers on."""
    op = dk.ops.registry[row.subject]
    shape = shape or row.shape
    options = {**_OPTIONS.get(row.subject, {}), **row.options}
    if op.kind == "loss":
        arrays = loss_arrays(op, shape, row.dtype)
        return Problem(op, arrays, options, op.grads)
    domain = _PAST_KINKS if op.kind in {"map", "slope"} else _NARROW
    names = op.arrays if op.kind == "gate" else ["x"]
    arrays = {name: filled(shape, row.dtype, domain, i) for i, name in enumerate(names)}
    wide = shape[1:2] if row.subject in CHANNELS else shape[-1:]
    if op.kind == "norm":
        arrays["weight"] = filled(wide, row.dtype, (0.5, 1.5), 7)
        if "bias" in inspect.signature(op).parameters:
            arrays["bias"] = filled(wide, row.dtype, (-1.0, 1.0), 8)
    if op.kind == "fused":
        arrays["bias"] = filled(wide, row.dtype, (-1.0, 1.0), 8)
    upstream = shape[:-1] if op.kind == "row_value" else shape
    dy_dtype = wider(row.dtype) if op.kind == "row_value" else row.dtype
    return Problem(op, arrays, options, tuple(arrays), filled(upstream, dy_dtype, (-1.0, 1.0), 9))


def wider(dtype: str) -> str:
    """The dtype of numbers that stand for a row: at least float32."""
    return dtype if dtype_of(dtype).itemsize == 8 else "float32"


def loss_arrays(op: Any, shape: tuple[int, ...], dtype: str) -> dict[str, Any]:
    """Each array from its domain; class ids and one number for each row where the loss takes them."""
    label, per_row = getattr(op, "label", ""), getattr(op, "per_row", "")
    domain: Mapping[str, Any] = op.domain if isinstance(op.domain, dict) else {}
    arrays: dict[str, Any] = {}
    for i, name in enumerate(required(op)):
        if label and name == label:
            arrays[name] = np.random.default_rng(i).integers(0, shape[-1], shape[:-1])
        elif per_row and name == per_row:
            arrays[name] = filled(shape[:-1], wider(dtype), {-1.0, 1.0}, i)
        else:
            arrays[name] = filled(shape, dtype, domain.get(name, _NARROW), i)
    return arrays


def check_shape(row: Row) -> tuple[int, ...]:
    """A small shape of the same kind, for comparing numbers with the definition."""
    if len(row.shape) == 1:
        return (min(row.shape[0], 2048),)
    if len(row.shape) == 2:
        return min(row.shape[0], 6), min(row.shape[1], 500)
    return (min(row.shape[0], 3), min(row.shape[1], 8), *(min(n, 9) for n in row.shape[2:]))
