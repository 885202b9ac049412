"""Elementwise activations. The bodies are the float64 definitions; calling an op runs its compiled kernel.

All of them: any shape and strides, float16, bfloat16, float32 or float64 (half types are computed in float32 and rounded once); the
result has x's shape, dtype, device and array library; ``out=`` may be x itself. NaN in gives NaN out.
TypeError for another dtype or something that is no array; ValueError for an ``out`` of another shape, read-only, or overlapping x.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .._op import map_op

_erfc = np.vectorize(math.erfc, otypes=[np.float64])


@map_op(ulp=0.5, grad_ulp=0.5, source="Nair & Hinton (2010)", domain=(-100, 100), from_y=True)
def relu(x: Any, *, out: Any = None) -> Any:
    """max(0, x), elementwise.

    relu(-0) is -0 and the derivative at 0 is 0, as in PyTorch.

    >>> import numpy as np, dlkernels as dk
    >>> dk.relu(np.array([-1.0, 0.5]))
    array([0. , 0.5])
    """
    return np.where(x < 0, 0.0, x)


@map_op(
    ulp=0.5,
    grad_ulp=0.5,
    source="Maas, Hannun & Ng (2013)",
    domain=(-100, 100),
    from_y=True,
    y_needs_positive="negative_slope",
)
def leaky_relu(x: Any, negative_slope: float = 0.01, *, out: Any = None) -> Any:
    """x where x > 0, negative_slope * x elsewhere.

    The derivative at 0 is negative_slope. backward accepts ``y=`` for a positive slope. Keras' default slope is 0.3, not 0.01.

    >>> import numpy as np, dlkernels as dk
    >>> dk.leaky_relu(np.array([-1.0, 0.5]))
    array([-0.01,  0.5 ])
    """
    return np.where(x > 0, x, x * negative_slope)


@map_op(ulp=1.25, grad_ulp=2.0, source="logistic function", domain=(-120, 120), from_y=True)
def sigmoid(x: Any, *, out: Any = None) -> Any:
    """1 / (1 + exp(-x)).

    backward from y is y (1 - y), exactly 0 once y rounds to 1 (x > 17 in float32); from x it stays right far beyond.

    >>> import numpy as np, dlkernels as dk
    >>> dk.sigmoid(np.array([0.0]))
    array([0.5])
    """
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)


@map_op(ulp=1.0, grad_ulp=2.0, source="hyperbolic tangent", domain=(-12, 12), from_y=True)
def tanh(x: Any, *, out: Any = None) -> Any:
    """tanh x = (exp(2x) - 1) / (exp(2x) + 1).

    >>> import numpy as np, dlkernels as dk
    >>> dk.tanh(np.array([0.0, 1.0]))
    array([0.        , 0.76159416])
    """
    return np.tanh(x)


@map_op(ulp=2.0, grad_ulp=2.0, source="Elfwing, Uchibe & Doya (2017), arXiv:1702.03118", domain=(-120, 120))
def silu(x: Any, *, out: Any = None) -> Any:
    """x sigma(x), also called swish: x / (1 + exp(-x)).

    silu(-inf) is -0, the limit (PyTorch gives NaN). Minimum -0.27846 at x = -1.27846.

    >>> import numpy as np, dlkernels as dk
    >>> dk.silu(np.array([0.0, 1.0]))
    array([0.        , 0.73105858])
    """
    e = np.exp(-np.abs(x))
    return np.where(np.isneginf(x), -0.0, np.where(x >= 0, x, x * e) / (1.0 + e))


@map_op(
    ulp=2.0, grad_ulp=2.5, source="Hendrycks & Gimpel (2016), arXiv:1606.08415", domain=(-14, 14),
    variants={"approximate": {"none": "", "tanh": "_tanh"}},
)  # fmt: skip
def gelu(x: Any, approximate: str = "none", *, out: Any = None) -> Any:
    """x Phi(x), Phi the standard normal distribution function; approximate="tanh": x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).

    The default is exact, as in PyTorch (jax.nn.gelu defaults to the tanh form). Computed as x/2 erfc(-x/sqrt 2), so the negative tail
    keeps its digits where 1 + erf cancels. ValueError for any other `approximate`.

    >>> import numpy as np, dlkernels as dk
    >>> dk.gelu(np.array([0.0, 1.0]))
    array([0.        , 0.84134475])
    """
    if approximate == "tanh":
        z = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
        # 1 + tanh z = 2 / (1 + exp(-2z)), which does not cancel
        return np.where(np.isneginf(x), -0.0, np.where(np.isposinf(x), np.inf, x / (1.0 + np.exp(-2.0 * z))))
    return np.where(np.isneginf(x), -0.0, 0.5 * x * _erfc(-np.asarray(x) / math.sqrt(2)))


@map_op(
    ulp=2.0, grad_ulp=2.5, source="Clevert, Unterthiner & Hochreiter (2015), arXiv:1511.07289", domain=(-120, 120),
    from_y=True, y_needs_positive="alpha",
)  # fmt: skip
def elu(x: Any, alpha: float = 1.0, *, out: Any = None) -> Any:
    """x where x > 0, alpha (exp(x) - 1) elsewhere.

    The derivative at 0 is alpha. backward accepts ``y=`` for a positive alpha; its bound is 2 ULP for alpha 1, whose product is exact.

    >>> import numpy as np, dlkernels as dk
    >>> dk.elu(np.array([-1.0, 2.0]))
    array([-0.63212056,  2.        ])
    """
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))
