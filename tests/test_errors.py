"""Arrays that are refused: the right exception, a text that names op, argument, what was wanted and what came, and nothing written.

Numbers in brackets are rows of the catalogue of bad input that the project was planned with.
"""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
from cases import CALLS, Call
from refusals import each_array, each_call, refused

OUT_CALLS = [c for c in CALLS if c.takes_out and c.arrays[c.like].shape == (4, 5)]


# --- what an array may hold (1-7, 52) -----------------------------------------------------------------------------------

WRONG_DTYPES = {
    "int64": np.int64, "int32": np.int32, "uint8": np.uint8, "bool": np.bool_, "complex64": np.complex64, "complex128": np.complex128,
    "float128": np.longdouble, ">f4": ">f4", ">f8": ">f8", "object": object, "<U1": "<U1", "|S1": "S1", "datetime64[D]": "M8[D]",
    "timedelta64[s]": "m8[s]", "[('a', '<f4')]": [("a", "<f4")],
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::numpy.exceptions.ComplexWarning")
@pytest.mark.parametrize(("call", "arg"), each_array())
def test_dtype(call: Call, arg: str) -> None:
    for name, dtype in WRONG_DTYPES.items():
        if name == "float128" and np.dtype(dtype).name != name:
            name = np.dtype(dtype).name
        wrong = np.zeros(call.arrays[arg].shape, dtype)
        # class ids are legal as a target: then another dtype is a wrong kind of class ids
        refused(ValueError if name.startswith(">") else TypeError, call, arg, f"got {name}", "astype", **{arg: wrong})


@pytest.mark.parametrize(("call", "arg"), [p for p in each_array() if len(p.values[0].float_arrays) > 1])
def test_mixed_dtypes(call: Call, arg: str) -> None:
    """Nothing is promoted. (float16 input may come with the float32 upstream gradient of its loss, and with it alone.)"""
    refused(TypeError, call, "must be float", "requires, got float", **{arg: call.arrays[arg].astype(np.float64)})
    wide_dy = {"reduction", "keepdims"} & set(inspect.signature(call.function).parameters)
    if len(call.float_arrays) > 2 or arg == "dy" or not wide_dy:
        refused(TypeError, call, "must be float", "requires, got float", **{arg: call.arrays[arg].astype(np.float16)})


@each_call(OUT_CALLS)
def test_in_place_on_integers(call: Call) -> None:
    for dtype in ("int64", "bool"):
        x = call.arrays[call.like].astype(dtype)
        refused(TypeError, call, call.like, dtype, **{call.like: x, "out": x})


# --- what is an array (19, 53-55) ---------------------------------------------------------------------------------------


class OnlyArray:
    """Convertible, but only by a copy."""

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        return np.ones((4, 5), np.float32)


NO_ARRAYS = {
    "list": [[1.0] * 5] * 4, "tuple": ((1.0,) * 5,) * 4, "float": 1.0, "int": 1, "str": "x", "numpy.float32": np.float32(1),
    "OnlyArray": OnlyArray(), "memoryview": memoryview(np.ones((4, 5), np.float32)), "bytes": b"\0" * 80, "object": object(),
}  # fmt: skip


@pytest.mark.parametrize(("call", "arg"), each_array())
def test_no_array(call: Call, arg: str) -> None:
    for name, thing in NO_ARRAYS.items():
        words = f"{arg} must be a NumPy, CuPy, PyTorch or JAX array, got {name}"
        refused(TypeError, call, words, "numpy.asarray", **{arg: thing})


@pytest.mark.parametrize(
    ("call", "arg"),
    [
        p
        for p in each_array()
        if (p.values[1] not in {"x", "y"} or "backward" not in p.values[0].name)
        and inspect.signature(p.values[0].function).parameters[p.values[1]].default is not None
    ],
)
def test_none_is_no_array(call: Call, arg: str) -> None:
    refused(TypeError, call, f"{arg} must be", "NoneType", **{arg: None})


@each_call(OUT_CALLS)
def test_out_is_no_array(call: Call) -> None:
    for name, thing in NO_ARRAYS.items():
        refused(TypeError, call, "out must be", f"got {name}", out=thing)


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


@each_call(OUT_CALLS)
def test_out_shape(call: Call) -> None:
    for shape in ((5, 4), (4, 6), (4,), (4, 5, 1), (1, 5), (0, 5), ()):
        words = "out must have the shape of", "(4, 5), got (", "broadcast"
        refused(ValueError, call, *words, out=np.ones(shape, np.float32))


@pytest.mark.parametrize(
    ("call", "arg"), [p for p in each_array() if len(p.values[0].arrays) > 1 and p.values[1] != p.values[0].like]
)
def test_shapes_differ(call: Call, arg: str) -> None:
    for shape in {(5, 4), (1, 5), (4,), (4, 5, 1)} - {call.arrays[arg].shape}:
        refused(ValueError, call, f"{arg} must have the shape of", "got (", **{arg: np.ones(shape, np.float32)})


# --- outputs (12, 13, 15, 18) -------------------------------------------------------------------------------------------


@each_call(OUT_CALLS)
def test_out_dtype(call: Call) -> None:
    for dtype in ("float16", "float64", "int32", "bool", ">f4", "complex64"):
        error, wanted = (ValueError, "this machine's byte order") if dtype == ">f4" else (TypeError, "float32")
        refused(error, call, "out must be", wanted, f"got {dtype}", out=np.ones((4, 5), dtype))


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
