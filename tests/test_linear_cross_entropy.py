"""The chunked last layer: the result of the whole logits, in less memory than they need."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import numerics
import numpy as np
import pytest
from numerics import DTYPES

import dlkernels as dk


def whole(x: Any, weight: Any, y: Any, bias: Any, class_weight: Any = None, **options: Any) -> tuple[Any, list[Any]]:
    """Value and gradients with all the logits, in float64."""
    x, weight, bias = (None if a is None else a.astype(np.float64) for a in (x, weight, bias))
    flat = x.reshape(-1, x.shape[-1])
    logits = flat @ weight.T + (0 if bias is None else bias)
    w = None if class_weight is None else class_weight.astype(np.float64)
    value, d = dk.cross_entropy.value_and_grad(logits, y.ravel(), w, **options)
    return value.reshape(y.shape if value.ndim else ()), [(d @ weight).reshape(x.shape), d.T @ flat, d.sum(0)]


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_chunks_make_no_difference(dtype: str, rng: np.random.Generator) -> None:
    kind = DTYPES[dtype]
    x, weight = rng.standard_normal((3, 40, 16)).astype(kind), (0.3 * rng.standard_normal((50, 16))).astype(kind)
    bias, per_class = rng.standard_normal(50).astype(kind), rng.uniform(0.5, 2, 50).astype(kind)
    y = rng.integers(0, 50, (3, 40))
    y[0, :7] = -100
    close = {"float64": 1e-12, "float32": 2e-5}.get(dtype, 1e-2)
    for reduction, chunk_rows, b, w in itertools.product(
        ("mean", "sum", "none"), (None, 1, 7, 1000), (None, bias), (None, per_class)
    ):
        options = {"reduction": reduction, "class_weight": w, "z_loss": 0.01, "label_smoothing": 0.1}
        value, grads = dk.linear_cross_entropy.value_and_grad(x, weight, y, b, chunk_rows=chunk_rows, **options)
        expected, wanted = whole(x, weight, y, b, **options)
        assert value.shape == expected.shape
        assert value.dtype == (np.float64 if dtype == "float64" else np.float32)
        np.testing.assert_allclose(value, expected, rtol=close if close < 1e-3 else 1e-5)
        np.testing.assert_allclose(dk.linear_cross_entropy(x, weight, y, b, **options), value, rtol=1e-6)
        if dtype == "float64":
            np.testing.assert_allclose(dk.linear_cross_entropy.reference(x, weight, y, b, **options), value, rtol=1e-12)
        for got, want, like in zip(grads, wanted, (x, weight, b), strict=True):
            if like is None:
                assert got is None
                continue
            assert (got.shape, got.dtype) == (like.shape, like.dtype)
            np.testing.assert_allclose(got.astype(np.float64), want, rtol=close, atol=close * np.abs(want).max())


def test_the_logits_are_never_whole(rng: np.random.Generator) -> None:
    tokens, classes, features = 4096, 3000, 64
    x, weight = (rng.standard_normal((n, features)).astype(np.float32) for n in (tokens, classes))
    y = rng.integers(0, classes, tokens)
    tracemalloc.start()
    try:
        dk.linear_cross_entropy.value_and_grad(x, weight, y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < tokens * classes * 4 / 5, f"{peak} bytes of {tokens * classes * 4}"


def test_ignored_tokens(rng: np.random.Generator) -> None:
    x, weight, y = rng.standard_normal((6, 4)), rng.standard_normal((5, 4)), np.full(6, -100)
    for reduction, want in (("mean", np.nan), ("sum", 0.0)):
        value, grads = dk.linear_cross_entropy.value_and_grad(x, weight, y, np.ones(5), reduction=reduction)
        np.testing.assert_array_equal(value, want)
        assert not any(g.any() for g in grads)
    empty = dk.linear_cross_entropy.value_and_grad(x[:0], weight, y[:0])
    assert np.isnan(empty[0])
    assert [g.shape for g in empty[1][:2]] == [(0, 4), (5, 4)]


def test_errors(rng: np.random.Generator) -> None:
    x, weight, y = rng.standard_normal((6, 4)), rng.standard_normal((5, 4)), np.zeros(6, np.int64)
    for arguments, options, text in (
        ((x, weight.T, y), {}, "weight must have shape"),
        ((x, weight, y[:5]), {}, r"target must have shape \(6,\), x's shape without the features, got \(5,\)"),
        ((x, weight, y, np.ones(4)), {}, r"bias must have shape \(5,\)"),
        ((x, weight, y), {"reduction": "average"}, "reduction must be"),
        ((x, weight, y), {"chunk_rows": 0}, "chunk_rows must be an integer >= 1"),
    ):
        with pytest.raises(ValueError, match=f"linear_cross_entropy: {text}"):
            dk.linear_cross_entropy(*arguments, **options)
    for y_wrong, text in ((y + 5, r"target\[0\] is 5"), (np.array([0, 1, 2, 3, -1, 9]), r"target\[4\] is -1")):
        for options in ({}, {"class_weight": np.ones(5)}, {"chunk_rows": 1}):
            with pytest.raises(IndexError, match=f"linear_cross_entropy: {text}"):
                dk.linear_cross_entropy(x, weight, y_wrong, **options)
    for arguments, options, text in (
        (([[1.0]], weight, y), {}, "x must be an array, got list"),
        ((x, weight.astype("f4"), y), {}, "weight must be float64 as x, got float32"),
        ((x, weight, y), {"class_weight": np.ones(5, "f4")}, "class_weight must be float64 as x"),
        ((x.astype("i8"), weight.astype("i8"), y), {}, "x must hold floating-point numbers, got int64"),
        ((x, weight, y.astype("f8")), {}, "target must be class ids"),
    ):
        with pytest.raises(TypeError, match=f"linear_cross_entropy: {text}"):
            dk.linear_cross_entropy(*arguments, **options)


def test_an_ignored_row_may_hold_anything(rng: np.random.Generator) -> None:
    x, weight = rng.standard_normal((6, 4)), rng.standard_normal((5, 4))
    y = np.array([0, -100, 3, -100, 1, 2])
    value, (dx, dweight, _) = dk.linear_cross_entropy.value_and_grad(x, weight, y, chunk_rows=2)
    dirty = x.copy()
    dirty[1], dirty[3] = np.inf, np.nan
    before = dirty.copy()
    with np.errstate(invalid="ignore"):
        again, (dx_again, dweight_again, _) = dk.linear_cross_entropy.value_and_grad(dirty, weight, y, chunk_rows=2)
    numerics.assert_same_bits(dirty, before, "x is read only")
    np.testing.assert_array_equal(again, value)
    np.testing.assert_array_equal(dweight_again, dweight)
    np.testing.assert_array_equal(dx_again[[0, 2, 4, 5]], dx[[0, 2, 4, 5]])
