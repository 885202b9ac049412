"""Special values: NaN, infinities, signed zeros, subnormals, kinks; empty and 0-d arrays; rows and labels with nothing in them."""

from __future__ import annotations

import ctypes
import inspect
import json
import mmap
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cases
import ml_dtypes
import numerics
import numpy as np
import pytest
from cases import CALLS, MAP_CASES, RANDOM_OPS, Case, calls
from numerics import DTYPES

import dlkernels as dk

VECTORS = Path(__file__).parent / "vectors"
INF, NAN = np.inf, np.nan
FLOATS = pytest.mark.parametrize("dtype", list(DTYPES))


def run(case: Case, name: str, dy: Any, x: Any) -> np.ndarray:
    return case.passes()[name](dy, x)


# --- elementwise --------------------------------------------------------------------------------------------------------


@FLOATS
@pytest.mark.parametrize("case", MAP_CASES, ids=str)
def test_nan_in_nan_out(case: Case, dtype: str, target: str) -> None:
    for payload in (NAN, -NAN):
        x = np.array([payload, 1.0] * 40).astype(DTYPES[dtype])
        assert np.isnan(run(case, "value", x, x)[::2]).all()
        assert np.isfinite(run(case, "value", x, x)[1::2]).all()
        for name in list(case.passes())[1:]:
            slope_is_no_zero = np.full_like(x, 0.98)
            assert np.isnan(run(case, name, x, slope_is_no_zero)[::2]).all(), f"{name}: NaN in dy"


# value at -inf, value at +inf, gradient at -inf, gradient at +inf, gradient at NaN; None: NaN and the limit are both right
LIMITS = {
    "relu": (0.0, INF, 0.0, 1.0, 1.0),
    "leaky_relu": (-INF, INF, 0.01, 1.0, 0.01),
    "sigmoid": (0.0, 1.0, 0.0, 0.0, NAN),
    "tanh": (-1.0, 1.0, 0.0, 0.0, NAN),
    "silu": (-0.0, INF, None, None, NAN),
    "gelu": (-0.0, INF, None, None, NAN),
    "gelu_tanh": (-0.0, INF, None, None, NAN),
    "elu": (-1.0, INF, 0.0, 1.0, NAN),
    "selu": (-1.7580993408473766, INF, 0.0, 1.0507009873554805, NAN),
    "celu": (-1.0, INF, 0.0, 1.0, NAN),
    "quick_gelu": (-0.0, INF, None, None, NAN),
    "mish": (-0.0, INF, None, None, NAN),
    "softplus": (0.0, INF, 0.0, 1.0, NAN),
    "logsigmoid": (-INF, -0.0, 1.0, 0.0, NAN),
    "tanhshrink": (-INF, INF, 1.0, 1.0, NAN),
    "softsign": (-1.0, 1.0, 0.0, 0.0, NAN),
    "squareplus": (0.0, INF, 0.0, 1.0, NAN),
    "hardtanh": (-1.0, 1.0, 0.0, 0.0, 1.0),
    "relu6": (0.0, 6.0, 0.0, 0.0, 1.0),
    "hardsigmoid": (0.0, 1.0, 0.0, 0.0, 0.0),
    "hardswish": (-0.0, INF, 0.0, 1.0, 1.0),
    "hardshrink": (-INF, INF, 1.0, 1.0, 1.0),
    "softshrink": (-INF, INF, 1.0, 1.0, 1.0),
    "threshold": (0.0, INF, 0.0, 1.0, 1.0),
    "heaviside": (0.0, 1.0, 0.0, 0.0, 0.0),
}


@FLOATS
@pytest.mark.parametrize(
    "case", [c for c in MAP_CASES if not any(isinstance(v, float) for v in c.params.values())], ids=str
)
def test_infinities(case: Case, dtype: str, target: str) -> None:
    assert case.kernel in LIMITS, "say in LIMITS what the new op does at the infinities"
    kind = DTYPES[dtype]
    at = np.array([-INF, INF], dtype=kind)
    numerics.assert_same_bits(run(case, "value", at, at), np.array(LIMITS[case.kernel][:2]).astype(kind), str(case))
    at = np.array([-INF, INF, NAN], dtype=kind)
    got = run(case, "grad", np.ones_like(at), at).astype(np.float64)
    limit = (0.0, 1.0, NAN)
    for g, wanted, otherwise in zip(got, LIMITS[case.kernel][2:], limit, strict=True):
        if wanted is None:
            assert np.isnan(g) or g == otherwise
        elif np.isnan(wanted):
            # elu and the like choose a branch by x > 0, as PyTorch does: there a NaN may pick dy itself
            assert np.isnan(g) or case.kernel == "elu"
        else:
            assert g == DTYPES[dtype].type(wanted), f"{case}: gradient {g} instead of {wanted}"


@FLOATS
@pytest.mark.parametrize("case", MAP_CASES, ids=str)
def test_finite_in_finite_out(case: Case, dtype: str, target: str) -> None:
    """Also where x^3 overflows: PyTorch's gelu-tanh gradient is NaN at 1e20."""
    x = numerics.specials(dtype, finite=True)
    big = np.ldexp(1.0, np.arange(0, numerics.HIGHEST_EXPONENT[dtype] + 1)).astype(DTYPES[dtype])
    x = np.concatenate([x, big, -big])
    assert np.isfinite(run(case, "grad", np.ones_like(x), x)).all()
    overflows = case.kernel == "selu" or case.rounded_params(dtype).get("negative_slope", 0) > 1  # the true result
    assert np.isfinite(run(case, "value", x, x)).all() or overflows


@FLOATS
@pytest.mark.parametrize("case", MAP_CASES, ids=str)
def test_signed_zero(case: Case, dtype: str, target: str) -> None:
    zeros = np.array([0.0, -0.0], dtype=DTYPES[dtype])
    y = run(case, "value", zeros, zeros)
    if case.exact(np.zeros(1), dtype)[0] == 0 and case.kernel not in {"threshold", "hardshrink"}:  # 0 as a constant
        numerics.assert_same_bits(y, zeros, f"{case}: an op with f(0) = 0 keeps the sign of zero")
    numerics.assert_same_bits(
        run(case, "grad", np.ones_like(zeros), zeros)[:1], run(case, "grad", np.ones_like(zeros), zeros)[1:]
    )


@FLOATS
@pytest.mark.parametrize("case", MAP_CASES, ids=str)
def test_subnormals_are_kept(case: Case, dtype: str, target: str) -> None:
    least = float(ml_dtypes.finfo(DTYPES[dtype]).smallest_subnormal)
    x = (np.arange(1, 200) * least).astype(DTYPES[dtype])
    for sign in (x, -x):
        wide = sign.astype(numerics.EXTENDED)
        exact = case.exact(wide if case.kernel not in {"gelu", "gelu_tanh"} else sign.astype(np.float64), dtype)
        numerics.assert_within(
            run(case, "value", sign, sign), exact, max(0.5001, numerics.bound(case.op.ulp, dtype)), dtype, x=sign
        )
    dy = x
    one = np.ones_like(dy)
    slope = case.slope(np.ones(1), dtype)[0]
    numerics.assert_within(
        run(case, "grad", dy, one), dy.astype(np.float64) * slope, 1.0, dtype, x=dy, hint=f"{case}: subnormal dy"
    )


KINKS = {  # the derivative at 0
    "relu": 0.0, "leaky_relu": 0.01, "sigmoid": 0.25, "tanh": 1.0, "silu": 0.5, "gelu": 0.5, "gelu_tanh": 0.5, "elu": 1.0,
    "selu": 1.7580993408473766, "celu": 1.0, "quick_gelu": 0.5, "mish": 0.6, "softplus": 0.5, "logsigmoid": 0.5,
    "tanhshrink": 0.0, "softsign": 1.0, "squareplus": 0.5, "hardtanh": 1.0, "relu6": 0.0, "hardsigmoid": 1 / 6,
    "hardswish": 0.5, "hardshrink": 0.0, "softshrink": 0.0, "threshold": 0.0, "heaviside": 0.0,
}  # fmt: skip
KINKS_BESIDE_ZERO = {  # the derivative at the others, from the smallest to the largest
    "hardtanh": (0.0, 0.0), "relu6": (0.0,), "hardsigmoid": (0.0, 0.0), "hardswish": (0.0, 1.0), "hardshrink": (0.0, 0.0),
    "softshrink": (0.0, 0.0), "threshold": (0.0,),
}  # fmt: skip


@FLOATS
@pytest.mark.parametrize("name", KINKS_BESIDE_ZERO)
def test_derivative_at_the_other_kinks(name: str, dtype: str, target: str) -> None:
    case = next(c for c in MAP_CASES if c.kernel == name)
    at = cases.KINKS_BESIDE_ZERO[name](**case.rounded_params(dtype))
    x = np.array(at, DTYPES[dtype])
    one = np.ones_like(x)
    assert tuple(run(case, "grad", one, x).astype(float)) == KINKS_BESIDE_ZERO[name]


@FLOATS
@pytest.mark.parametrize(
    "case",
    [c for c in MAP_CASES if c.op.from_y and (c.kernel in KINKS_BESIDE_ZERO or c.kernel in {"relu", "leaky_relu"})],
    ids=str,
)
def test_y_knows_the_piece(case: Case, dtype: str, target: str) -> None:
    """The gradient from y is that from x to the bit: no x inside a piece has the rounded y of another piece."""
    x = numerics.specials(dtype, finite=True)
    for kink in (0.0, *cases.KINKS_BESIDE_ZERO.get(case.kernel, lambda **_: ())(**case.rounded_params(dtype))):
        near = np.nextafter(np.array([kink] * 2, DTYPES[dtype]), np.array([-9, 9], DTYPES[dtype]))
        x = np.concatenate([x, near, np.nextafter(near, np.array([-9, 9], DTYPES[dtype]))])
    x = numerics.all_values(dtype, finite=True) if dtype in numerics.HALF else x
    one = np.ones_like(x)
    numerics.assert_same_bits(run(case, "grad_y", one, run(case, "value", x, x)), run(case, "grad", one, x), str(case))


@FLOATS
@pytest.mark.parametrize(
    "case", [c for c in MAP_CASES if not any(isinstance(v, float) for v in c.params.values())], ids=str
)
def test_derivative_at_zero(case: Case, dtype: str) -> None:
    zero, one = np.zeros(3, DTYPES[dtype]), np.ones(3, DTYPES[dtype])
    assert np.all(run(case, "grad", one, zero) == DTYPES[dtype].type(KINKS[case.kernel]))
    if case.op.from_y:
        y = run(case, "value", zero, zero)
        assert np.all(run(case, "grad_y", one, y) == DTYPES[dtype].type(KINKS[case.kernel]))


MEASURED = {  # what is in probe_edges.json: the arguments, and whether ours are the limits where PyTorch has NaN at an infinity
    "relu": ({}, False), "leaky_relu": ({}, False), "elu": ({}, False), "selu": ({}, False), "celu": ({}, False),
    "sigmoid": ({}, False), "tanh": ({}, False), "silu": ({}, True), "gelu": ({}, True),
    "gelu_tanh": ({"approximate": "tanh"}, True), "mish": ({}, True), "softplus": ({}, False), "logsigmoid": ({}, False),
    "tanhshrink": ({}, False), "softsign": ({}, True), "hardtanh": ({}, False), "relu6": ({}, False),
    "hardsigmoid": ({}, False), "hardswish": ({}, True), "hardshrink": ({}, False), "softshrink": ({}, False),
    "threshold": ({"value": -7.0}, False),
}  # fmt: skip


@pytest.mark.parametrize("name", MEASURED)
def test_measured_edges(name: str) -> None:
    """What PyTorch does with the same values in float32, except for the cases of SPEC.md T24, where ours are the limits."""
    rows = json.loads((VECTORS / "probe_edges.json").read_text())[name]
    (params, limits), op = MEASURED[name], dk.gelu if name == "gelu_tanh" else getattr(dk, name)
    for text, expected in rows.items():
        value, slope = (np.float32(t.replace("1e+30", "1e30")) for t in expected)
        x = np.array([float(text)], np.float32)
        y, dx = op(x, **params)[0], op.backward(np.ones_like(x), x, **params)[0]
        if not (np.isinf(x[0]) and limits):
            assert np.isclose(y, value, rtol=1e-6, atol=1e-30, equal_nan=True), f"{name}({text}) = {y}, PyTorch {value}"
            if np.isfinite(slope) and not (np.isnan(x[0]) and name in {"elu", "selu", "celu"}):
                assert np.isclose(dx, slope, rtol=1e-5, atol=2e-7), f"{name}'({text}) = {dx}, PyTorch {slope}"


def test_negative_and_zero_slopes() -> None:
    x = np.array([-INF, -2.0, -0.0, 0.0, 2.0, INF, NAN], np.float32)
    numerics.assert_same_bits(
        dk.leaky_relu(x, -0.5)[1:], np.array([1.0, 0.0, -0.0, 2.0, INF, NAN], np.float32), "slope -0.5"
    )
    numerics.assert_same_bits(dk.leaky_relu(x, 0.0), dk.relu(x), "slope 0: no -inf * 0")
    assert dk.elu(x, 0.0)[4] == 2.0


def test_gradients_from_y_saturate_exactly() -> None:
    assert dk.sigmoid.backward(np.ones(1, np.float32), y=np.ones(1, np.float32))[0] == 0
    assert dk.tanh.backward(np.ones(2, np.float32), y=np.array([1, -1], np.float32)).tolist() == [0, 0]
    assert dk.sigmoid.backward(np.ones(1, np.float32), np.full(1, 50, np.float32))[0] > 0  # from x it is not lost


# --- the caller's floating-point state ----------------------------------------------------------------------------------


@pytest.mark.skipif(platform.machine() != "x86_64", reason="MXCSR is a register of x86")
def test_mxcsr_is_left_alone(threads: None, target: str) -> None:
    """Rounding, flush-to-zero, denormals-are-zero and the exception masks, of the caller's thread."""
    code = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(bytes([0x0F, 0xAE, 0x1F, 0xC3]))  # stmxcsr [rdi]; ret
    read = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint32))(ctypes.addressof(ctypes.c_char.from_buffer(code)))

    def control() -> int:
        value = ctypes.c_uint32()
        read(ctypes.byref(value))
        return value.value & ~0x3F  # the low six bits only record what happened

    before = control()
    assert before == 0x1F80
    for n in (1, 3):
        dk.set_num_threads(n)
        for call in (*CALLS, *calls(np.float64), *calls(np.float16)):
            call()
            assert control() == before, call.name
        dk.silu(np.ones(100_000, np.float32))
        assert control() == before


# --- empty and 0-d ------------------------------------------------------------------------------------------------------


@FLOATS
def test_empty_arrays(dtype: str, target: str) -> None:
    for shape in ((0,), (0, 3), (3, 0), (2, 0, 4)):
        for call in calls(DTYPES[dtype], (2, 2)):
            if {"reduction", "keepdims"} & set(inspect.signature(call.function).parameters):
                continue  # losses and numbers per row: test_edges_rows.py
            if "weight" in call.options:
                continue  # norms, whose weight has a shape: test_norms.py
            empty = {k: np.empty(shape, a.dtype) for k, a in call.arrays.items()}
            result = call.outputs(call(**empty))
            assert (result.shape, result.dtype) == (shape, DTYPES[dtype]), call.name
            out = np.empty(shape, DTYPES[dtype])
            assert not call.takes_out or call(**empty, out=out) is out


@FLOATS
def test_zero_dimensional_arrays(dtype: str, target: str) -> None:
    for call in calls(DTYPES[dtype], (1,)):
        if call.name.startswith(("cross_entropy", "gradient_penalty")):  # which want a class, an example
            continue
        one, zero = call.outputs(call()), call.outputs(call(**{k: a.reshape(()) for k, a in call.arrays.items()}))
        assert type(zero) is np.ndarray
        assert zero.shape == ()
        numerics.assert_same_bits(zero, one.reshape(()), call.name)
        if call.takes_out:
            out = np.empty((), DTYPES[dtype])
            call(**{k: a.reshape(()) for k, a in call.arrays.items()}, out=out)
            numerics.assert_same_bits(out, zero, call.name)


# --- random -------------------------------------------------------------------------------------------------------------


@FLOATS
@pytest.mark.parametrize("op", RANDOM_OPS, ids=lambda op: op.__name__)
def test_dropout_edges(op: Any, dtype: str, target: str) -> None:
    x = np.append(numerics.specials(dtype), np.ones(100, DTYPES[dtype]))
    numerics.assert_same_bits(op(x, 0.0, seed=1), x, "p = 0 is the identity")
    numerics.assert_same_bits(op(x, 1.0, seed=1), np.zeros_like(x), "p = 1 gives zeros, of infinities and NaN too")
    y = op(x, 0.5, seed=3)
    dropped = op.reference(np.ones(x.shape), 0.5, seed=3) == 0
    numerics.assert_same_bits(y[dropped], np.zeros(dropped.sum(), x.dtype), "dropped elements are exactly 0")
    with np.errstate(over="ignore", invalid="ignore"):
        numerics.assert_same_bits(
            y[~dropped], (2 * x.astype(np.float64)).astype(x.dtype)[~dropped], "kept ones are doubled"
        )


@pytest.fixture(autouse=True, scope="module")
def _unchanged_inputs() -> Iterator[None]:
    """No test here may have changed the shared arrays of cases.CALLS."""
    yield
    fresh = calls()
    for call, other in zip(cases.CALLS, fresh, strict=True):
        for name, a in call.arrays.items():
            assert np.array_equal(a, other.arrays[name]), f"{call.name}: {name} was written"


def test_dropout_that_is_no_training() -> None:
    x = np.array([1.0, -0.0, np.inf, np.nan])
    numerics.assert_same_bits(dk.dropout(x, 0.9, False, seed=1), x, "identity")
    numerics.assert_same_bits(dk.dropout.backward(x, 0.9, training=False, seed=1), x, "identity")
    with pytest.raises(TypeError, match="dropout: training must be a bool"):
        dk.dropout(x, 0.9, 1, seed=1)


def test_numbers_without_meaning_are_refused() -> None:
    x = np.ones((2, 3))
    for call, text in (
        (lambda: dk.hardtanh(x, 2.0, 1.0), "hardtanh: max_val must be at least min_val, got 1"),
        (lambda: dk.rescale(x, 0.0, 1.0, low=2.0, high=1.0), "rescale: low must be at most high"),
        (lambda: dk.tempered_softmax(x, 1.2, num_iters=2**40), r"num_iters must be an integer in \[1, 1000\]"),
        (lambda: dk.triplet_margin_loss(x, x, x, p=np.inf), r"p must be in \[1, 64\]"),
        (lambda: dk.gradient_penalty(x[0]), "v must have at least 2 dimensions"),
        (lambda: dk.nn.GroupNorm(4, 6), "num_groups must divide num_channels"),
        (lambda: dk.nn.InstanceNorm2d(3).predict(np.ones((1, 7, 2, 2), np.float32)), r"x must have shape \(n, 3"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match="axis"):
        dk.bi_tempered_binary_logistic_loss(x, x, axis=0)
