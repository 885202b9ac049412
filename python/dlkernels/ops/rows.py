"""Ops on each row along an axis. The bodies are the float64 definitions; calling an op runs its compiled kernel.

Sums are added in one canonical order (DESIGN.md 3.2), so a result does not depend on threads, instruction set or strides.
Error bounds are in ULP of the largest magnitude in the row: x - max is rounded once, which costs a small element relative accuracy.
The row's maximum is subtracted first: no overflow. A row of -inf only, or with +inf or NaN in it, is NaN; a -inf entry contributes 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import rows_op


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
