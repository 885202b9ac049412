"""The roof: copying as many bytes. Measured in every run, over sizes, by the fastest way that the libraries here have."""

from __future__ import annotations

import bisect
import math
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from .peers import Ready, tensor, torch_module
from .row import COPY, Row

GRID = tuple(1 << k for k in range(12, 29, 2))  # bytes moved, half of them read and half written
_SPLIT_ABOVE = 1 << 21


def copy_row(moved: int, variant: str) -> Row:
    """A row that moves so many bytes."""
    return Row("copy", COPY, "float32", (moved // 8,), "roof", "copy", variant)


def run_copy(peer: str, row: Row) -> Ready | None:
    """NumPy's copy, from some MB on by as many threads as everybody has; PyTorch's."""
    if peer not in {"numpy", "torch"}:
        return None
    x, y = np.ones(row.shape, np.float32), np.zeros(row.shape, np.float32)
    if peer == "torch":
        torch_module()
        source, target = tensor(x), tensor(y)
        return Ready(lambda: target.copy_(source), lambda _: [y])
    threads = int(os.environ["OMP_NUM_THREADS"])
    if x.nbytes < _SPLIT_ABOVE or threads == 1:
        return Ready(lambda: np.copyto(y, x), lambda _: [y])
    pool = ThreadPoolExecutor(threads)
    parts = list(zip(np.array_split(y, threads), np.array_split(x, threads), strict=True))

    def split() -> None:
        list(pool.map(lambda part: np.copyto(*part), parts))

    return Ready(split, lambda _: [y])


def interpolated(roof: dict[str, float], moved: float) -> float | None:
    """Seconds of a copy of so many bytes, between the sizes measured (bytes -> seconds) as on a log-log plot; beyond, in proportion."""
    points = sorted((int(b), s) for b, s in roof.items())
    if not points or moved <= 0:
        return None
    sizes = [b for b, _ in points]
    i = bisect.bisect_left(sizes, moved)
    if i == 0:
        return points[0][1]
    if i == len(points):
        return points[-1][1] * moved / points[-1][0]
    (b0, s0), (b1, s1) = points[i - 1 : i + 1]
    share = math.log(moved / b0) / math.log(b1 / b0)
    return float(math.exp(math.log(s0) + share * math.log(s1 / s0)))


def fastest(seconds: dict[str, Any]) -> float:
    """The roof is the best copy."""
    return float(min(middle for _, middle, _ in seconds.values()))
