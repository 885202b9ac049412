"""Every op within its stated ULP of its float64 definition: all values of the 16-bit types, 2^19 of float32, float64 in extended precision.

More (2^22 of float32, for some ops all 2^32) is measured by bench/accuracy.py, and tested with -m slow.

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
    "selu": lambda x: (
        (x if x > 0 else mpmath.mpf(1.6732632423543772) * mpmath.expm1(x)) * mpmath.mpf(1.0507009873554805)
    ),
    "celu": lambda x, alpha: x if x > 0 else alpha * mpmath.expm1(x / alpha),
    "quick_gelu": lambda x: x / (1 + mpmath.exp(-mpmath.mpf(1.702) * x)),
    "mish": lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
    "softplus": lambda x, beta, threshold: x if beta * x > threshold else mpmath.log1p(mpmath.exp(beta * x)) / beta,
    "logsigmoid": lambda x: -mpmath.log1p(mpmath.exp(-x)),
    "tanhshrink": lambda x: x**3 / 3 if abs(x) < 1e-10 else x - mpmath.tanh(x),
    "softsign": lambda x: x / (1 + abs(x)),
    "squareplus": lambda x, b: b / (mpmath.sqrt(x * x + b) - x) / 2,
    "hardtanh": lambda x, min_val, max_val: min(max(x, mpmath.mpf(min_val)), mpmath.mpf(max_val)),
    "relu6": lambda x: min(max(x, mpmath.mpf(0)), mpmath.mpf(6)),
    "hardsigmoid": lambda x: min(max(x / 6 + mpmath.mpf(0.5), mpmath.mpf(0)), mpmath.mpf(1)),
    "hardswish": lambda x: x * min(max(x / 6 + mpmath.mpf(0.5), mpmath.mpf(0)), mpmath.mpf(1)),
    "hardshrink": lambda x, lambd: x if abs(x) > lambd else mpmath.mpf(0),
    "softshrink": lambda x, lambd: mpmath.sign(x) * max(abs(x) - lambd, mpmath.mpf(0)),
    "threshold": lambda x, threshold, value: x if x > threshold else mpmath.mpf(value),
    "heaviside": lambda x: mpmath.mpf(x >= 0),
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


@pytest.mark.parametrize("target", dk.targets(), indirect=True)
@pytest.mark.parametrize("case", MAP_CASES, ids=str)
def test_a_bfloat16_value_is_a_float32_rounded_once(case: Case, target: str) -> None:
    """All 65,536, on every target: the proof of the formulas in kernels/math/brief.h."""
    x = numerics.all_values("bfloat16")
    wide = run(case, "value", x, x.astype(np.float32))
    with np.errstate(over="ignore", invalid="ignore"):
        numerics.assert_same_bits(run(case, "value", x, x), wide.astype(x.dtype), f"{case}")


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


# --- many values of float32 ---------------------------------------------------------------------------------------------

FAITHFUL = 1.0  # below it, the result is one of the two neighbors of the exact one: as good as it gets without knowing which is nearer
MANY = pytest.mark.parametrize("count", [1 << 19, pytest.param(1 << 22, marks=pytest.mark.slow)])


@functools.lru_cache(maxsize=1)
def pieces(case: Case, count: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(x, value, slope), a piece of `count` values at a time."""
    x = numerics.samples("float32", count, case.op.domain, np.random.default_rng(99))
    split = [x[first : first + PIECE] for first in range(0, x.size, PIECE)]
    wide = [piece.astype(np.float64) for piece in split]
    return [(p, case.exact(w, "float32"), case.slope(w, "float32")) for p, w in zip(split, wide, strict=True)]


def worst(case: Case, count: int, value: Any, slope: Any) -> tuple[float, float]:
    """The largest errors of a value and a slope, given as functions of x."""
    found = [
        (numerics.ulp_error(value(x), y, "float32").max(), numerics.ulp_error(slope(x), dx, "float32").max())
        for x, y, dx in pieces(case, count)
    ]
    return tuple(np.max(found, axis=0))  # type: ignore[return-value]


@functools.lru_cache(maxsize=1)
def our_worst(case: Case, count: int) -> tuple[float, float]:
    return worst(case, count, lambda x: run(case, "value", x, x), lambda x: run(case, "grad", np.ones_like(x), x))


def pytorch_worst(case: Case, count: int) -> tuple[float, float]:
    import torch

    function = getattr(torch.nn.functional, case.op.__name__, None)
    if function is None:
        pytest.skip("PyTorch has no function of this name")
    if case.kernel == "threshold":  # has no default numbers there
        function = functools.partial(function, threshold=0.0, value=0.0)

    def value(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return function(torch.from_numpy(x), **case.params).numpy()

    def slope(x: np.ndarray) -> np.ndarray:
        t = torch.from_numpy(x).requires_grad_()
        function(t, **case.params).backward(torch.ones_like(t))
        return t.grad.numpy()

    return worst(case, count, value, slope)


@MANY
@pytest.mark.parametrize("against", ["bound", pytest.param("pytorch", marks=pytest.mark.torch)])
@pytest.mark.parametrize("case", MAP_CASES, ids=str)
def test_many_values_of_float32(case: Case, against: str, count: int, record_property: Any) -> None:
    """Within the bound, and never worse than PyTorch; among faithful results there is no better and worse."""
    ours = our_worst(case, count)
    if against == "bound":
        most = min(2.0, case.op.ulp), min(2.0, case.op.backward.ulp)
    elif any(isinstance(v, float) for v in case.params.values()):
        return  # each op with its default numbers, in each variant
    else:
        most = tuple(max(theirs, FAITHFUL) for theirs in pytorch_worst(case, count))
    for worst_, allowed, what in zip(ours, most, ("value", "gradient"), strict=True):
        record_property(what, float(worst_))
        assert worst_ <= allowed, f"{case}: the worst {what} is {worst_:.4g} ULP, {against}: {allowed:.4g}"


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
