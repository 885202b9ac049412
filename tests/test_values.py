"""Every op within its stated ULP of its float64 definition: all values of the 16-bit types, 2^22 of float32, float64 in extended precision.

Sampled tests of a gradient also draw the upstream dy at random. Rows and losses: see `test_rows`.
"""

from __future__ import annotations

import functools
from typing import Any

import cases
import mpmath
import numerics
import numpy as np
import pytest
from cases import MAP_CASES, ROW_OPS, Case
from numerics import DTYPES, EXTENDED, HALF

import dlkernels as dk

SAMPLED = 1 << 16
LARGE = 1 << 22
PIECE = 1 << 18  # float64 temporaries of a piece stay in cache

mpmath.mp.dps = 40
SQRT2, K = mpmath.sqrt(2), mpmath.sqrt(2 / mpmath.pi)

# The definitions once more, for 40 digits: they check `.reference` itself, and float64 where that is the precision of the constants.
MP = {
    "relu": lambda x: max(x, mpmath.mpf(0)),
    "leaky_relu": lambda x, negative_slope: x if x > 0 else negative_slope * x,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh": mpmath.tanh,
    "silu": lambda x: x / (1 + mpmath.exp(-x)),
    "gelu": lambda x, approximate: x / 2 * mpmath.erfc(-x / SQRT2),
    "gelu_tanh": lambda x, approximate: x / (1 + mpmath.exp(-2 * K * (x + mpmath.mpf("0.044715") * x**3))),
    "elu": lambda x, alpha: x if x > 0 else alpha * mpmath.expm1(x),
}
MP_SLOPE = {
    "gelu": lambda x, approximate: mpmath.ncdf(x) + x * mpmath.npdf(x),
    "gelu_tanh": lambda x, approximate: mpmath.diff(lambda t: MP["gelu_tanh"](t, ""), x),
}
ROUNDED_CONSTANTS = {"gelu", "gelu_tanh"}  # their `.reference` in extended precision is no better than in float64


def run(case: Case, name: str, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    return case.passes()[name](dy, x)


@functools.cache
def inputs(case: Case, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """(x, dy) of a case, the same for every target. |dy| <= 1: a larger one would magnify what a subnormal derivative has lost."""
    rng = np.random.default_rng(12345)
    x = numerics.samples(dtype, SAMPLED, case.op.domain, rng)
    return x, rng.uniform(-1, 1, x.size).astype(DTYPES[dtype])


@functools.cache
def exact(case: Case, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """(value, slope) at inputs(), in a precision above that of dtype."""
    x = inputs(case, dtype)[0].astype(EXTENDED if dtype == "float64" else np.float64)
    return case.exact(x, dtype), case.slope(x, dtype)


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("case", MAP_CASES, ids=str)
def test_all_65536(case: Case, dtype: str, target: str) -> None:
    x = numerics.all_values(dtype, finite=True)  # infinities and NaN: test_edges.py
    wide = x.astype(np.float64)
    value = run(case, "value", x, x)
    numerics.assert_within(
        value, case.exact(wide, dtype), numerics.bound(case.op.ulp, dtype), dtype, x=x, hint=f"{case}"
    )
    slope = run(case, "grad", np.ones_like(x), x)
    numerics.assert_within(
        slope, case.slope(wide, dtype), numerics.bound(case.op.backward.ulp, dtype), dtype, x=x, hint=f"{case}.grad"
    )


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize(("case", "name"), cases.MAP_PASSES, ids=str)
def test_half_is_float32_rounded_once(case: Case, name: str, dtype: str) -> None:
    x = numerics.all_values(dtype)
    dy = np.random.default_rng(1).uniform(-2, 2, x.size).astype(x.dtype)
    wide = run(case, name, dy.astype(np.float32), x.astype(np.float32))
    with np.errstate(over="ignore", invalid="ignore"):
        numerics.assert_same_bits(run(case, name, dy, x), wide.astype(x.dtype), f"{case} {name}")


@pytest.mark.parametrize("case", MAP_CASES, ids=str)
def test_float32(case: Case, target: str) -> None:
    (x, dy), (y, slope) = inputs(case, "float32"), exact(case, "float32")
    numerics.assert_within(run(case, "value", dy, x), y, case.op.ulp, "float32", x=x, hint=f"{case}")
    dx = dy.astype(np.float64) * slope
    numerics.assert_within(run(case, "grad", dy, x), dx, case.op.backward.ulp, "float32", x=x, hint=f"{case}.grad")


@pytest.mark.parametrize("case", [c for c in MAP_CASES if c.kernel not in ROUNDED_CONSTANTS], ids=str)
@pytest.mark.skipif(np.finfo(EXTENDED).nmant < 63, reason="long double is no wider than double here")
def test_float64(case: Case, target: str) -> None:
    (x, dy), (y, slope) = inputs(case, "float64"), exact(case, "float64")
    numerics.assert_within(run(case, "value", dy, x), y, case.op.ulp, "float64", x=x, hint=f"{case}")
    dx = dy.astype(EXTENDED) * slope
    numerics.assert_within(run(case, "grad", dy, x), dx, case.op.backward.ulp, "float64", x=x, hint=f"{case}.grad")


def from_mpmath(f: Any, x: np.ndarray, params: dict[str, Any]) -> np.ndarray:
    """f at each x, as extended precision: the leading 53 bits and the next 53."""
    out = np.empty(x.size, dtype=EXTENDED)
    for i, v in enumerate(x):
        y = f(mpmath.mpf(float(v)), **params)
        out[i] = EXTENDED(float(y)) + (EXTENDED(float(y - float(y))) if mpmath.isfinite(y) and abs(y) < 1e308 else 0)
    return out


@pytest.mark.parametrize("case", [c for c in MAP_CASES if c.kernel in MP], ids=str)
def test_float64_against_mpmath(case: Case) -> None:
    rng = np.random.default_rng(7)
    low, high = case.op.domain
    x = np.concatenate(
        [
            rng.uniform(low, high, 300),
            rng.uniform(-3, 3, 200),
            np.geomspace(1e-300, high, 60),
            -np.geomspace(1e-300, -low, 60),
        ]
    )
    params = case.rounded_params("float64")
    y = from_mpmath(MP[case.kernel], x, params)
    numerics.assert_within(run(case, "value", x, x), y, case.op.ulp, "float64", x=x, hint=f"{case}")
    # The definition in float64, where it is not better, is at least right to 12 digits of the largest term.
    np.testing.assert_allclose(case.exact(x, "float64"), y.astype(np.float64), rtol=1e-12, atol=0)
    if case.kernel in MP_SLOPE:
        slope = from_mpmath(MP_SLOPE[case.kernel], x, params)
        dx = run(case, "grad", np.ones_like(x), x)
        numerics.assert_within(dx, slope, case.op.backward.ulp, "float64", x=x, hint=f"{case}.grad")


def test_every_elementwise_op_is_known_to_40_digits() -> None:
    assert {c.kernel for c in MAP_CASES} <= set(MP), "add the formula of the new op to MP"


# --- 2^22 values of float32 ---------------------------------------------------------------------------------------------


@functools.cache
def large(domain: tuple[float, float]) -> np.ndarray:
    return numerics.samples("float32", LARGE, domain, np.random.default_rng(99))


def worst(case: Case, value: Any, slope: Any, x: np.ndarray) -> tuple[float, float]:
    """The largest error of a value and a slope, given as functions of x, over all of x."""
    errors = [(0.0, 0.0)]
    for first in range(0, x.size, PIECE):
        piece = x[first : first + PIECE]
        wide = piece.astype(np.float64)
        y, dx = case.exact(wide, "float32"), case.slope(wide, "float32")
        errors.append(
            (
                numerics.ulp_error(value(piece), y, "float32").max(),
                numerics.ulp_error(slope(piece), dx, "float32").max(),
            )
        )
    return tuple(np.max(errors, axis=0))  # type: ignore[return-value]


@functools.cache
def our_worst(case: Case) -> tuple[float, float]:
    return worst(
        case, lambda x: run(case, "value", x, x), lambda x: run(case, "grad", np.ones_like(x), x), large(case.op.domain)
    )


@pytest.mark.parametrize("case", MAP_CASES, ids=str)
def test_float32_on_four_million_values(case: Case, record_property: Any) -> None:
    value, slope = our_worst(case)
    record_property("value_ulp", value)
    record_property("grad_ulp", slope)
    assert value <= min(2.0, case.op.ulp), f"{case}: {value:.4g} ULP"
    assert slope <= min(2.0, case.op.backward.ulp), f"{case}.grad: {slope:.4g} ULP"


FAITHFUL = 1.0  # below it, the result is one of the two neighbors of the exact one: as good as it gets without knowing which is nearer


@pytest.mark.torch
@pytest.mark.parametrize(
    "case", [c for c in MAP_CASES if not any(isinstance(v, float) for v in c.params.values())], ids=str
)
def test_never_worse_than_pytorch(case: Case) -> None:
    """Each op with its default numbers, in each variant; among faithful results there is no better and worse."""
    import torch

    function = getattr(torch.nn.functional, case.op.__name__)

    def value(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return function(torch.from_numpy(x), **case.params).numpy()

    def slope(x: np.ndarray) -> np.ndarray:
        t = torch.from_numpy(x).requires_grad_()
        function(t, **case.params).backward(torch.ones_like(t))
        return t.grad.numpy()

    theirs = worst(case, value, slope, large(case.op.domain))
    for ours, their, what in zip(our_worst(case), theirs, ("value", "gradient"), strict=True):
        assert ours <= max(their, FAITHFUL), f"{case}: our worst {what} is {ours:.4g} ULP, PyTorch's {their:.4g}"


# --- rows ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("columns", [1, 2, 7, 33, 256, 1000, 5000])
@pytest.mark.parametrize("op", ROW_OPS, ids=lambda op: op.__name__)
def test_rows(op: Any, columns: int, dtype: str, target: str, rng: np.random.Generator) -> None:
    """The unit is the ULP at the largest magnitude of the row: x - max is rounded before its exponential is taken."""
    x = numerics.rounded(rng.uniform(*op.domain, (20, columns)), dtype)
    y = op(x)
    wide = x.astype(EXTENDED if dtype == "float64" else np.float64)
    exact_y = op.reference(wide)
    largest = np.max(np.abs(exact_y), axis=-1, keepdims=True)
    numerics.assert_within(y, exact_y, numerics.bound(op.ulp, dtype), dtype, x=x, hint=op.__name__, scale=largest)


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_softmax_of_each_element(dtype: str, target: str, rng: np.random.Generator) -> None:
    """Relative to each element itself: an error of half an ULP in x - max is one of |x - max| / 2 in its exponential."""
    x = numerics.rounded(rng.uniform(-30, 30, (50, 300)), dtype)
    wide = x.astype(EXTENDED if dtype == "float64" else np.float64)
    exact_y = dk.softmax.reference(wide)
    error = numerics.ulp_error(dk.softmax(x), exact_y, dtype)
    depth = np.abs(wide - wide.max(axis=-1, keepdims=True)).astype(np.float64)
    assert np.all(error <= numerics.bound(dk.softmax.ulp, dtype) + depth)
