"""Ops on each row along an axis. The bodies are the float64 definitions; calling an op runs its compiled kernel.

Sums are added in one canonical order (DESIGN.md 3.2), so a result does not depend on threads, instruction set or strides.
Error bounds are in ULP of the largest magnitude in the row: x - max is rounded once, which costs a small element relative accuracy.
The row's maximum is subtracted first: no overflow. A row of -inf only, or with +inf or NaN in it, is NaN; a -inf entry contributes 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import row_value_op, rows_op


@rows_op(ulp=4.0, grad_ulp=16.0, source="Bridle (1990)", domain=(-30, 30))
def softmax(x: Any, axis: int = -1, *, out: Any = None) -> Any:
    """exp(x - max x) / sum exp(x - max x) along `axis`.

    Any shape; float16, bfloat16, float32, float64. A 0-d array is a row of one element. ValueError for an axis out of range.

    >>> import numpy as np, dlkernels as dk
    >>> dk.softmax(np.array([0.0, 0.0]))
    array([0.5, 0.5])
    """
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


@rows_op(ulp=4.0, grad_ulp=16.0, source="Bridle (1990)", domain=(-30, 30))
def log_softmax(x: Any, axis: int = -1, *, out: Any = None) -> Any:
    """(x - max x) - log sum exp(x - max x) along `axis`.

    Any shape; float16, bfloat16, float32, float64. A 0-d array is a row of one element. ValueError for an axis out of range.

    >>> import numpy as np, dlkernels as dk
    >>> dk.log_softmax(np.array([0.0, 0.0]))
    array([-0.69314718, -0.69314718])
    """
    z = x - np.max(x, axis=axis, keepdims=True)
    return z - np.log(np.sum(np.exp(z), axis=axis, keepdims=True))


@row_value_op(ulp=4.0, grad_ulp=16.0, source="Bridle (1990)", domain=(-30, 30))
def logsumexp(x: Any, axis: int = -1, keepdims: bool = False, *, out: Any = None) -> Any:
    """max x + log sum exp(x - max x) along `axis`.

    A row of -inf only is -inf, one with +inf in it +inf. The gradient is that of `softmax`, NaN for such rows.

    >>> import numpy as np, dlkernels as dk
    >>> dk.logsumexp(np.array([[0.0, 0.0], [-np.inf, 1.0]])).round(6)
    array([0.693147, 1.      ])
    """
    top = np.max(x, axis=axis, keepdims=True)
    top = np.where(np.isinf(top), 0.0, top)
    y = top + np.log(np.sum(np.exp(x - top), axis=axis, keepdims=True))
    return y if keepdims else np.squeeze(y, axis=axis)
