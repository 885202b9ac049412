"""Every pass of every op once on small CuPy arrays, compared with the definitions: what compute-sanitizer watches. Not yet run on a GPU.

`compute-sanitizer --tool memcheck python -m bench.gpu_small`; exit code 1 if a result is wrong. What the device refuses is named.
"""

from __future__ import annotations

import sys

import dlkernels as dk
from dlkernels.bench.check import WrongResultError
from dlkernels.bench.device import device_form
from dlkernels.bench.plan import passes, shapes
from dlkernels.bench.row import OURS, Row
from dlkernels.bench.worker import checked


def main() -> int:
    """One line for each call that is refused or wrong, then their numbers."""
    right, refused, wrong = 0, 0, 0
    for op in dk.ops.registry.values():
        size, shape = next((s, x) for s, x in shapes(op).items() if s != "call")
        for part in passes(op):
            row = Row(op.__name__, part, "float32", shape, size)
            try:
                checked(OURS, row, device_form)
                right += 1
            except WrongResultError as error:
                wrong += 1
                print(f"WRONG {row.name}: {error}")
            except (TypeError, NotImplementedError, ValueError) as error:
                refused += 1
                print(f"refused {row.name}: {error}")
    print(f"{right} right, {refused} refused, {wrong} wrong")
    return int(wrong > 0 or right == 0)


if __name__ == "__main__":
    sys.exit(main())
