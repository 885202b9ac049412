"""Every refusal: the right exception, a text that names op, argument, what was wanted and what came, and nothing written.

The numbers are the rows of the catalogue of bad input (docs/decisions/ and field reports): one test for each that applies to these ops.
"""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import numpy as np
import pytest
from cases import CALLS, MAP_CASES, RANDOM_OPS, ROW_OPS, Call, calls, ops

import dlkernels as dk

OUT_CALLS = [c for c in CALLS if c.takes_out]
SCALED_OPS = [c.op for c in MAP_CASES if any(isinstance(v, float) for v in c.params.values())]


def refused(kind: type[Exception], call: Call, *texts: str, **changes: Any) -> None:
    """The call raises `kind`; the text begins with the op's name and contains `texts`; `out`, if given, keeps its bytes."""
    out = changes.get("out")
    before = out.tobytes() if isinstance(out, np.ndarray) else None
    with pytest.raises(kind) as caught:
        call(**changes)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.startswith(f"{call.name}: "), message
    for text in texts:
        assert text in message, f"{text!r} is not in {message!r}"
    if before is not None:
        assert out.tobytes() == before, "out was written"


def each_array(found: list[Call] = CALLS) -> list[Any]:
    """Each floating array argument of each call."""
    return [pytest.param(c, arg, id=f"{c.name}-{arg}") for c in found for arg in c.float_arrays]


def each_call(found: list[Call]) -> Any:
    return pytest.mark.parametrize("call", found, ids=str)


# --- what an array may hold (1-7, 52) -----------------------------------------------------------------------------------

WRONG_DTYPES = {
    "int64": np.int64, "int32": np.int32, "uint8": np.uint8, "bool": np.bool_, "complex64": np.complex64, "complex128": np.complex128,
    "float128": np.longdouble, ">f4": ">f4", ">f8": ">f8", "object": object, "<U1": "<U1", "|S1": "S1", "datetime64[D]": "M8[D]",
    "timedelta64[s]": "m8[s]", "[('a', '<f4')]": [("a", "<f4")],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize("name", WRONG_DTYPES)
@pytest.mark.parametrize(("call", "arg"), each_array())
def test_dtype(call: Call, arg: str, name: str) -> None:
    if name == "float128" and np.dtype(np.longdouble).name != name:
        name = np.dtype(np.longdouble).name
    wrong = np.zeros(call.arrays[arg].shape, dtype=WRONG_DTYPES.get(name, np.longdouble))
    # class ids are legal as a target: then another dtype is a wrong kind of class ids
    refused(TypeError, call, arg, f"got {name}", "astype", **{arg: wrong})


@pytest.mark.parametrize(("call", "arg"), [p for p in each_array() if len(p.values[0].float_arrays) > 1])
def test_mixed_dtypes(call: Call, arg: str) -> None:
    """Nothing is promoted. (float16 input may come with the float32 upstream gradient of its loss, and with it alone.)"""
    refused(TypeError, call, "must be float", "requires, got float", **{arg: call.arrays[arg].astype(np.float64)})
    if {*call.float_arrays} != {"dy", "input"} or arg == "dy":
        refused(TypeError, call, "must be float", "requires, got float", **{arg: call.arrays[arg].astype(np.float16)})


@pytest.mark.parametrize("dtype", [np.int64, np.bool_])
@each_call(OUT_CALLS)
def test_in_place_on_integers(call: Call, dtype: Any) -> None:
    x = call.arrays[call.like].astype(dtype)
    refused(TypeError, call, call.like, np.dtype(dtype).name, **{call.like: x, "out": x})


# --- what is an array (19, 53-55) ---------------------------------------------------------------------------------------


class OnlyArray:
    """Convertible, but only by a copy."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.ones((4, 5), np.float32)


NO_ARRAYS = {
    "list": [[1.0] * 5] * 4, "tuple": ((1.0,) * 5,) * 4, "float": 1.0, "int": 1, "str": "x", "numpy.float32": np.float32(1),
    "OnlyArray": OnlyArray(), "memoryview": memoryview(np.ones((4, 5), np.float32)), "bytes": b"\0" * 80, "object": object(),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_ARRAYS)
@pytest.mark.parametrize(("call", "arg"), each_array())
def test_no_array(call: Call, arg: str, name: str) -> None:
    refused(
        TypeError,
        call,
        f"{arg} must be a NumPy, CuPy, PyTorch or JAX array, got {name}",
        "numpy.asarray",
        **{arg: NO_ARRAYS[name]},
    )


@pytest.mark.parametrize(
    ("call", "arg"), [p for p in each_array() if p.values[1] not in {"x", "y"} or "backward" not in p.values[0].name]
)
def test_none_is_no_array(call: Call, arg: str) -> None:
    refused(TypeError, call, f"{arg} must be", "NoneType", **{arg: None})


@pytest.mark.parametrize("name", [n for n in NO_ARRAYS if n != "object"])
@each_call(OUT_CALLS)
def test_out_is_no_array(call: Call, name: str) -> None:
    refused(TypeError, call, "out must be", f"got {name}", out=NO_ARRAYS[name])


@pytest.mark.parametrize(("call", "arg"), each_array())
def test_masked_array(call: Call, arg: str) -> None:
    masked = np.ma.masked_array(call.arrays[arg], call.arrays[arg] > 2)
    refused(TypeError, call, arg, "MaskedArray", "mask would be lost", "filled()", **{arg: masked})


@each_call(OUT_CALLS)
def test_masked_out(call: Call) -> None:
    refused(
        TypeError,
        call,
        "out",
        "MaskedArray",
        "mask would be lost",
        out=np.ma.masked_array(call.arrays[call.like].copy()),
    )


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@each_call(CALLS)
def test_subclass_becomes_plain(call: Call) -> None:
    arrays = {k: a.view(np.matrix) if a.ndim == 2 else a for k, a in call.arrays.items()}
    result = call.outputs(call(**arrays))
    assert type(result) is np.ndarray
    assert np.array_equal(result, call.outputs(call()))


# --- shapes (17, 35, 36) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 4), (4, 6), (4,), (4, 5, 1), (1, 5), (0, 5), ()])
@each_call(OUT_CALLS)
def test_out_shape(call: Call, shape: tuple[int, ...]) -> None:
    refused(
        ValueError, call, "out must have the shape of", "(4, 5), got (", "broadcast", out=np.ones(shape, np.float32)
    )


@pytest.mark.parametrize("shape", [(5, 4), (1, 5), (4,), (4, 5, 1)])
@pytest.mark.parametrize(
    ("call", "arg"), [p for p in each_array() if len(p.values[0].arrays) > 1 and p.values[1] != p.values[0].like]
)
def test_shapes_differ(call: Call, arg: str, shape: tuple[int, ...]) -> None:
    refused(ValueError, call, f"{arg} must have the shape of", "got (", **{arg: np.ones(shape, np.float32)})


# --- outputs (12, 13, 15, 18) -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32", "bool", ">f4", "complex64"])
@each_call(OUT_CALLS)
def test_out_dtype(call: Call, dtype: str) -> None:
    refused(TypeError, call, "out must be float32", f"got {dtype}", out=np.ones((4, 5), dtype))


@each_call(OUT_CALLS)
def test_out_is_a_broadcast(call: Call) -> None:
    base = np.ones(24, np.float32)
    for strides in ((0, 4), (20, 0), (4, 4), (16, 4), (0, 0)):
        out = np.lib.stride_tricks.as_strided(base, (4, 5), strides)
        refused(ValueError, call, "out has several elements at one address", "copy()", out=out)


@each_call(OUT_CALLS)
def test_out_is_read_only(call: Call) -> None:
    out = np.ones((4, 5), np.float32)
    out.flags.writeable = False
    refused(ValueError, call, "out is read-only", "writable", out=out)
    refused(ValueError, call, "out is read-only", out=np.broadcast_to(np.float32(1), (4, 5)))


@pytest.mark.parametrize(
    ("call", "arg"), [p for p in each_array(OUT_CALLS) if p.values[0].arrays[p.values[1]].shape == (4, 5)]
)
def test_out_overlaps_an_input(call: Call, arg: str) -> None:
    base = np.full(60, 0.5, np.float32)
    inside = base[20:40]
    views = {"behind": base[21:41], "ahead": base[19:39], "by one element": base[39:59], "reversed": inside[::-1]}
    for flat in views.values():
        refused(
            ValueError,
            call,
            f"out shares memory with {arg}",
            "in place",
            **{arg: inside.reshape(4, 5), "out": flat.reshape(4, 5)},
        )
    transposed = inside.reshape(5, 4).T
    refused(ValueError, call, f"out shares memory with {arg}", **{arg: inside.reshape(4, 5), "out": transposed})
    wide = np.full((4, 10), 0.5, np.float32)
    call(**{arg: wide[:, ::2], "out": wide[:, 1::2]})  # interleaved, and yet no address in common
    assert np.all(wide[:, ::2] == np.float32(0.5))
    call(**{arg: base[:20].reshape(4, 5), "out": inside.reshape(4, 5)})  # neighbors


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


@pytest.mark.parametrize("value", ["0.1", None, True, np.True_, 1j, np.array(0.1), [0.1], object()], ids=repr)
@pytest.mark.parametrize("op", SCALED_OPS, ids=lambda op: op.__name__)
def test_hyper_parameter_is_no_number(op: Any, value: Any) -> None:
    name = next(iter(next(c for c in MAP_CASES if c.op is op and c.params).params))
    x = np.ones(3, np.float32)
    for function in (op, lambda x, **kw: op.backward(x, x, **kw)):
        with pytest.raises(TypeError, match=rf"{op.__name__}.*: {name} must be a real number, got"):
            function(x, **{name: value})


@pytest.mark.parametrize(
    "value",
    [2, 0.25, np.float32(0.25), np.float64(0.25), np.float16(0.25), np.int64(2), decimal.Decimal("0.25")],
    ids=repr,
)
@pytest.mark.parametrize("op", SCALED_OPS, ids=lambda op: op.__name__)
def test_hyper_parameter_is_a_number(op: Any, value: Any) -> None:
    name = next(iter(next(c for c in MAP_CASES if c.op is op and c.params).params))
    x = np.linspace(-2, 2, 9, dtype=np.float32)
    assert np.array_equal(op(x, **{name: value}), op(x, **{name: float(value)}))


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
@each_call(
    [c for c in CALLS if c.function in {f for op in ROW_OPS for f in (op, op.backward)} or "cross_entropy" in c.name]
)
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
    assert np.array_equal(result if result.ndim == 0 else result[[0, 1, 3]], rest)


@pytest.mark.parametrize("dtype", ["int16", "uint8", "bool", "uint64", "int8", ">i8"])
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


@each_call([c for c in CALLS if "loss" in c.name or "cross_entropy" in c.name])
def test_reduction(call: Call) -> None:
    refused(ValueError, call, 'reduction must be "none", "mean" or "sum", got "avg"', reduction="avg")
    refused(TypeError, call, "reduction must be a string, got NoneType", reduction=None)


@each_call([c for c in CALLS if c.arrays.get("dy", np.zeros(1)).shape == ()])
def test_upstream_gradient_of_a_loss(call: Call) -> None:
    refused(ValueError, call, "dy must have the shape of the loss, ()", "got (3,)", dy=np.ones(3, np.float32))
    refused(TypeError, call, "dy must be float32", "got float64", dy=np.ones(()))
    shape = (4,) if "cross_entropy" in call.name else (4, 5)
    call(dy=np.ones(shape, np.float32), reduction="none")
    refused(
        ValueError, call, "dy must have the shape of the loss", "got ()", dy=np.ones((), np.float32), reduction="none"
    )


def test_half_types_take_a_float32_upstream_gradient() -> None:
    for call in calls(np.float16):
        if call.arrays.get("dy", np.zeros(1)).shape == ():
            assert call().dtype == np.float16
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
    with pytest.raises(ValueError, match='set_target: target must be one of .* got "sse9"'):
        dk.set_target("sse9")
    for n in (0, -1, 1025):
        with pytest.raises(ValueError, match=f"set_num_threads: threads must be from 1 to 1024, got {n}"):
            dk.set_num_threads(n)
    with pytest.raises(TypeError):
        dk.set_num_threads("2")
    assert (dk.get_target(), dk.get_num_threads()) == before


def test_a_gpu_array_without_cuda() -> None:
    if dk.build_info()["cuda"]["usable"]:
        pytest.skip("CUDA is usable here")

    class OnTheGpu:
        __cuda_array_interface__ = {"data": (0, False), "shape": (3,), "typestr": "<f4", "version": 3}
        dtype = "float32"

    for call in CALLS:
        with pytest.raises(RuntimeError, match="a GPU array was passed, but CUDA is not usable here"):
            call(**{call.like: OnTheGpu()})
