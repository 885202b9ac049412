"""Steps of a parameter whose gradient is 0 but in some rows: embeddings. NumPy's functions hand CuPy's arrays on to CuPy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import cupy_view, device_array, on_gpu, on_stream_of, to_host
from ._op import Engine
from .optimizer_storage import dtype_name

if TYPE_CHECKING:
    from .descent_rules import Adagrad

__all__ = ["step_rows"]

LANES = 256  # of a canonical sum (DESIGN.md 3.2)
BLOCK = 4096


def step_rows(optimizer: Adagrad, index: int, rows: Any, values: Any) -> None:
    """`Adagrad.step_rows`."""
    name, group = f"{optimizer.name}.step_rows", optimizer._group_of()[index]
    p, total = optimizer._params[index], optimizer._states[index]["sum"]
    if optimizer.storage["precision"] != "plain" or optimizer.storage["state_dtype"] is not None:
        raise ValueError(f"{name}: is for plain parameters with state in the compute type.")
    if group["weight_decay"] != 0:
        raise ValueError(f"{name}: weight_decay must be 0, got {group['weight_decay']}.")
    on_device = on_gpu(p)
    if on_device != on_gpu(values):
        raise ValueError(f"{name}: values must lie where params[{index}] does, got {type(values).__name__}.")
    ids = to_host(rows, np.dtype(dtype_name(rows))) if on_gpu(rows) else np.asarray(rows)
    v = values if on_device else np.asarray(values)
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or tuple(v.shape) != (len(ids), *p.shape[1:]) or v.dtype != p.dtype:
        raise ValueError(
            f"{name}: wanted integer rows of shape (n,) and values of shape (n, {', '.join(map(str, p.shape[1:]))}) "
            f"and {p.dtype}, got {ids.dtype} {ids.shape} and {v.dtype} {tuple(v.shape)}."
        )
    if ids.size and not (ids.min() >= 0 and ids.max() < len(p)):
        raise IndexError(f"{name}: rows must be in [0, {len(p)}), got {ids.min()} to {ids.max()}.")
    optimizer._checked(group)
    with on_stream_of(p):
        p, total, v = (cupy_view(x) if on_device else x for x in (p, total, v))
        touched, grad = _summed(ids, v, total.dtype)
        at = device_array(p, touched)
        part, part_sum, grad = p[at], total[at], grad.astype(p.dtype)
        engine = Engine(optimizer.name, "adagrad", [part], [[part_sum]], ["wide"], [[]], "plain", [], [0])
        if on_device:
            optimizer._device = optimizer._device or optimizer.device_steps(optimizer)
            optimizer._device.step_alone(index, engine, grad)
        else:
            sign = -1.0 if group["maximize"] else 1.0
            numbers = optimizer._step_numbers(group, optimizer._steps[index] + 1, {})[0]
            engine.read([grad], False)
            engine.step([0], [sign, *numbers], False, 0, 0)
            optimizer._steps[index] += 1
        p[at], total[at] = part, part_sum


def _summed(ids: Any, values: Any, wide: Any) -> tuple[Any, Any]:
    """(rows given, in order; the sum of the values of each): in canonical order over the values of a row, so on every device alike."""
    order = np.argsort(ids, kind="stable")
    touched, start, count = np.unique(ids[order], return_index=True, return_counts=True)
    sums = values[device_array(values, order)].astype(wide)
    place = np.arange(len(ids)) - np.repeat(start, count)  # among the values of its row

    def add(to: Any, source: Any) -> None:
        if to.size:
            to, source = device_array(values, to), device_array(values, source)
            sums[to] = sums[to] + sums[source]

    most = int(count.max()) if count.size else 0
    width = 1  # how many values a place stands for: blocks of 4,096 are summed first, then their sums
    while most > 1:
        alive = np.flatnonzero(place % width == 0)
        nth = place[alive] // width  # among what is left of the row
        for first in range(LANES, min(most, BLOCK), LANES):
            later = alive[nth % BLOCK // LANES == first // LANES]
            add(later - first * width, later)
        for half in (LANES >> k for k in range(1, LANES.bit_length())):
            later = alive[(nth % BLOCK >= half) & (nth % BLOCK < 2 * half)]
            add(later - half * width, later)
        most, width = math.ceil(most / BLOCK), width * BLOCK
    return touched, sums[device_array(values, start)]
