"""Every pass of every op once on small CuPy arrays, compared with the definitions: what compute-sanitizer watches. Not yet run on a GPU.

`compute-sanitizer --tool memcheck python -m bench.gpu_small`; exit code 1 if a result is wrong. What the device refuses is named. With
`--seconds 60` no call begins later than that, and the last line says how many are left.
"""

from __future__ import annotations

import argparse
import sys
import time

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


def main() -> int:
    """One line for each call that is refused or wrong, then their numbers."""
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_small")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    end = time.monotonic() + parser.parse_args().seconds
    right, refused, wrong, left = 0, 0, 0, 0
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
