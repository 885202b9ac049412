"""Run as a program with DLKERNELS_STREAM_BYTES=0: outputs that bypass the cache hold the bits of those that do not.

A call in place never streams: what it leaves is compared with what the same call writes elsewhere. Each call of each op meets each
dtype and target, with several threads, on outputs that begin at 16 different places in a cache line, between bytes that must stay.
"""

from __future__ import annotations

import numerics
from cases import calls

import dlkernels as dk

SHAPE = (70, 1003)  # longer than a thread's share: a shorter call never streams


def main() -> None:
    assert dk.build_info()["stream_bytes"] == 0
    targets, done = dk.targets(), 0
    for d, dtype in enumerate(numerics.DTYPES):
        for i, call in enumerate(c for c in calls(numerics.DTYPES[dtype], SHAPE) if c.takes_out):
            dk.set_target(targets[(i + d) % len(targets)])
            dk.set_num_threads(1 + (i + d) % 3)
            like = call.arrays[call.like]
            first, last = 16 + (5 * i + 3 * d) % 16, like.size + 16 + (5 * i + 3 * d) % 16
            memory = numerics.aligned(like.size + 48, like.dtype)  # filled with 0xA5
            expected = memory.copy()
            call(out=memory[first:last].reshape(like.shape))
            in_place = like.copy()  # other calls have the array too
            call(**{call.like: in_place}, out=in_place)
            expected[first:last] = in_place.ravel()
            where = (
                f"{call.name}, {dk.get_target()}, {dk.get_num_threads()} threads, output {first} elements after a line"
            )
            numerics.assert_same_bits(memory, expected, f"{where} [{dtype}]")
            done += 1
    print(done)


if __name__ == "__main__":
    main()
