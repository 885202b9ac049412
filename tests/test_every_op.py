"""What every op of every kind must do, asked through cases.calls: the net below the families' own tests, which look closer.

Each op is near its definition, leaves its inputs alone, and gives the same bits on every target, with any number of threads, wherever its
arrays begin; each of its passes too. A new kind is caught here as soon as cases.calls knows how it is called.
"""

from __future__ import annotations

from typing import Any

import numerics
import numpy as np
import pytest
from cases import Call, calls
from numerics import DTYPES

import dlkernels as dk

SHAPES = [(1, 1), (3, 7), (2, 33), (5, 257), (3, 4099), (300, 130)]  # parts of a vector, of a block; several threads

pytestmark = [
    pytest.mark.usefixtures("threads"),
    pytest.mark.parametrize("dtype", list(DTYPES)),
    pytest.mark.parametrize("shape", SHAPES, ids=str),
]


def parts(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


# Refuses a single number: one value a channel has no deviation.
NEED_MORE = {"batch_norm"}


def accepted(dtype: str, shape: tuple[int, ...]) -> list[Call]:
    """Every call on arrays of this shape, but of ops that refuse a single number."""
    found = calls(DTYPES[dtype], shape)
    if shape != (1, 1):
        return found
    for call in found:
        if call.name.partition(".")[0] in NEED_MORE:
            with pytest.raises(ValueError, match=call.name.partition(".")[0]):
                call()
    return [call for call in found if call.name.partition(".")[0] not in NEED_MORE]


def test_near_its_definition(shape: tuple[int, ...], dtype: str, target: str) -> None:
    """In ULP of the largest number of the result; with room for the roundings of sums, and of the definition where that is float64."""
    for call in accepted(dtype, shape):
        if "." in call.name:
            continue
        op = dk.ops.registry[call.name]
        wide = {k: a.astype(np.float64) if k in call.float_arrays else a for k, a in call.arrays.items()}
        options = dict(call.options)
        if "none" in getattr(op, "reductions", ()):
            options["reduction"] = "none"  # a sum may cancel
        for got, exact in zip(parts(call(**options)), parts(op.reference(**wide, **options)), strict=True):
            exact = np.asarray(exact, np.float64)
            kind = got.dtype.name
            scale = np.full(exact.shape, np.max(np.abs(exact), initial=float(numerics.ml_dtypes.finfo(got.dtype).tiny)))
            # A norm takes the mean off first, which the deviations may be much smaller than: test_norms.py counts in its units. A triplet
            # loss is a difference of two distances that may be much larger than it.
            cancels = call.name.endswith("_norm") or call.name == "triplet_margin_loss"
            allowed = numerics.bound((4 * op.ulp + 8) * (8 if cancels else 1), kind)
            numerics.assert_within(got, exact, allowed, kind, hint=f"{call} of {shape}", scale=scale)


def shifted(a: np.ndarray, by: int) -> np.ndarray:
    """A copy that begins `by` elements after a 64-byte boundary."""
    copy = numerics.aligned(a.size + by, a.dtype)[by:].reshape(a.shape)
    copy[...] = a
    return copy


def test_the_same_bits_everywhere(shape: tuple[int, ...], dtype: str) -> None:
    before = dk.get_target()
    try:
        dk.set_target(dk.targets()[-1])
        dk.set_num_threads(1)
        expected = [(call, parts(call())) for call in accepted(dtype, shape)]
        for t, target in enumerate(dk.targets()):
            dk.set_target(target)
            for i, (call, results) in enumerate(expected):
                turn = i + 7 * list(DTYPES).index(dtype) + SHAPES.index(shape)
                dk.set_num_threads((2, 3, 8, 1)[(turn + t) % 4])
                moved = {k: shifted(a, (turn + 5 * t + 3 * j) % 16) for j, (k, a) in enumerate(call.arrays.items())}
                copies = {k: a.tobytes() for k, a in moved.items()}
                for got, want in zip(parts(call(**moved)), results, strict=True):
                    numerics.assert_same_bits(got, want, f"{call}, {target}, {dk.get_num_threads()} threads")
                for k, a in moved.items():
                    assert a.tobytes() == copies[k], f"{call}: {k} was written"
    finally:
        dk.set_target(before)
