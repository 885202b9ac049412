"""Kernel times on a GPU against a device copy of the same bytes, by CuPy's events: `python -m bench.gpu --json FILE`.

Not yet run on a GPU. The peers (PyTorch, torch.compile, Liger) come with the CUDA target's own issue.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import dlkernels as dk


def _milliseconds(cp: Any, work: Any, repeats: int = 30) -> float:
    """Median time on the device, the L2 cache overwritten before each run."""
    flush = cp.empty(256 << 20, dtype=cp.uint8)
    times = []
    for _ in range(repeats):
        flush.fill(0)
        start, end = cp.cuda.Event(), cp.cuda.Event()
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(cp.cuda.get_elapsed_time(start, end))
    return float(np.median(times))


def main() -> None:
    """Prints one line per op and dtype, and writes them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu", description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--elements", type=int, default=1 << 28)
    args = parser.parse_args()
    cp = importlib.import_module("cupy")
    rows = []
    for dtype in ("float32", "float16"):
        x = cp.random.standard_normal(args.elements, dtype=cp.float32).astype(dtype)
        y = cp.empty_like(x)
        moved = 2 * x.nbytes
        roof = _milliseconds(cp, lambda: cp.copyto(y, x))  # noqa: B023
        rows.append({"op": "copy", "dtype": dtype, "ms": roof, "GB/s": moved / roof / 1e6})
        for name in ("relu", "sigmoid", "tanh", "silu", "gelu", "elu"):
            op = getattr(dk, name)
            ms = _milliseconds(cp, lambda: op(x, out=y))  # noqa: B023
            rows.append({"op": name, "dtype": dtype, "ms": ms, "GB/s": moved / ms / 1e6, "of copy": roof / ms})
        grid = x.reshape(-1, 4096)
        into = y.reshape(-1, 4096)
        ms = _milliseconds(cp, lambda: dk.softmax(grid, out=into))  # noqa: B023
        rows.append({"op": "softmax 4096", "dtype": dtype, "ms": ms, "GB/s": moved / ms / 1e6, "of copy": roof / ms})
    for row in rows:
        print(row)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
