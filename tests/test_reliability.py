"""The catalogue of bad input (59 rows: what an array, a label or an option may not be, and what strange but legal ones give), row by row.

ROWS names the tests that prove a row, most of them driven by the registry (tests/cases.py): a new op is asked by itself. What stands in
no other file is tested here, for each call of each op and for the optimizers.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numerics
import numpy as np
import pytest
from cases import CALLS, Call, calls
from numerics import DTYPES
from refusals import each_call, refused
from test_optim import ALL, MAKERS

import dlkernels as dk

TESTS = Path(__file__).parent
INF, NAN = np.inf, np.nan

# row: (what comes, the tests of what it gives)
ROWS: dict[int, tuple[str, list[str]]] = {
    1: ("int32, int64 data", ["test_errors.py::test_dtype", "test_optim_errors.py::test_parameters"]),
    2: ("bool data", ["test_errors.py::test_dtype", "test_reliability.py::test_parameters_of_other_dtypes"]),
    3: ("complex data", ["test_errors.py::test_dtype", "test_reliability.py::test_parameters_of_other_dtypes"]),
    4: ("float128", ["test_errors.py::test_dtype", "test_reliability.py::test_parameters_of_other_dtypes"]),
    5: ("float16, bfloat16", ["test_values.py::test_half_is_float32_rounded_once", "test_values.py::test_rows",
                              "test_losses.py::test_value_and_grad_and_backward_agree", "test_bits.py::test_random_ops",
                              "test_optim.py::test_every_combination_of_options"]),
    6: ("mixed dtypes", ["test_errors.py::test_mixed_dtypes", "test_errors_arguments.py::test_half_types_take_a_float32_upstream_gradient",
                         "test_optim_errors.py::test_a_refused_step_changes_nothing"]),
    7: ("foreign byte order", ["test_errors.py::test_dtype", "test_errors.py::test_out_dtype",
                               "test_errors_arguments.py::test_class_id_byte_order", "test_optim_errors.py::test_parameters"]),
    8: ("misaligned", ["test_reliability.py::test_layouts", "test_layouts.py::test_map", "test_layouts.py::test_rows",
                       "test_layouts.py::test_losses", "test_layouts.py::test_random", "test_reliability.py::test_misaligned_parameters"]),
    9: ("stepped", ["test_reliability.py::test_layouts", "test_layouts.py::test_large_strided", "test_optim_errors.py::test_parameters"]),
    10: ("negative strides", ["test_reliability.py::test_layouts", "test_arrays.py::test_layouts_of_producers"]),
    11: ("stride 0 to read", ["test_reliability.py::test_layouts", "test_layouts.py::test_broadcast_input"]),
    12: ("stride 0 to write", ["test_errors.py::test_out_is_a_broadcast", "test_optim_errors.py::test_parameters"]),
    13: ("read-only out or parameter", ["test_errors.py::test_out_is_read_only", "test_arrays.py::test_a_read_only_producer",
                                        "test_optim_errors.py::test_parameters"]),
    14: ("in place", ["test_reliability.py::test_layouts", "test_layouts.py::test_map", "test_processes.py::test_guard_pages"]),
    15: ("out overlaps an input, shifted", ["test_errors.py::test_out_overlaps_an_input"]),
    16: ("outputs overlap; a parameter is a gradient", ["test_gates.py::test_refusals", "test_slopes.py::test_refusals",
                                                        "test_optim_errors.py::test_a_gradient_that_is_a_parameter",
                                                        "test_optim_errors.py::test_parameters"]),
    17: ("out of another shape", ["test_errors.py::test_out_shape"]),
    18: ("out of another dtype", ["test_errors.py::test_out_dtype"]),
    19: ("out is a list", ["test_errors.py::test_out_is_no_array"]),
    20: ("in place on integers", ["test_errors.py::test_in_place_on_integers"]),
    21: ("0-d", ["test_edges.py::test_zero_dimensional_arrays", "test_reliability.py::test_small_parameters"]),
    22: ("empty, elementwise", ["test_edges.py::test_empty_arrays", "test_optim.py::test_empty_parameters"]),
    23: ("empty reduction", ["test_edges_rows.py::test_empty_losses"]),
    24: ("empty rows, empty batch", ["test_edges.py::test_empty_arrays", "test_edges_rows.py::test_no_classes"]),
    25: ("all rows ignored", ["test_edges_rows.py::test_all_rows_ignored", "test_edges_rows.py::test_empty_losses"]),
    26: ("rows of one element", ["test_edges_rows.py::test_size_one_rows_and_large_logits", "test_reliability.py::test_constant_rows"]),
    27: ("one value a channel in training", ["test_reliability.py::test_one_value_a_channel"]),
    28: ("variance 0", ["test_reliability.py::test_constant_rows"]),
    29: ("more than 2^31 elements, rows, columns", ["test_processes.py::test_more_than_two_to_the_31",
                                                   "test_reliability.py::test_a_sum_of_more_than_two_to_the_31"]),
    30: ("a shape whose product overflows", ["test_arrays.py::test_a_shape_whose_product_overflows"]),
    31: ("class id too large", ["test_errors_arguments.py::test_class_id_out_of_range"]),
    32: ("class id -1", ["test_errors_arguments.py::test_class_id_out_of_range"]),
    33: ("ignore_index out of range", ["test_errors_arguments.py::test_an_ignored_class_id_may_be_out_of_range"]),
    34: ("class ids of another dtype", ["test_errors_arguments.py::test_class_id_dtype",
                                        "test_errors_arguments.py::test_class_ids_as_floats"]),
    35: ("class ids of another shape", ["test_errors_arguments.py::test_class_id_shape", "test_errors.py::test_shapes_differ"]),
    36: ("weights of another length", ["test_errors_arguments.py::test_class_weights"]),
    37: ("probabilities that do not sum to 1", ["test_edges_rows.py::test_probabilities_that_do_not_sum_to_one"]),
    38: ("label_smoothing out of [0, 1]; unknown reduction", ["test_errors_arguments.py::test_label_smoothing",
                                                             "test_errors_arguments.py::test_reduction"]),
    39: ("NaN logits", ["test_edges_rows.py::test_logits_that_are_not_numbers", "test_edges_rows.py::test_special_rows"]),
    40: ("+inf logits", ["test_edges_rows.py::test_logits_that_are_not_numbers", "test_edges_rows.py::test_special_rows"]),
    41: ("-inf logits", ["test_edges_rows.py::test_masked_classes", "test_edges_rows.py::test_logits_that_are_not_numbers"]),
    42: ("rows of -inf only", ["test_edges_rows.py::test_special_rows", "test_edges_rows.py::test_logits_that_are_not_numbers"]),
    43: ("logsumexp of infinities", ["test_reliability.py::test_logsumexp_of_infinities"]),
    44: ("NaN", ["test_edges.py::test_nan_in_nan_out", "test_reliability.py::test_nan_is_never_hidden"]),
    45: ("-0", ["test_edges.py::test_signed_zero", "test_edges.py::test_measured_edges"]),
    46: ("subnormals; the caller's MXCSR", ["test_edges.py::test_subnormals_are_kept", "test_edges.py::test_mxcsr_is_left_alone",
                                            "test_reliability.py::test_subnormal_results"]),
    47: ("another rounding mode", ["test_processes.py::test_the_callers_rounding_mode_reaches_every_thread"]),
    48: ("probabilities out of [0, 1], and 0 for a 1", ["test_reliability.py::test_probabilities_at_their_ends"]),
    49: ("eps negative or NaN", ["test_reliability.py::test_eps", "test_optim_errors.py::test_hyper_parameter_out_of_range"]),
    50: ("channels that groups do not divide", ["test_reliability.py::test_groups_divide_the_channels"]),
    51: ("axis out of range, bool, float, duplicate", ["test_errors_arguments.py::test_axis"]),
    52: ("object, string, date, record arrays", ["test_errors.py::test_dtype"]),
    53: ("masked arrays", ["test_errors.py::test_masked_array", "test_errors.py::test_masked_out",
                           "test_optim_errors.py::test_parameters"]),
    54: ("subclasses of ndarray", ["test_errors.py::test_subclass_becomes_plain"]),
    55: ("pandas", ["test_errors.py::test_no_array", "test_errors.py::test_out_is_no_array", "test_reliability.py::test_pandas"]),
    56: ("PyTorch tensors", ["test_arrays.py::test_torch", "test_arrays.py::test_torch_refuses_to_lend",
                             "test_optim.py::test_pytorch_parameters"]),
    57: ("PyTorch: conj, neg, sparse, meta", ["test_arrays.py::test_torch_refuses_to_lend"]),
    58: ("PyTorch bfloat16", ["test_arrays.py::test_torch", "test_arrays.py::test_bfloat16_of_a_producer"]),
    59: ("arrays of two devices", ["test_device.py::test_devices_do_not_mix",
                                   "test_errors_arguments.py::test_a_gpu_array_without_cuda"]),
}  # fmt: skip


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_row_is_tested() -> None:
    assert sorted(ROWS) == list(range(1, 60))
    for number, (what, names) in ROWS.items():
        assert names, f"row {number}, {what}: no test"
        for name in names:
            file, _, test = name.partition("::")
            assert test in names_in(file), f"row {number}, {what}: there is no {name}"


def test_every_op_is_asked() -> None:
    """Each callable of each op of each family is among the calls that these tests make."""
    asked = {call.name for call in CALLS}
    for op in dk.ops.registry.values():
        for suffix in ("", ".backward", ".value_and_grad"):
            if suffix == "" or hasattr(op, suffix[1:]):
                assert op.__name__ + suffix in asked, f"{op.__name__}{suffix} ({op.kind}): add it to cases.calls"


@cache
def calls_of(dtype: str) -> list[Call]:
    return calls(DTYPES[dtype], (4, 5))


def arrays_in(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


def having(parameter: str) -> Any:
    """The calls that take this argument."""
    return each_call([c for c in CALLS if parameter in inspect.signature(c.function).parameters])


# --- layouts (8 to 11, 14) ----------------------------------------------------------------------------------------------


def _misaligned(a: np.ndarray) -> np.ndarray:
    raw = np.empty(a.nbytes + 64, np.uint8)
    first = -raw.ctypes.data % 64 + 1
    return raw[first : first + a.nbytes].view(a.dtype).reshape(a.shape)


LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "misaligned": _misaligned,
    "stepped": lambda a: np.empty(tuple(2 * n for n in a.shape), a.dtype)[tuple(slice(None, None, 2) for _ in a.shape)],
    "reversed": lambda a: np.empty_like(a)[tuple(slice(None, None, -1) for _ in a.shape)],
    "F": lambda a: np.empty(a.shape, a.dtype, order="F"),
}


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("which", range(len(CALLS)), ids=[str(c) for c in CALLS])
def test_layouts(which: int, dtype: str, target: str) -> None:
    """The same bits for each array, out and the place itself in four layouts, and for each array that repeats one element."""
    call = calls_of(dtype)[which]
    expected = arrays_in(call())
    floats = {k: call.arrays[k] for k in call.float_arrays if call.arrays[k].ndim > 0}

    def placed(name: str) -> dict[str, np.ndarray]:
        views = {k: LAYOUTS[name](a) for k, a in floats.items()}
        for k, view in views.items():
            view[...] = floats[k]
        return views

    def same(result: Any, hint: str) -> None:
        for got, want in zip(arrays_in(result), expected, strict=True):
            numerics.assert_same_bits(got, want, f"{call}, {hint}")

    for name, layout in LAYOUTS.items():
        same(call(**placed(name)), f"all {name}")
        if call.takes_out and isinstance(call.outputs(call()), np.ndarray):
            out = layout(floats[call.like])
            result = call(out=out)
            assert call.outputs(result) is out
            same(result, f"out {name}")
            views = placed(name)
            same(call(**views, out=views[call.like]), f"in place, {name}")
    for k, a in floats.items():
        one = np.broadcast_to(a[(0,) * a.ndim], a.shape)
        for got, want in zip(arrays_in(call(**{k: one})), arrays_in(call(**{k: one.copy()})), strict=True):
            numerics.assert_same_bits(got, want, f"{call}, {k} of stride 0")


# --- optimizers (2 to 4, 8, 21) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    ["bool", "int32", "uint8", "complex64", "longdouble", "object"],
)
@ALL
def test_parameters_of_other_dtypes(name: str, dtype: str) -> None:
    with pytest.raises(TypeError, match=np.dtype(dtype).name):
        MAKERS[name]([np.ones(3, dtype)])


def steps(name: str, params: list[np.ndarray]) -> list[np.ndarray]:
    optimizer = MAKERS[name](params, lr=0.1)
    for step in (1.0, -0.5):
        optimizer.step([np.full(p.shape, step, p.dtype) for p in params])
    return params


@ALL
def test_misaligned_parameters(name: str, target: str) -> None:
    straight = np.linspace(-1, 1, 200, dtype=np.float32)
    bent = _misaligned(straight)
    bent[:] = straight
    numerics.assert_same_bits(steps(name, [bent])[0], steps(name, [straight.copy()])[0], name)


@ALL
def test_small_parameters(name: str, target: str) -> None:
    zero, one = steps(name, [np.array(2.0), np.array([2.0])])
    numerics.assert_same_bits(zero, one.reshape(()), name)


# --- sizes (29) ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_sum_of_more_than_two_to_the_31() -> None:
    """Of one element repeated: no memory. Blocks of 4,096 ones are exact, and so is each level above."""
    many = 2**31 + 2**12
    one, zero = (np.broadcast_to(np.float32(v), (many,)) for v in (1, 0))
    assert dk.mse_loss(one, zero, reduction="sum") == np.float32(many)
    assert dk.mse_loss(one, zero) == 1


# --- normalization (26 to 28, 49, 50) -----------------------------------------------------------------------------------

NORMS = [c for c in CALLS if c.name.endswith("_norm")]


@each_call(NORMS)
def test_constant_rows(call: Call) -> None:
    """Variance 0 is no division by 0: what is left is the bias, and the mean of squares where no mean is taken."""
    for shape in ((4, 6), (4, 1)):
        like = next(c for c in calls(np.float32, shape) if c.name == call.name)
        for a in arrays_in(like(x=np.full_like(like.arrays["x"], 3))):
            assert np.isfinite(a).all()


@each_call([c for c in NORMS if "batch_norm" in c.name])
def test_one_value_a_channel(call: Call) -> None:
    one = next(c for c in calls(np.float32, (1, 5)) if c.name == call.name)
    refused(ValueError, one, "x", "value")


@having("eps")
def test_eps(call: Call) -> None:
    for value in (-1.0, -1e-300, NAN):
        refused(ValueError, call, "eps must be", "got", eps=value)
    for value in ("0.1", True, 1j):
        refused(TypeError, call, "eps must be a real number, got", eps=value)


@having("num_groups")
def test_groups_divide_the_channels(call: Call) -> None:
    for groups in (3, 0, -1, 6):  # of 5 channels
        refused(ValueError, call, "num_groups", num_groups=groups)


# --- special values (43, 44, 46, 48) ------------------------------------------------------------------------------------

LOGSUMEXP = getattr(dk, "logsumexp", None)


@pytest.mark.skipif(LOGSUMEXP is None, reason="no logsumexp")
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_logsumexp_of_infinities(dtype: str, target: str) -> None:
    rows = np.array([[-INF, -INF], [INF, INF], [INF, 0], [-INF, 1], [NAN, 0]]).astype(DTYPES[dtype])
    expected = np.array([-INF, INF, INF, 1, NAN]).astype(numerics.compute_dtype(dtype))  # not rounded to 16 bits
    numerics.assert_same_bits(LOGSUMEXP(rows), expected, "logsumexp")


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("which", range(len(CALLS)), ids=[str(c) for c in CALLS])
def test_nan_is_never_hidden(which: int, dtype: str, target: str) -> None:
    """A NaN in any one array is seen in a result. (What a derivative makes of a NaN in x: test_edges.py::test_infinities.)"""
    call = calls_of(dtype)[which]
    for name in ["dy"] if call.name.endswith(".backward") else call.float_arrays:
        spoiled = call.arrays[name].copy()
        everywhere = name == "dy" or call.name.startswith("nll_loss")
        spoiled[... if everywhere else (0,) * spoiled.ndim] = NAN  # one NaN in dy may meet a slope of 0, or not be read
        found = [np.isnan(a).any() for a in arrays_in(call(**{**call.options, name: spoiled}))]
        assert any(found), f"{call}: NaN in {name}"


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_subnormal_results(dtype: str, target: str) -> None:
    """Of rows, losses, masks and steps: where the exact result is subnormal, so is ours, and never 0."""
    kind = DTYPES[dtype]
    info = numerics.ml_dtypes.finfo(kind)
    tiny = float(info.tiny)
    low = np.array([[0.0, np.log(tiny / 8)]]).astype(kind)  # its second softmax is about tiny / 8
    results = {
        "softmax": dk.softmax(low)[0, 1],
        "cross_entropy": dk.cross_entropy.value_and_grad(low, np.array([0]))[1][0, 1],
        "mse_loss": dk.mse_loss.value_and_grad(np.array([tiny / 8], kind), np.zeros(1, kind))[1][0],
        "dropout": np.max(dk.dropout(np.full(100, tiny / 8, kind), 0.5, seed=1)),
        "SGD": steps("SGD", [np.array([tiny / 8], kind)])[0][0],
    }
    w = np.full(1, tiny / 4, kind)
    MAKERS["SGD"]([w], lr=0.5).step([np.full(1, tiny / 4, kind)])
    results["SGD"] = w[0]
    for name, value in results.items():
        assert 0 < float(value) < tiny, f"{name}: {value!r}"


BCE = [c for c in CALLS if c.name.partition(".")[0] == "binary_cross_entropy"]


@each_call(BCE)
def test_probabilities_at_their_ends(call: Call) -> None:
    for wrong in (-0.25, 1.25):
        x = call.arrays["input"].copy()
        x[1, 2] = wrong
        refused(ValueError, call, "input", "[0, 1]", input=x)
    if "." not in call.name:
        zero, one = np.zeros(3, np.float32), np.ones(3, np.float32)
        assert call.function(zero, one) == 100  # the logarithm is cut off at -100, as in PyTorch
        assert call.function(one, zero) == 100
        assert call.function(one, one) == 0


# --- pandas (55) --------------------------------------------------------------------------------------------------------


def test_pandas() -> None:
    """Neither converted nor written: a column has a name and an index, which a result would have lost."""
    pandas = pytest.importorskip("pandas")
    for call in CALLS:
        a = call.arrays[call.like]
        for thing in (pandas.DataFrame(a), pandas.Series(a.ravel())):
            refused(TypeError, call, call.like, type(thing).__name__, **{call.like: thing})
            if call.takes_out:
                refused(TypeError, call, "out must be", type(thing).__name__, out=thing)
