"""Every pass of every op once on small CuPy arrays, compared with the definitions, and steps of every kind of optimizer, compared with the
CPU's bits: what compute-sanitizer watches. Not yet run on a GPU.

`compute-sanitizer --tool memcheck python -m bench.gpu_small`; exit code 1 if a result is wrong. What the device refuses is named. With
`--seconds 60` no call begins later than that, and the last line says how many are left.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from typing import Any

import numpy as np

import dlkernels as dk
from dlkernels.bench.check import WrongResultError
from dlkernels.bench.device import device_form
from dlkernels.bench.plan import passes, shapes
from dlkernels.bench.row import OURS, Row
from dlkernels.bench.worker import checked


def rows() -> list[Row]:
    """Every op's first pass, then every op's second one: a run that is cut has seen every op."""
    found = []
    for op in dk.ops.registry.values():
        size, shape = next((s, x) for s, x in shapes(op).items() if s != "call")
        found += [(turn, Row(op.__name__, part, "float32", shape, size)) for turn, part in enumerate(passes(op))]
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


# One for each way that a step takes through the kernels.
OPTIMIZERS: dict[str, tuple[str, Any]] = {
    "AdamW": ("float32", lambda p: dk.optim.AdamW(p, lr=0.1)),
    "AdamW float64": ("float64", lambda p: dk.optim.AdamW(p, lr=0.1)),
    "AdamW float16, master, bytes": (
        "float16",
        lambda p: dk.optim.AdamW(p, lr=0.1, precision="master", state_dtype="uint8"),
    ),
    "LAMB": ("float32", lambda p: dk.optim.LAMB(p, lr=0.1)),
    "LARS": ("float32", lambda p: dk.optim.LARS(p, lr=0.1)),
}


def steps_agree(name: str) -> bool:
    """Three steps on both devices, the second one skipped, the last one with a gradient missing."""
    dtype, make = OPTIMIZERS[name]
    cp, rng = importlib.import_module("cupy"), np.random.default_rng(3)
    shapes_of = [(5000,), (3, 7), (), (4097,)]
    host = [np.asarray(rng.normal(size=shape)).astype(dtype) for shape in shapes_of]
    device = [cp.asarray(p) for p in host]
    optimizers = make(host), make(device)
    for turn in range(3):
        grads: list[Any] = [np.asarray(rng.normal(size=shape)).astype(dtype) for shape in shapes_of]
        if turn == 1:
            grads[1][0, 0] = np.inf
        if turn == 2:
            grads[0] = None
        optimizers[1].step([g if g is None else cp.asarray(g) for g in grads], max_norm=1.0, zero_grads=True)
        optimizers[0].step(grads, max_norm=1.0, zero_grads=True)
    return all(a.tobytes() == b.get().tobytes() for a, b in zip(host, device, strict=True))


def main() -> int:
    """One line for each call that is refused or wrong, then their numbers."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_small")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    end = time.monotonic() + parser.parse_args().seconds
    right, refused, wrong, left = 0, 0, 0, 0
    for name in OPTIMIZERS:
        if steps_agree(name):
            right += 1
        else:
            wrong += 1
            print(f"WRONG {name}: other bits than the CPU's", flush=True)
    for row in rows():
        if time.monotonic() > end:
            left += 1
            continue
        try:
            checked(OURS, row, device_form)
            right += 1
        except WrongResultError as error:
            wrong += 1
            print(f"WRONG {row.name}: {error}", flush=True)
        except (TypeError, NotImplementedError, ValueError) as error:
            refused += 1
            print(f"refused {row.name}: {error}", flush=True)
    print(f"{right} right, {refused} refused, {wrong} wrong, {left} left out")
    return int(wrong > 0 or right == 0)


if __name__ == "__main__":
    sys.exit(main())
