"""Gated linear units: value * act(gate). The bodies are the float64 definitions; calling an op runs its compiled kernel.

Two arrays, or one that holds both in the halves of an axis: `swiglu(gate, up)` is `swiglu(np.concatenate([gate, up], -1))`, without the
copy. The order of the two arguments is that of the halves, unless gate_first says otherwise: glu has the gate second, as PyTorch and
Dauphin et al. have it, the others have it first, as Shazeer and LLaMA have it. float16, bfloat16, float32 or float64, any strides.
backward(dy, ...) gives both gradients in one pass over the arrays: a tuple for two arrays, one packed array for a packed one; ``out=`` may
be what was given.
TypeError for another dtype or something that is no array; ValueError for two shapes, for an odd length of the axis, or for an ``out`` that
does not fit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import gate_op
from . import activations, piecewise


def _gated(act: Any, first: Any, second: Any, axis: int, gate_first: bool, gate_is_first: bool) -> Any:
    """value * act(gate); the two are the arguments, or without a second one the halves of the first."""
    if second is None:
        first, second = np.split(first, 2, axis)
    else:
        gate_first = gate_is_first
    gate, value = (first, second) if gate_first else (second, first)
    return value * act(gate)


@gate_op(ulp=2.25, grad_ulp=2.5, source="Dauphin et al. (2016), arXiv:1612.08083", act="sigmoid", gate_is_first=False)
def glu(value: Any, gate: Any = None, *, axis: int = -1, gate_first: bool = False, out: Any = None) -> Any:
    """value sigma(gate).

    glu(x) takes the first half of x's axis as value and the second as gate, as PyTorch and JAX do.

    >>> import numpy as np, dlkernels as dk
    >>> dk.glu(np.array([2.0, 0.0]))
    array([1.])
    """
    return _gated(activations.sigmoid.reference, value, gate, axis, gate_first, False)


@gate_op(ulp=0.5, grad_ulp=0.5, source="Shazeer (2020), arXiv:2002.05202", act="relu")
def reglu(gate: Any, up: Any = None, *, axis: int = -1, gate_first: bool = True, out: Any = None) -> Any:
    """up max(0, gate).

    >>> import numpy as np, dlkernels as dk
    >>> dk.reglu(np.array([1.5, -1.0]), np.array([2.0, 2.0]))
    array([3., 0.])
    """
    return _gated(piecewise.relu.reference, gate, up, axis, gate_first, True)


@gate_op(
    ulp=3.0, grad_ulp=3.5, source="Shazeer (2020), arXiv:2002.05202", act="gelu",
    variants={"approximate": {"none": "", "tanh": "_tanh"}},
)  # fmt: skip
def geglu(
    gate: Any, up: Any = None, *, axis: int = -1, gate_first: bool = True, approximate: str = "none", out: Any = None
) -> Any:
    """up gelu(gate), approximate="tanh" for gelu's tanh form.

    >>> import numpy as np, dlkernels as dk
    >>> dk.geglu(np.array([1.0, -1.0]), np.array([2.0, 2.0]))
    array([ 1.68268949, -0.31731051])
    """
    return _gated(lambda x: activations.gelu.reference(x, approximate), gate, up, axis, gate_first, True)


@gate_op(ulp=2.25, grad_ulp=2.5, source="Shazeer (2020), arXiv:2002.05202", act="silu")
def swiglu(gate: Any, up: Any = None, *, axis: int = -1, gate_first: bool = True, out: Any = None) -> Any:
    """up silu(gate) = up gate sigma(gate).

    >>> import numpy as np, dlkernels as dk
    >>> dk.swiglu(np.array([1.0, -1.0]), np.array([2.0, 2.0]))
    array([ 1.46211716, -0.53788284])
    """
    return _gated(activations.silu.reference, gate, up, axis, gate_first, True)
