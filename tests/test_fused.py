"""bias_act is its parts: their bits where nothing is rounded in between, their mask, their slopes. And the penalties' examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numerics
import numpy as np
import pytest
from numerics import DTYPES, assert_same_bits, bound, compute_dtype

import dlkernels as dk

ACTIVATIONS = ["none", "relu", "gelu", "gelu_tanh", "silu"]
DROP = {"p": 0.3, "seed": 7, "offset": 5}


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> list[np.ndarray]:
    """x, bias, residual, dy"""
    return [rng.standard_normal(s).astype(dtype) for s in (shape, shape[-1:], shape, shape)]


def wide(*arrays: np.ndarray) -> list[np.ndarray]:
    return [a.astype(np.float64) for a in arrays]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_value(activation: str, dtype: str, target: str, rng: np.random.Generator) -> None:
    """Against the definition, with the numbers rounded as the kernel rounds them: one rounding of each part."""
    for shape in [(3,), (5, 7), (70, 257), (4, 3, 33)]:
        x, b, r, _ = draw(rng, shape, DTYPES[dtype])
        for options in ({}, DROP):
            for residual in (None, r):
                y = dk.bias_act(x, b, activation, residual=residual, **options)
                more = None if residual is None else residual.astype(np.float64)
                exact = dk.bias_act.reference(*wide(x, b), activation, residual=more, **options)
                parts = np.abs(exact) + np.abs(wide(x)[0]) + np.abs(wide(b)[0]) + (0 if more is None else np.abs(more))
                numerics.assert_within(y, exact, bound(dk.bias_act.ulp, dtype), dtype, scale=parts)


def test_float32_is_the_parts(rng: np.random.Generator) -> None:
    """In float32 nothing is rounded differently by fusing, so the bits are those of the separate ops."""
    x, b, r, dy = draw(rng, (70, 257), np.float32)
    for activation, apart in (("relu", dk.relu), ("silu", dk.silu), ("gelu", dk.gelu)):
        z = x + b
        dropped = dk.dropout(apart(z), **DROP)
        assert_same_bits(dk.bias_act(x, b, activation, residual=r, **DROP), dropped + r)
        dx, db = dk.bias_act.backward(dy, x, b, activation, **DROP)
        assert_same_bits(dx, apart.backward(dk.dropout.backward(dy, **DROP), z))
        blocks = [dx[i : i + 32] for i in range(0, 70, 32)]
        sums = []
        for block in [*blocks]:
            total = block[0]
            for row in block[1:]:
                total = total + row
            sums.append(total)
        assert_same_bits(db, (sums[0] + sums[1]) + sums[2], "rows in blocks of 32, then the blocks")


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_slopes(activation: str, rng: np.random.Generator) -> None:
    x, b, _, dy = draw(rng, (6, 5), np.float64)
    x = np.where(np.abs(x + b) < 0.01, x + 0.1, x)
    dx, db = dk.bias_act.backward(dy, x, b, activation, **DROP)
    value = dk.bias_act.reference
    slope = numerics.central_difference(lambda v: np.sum(dy * value(v, b, activation, **DROP)), x)
    np.testing.assert_allclose(dx, slope, rtol=1e-6, atol=1e-8)
    slope = numerics.central_difference(lambda v: np.sum(dy * value(x, v, activation, **DROP)), b)
    np.testing.assert_allclose(db, slope, rtol=1e-6, atol=1e-8)
    assert_same_bits(dk.bias_act.backward(dy, x + b, None, activation, **DROP), dx)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_16_bits(activation: str, dtype: str, target: str, rng: np.random.Generator) -> None:
    """One rounding from the gradient in float64 of the same numbers; db, a sum of them before it, in float32."""
    x, b, _, dy = draw(rng, (40, 37), DTYPES[dtype])
    dx, db = dk.bias_act.backward(dy, x, b, activation, **DROP)
    wide = [a.astype(np.float64) for a in (dy, x, b)]
    exact, exact_db = dk.bias_act.backward(*wide, activation, **DROP)
    unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    np.testing.assert_allclose(dx.astype(np.float64), exact, rtol=1.01 * unit, atol=2.0**-24)
    np.testing.assert_allclose(db, exact_db, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_bits_everywhere(dtype: str, threads: None, rng: np.random.Generator) -> None:
    x, b, r, dy = draw(rng, (130, 300), DTYPES[dtype])
    before = dk.get_target()
    y = dk.bias_act(x, b, residual=r, **DROP)
    dx, db = dk.bias_act.backward(dy, x, b, **DROP)
    assert db.dtype == compute_dtype(dtype)
    try:
        for name in dk.targets():
            dk.set_target(name)
            for count, again in ((1, x), (3, np.asfortranarray(x))):
                dk.set_num_threads(count)
                assert_same_bits(dk.bias_act(again, b, residual=r, **DROP), y)
                for got, want in zip(dk.bias_act.backward(dy, again, b, **DROP), (dx, db), strict=True):
                    assert_same_bits(got, want)
    finally:
        dk.set_target(before)
    inside = r.copy()
    assert dk.bias_act(x, b, residual=inside, out=inside, **DROP) is inside
    assert_same_bits(inside, y)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: dk.bias_act(x, np.ones(3, np.float32)), ValueError, "bias must have the shape of"),
        (lambda x: dk.bias_act(x, activation="tanh"), ValueError, 'activation must be "none", "relu"'),
        (lambda x: dk.bias_act(x, p=0.5), TypeError, "seed is needed"),
        (lambda x: dk.bias_act(x, p=1.5, seed=1), ValueError, r"p must be in \[0, 1\]"),
        (lambda x: dk.bias_act(x, residual=x[0]), ValueError, "residual must have the shape"),
        (lambda x: dk.bias_act(np.float32(1)), TypeError, "x must be"),
    ],
)
def test_refusals(call: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(np.ones((2, 4), np.float32))


def test_penalties_of_the_examples() -> None:
    v = json.loads((Path(__file__).parent / "vectors/normalization.json").read_text())["penalties"]
    w = np.array(v["w"])
    value, gradient = dk.l1_penalty.value_and_grad(w, strength=0.01)
    np.testing.assert_allclose(value, v["l1(lambda=0.01)"], rtol=1e-12)
    np.testing.assert_allclose(gradient, v["l1_grad"], rtol=1e-12)
    value, gradient = dk.l2_penalty.value_and_grad(w, strength=0.01)
    np.testing.assert_allclose(value, v["l2(lambda=0.01)*sum(w^2)"], rtol=1e-12)
    np.testing.assert_allclose(gradient, v["l2_grad"], rtol=1e-12)
