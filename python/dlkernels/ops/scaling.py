"""Affine maps with statistics of their own for each column: what a scaler does to its data, in one pass, casting on the way."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import plain_op


@plain_op(make="_make_rescale", ulp=2.5, source="LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, 4.3")
def rescale(
    x: Any,
    shift: Any,
    scale: Any,
    offset: Any = 0.0,
    *,
    low: float = -np.inf,
    high: float = np.inf,
    dtype: Any = None,
    out: Any = None,
) -> Any:
    """``(x - shift) scale + offset``, kept in [low, high]: normalizes, and casts while it copies.

    x: uint8, float16, bfloat16, float32 or float64; any shape and strides. shift, scale, offset: numbers, or float64 arrays that broadcast
    to x's shape: per column (F,), per row (N, 1), per channel (C, 1, 1). The result has x's shape, array library and memory order, and the
    `dtype` that is asked for: one of the float types, by default x's, float32 for uint8. ``out=`` receives it, of any of these dtypes where
    `dtype` is not given, and may be x itself. NaN stays NaN.

    Everything is computed in float64 and rounded once (for half types by way of float32), so statistics lose nothing to the storage type.
    Error bound: 2.5 ULP for float64, at the size of the result or of offset, whichever is larger; 0.51 ULP for the others.

    Errors: TypeError for another dtype, or a statistic that is neither a number nor a float64 array; ValueError for statistics that do not
    broadcast, or an ``out`` of another shape, read-only, or overlapping an argument without being x. Nothing is written then. CPU arrays
    only so far. The gradient with respect to x, between low and high: ``rescale(dy, 0.0, scale)``.

    >>> import numpy as np, dlkernels as dk
    >>> pixels = np.array([[0, 128], [255, 0]], dtype="uint8")
    >>> dk.rescale(pixels, np.array([127.5, 0.0]), np.array([1 / 127.5, 1 / 128]), dtype="float16")
    array([[-1.,  1.],
           [ 1.,  0.]], dtype=float16)
    """
    y = (np.asarray(x).astype(np.float64) - shift) * scale + offset
    return np.where(np.isnan(y), y, np.minimum(np.maximum(y, low), high))
