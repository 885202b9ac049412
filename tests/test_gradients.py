"""Every backward pass against central differences of the float64 definition; from x, from y, and for every option of a loss."""

from __future__ import annotations

from typing import Any

import cases
import numerics
import numpy as np
import pytest
from cases import LOSS_CASES, MAP_CASES, RANDOM_OPS, ROW_OPS, Case, LossCase
from numerics import DTYPES, central_difference

import dlkernels as dk

CLOSE = {"rtol": 1e-8, "atol": 1e-9}


@pytest.mark.parametrize("case", MAP_CASES, ids=str)
def test_map(case: Case, target: str, rng: np.random.Generator) -> None:
    low, high = max(-9.0, case.op.domain[0]), min(9.0, case.op.domain[1])
    x = case.away_from_kinks(rng.uniform(low, high, 2000))  # kinks: test_edges.py
    dy = rng.uniform(-2, 2, x.size)
    slope = central_difference(lambda v: case.exact(v, "float64"), x)
    np.testing.assert_allclose(case.passes()["grad"](dy, x), dy * slope, **CLOSE)
    np.testing.assert_allclose(case.slope(x, "float64"), slope, **CLOSE)  # what test_values.py takes as exact
    if case.op.from_y:
        y = case.exact(x, "float64")
        np.testing.assert_allclose(case.passes()["grad_y"](dy, y), dy * slope, **CLOSE)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("case", [c for c in MAP_CASES if c.op.from_y], ids=str)
def test_from_y_as_good_as_y(case: Case, dtype: str, target: str, rng: np.random.Generator) -> None:
    """The derivative as a function of the stored output y: within the stated bound of its own definition, and near the one from x."""
    assert case.op.__name__ in cases.DERIVATIVE_FROM_Y, "write the new op's derivative in its output there"
    x = rng.uniform(-6, 6, 4000).astype(DTYPES[dtype])
    dy = rng.uniform(-2, 2, x.size).astype(DTYPES[dtype])
    y = case.passes()["value"](dy, x)
    got = case.passes()["grad_y"](dy, y)
    wide = np.longdouble if dtype == "float64" else np.float64
    params = case.rounded_params(dtype)
    exact = dy.astype(wide) * cases.DERIVATIVE_FROM_Y[case.op.__name__](y.astype(wide), **params)
    # y + alpha is rounded after it may have cancelled: the unit is the ULP of its larger term
    scale = np.maximum(np.abs(exact), np.abs(dy.astype(wide)) * np.spacing(params.get("alpha", 0.0) / 2))
    numerics.assert_within(
        got, exact, numerics.bound(case.op.backward.ulp, dtype), dtype, x=y, hint=f"{case} from y", scale=scale
    )
    eps = 2.0 ** -numerics.MANTISSA[dtype]
    from_x = case.passes()["grad"](dy, x).astype(np.float64)
    largest = max(1.0, *(v for v in params.values() if isinstance(v, float) and np.isfinite(v)), 1.0)
    np.testing.assert_allclose(got.astype(np.float64), from_x, rtol=4 * eps, atol=8 * eps * largest)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 1), (2, 40)])
@pytest.mark.parametrize("op", ROW_OPS, ids=lambda op: op.__name__)
def test_rows(op: Any, shape: tuple[int, int], axis: int, target: str, rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
    gradient = central_difference(lambda v: np.sum(dy * op.reference(v, axis=axis)), x)
    np.testing.assert_allclose(op.backward(dy, op(x, axis=axis), axis=axis), gradient, **CLOSE)


ROW_BACKWARD = {
    "softmax": lambda dy, y: y * (dy - np.sum(dy * y, axis=-1, keepdims=True)),
    "tempered_softmax": lambda dy, y: (
        y * (dy - np.sum(dy * y, axis=-1, keepdims=True) / np.sum(y, axis=-1, keepdims=True))
    ),
    "log_softmax": lambda dy, y: dy - np.exp(y) * np.sum(dy, axis=-1, keepdims=True),
}


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("columns", [1, 3, 64, 1000, 5000])
@pytest.mark.parametrize("op", ROW_OPS, ids=lambda op: op.__name__)
def test_rows_in_ulp(op: Any, columns: int, dtype: str, target: str, rng: np.random.Generator) -> None:
    """Within the stated bound, in ULP at the largest term of the row (the terms of a gradient cancel)."""
    assert op.__name__ in ROW_BACKWARD, "write the gradient of the new op there"
    x = numerics.rounded(rng.uniform(-6, 6, (20, columns)), dtype)
    dy = rng.uniform(-2, 2, x.shape).astype(DTYPES[dtype])
    y = op(x)
    wide = np.longdouble if dtype == "float64" else np.float64
    exact = ROW_BACKWARD[op.__name__](dy.astype(wide), y.astype(wide))
    terms = np.abs(dy.astype(wide)) * (1 if op.__name__ == "log_softmax" else np.abs(y.astype(wide)))
    scale = np.maximum(np.max(np.abs(exact), axis=-1, keepdims=True), np.max(terms, axis=-1, keepdims=True))
    numerics.assert_within(
        op.backward(dy, y), exact, numerics.bound(op.backward.ulp, dtype), dtype, hint=op.__name__, scale=scale
    )


def smooth(f: Any, x: np.ndarray) -> np.ndarray:
    """Where an elementwise f has no kink within the steps of a central difference: half the step gives the same."""
    return np.isclose(central_difference(f, x), central_difference(f, x, 5e-4), **CLOSE)


# Given num_iters, the gradient is that of the exact normalization: test_row_losses.py.
@pytest.mark.parametrize("case", [c for c in LOSS_CASES if "num_iters" not in c.options], ids=str)
def test_losses(case: LossCase, target: str, rng: np.random.Generator) -> None:
    arrays, options = case.arrays(rng, (6, 5), np.float64)
    if not case.by_rows:  # away from the ends of the domain
        arrays = tuple(np.where(np.abs(a) == 1, a, a.mean() + 0.8 * (a - a.mean())) for a in arrays)
    reference = case.op.reference
    weights = rng.uniform(0.5, 2, np.shape(reference(*arrays, **options)))
    back = case.gradients(case.op.backward(weights, *arrays, **options))
    value, grads = case.op.value_and_grad(*arrays, **options)
    numerics.assert_same_bits(
        case.gradients(case.op.backward(np.ones_like(value), *arrays, **options))[0], case.gradients(grads)[0], "dy = 1"
    )
    for k, weighted, plain in zip(case.differentiable, back, case.gradients(grads), strict=True):

        def of(v: np.ndarray, reduction: dict[str, str] | None = None, k: int = k) -> Any:
            return reference(*arrays[:k], v, *arrays[k + 1 :], **{**options, **(reduction or {})})

        x = arrays[k]
        known = smooth((lambda v: np.sum(of(v))) if case.by_rows else (lambda v: of(v, {"reduction": "none"})), x)
        assert known.mean() > 0.7
        for got, upstream in ((weighted, weights), (plain, 1.0)):
            gradient = central_difference(lambda v, upstream=upstream: np.sum(upstream * of(v)), x)
            np.testing.assert_allclose(got[known], gradient[known], **CLOSE)


@pytest.mark.parametrize("op", RANDOM_OPS, ids=lambda op: op.__name__)
def test_random(op: Any, target: str, rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal(2000), rng.standard_normal(2000)
    gradient = central_difference(lambda v: op.reference(v, 0.3, seed=9), x)
    np.testing.assert_allclose(op.backward(dy, 0.3, seed=9), dy * gradient, **CLOSE)


def test_a_composition() -> None:
    """A small network of every kind of op, differentiated by hand, against differences of its definitions."""
    rng = np.random.default_rng(21)
    w1, w2, x, t = (
        rng.standard_normal((5, 8)),
        rng.standard_normal((8, 4)),
        rng.standard_normal((6, 5)),
        np.array([0, 1, 2, 3, 0, 1]),
    )

    def loss(w: np.ndarray) -> Any:
        hidden = dk.dropout.reference(dk.gelu.reference(x @ w), 0.25, seed=4)
        return dk.cross_entropy.reference(dk.log_softmax.reference(hidden @ w2), t, label_smoothing=0.1)

    a = x @ w1
    hidden = dk.dropout(dk.gelu(a), 0.25, seed=4)
    scores = dk.log_softmax(hidden @ w2)
    value, d = dk.cross_entropy.value_and_grad(scores, t, label_smoothing=0.1)
    np.testing.assert_allclose(value, loss(w1), rtol=1e-13)
    d = dk.log_softmax.backward(d, scores)
    d = dk.gelu.backward(dk.dropout.backward(d @ w2.T, 0.25, seed=4), a)
    np.testing.assert_allclose(x.T @ d, central_difference(loss, w1), **CLOSE)
