"""Composes the docstrings of ops, so that what all ops of a kind share is written once.

Order: what the op is and its formula (from its definition), shapes and dtypes, errors, error bound, example, source.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping

_SHARED = {
    "map": """
Any shape and strides; float16, bfloat16, float32 or float64 (half types are computed in float32 and rounded once). The result has x's
shape, dtype, device and array library. ``out=`` receives it and may be x itself. NaN in gives NaN out.

Errors: TypeError for another dtype or something that is no array; ValueError for an ``out`` of another shape, on another device,
read-only, or overlapping x without being it. Nothing is written then.
""",
    "rows": """
Any shape and strides; float16, bfloat16, float32 or float64; a 0-d array is a row of one element. The result has x's shape, dtype, device
and array library. ``out=`` receives it and may be x itself.

Errors: TypeError for another dtype, something that is no array, or an axis that is no integer; ValueError for an axis out of range, or an
``out`` of another shape, on another device, read-only, or overlapping x without being it. Nothing is written then.
""",
    "loss": """
Any strides; float16, bfloat16, float32 or float64. The loss is float64 for float64 input and float32 otherwise: a 0-d array for reduction
"mean" and "sum".

Errors: TypeError for another dtype, or arrays of two dtypes; ValueError for shapes that do not fit, two devices, or an unknown reduction.
Nothing is written then.
""",
}
_SHARED["gate"] = """
Any strides; float16, bfloat16, float32 or float64 (half types are computed in float32 and rounded once). Two arrays of one shape and dtype,
or a single one that holds them in the halves of `axis`; gate_first then says which half is the gate. The result has the shape of one of
them. ``out=`` receives it and may be one of them.

Errors: TypeError for another dtype, arrays of two dtypes or something that is no array; ValueError for two shapes, an axis out of range
or of odd length, or an ``out`` of another shape, on another device, read-only, or overlapping an array without being it. Nothing is
written then.
"""
_SHARED["slope"] = _SHARED["map"].replace(
    "Nothing is written",
    "An array for the number must have x's dtype and one element, or one\nfor each channel. Nothing is written",
)
_SHARED["norm"] = """
x: any strides; float16, bfloat16, float32 or float64. weight and bias have x's dtype. The result has x's shape, dtype, device and array
library. ``out=`` receives it and may be x itself.

Errors: TypeError for another dtype or something that is no array; ValueError for shapes that do not fit, or an ``out`` of another shape, on
another device, read-only, or overlapping an operand without being it. Nothing is written then.
"""
_SHARED["row_value"] = """
Any shape and strides; float16, bfloat16, float32 or float64; a 0-d array is a row of one element. The result has x's shape without `axis`
(or with a length of 1 there: keepdims), and is float64 for float64 x and float32 otherwise: what is computed is not rounded to 16 bits.
``out=`` receives it and must be contiguous.

Errors: TypeError for another dtype, something that is no array, or an axis that is no integer; ValueError for an axis out of range, or an
``out`` of another shape, on another device, read-only, or overlapping x. Nothing is written then.
"""
_SHARED["fused"] = """
x: any strides; float16, bfloat16, float32 or float64 (half types are computed in float32 and rounded once). bias has x's dtype,
residual x's shape and dtype. The result has x's shape, dtype, device and array library. ``out=`` receives it and may be x or residual.

Errors: TypeError for another dtype or something that is no array; ValueError for shapes that do not fit, p outside [0, 1], or an ``out`` of
another shape, on another device, read-only, or overlapping an operand without being it. Nothing is written then.
"""
_SHARED["random"] = _SHARED["map"].replace(" NaN in gives NaN out.", "")


def op_doc(definition: str, kind: str, ulp: float, source: str) -> str:
    """The docstring of an op from that of its definition."""
    text, arrow, example = inspect.cleandoc(definition).partition(">>>")
    bound = f"Error bound: {ulp:g} ULP of the result's dtype."
    parts = [text.strip(), _SHARED[kind].strip(), bound]
    if arrow:
        parts.append(arrow + example.rstrip())
    parts.append(f"Source: {source}.")
    return "\n\n".join(parts)


_PASSES = {
    "map": """
dx, the gradient of {name} with respect to x: dy times the derivative at x, elementwise.

dy and x are of one shape and dtype; so is the result. {from_y}``out=`` may be dy or x itself. Errors as for {name}.
""",
    "gate": """
(d{first}, d{second}), the gradients of {name} for an upstream gradient dy, in one pass; without {second}, the gradient of the packed array.

dy has the shape of the forward pass's result. ``out=`` receives the result, a tuple of two arrays or the packed one, and may be what was
given. Errors as for {name}.
""",
    "slope": """
(dx, d{number}), the gradients of {name}; for a {number} that is no array, dx alone.

dy has x's shape and dtype. d{number} is float64 for float64 x and float32 otherwise. ``out=`` receives the result, a tuple for two; dx may
be written over dy or x. Errors as for {name}.
""",
    "rows": """
dx, the gradient of {name} with respect to x, from the output y of the forward pass.

dy and y are of one shape and dtype; so is the result. ``out=`` may be dy or y itself. Errors as for {name}.
""",
    "row_value": """
dx, the gradient of {name} with respect to x, which has x's shape and dtype.

dy has the forward result's shape and dtype. ``out=`` may be x itself. Errors as for {name}.
""",
    "random": """
dx, the gradient of {name} with respect to x: the same mask and scale applied to dy. ``out=`` may be dy itself. Errors as for {name}.
""",
    "loss": """
dinput for an upstream gradient dy of the loss: a 0-d array for reduction "mean" and "sum", one value per row or element for "none".

dy has the loss's dtype (float64 for float64 input, else float32). ``out=`` may be input itself. Errors as for {name}.
""",
    "fused": """
dx and, where bias is given, its gradient. dy and x are of one shape and dtype; so is dx. ``out=`` receives dx and may be dy or x itself.
Errors as for {name}.
""",
    "norm": """
dx and, where weight is given, the gradients of weight (and bias): float64 for float64 x, float32 for the others.

dy and x are of one shape and dtype; so is dx. ``stats=`` takes what ``return_stats=True`` gave; without it the statistics are computed
again. ``out=`` receives dx and may be dy or x itself. Errors as for {name}.
""",
    "value_and_grad": """
(loss, dinput) in one pass: {name} and its gradient with respect to input.

dinput has input's shape and dtype. ``out=`` receives it and may be input itself. Errors as for {name}.
""",
}


def pass_doc(kind: str, name: str, ulp: float, *, from_y: bool = False, names: Mapping[str, str] | None = None) -> str:
    """The docstring of a backward pass or of value_and_grad."""
    note = "Instead of x, the forward pass's output may be given as ``y=``. " if from_y else ""
    return f"{_PASSES[kind].format(name=name, from_y=note, **(names or {})).strip()}\n\nError bound: {ulp:g} ULP of the result's dtype."
