"""dk.rescale: error bounds for every pair of dtypes, how statistics broadcast, layouts, the same bits everywhere, errors."""

from __future__ import annotations

import itertools
from typing import Any

import numerics
import numpy as np
import pytest
from numerics import DTYPES

import dlkernels as dk

INPUTS = {**DTYPES, "uint8": np.dtype(np.uint8)}

# Shapes of x and of a statistic: scalars, columns, rows, channels with long and with short runs, several dimensions, no period.
BROADCASTS = [
    ((), ()), ((1,), (1,)), ((5,), ()), ((5,), (5,)), ((70,), (1,)), ((1000, 3), (3,)), ((30, 37), (37,)), ((3, 2000), (2000,)),
    ((50, 70), (50, 1)), ((3, 700), (3, 1)), ((2, 3, 20, 30), (3, 1, 1)), ((2, 3, 4, 5), (3, 1, 1)), ((4, 5, 6, 7), (4, 1, 6, 1)),
    ((2, 1100, 3), (1100, 3)), ((600, 4), (600, 4)), ((9, 1, 8), (8,)),
]  # fmt: skip


def drawn(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    if dtype == np.uint8:
        return rng.integers(0, 256, shape, np.uint8)
    return np.asarray(rng.normal(3, 2, shape)).astype(dtype)


def statistics(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, Any, Any]:
    return tuple(np.asarray(rng.normal(size=shape)) for _ in range(3))


@pytest.mark.parametrize("out", list(DTYPES))
@pytest.mark.parametrize("dtype", list(INPUTS))
def test_within_half_an_ulp(dtype: str, out: str, target: str, rng: np.random.Generator) -> None:
    for shape, of in BROADCASTS:
        x, (shift, scale, offset) = drawn(rng, INPUTS[dtype], shape), statistics(rng, of)
        y = dk.rescale(x, shift, scale, offset, dtype=DTYPES[out])
        assert y.dtype == DTYPES[out]
        wide = x.astype(np.longdouble)
        exact = (wide - shift) * scale + offset
        size = np.maximum(np.abs(exact), np.abs(offset))
        allowed = dk.rescale.ulp if out == "float64" else 0.51
        numerics.assert_within(y, exact, allowed, out, scale=size, hint=f"{shape}, {of}")
        np.testing.assert_allclose(
            dk.rescale.reference(x, shift, scale, offset), exact.astype(float), rtol=1e-12, atol=1e-12
        )


def test_mixed_operands(target: str, rng: np.random.Generator) -> None:
    """Numbers and arrays of different shapes in one call."""
    x = rng.normal(size=(4, 5, 6))
    a, b = rng.normal(size=(4, 1, 1)), rng.normal(size=6)
    for operands in itertools.permutations([a, b, 2]):
        numerics.assert_within(
            dk.rescale(x, *operands),
            (x.astype(np.longdouble) - operands[0]) * operands[1] + operands[2],
            dk.rescale.ulp,
            "float64",
            scale=np.maximum(np.abs(dk.rescale.reference(x, *operands)), np.abs(np.broadcast_to(operands[2], x.shape))),
        )
    assert np.array_equal(dk.rescale(x, np.float64(1), 1), x - 1)


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_bounds_and_nan(dtype: str, target: str) -> None:
    x = np.resize(np.array([np.nan, np.inf, -np.inf, 0.0, 0.25, 0.5, 1.0, -3.0]), 41).astype(DTYPES[dtype])
    y = dk.rescale(x, 0.0, 1.0, low=0.25, high=0.5).astype(np.float64)
    expected = np.resize([np.nan, 0.5, 0.25, 0.25, 0.25, 0.5, 0.5, 0.25], 41)
    assert np.array_equal(y, expected, equal_nan=True)
    assert np.array_equal(dk.rescale(x, 0.0, 1.0), x, equal_nan=True)
    assert np.array_equal(
        dk.rescale(x, 0.0, 1.0, high=0.5).astype(float)[:4], [np.nan, 0.5, -np.inf, 0], equal_nan=True
    )
    assert np.array_equal(
        dk.rescale(x, 0.0, 1.0, low=0.25).astype(float)[:4], [np.nan, np.inf, 0.25, 0.25], equal_nan=True
    )


def test_every_byte(target: str) -> None:
    x = np.arange(256, dtype=np.uint8)
    for dtype in DTYPES.values():
        assert np.array_equal(dk.rescale(x, 0.0, 1.0, dtype=dtype).astype(int), x)
    assert dk.rescale(x, 0.0, 1.0).dtype == np.float32


def test_layouts_and_in_place(target: str, rng: np.random.Generator) -> None:
    x, (shift, scale, offset) = rng.normal(size=(40, 31)), statistics(rng, (31,))
    expected = dk.rescale(x, shift, scale, offset)
    wide = np.zeros((80, 93))
    wide[::2, ::3] = x
    for view in (wide[::2, ::3], np.asfortranarray(x), x[::-1].copy()[::-1], x.T.copy().T):
        assert np.array_equal(dk.rescale(view, shift, scale, offset), expected)
        assert np.array_equal(dk.rescale(view, np.resize(shift, (40, 31)), scale, offset), expected)
        out = np.empty_like(view)
        assert dk.rescale(x, shift, scale, offset, out=out) is out
        assert np.array_equal(out, expected)
        copy = view.copy(order="K")
        assert np.array_equal(dk.rescale(copy, shift, scale, offset, out=copy), expected)
    spread = np.zeros((40, 62), np.float32)[:, ::2]
    assert np.array_equal(dk.rescale(x, shift[::1], scale, offset, out=spread), expected.astype(np.float32))
    assert np.array_equal(dk.rescale(x, np.repeat(shift, 2)[::2], scale, offset), expected)
    assert dk.rescale(np.empty((0, 31)), shift, scale).shape == (0, 31)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(
    ("shape", "of"), [((300_001,), (1,)), ((100_003, 3), (3,)), ((301, 1000), (1000,)), ((5, 3, 150, 150), (3, 1, 1))]
)
def test_the_same_bits(shape: tuple[int, ...], of: tuple[int, ...], rng: np.random.Generator) -> None:
    operands = statistics(rng, of)
    before = dk.get_target()
    try:
        for dtype, out in [
            ("uint8", "bfloat16"),
            ("float32", "float32"),
            ("float64", "float16"),
            ("bfloat16", "float64"),
        ]:
            x = drawn(rng, INPUTS[dtype], shape)
            results = []
            for target, threads in itertools.product(dk.targets(), (1, 2, 3)):
                dk.set_target(target)
                dk.set_num_threads(threads)
                results.append(dk.rescale(x, *operands, low=-2, high=2, dtype=DTYPES[out]))
                np.testing.assert_allclose(
                    results[-1].astype(float), dk.rescale.reference(x, *operands, low=-2, high=2), rtol=0.01, atol=0.001
                )
                # elsewhere in memory, and a part of it
                part = numerics.aligned(x.size + 5, x.dtype)[5:].reshape(shape)
                part[...] = x
                into = numerics.aligned(x.size + 3, DTYPES[out])[3:].reshape(shape)
                numerics.assert_same_bits(
                    dk.rescale(part, *operands, low=-2, high=2, out=into), results[0], f"{target}, {threads}"
                )
            for other in results:
                numerics.assert_same_bits(other, results[0], f"{dtype} to {out}")
    finally:
        dk.set_target(before)


def test_past_the_cache(target: str, rng: np.random.Generator, tmp_path: Any) -> None:
    """Streaming stores give the same bits at every alignment."""
    import os
    import subprocess
    import sys

    code = """
import itertools, sys, numpy as np, dlkernels as dk, zlib
dk.set_target(sys.argv[1])
x = np.random.default_rng(0).normal(size=100_000)
crc = 0
for dtype in ("float32", "float64", "float16", "bfloat16"):
    room = np.zeros(x.size + 64, dtype)
    for start, n in itertools.product((0, 1, 7, 16, 31), (1, 5, 20, 33, x.size)):
        dk.rescale(x[:n], 0.1, np.resize([0.3, 0.5, 7.0], n), out=room[start : start + n])
        assert not room[:start].any() and not room[start + n :].any()
        crc = zlib.crc32(room.tobytes(), crc)
        room[:] = 0
print(crc)
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code, target],
            env={**os.environ, "DLKERNELS_STREAM_BYTES": threshold},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threshold in ("0", "1000000000000")
    }
    assert len(found) == 1


X = np.ones((2, 3), np.float32)


@pytest.mark.parametrize(
    ("kind", "text", "arguments", "options"),
    [
        (TypeError, "x must be float16, bfloat16, float32 or float64, got int64", (np.ones(3, int), 0.0, 1.0), {}),
        (TypeError, "x must be float16, bfloat16, float32 or float64, got bool", (np.ones(3, bool), 0.0, 1.0), {}),
        (TypeError, "argument 'scale' is missing", (X, 0.0), {}),
        (TypeError, "shift must be float64", (X, np.ones(3, np.float32), 1.0), {}),
        (TypeError, "scale must be a NumPy", (X, 0.0, [1.0, 2.0, 3.0]), {}),
        (ValueError, "scale must broadcast to x's shape (2, 3), got (2,)", (X, 0.0, np.ones(2)), {}),
        (ValueError, "offset must broadcast to x's shape (2, 3), got (1, 2, 3)", (X, 0.0, 1.0, np.ones((1, 2, 3))), {}),
        (TypeError, "low must be a real number", (X, 0.0, 1.0), {"low": "0"}),
        (TypeError, "dtype must be float16, bfloat16, float32 or float64, got int64", (X, 0.0, 1.0), {"dtype": np.int64}),
        (TypeError, "dtype must be float16, bfloat16, float32 or float64, got uint8", (X, 0.0, 1.0), {"dtype": "uint8"}),
        (TypeError, "dtype must be a NumPy dtype, got", (X, 0.0, 1.0), {"dtype": "single precision"}),
        (TypeError, "out must be float16, bfloat16, float32 or float64, got int64", (X, 0.0, 1.0), {"out": np.ones((2, 3), int)}),
        (TypeError, "out must be float64 as dtype requires", (X, 0.0, 1.0), {"dtype": "float64", "out": X.copy()}),
        (ValueError, "out must have the shape of x", (X, 0.0, 1.0), {"out": np.ones(3)}),
        (ValueError, "out shares memory with x", (X, 0.0, 1.0), {"out": X.ravel()[::-1].reshape(2, 3)}),
        (ValueError, "out is read-only", (X, 0.0, 1.0), {"out": np.frombuffer(bytes(24), np.float32).reshape(2, 3)}),
    ],
)  # fmt: skip
def test_errors(kind: type[Exception], text: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    with pytest.raises(kind) as caught:
        dk.rescale(*arguments, **options)
    assert str(caught.value).startswith("rescale: ")
    assert text in str(caught.value)


def test_out_and_statistics() -> None:
    memory = np.arange(6.0)
    with pytest.raises(ValueError, match="out shares memory with shift"):
        dk.rescale(np.ones(3), memory[:3], 1.0, out=memory[1:4])
    mean = np.arange(70_000.0)  # the same elements: each is read before it is written
    assert np.array_equal(dk.rescale(np.ones(70_000), mean, 2.0, out=mean), 2 - 2 * np.arange(70_000.0))
