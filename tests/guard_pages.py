"""Run as a program: every call on arrays that touch an unreadable page, before them or after them. A stray access is a crash.

For each dtype: lengths 0 to 130 (elementwise), rows of those lengths (rows and losses), and stepped and reversed views; the targets
take turns, so that each call meets each of them at every third length.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
from cases import calls
from numerics import DTYPES, assert_same_bits

import dlkernels as dk

PAGE = mmap.PAGESIZE
LENGTHS = range(131)


class Guarded:
    """Readable pages between two that are not."""

    def __init__(self, pages: int = 1) -> None:
        self.memory = mmap.mmap(-1, (pages + 2) * PAGE)
        first = np.frombuffer(self.memory, dtype=np.uint8).ctypes.data
        libc = ctypes.CDLL(None, use_errno=True)
        for page in (first, first + (pages + 1) * PAGE):
            assert libc.mprotect(ctypes.c_void_p(page), PAGE, 0) == 0, ctypes.get_errno()
        self.bytes = np.frombuffer(self.memory, dtype=np.uint8)[PAGE : (pages + 1) * PAGE]

    def place(self, a: np.ndarray, *, at_end: bool, step: int = 1) -> np.ndarray:
        """A copy of a whose first or last element touches a guard; `step` elements lie between two neighbors of the last axis."""
        span = ((a.size - 1) * abs(step) + 1) * a.itemsize if a.size else 0
        raw = self.bytes[self.bytes.size - span :] if at_end else self.bytes[:span]
        flat = raw.view(a.dtype)[::step]
        view = np.lib.stride_tricks.as_strided(
            flat, a.shape, tuple(s * step for s in np.empty(a.shape, a.dtype).strides), writeable=True
        )
        view[...] = a
        return view


def check(call: Any, guards: list[Guarded], at_end: bool, step: int) -> None:
    """The call on guarded copies of its arrays gives the same bits, also into a guarded output and in place."""
    expected = call.outputs(call())
    placed = {
        k: g.place(a, at_end=at_end, step=step if a.ndim else 1)
        for (k, a), g in zip(call.arrays.items(), guards, strict=False)
    }
    assert_same_bits(call.outputs(call(**placed)), expected, call.name)
    if call.takes_out:
        out = guards[-1].place(np.zeros_like(expected), at_end=at_end, step=step)
        call(**placed, out=out)
        assert_same_bits(out, expected, call.name)
        call(**placed, out=placed[call.like])
        assert_same_bits(placed[call.like], expected, call.name)


def main() -> None:
    guards = [Guarded(6) for _ in range(4)]
    targets, done = dk.targets(), 0
    for dtype in DTYPES.values():
        for n in LENGTHS:
            for i, call in enumerate(calls(dtype, (0, 3) if n == 0 else (2, n) if n % 3 else (3, n))):
                dk.set_target(targets[(n // 3 + i) % len(targets)])
                for at_end in (True, False):
                    check(call, guards, at_end, 1)
                    if (n + i) % 10 < 2:
                        check(call, guards, at_end, 2)
                        check(call, guards, at_end, -1)
                    done += 1
    print(done)


if __name__ == "__main__":
    main()
