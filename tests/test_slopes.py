"""Activations with a learned number: one for all elements or one for each channel, and its gradient, which is a sum in canonical order."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import Any

import numerics
import numpy as np
import pytest
from numerics import DTYPES

import dlkernels as dk

VECTORS = json.loads((Path(__file__).parent / "vectors" / "activations.json").read_text())
X = np.array(VECTORS["x"])
SLOPES = {"prelu": dk.prelu, "swish": dk.swish}
SHAPES = [(5,), (1,), (4, 3), (40, 3), (2, 3, 7), (1, 3, 300), (2, 3, 4, 5), (5, 3, 1, 2)]
each_op = pytest.mark.parametrize("name", SLOPES)
each_dtype = pytest.mark.parametrize("dtype", list(DTYPES))


def term(name: str, dy: Any, x: Any, number: Any) -> Any:
    """dy times the derivative in the number, elementwise, in the precision of the arguments."""
    if name == "prelu":
        return np.where(x > 0, 0 * x, dy * x)
    e = np.exp(-np.abs(number * x))
    return dy * x * x * e / (1 + e) ** 2


def drawn(rng: np.random.Generator, shape: Any, dtype: str) -> np.ndarray:
    return numerics.rounded(rng.normal(0, 2.5, shape), dtype)


def numbers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> list[np.ndarray]:
    """What may stand for the number beside x of a shape."""
    found = [numerics.rounded(rng.uniform(0.1, 1.5, n), dtype) for n in ((), (1,))]
    if len(shape) > 1:
        found.append(numerics.rounded(rng.uniform(-1.5, 1.5, shape[1]), dtype))
    return found


def over_channels(number: np.ndarray, x: np.ndarray) -> np.ndarray:
    return number.reshape(-1, *[1] * (x.ndim - 2)) if number.size > 1 else number.reshape(())


@each_op
def test_worked_example(name: str, target: str) -> None:
    example, op = VECTORS[name], SLOPES[name]
    ((_, number),) = example["params"].items()
    for given in (number, np.array(number), np.array([number])):
        np.testing.assert_allclose(op(X, given), example["y"], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(op.reference(X, given), example["y"], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(op.backward(np.ones_like(X), X, number), example["dy_dx"], rtol=1e-12, atol=1e-15)
    (terms,) = (v for k, v in example.items() if k in {"dy_dweight", "dy_dbeta"})
    for i in range(X.size):  # each term alone, and all of them
        dx, slope = op.backward(np.ones(1), X[i : i + 1], np.array(number))
        np.testing.assert_allclose(dx[0], example["dy_dx"][i], rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(slope, terms[i], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(op.backward(np.ones_like(X), X, np.array(number))[1], sum(terms), rtol=1e-12)


@each_dtype
@each_op
def test_values_and_gradients(name: str, dtype: str, target: str, rng: np.random.Generator) -> None:
    """dx within its bound; the sum of the terms within roundings of each term and of a few levels of additions."""
    op = SLOPES[name]
    wide = np.longdouble if dtype == "float64" else np.float64
    for shape in SHAPES:
        x, dy = drawn(rng, shape, dtype), drawn(rng, shape, dtype)
        for number in numbers(rng, shape, dtype):
            w = over_channels(number, x).astype(wide)
            exact = np.where(x > 0, x, w * x) if name == "prelu" else op.reference(x.astype(wide), number.astype(wide))
            hint = f"{name} {shape} {number.shape}"
            numerics.assert_within(op(x, number), exact, numerics.bound(op.ulp, dtype), dtype, x=x, hint=hint)
            dx, slope = op.backward(dy, x, number)
            t = w * x
            s = 1 / (1 + np.exp(-t))
            derivative = np.where(x > 0, 1, w) if name == "prelu" else s * (1 + t * (1 - s))
            bound = numerics.bound(op.backward.ulp, dtype)
            numerics.assert_within(dx, dy.astype(wide) * derivative, bound, dtype, x=x, hint=hint)
            terms = term(name, dy.astype(wide), x.astype(wide), w)
            axes = tuple(d for d in range(x.ndim) if d != 1 or number.size == 1)
            total, size = (np.sum(v, axis=axes).reshape(number.shape) for v in (terms, np.abs(terms)))
            assert slope.dtype == numerics.compute_dtype(dtype)
            assert slope.shape == number.shape
            eps = np.finfo(slope.dtype).eps
            assert np.all(np.abs(slope - total) <= 12 * eps * size + np.finfo(slope.dtype).tiny), hint


@each_op
def test_gradients_are_slopes(name: str, target: str, rng: np.random.Generator) -> None:
    op = SLOPES[name]
    for shape in ((6, 3), (2, 3, 4)):
        x = rng.uniform(0.1, 3, shape) * rng.choice([-1, 1], shape)
        dy, number = rng.normal(size=shape), rng.uniform(0.2, 1.2, 3)

        def loss(x: np.ndarray, number: np.ndarray, dy: np.ndarray = dy) -> Any:
            return np.sum(dy * op.reference(x, number))

        numeric = (
            numerics.central_difference(functools.partial(loss, number=number), x),
            numerics.central_difference(functools.partial(loss, x), number),
        )
        for got, wanted in zip(op.backward(dy, x, number), numeric, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-8, atol=1e-9)


@each_dtype
@each_op
def test_a_plain_number_is_an_array_of_one(name: str, dtype: str, target: str, rng: np.random.Generator) -> None:
    op = SLOPES[name]
    x, dy = drawn(rng, (3, 700), dtype), drawn(rng, (3, 700), dtype)
    for number in (0.25, 1.0, 0, np.float32(0.5)):
        array = np.array(number, DTYPES[dtype])
        numerics.assert_same_bits(op(x, number), op(x, array), f"{name} {number}")
        numerics.assert_same_bits(op.backward(dy, x, number), op.backward(dy, x, array)[0], f"{name}.backward {number}")
    numerics.assert_same_bits(op(x), op(x, {"prelu": 0.25, "swish": 1.0}[name]), "the default")


@each_op
def test_layouts_and_places(name: str, target: str, rng: np.random.Generator) -> None:
    """Strides of any kind, and results written over what was given, have the bits of fresh contiguous arrays."""
    op = SLOPES[name]
    for shape in ((40, 3), (2, 3, 40), (3, 3, 5, 7)):
        x, dy = drawn(rng, shape, "float32"), drawn(rng, shape, "float32")
        number = drawn(rng, 6, "float32")[::2]
        y, (dx, slope) = op(x, number), op.backward(dy, x, number)
        for seen in (
            np.asfortranarray,
            lambda a: np.flip(np.flip(a, -1).copy(), -1),
            lambda a: np.repeat(a, 2, 0)[::2],
        ):
            numerics.assert_same_bits(op(seen(x), number), y, "strided")
            for got, wanted in zip(op.backward(seen(dy), seen(x), number), (dx, slope), strict=True):
                numerics.assert_same_bits(got, wanted, f"{name} {shape} strided")
        for k in (0, 1):
            arrays, sums = [dy.copy(), x.copy()], np.empty(3, np.float32)
            got = op.backward(*arrays, number, out=(arrays[k], sums))
            assert got[0] is arrays[k]
            assert got[1] is sums
            numerics.assert_same_bits(got[0], dx, "in place")
            numerics.assert_same_bits(sums, slope, "in place")


@each_op
def test_same_bits_on_every_target_and_thread_count(name: str, threads: None) -> None:
    op, home = SLOPES[name], dk.get_target()
    for dtype, shape in itertools.product(DTYPES, ((3000, 40), (40, 6, 900), (70_000,))):
        rng = np.random.default_rng(5)
        x, dy = drawn(rng, shape, dtype), drawn(rng, shape, dtype)
        number = numbers(rng, shape, dtype)[-1]
        found = set()
        for target, count in itertools.product(dk.targets(), (1, 3)):
            dk.set_target(target)
            dk.set_num_threads(count)
            found.add(b"".join(a.tobytes() for a in (op(x, number), *op.backward(dy, x, number))))
        dk.set_target(home)
        assert len(found) == 1, (dtype, shape)


def test_edges(target: str) -> None:
    x = np.array([np.nan, -np.inf, np.inf, -0.0, 0.0, -2.0, 2.0], np.float32)
    one, quarter = np.ones_like(x), np.array(0.25, np.float32)
    numerics.assert_same_bits(
        dk.prelu(x, quarter), np.array([np.nan, -np.inf, np.inf, -0.0, 0.0, -0.5, 2.0], np.float32)
    )
    dx, _ = dk.prelu.backward(one, x, quarter)
    assert dx.tolist() == [0.25, 0.25, 1.0, 0.25, 0.25, 0.25, 1.0]
    y = dk.swish(x, np.ones((), np.float32))
    numerics.assert_same_bits(y[:5], np.array([np.nan, -0.0, np.inf, -0.0, 0.0], np.float32), "limits")
    big = np.array([-3e38, 3e38, -1e20, 1e20], np.float32)
    for beta in (-2.0, 1.0, 3.0):
        dx, slope = dk.swish.backward(np.ones_like(big), big, np.array(beta, np.float32))
        assert np.isfinite(dx).all()
        assert slope == 0
    numerics.assert_same_bits(dk.swish(np.array([3.0, -5.0]), 0), np.array([1.5, -2.5]), "beta 0")
    for shape in ((0,), (0, 3), (2, 3, 0)):
        for op in SLOPES.values():
            dx, slope = op.backward(np.empty(shape), np.empty(shape), np.ones(3 if len(shape) > 1 else 1))
            assert dx.shape == shape
            assert not slope.any()


def test_refusals() -> None:
    x = np.ones((4, 3), np.float32)
    with pytest.raises(
        ValueError,
        match=r"prelu: weight must have one element, or one for each of the 3 channels of x .* got shape \(4,\)",
    ):
        dk.prelu(x, np.ones(4, np.float32))
    with pytest.raises(ValueError, match=r"prelu: weight must have one element, or one for each of the 1 channels"):
        dk.prelu(x[0], np.ones(3, np.float32))
    with pytest.raises(TypeError, match="swish: beta must be float32"):
        dk.swish(x, np.ones(3))
    with pytest.raises(TypeError, match="swish: beta must be a real number, got"):
        dk.swish(x, "1")
    with pytest.raises(TypeError, match="out must be a tuple of 2 arrays"):
        dk.prelu.backward(x, x, np.ones(3, np.float32), out=x)
    with pytest.raises(ValueError, match="out shares memory with another out"):
        dk.prelu.backward(x.copy(), x.copy(), np.ones(3, np.float32), out=(x, x[0]))


@pytest.mark.parametrize("op", [dk.prelu, dk.swish])
def test_the_sum_is_no_input(op: Any) -> None:
    """It is written before dx is computed: into the number, dy or x it would change dx."""
    dy, x, w = np.ones((4, 3), np.float32), np.full((4, 3), -1.0, np.float32), np.full(3, 0.5, np.float32)
    number = "weight" if op is dk.prelu else "beta"
    for out, name in ((w, number), (dy.reshape(-1)[:3], "dy"), (x.reshape(-1)[3:6], "x")):
        before = [a.copy() for a in (dy, x, w)]
        with pytest.raises(ValueError, match=rf"out shares memory with {name}\. Pass an array of its own"):
            op.backward(dy, x, w, out=(None, out))
        for a, b in zip((dy, x, w), before, strict=True):
            numerics.assert_same_bits(a, b, "nothing was written")
    line = np.zeros((4, 3), np.float32)
    single = np.full(1, 0.5, np.float32)
    with pytest.raises(ValueError, match=f"out shares memory with {number}"):
        op.backward(line, line, single, out=(None, single))


def test_halves_of_one_array_are_two_outputs() -> None:
    rng = np.random.default_rng(0)
    dy, gate, up = (rng.standard_normal((4, 5)) for _ in range(3))
    both = np.zeros((4, 10))
    dk.swiglu.backward(dy, gate, up, out=(both[:, :5], both[:, 5:]))
    for half, alone in zip((both[:, :5], both[:, 5:]), dk.swiglu.backward(dy, gate, up), strict=True):
        numerics.assert_same_bits(np.ascontiguousarray(half), alone, "half")
    with pytest.raises(ValueError, match="out shares memory with another out"):
        dk.swiglu.backward(dy, gate, up, out=(both[:, :5], both[:, 4:9]))


def test_a_slope_of_0_is_relu() -> None:
    x = np.array([-np.inf, -2.0, -0.0, 0.0, 1.5, np.inf, np.nan])
    numerics.assert_same_bits(dk.leaky_relu(x, 0.0), dk.relu(x), "leaky_relu")
    numerics.assert_same_bits(dk.prelu(x, np.zeros(1)), dk.relu(x), "prelu")


@pytest.mark.torch
def test_prelu_is_pytorchs(rng: np.random.Generator) -> None:
    import torch

    for shape, channels in (((5, 3), 3), ((2, 3, 4, 5), 3), ((2, 3, 4), 1), ((6,), 1)):
        x, dy, weight = rng.normal(size=shape), rng.normal(size=shape), rng.uniform(0.1, 0.5, channels)
        leaf, w = (torch.from_numpy(a.copy()).requires_grad_() for a in (x, weight))
        y = torch.nn.functional.prelu(leaf, w)
        y.backward(torch.from_numpy(dy))
        np.testing.assert_allclose(dk.prelu(x, weight), y.detach().numpy(), rtol=1e-15)
        dx, slope = dk.prelu.backward(dy, x, weight)
        np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-15)
        np.testing.assert_allclose(slope, w.grad.numpy(), rtol=1e-12)
