"""Arguments that are refused: unknown, missing, of the wrong kind, out of range; class ids, weights, axes; targets and threads.

Numbers in brackets as in test_errors.py.
"""

from __future__ import annotations

import datetime as dt
import decimal
import inspect
from typing import Any

import numpy as np
import pytest
from cases import CALLS, MAP_CASES, RANDOM_OPS, Call, calls, ops
from refusals import each_call, refused

import dlkernels as dk

SCALED_OPS = [c.op for c in MAP_CASES if any(isinstance(v, float) for v in c.params.values())]

# --- calls (51 and the arguments themselves) ----------------------------------------------------------------------------


@each_call(CALLS)
def test_arguments(call: Call) -> None:
    refused(TypeError, call, "unknown argument 'bogus'", "Its arguments: ", bogus=1)
    first = next(iter(call.arrays))
    with pytest.raises(TypeError, match=f"argument '{first}' is missing"):
        call.function()
    with pytest.raises(TypeError, match=f"argument '{first}' is given twice"):
        call.function(call.arrays[first], **{first: call.arrays[first]})
    with pytest.raises(TypeError, match=r"at most \d+ positional arguments, got 12"):
        call.function(*[call.arrays[first]] * 12)


@pytest.mark.parametrize("op", ops("map"), ids=lambda op: op.__name__)
def test_backward_needs_one_of_x_and_y(op: Any) -> None:
    x = np.ones(3, np.float32)
    if op.from_y:
        for arrays in ({}, {"x": x, "y": x}):
            with pytest.raises(TypeError, match=f"{op.__name__}.backward: wanted exactly one of x .* and y"):
                op.backward(x, **arrays)
    else:
        with pytest.raises(TypeError, match=f"{op.__name__}.backward: argument 'x' is missing"):
            op.backward(x)
        with pytest.raises(TypeError, match=f"{op.__name__}.backward: x, the input of the forward pass, is missing"):
            op.backward(x, None)
        with pytest.raises(TypeError, match="unknown argument 'y'"):
            op.backward(x, y=x)


@pytest.mark.parametrize("name", ["leaky_relu", "elu"])
@pytest.mark.parametrize("value", [0, -0.5, float("nan")])
def test_the_output_is_not_enough(name: str, value: float) -> None:
    x = np.ones(3, np.float32)
    op = getattr(dk, name)
    parameter = {"leaky_relu": "negative_slope", "elu": "alpha"}[name]
    with pytest.raises(
        ValueError, match=rf"{name}.backward: the output y is enough only for {parameter} > 0, got .* Pass x instead"
    ):
        op.backward(x, y=x, **{parameter: value})
    op.backward(x, x, **{parameter: value})


NO_NUMBERS = ["0.1", None, True, np.True_, 1j, np.array(0.1), [0.1], object(), decimal.Decimal("0.25")]
NUMBERS = [2, 0.25, np.float32(0.25), np.float64(0.25), np.float16(0.25), np.int64(2)]


@pytest.mark.parametrize("op", SCALED_OPS, ids=lambda op: op.__name__)
def test_hyper_parameter_is_no_number(op: Any) -> None:
    name = next(iter(next(c for c in MAP_CASES if c.op is op and c.params).params))
    x = np.ones(3, np.float32)
    for value in NO_NUMBERS:
        for function in (op, lambda x, **kw: op.backward(x, x, **kw)):
            with pytest.raises(TypeError, match=rf"{op.__name__}.*: {name} must be a real number, got"):
                function(x, **{name: value})


@pytest.mark.parametrize("op", SCALED_OPS, ids=lambda op: op.__name__)
def test_hyper_parameter_is_a_number(op: Any) -> None:
    name = next(iter(next(c for c in MAP_CASES if c.op is op and c.params).params))
    x = np.linspace(-2, 2, 9, dtype=np.float32)
    for value in NUMBERS:
        assert np.array_equal(op(x, **{name: value}), op(x, **{name: float(value)}))


@pytest.mark.parametrize(
    ("name", "parameter", "limit", "wrong"),
    [
        ("celu", "alpha", "> 0", 0.0),
        ("softplus", "beta", "> 0", -1.0),
        ("squareplus", "b", "> 0", 0.0),
        ("hardshrink", "lambd", ">= 0", -0.5),
        ("softshrink", "lambd", ">= 0", float("nan")),
    ],
)
def test_hyper_parameter_out_of_its_limits(name: str, parameter: str, limit: str, wrong: float) -> None:
    x, op = np.ones(3, np.float32), getattr(dk, name)
    out = x.copy()
    for function in (op, lambda x, **kw: op.backward(x, x, **kw)):
        with pytest.raises(ValueError, match=f"{name}.*: {parameter} must be {limit}, got"):
            function(x, **{parameter: wrong}, out=out)
    assert np.array_equal(out, x)


def test_gelu_approximate() -> None:
    x = np.ones(3, np.float32)
    for function in (dk.gelu, lambda x, **kw: dk.gelu.backward(x, x, **kw)):
        with pytest.raises(ValueError, match=r'approximate must be "none" or "tanh", got "erf"'):
            function(x, approximate="erf")
        with pytest.raises(TypeError, match="approximate must be a string, got int"):
            function(x, approximate=1)


BAD_AXES = [
    (2, ValueError),
    (-3, ValueError),
    (True, TypeError),
    (1.0, TypeError),
    (None, TypeError),
    ("0", TypeError),
    ((0, 0), TypeError),
]


@pytest.mark.parametrize(("axis", "kind"), BAD_AXES, ids=repr)
@each_call([c for c in CALLS if "axis" in inspect.signature(c.function).parameters])
def test_axis(call: Call, axis: Any, kind: type[Exception]) -> None:
    texts = (
        ("in [-2, 2)", f"got {axis}") if kind is ValueError else ("must be an integer", f"got {type(axis).__name__}")
    )
    refused(kind, call, "axis", *texts, axis=axis)
    out = np.full((4, 5), 7, np.float32)
    if call.takes_out:
        refused(kind, call, axis=axis, out=out)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 2**70])
def test_huge_integers(value: int) -> None:
    x = np.ones((4, 5), np.float32)
    with pytest.raises((ValueError, OverflowError), match="softmax: axis"):
        dk.softmax(x, value)
    with pytest.raises((ValueError, OverflowError), match="cross_entropy: ignore_index"):
        dk.cross_entropy(x, np.zeros(4, np.int64), ignore_index=value)


# --- losses (31-38) -----------------------------------------------------------------------------------------------------

CROSS_ENTROPY = [c for c in CALLS if c.name.startswith("cross_entropy")]


@pytest.mark.parametrize("label", [5, 6, -1, -99, 2**31 - 1, -(2**31), 2**40, -(2**63)])
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@each_call(CROSS_ENTROPY)
def test_class_id_out_of_range(call: Call, dtype: Any, label: int) -> None:
    if not np.iinfo(dtype).min <= label <= np.iinfo(dtype).max:
        label = int(np.iinfo(dtype).max)
    y = np.array([0, 1, label, 2], dtype=dtype)
    changes: dict[str, Any] = {"target": y}
    if call.takes_out:
        changes["out"] = np.full((4, 5), 7, np.float32)
    for options in (
        {},
        {"label_smoothing": 0.1},
        {"weight": np.ones(5, np.float32)},
        {"reduction": "sum"},
        {"ignore_index": 3},
    ):
        refused(IndexError, call, f"target[2] is {label}", "[0, 5)", "ignore_index", **changes, **options)


@pytest.mark.parametrize("ignored", [-100, -1, 5, 2**40, -(2**63)])
@each_call(CROSS_ENTROPY)
def test_an_ignored_class_id_may_be_out_of_range(call: Call, ignored: int) -> None:
    y = np.array([0, 1, ignored, 2], dtype=np.int64)
    result = call.outputs(call(target=y, ignore_index=ignored))
    rest = call.outputs(call(target=y[[0, 1, 3]], input=call.arrays["input"][[0, 1, 3]], ignore_index=ignored))
    # the zero of the ignored row changes the order of a sum
    np.testing.assert_allclose(result if result.ndim == 0 else result[[0, 1, 3]], rest, rtol=1e-6)


@each_call(CROSS_ENTROPY)
def test_class_id_byte_order(call: Call) -> None:
    refused(ValueError, call, "target must be in this machine's byte order, got >i8", target=np.ones(4, ">i8"))


@pytest.mark.parametrize("dtype", ["int16", "uint8", "bool", "uint64", "int8"])
@each_call(CROSS_ENTROPY)
def test_class_id_dtype(call: Call, dtype: str) -> None:
    refused(
        TypeError,
        call,
        "target must hold class ids as int32 or int64",
        f"got {dtype}",
        'astype("int64")',
        target=np.ones(4, dtype),
    )


@pytest.mark.parametrize("shape", [(3,), (5,), (4, 1), (1, 4), (), (4, 5)])
@each_call(CROSS_ENTROPY)
def test_class_id_shape(call: Call, shape: tuple[int, ...]) -> None:
    refused(
        ValueError,
        call,
        "target must have the shape of input without its class axis, (4,)",
        "got (",
        target=np.zeros(shape, np.int64),
    )


@each_call(CROSS_ENTROPY)
def test_class_ids_as_floats(call: Call) -> None:
    refused(ValueError, call, "target must have the shape of input, (4, 5), got (4,)", target=np.zeros(4, np.float32))


@each_call(CROSS_ENTROPY)
def test_class_weights(call: Call) -> None:
    for shape in ((4,), (6,), (5, 1), (1, 5), ()):
        refused(
            ValueError, call, "weight must have shape (5,), one per class", "got (", weight=np.ones(shape, np.float32)
        )
    refused(TypeError, call, "weight must be float32", "got float64", weight=np.ones(5))
    refused(TypeError, call, "weight must be", "got list", weight=[1.0] * 5)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
@each_call(CROSS_ENTROPY)
def test_label_smoothing(call: Call, value: float) -> None:
    refused(ValueError, call, "label_smoothing must be in [0, 1]", "got ", label_smoothing=value)


@each_call([c for c in CALLS if "reduction" in inspect.signature(c.function).parameters])
def test_reduction(call: Call) -> None:
    refused(ValueError, call, 'reduction must be "', '"mean"', ', got "avg"', reduction="avg")
    refused(TypeError, call, "reduction must be a string, got NoneType", reduction=None)


@each_call([c for c in CALLS if c.arrays.get("dy", np.zeros(1)).shape == () and "rmse" not in c.name])
def test_upstream_gradient_of_a_loss(call: Call) -> None:
    refused(ValueError, call, "dy must have the shape of the loss, ()", "got (3,)", dy=np.ones(3, np.float32))
    refused(TypeError, call, "dy must be float32", "got float64", dy=np.ones(()))
    shape = (4,) if {"axis", "axes"} & set(inspect.signature(call.function).parameters) else (4, 5)
    call(dy=np.ones(shape, np.float32), reduction="none")
    refused(
        ValueError, call, "dy must have the shape of the loss", "got ()", dy=np.ones((), np.float32), reduction="none"
    )


def test_half_types_take_a_float32_upstream_gradient() -> None:
    for call in calls(np.float16):
        if call.arrays.get("dy", np.zeros(1)).shape == ():
            assert call.outputs(call()).dtype == np.float16
            refused(TypeError, call, "dy must be float32", "got float16", dy=np.ones((), np.float16))


# --- random -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", RANDOM_OPS, ids=lambda op: op.__name__)
def test_random(op: Any) -> None:
    x = np.ones(3, np.float32)
    for function in (op, op.backward):
        for p in (-0.1, 1.1, float("nan")):
            with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got"):
                function(x, p, seed=1)
        with pytest.raises(TypeError, match="argument 'seed' is missing"):
            function(x)
        for seed in (1.5, None, True, "1", dt.date(2020, 1, 1)):
            with pytest.raises(TypeError, match="seed must be an integer, got"):
                function(x, seed=seed)
            with pytest.raises(TypeError, match=r"offset must be an integer, got"):
                function(x, seed=1, offset=1.5)


# --- the runtime --------------------------------------------------------------------------------------------------------


def test_targets_and_threads() -> None:
    before = dk.get_target(), dk.get_num_threads()
    with pytest.raises(ValueError, match=r'set_target: target must be one of .* got "sse9"'):
        dk.set_target("sse9")
    for n in (0, -1, 1025):
        with pytest.raises(ValueError, match=rf"set_num_threads: n must be from 1 to 1024, got {n}"):
            dk.set_num_threads(n)
    with pytest.raises(TypeError):
        dk.set_num_threads("2")
    assert (dk.get_target(), dk.get_num_threads()) == before


def test_a_gpu_array_without_cuda() -> None:
    if dk.build_info()["cuda"]["usable"]:
        pytest.skip("CUDA is usable here")

    class OnTheGpu:
        dtype = "float32"

        @property
        def __cuda_array_interface__(self) -> dict[str, Any]:
            return {"data": (0, False), "shape": (3,), "typestr": "<f4", "version": 3}

    for call in CALLS:
        with pytest.raises(RuntimeError, match="a GPU array was passed, but CUDA is not usable here"):
            call(**{call.like: OnTheGpu()})
