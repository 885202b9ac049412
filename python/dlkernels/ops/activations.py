"""The smooth elementwise activations. The bodies are the float64 definitions; calling an op runs its compiled kernel.

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


@map_op(ulp=1.25, grad_ulp=2.0, source="Hendrycks & Gimpel (2016), arXiv:1606.08415", domain=(-70, 70))
def quick_gelu(x: Any, *, out: Any = None) -> Any:
    """x sigma(1.702 x), the sigmoid approximation of gelu that CLIP uses: swish with beta 1.702.

    quick_gelu(-inf) is -0, the limit.

    >>> import numpy as np, dlkernels as dk
    >>> dk.quick_gelu(np.array([0.0, 1.0]))
    array([0.        , 0.84579577])
    """
    t = 1.702 * x
    e = np.exp(-np.abs(t))
    return np.where(np.isneginf(x), -0.0, np.where(x >= 0, x, x * e) / (1.0 + e))


@map_op(ulp=1.0, grad_ulp=2.0, source="Misra (2019), arXiv:1908.08681", domain=(-120, 120))
def mish(x: Any, *, out: Any = None) -> Any:
    """x tanh(log(1 + exp(x))).

    mish(-inf) is -0, the limit (PyTorch gives NaN). Minimum -0.30884 at x = -1.19243.

    >>> import numpy as np, dlkernels as dk
    >>> dk.mish(np.array([0.0, 1.0]))
    array([0.        , 0.86509839])
    """
    e = np.exp(-np.abs(x))
    left = x * e * (2.0 + e) / (2.0 + e * (2.0 + e))
    right = x * (1.0 + 2.0 * e) / (1.0 + 2.0 * e * (1.0 + e))
    return np.where(np.isneginf(x), -0.0, np.where(x >= 0, right, left))


@map_op(
    ulp=1.5, grad_ulp=2.5, source="Dugas et al. (2001)", domain=(-120, 120), from_y=True, limits={"beta": "> 0"},
)  # fmt: skip
def softplus(x: Any, beta: float = 1.0, threshold: float = math.inf, *, out: Any = None) -> Any:
    """log(1 + exp(beta x)) / beta, for beta > 0; x where beta x > threshold.

    The formula is right for every x, so by default there is no threshold. threshold=20 is PyTorch's default: it differs by 2.1e-9 at most,
    which float32 does not see. jax.nn.softplus has neither number. backward from y takes the slope 1 where beta y > threshold.

    >>> import numpy as np, dlkernels as dk
    >>> dk.softplus(np.array([-1.0, 0.0]))
    array([0.31326169, 0.69314718])
    """
    t = beta * x
    return np.where(t > threshold, x, (np.maximum(t, 0.0) + np.log1p(np.exp(-np.abs(t)))) / beta)


@map_op(ulp=1.5, grad_ulp=2.0, source="logistic function", domain=(-120, 120))
def logsigmoid(x: Any, *, out: Any = None) -> Any:
    """log sigma(x) = -log(1 + exp(-x)).

    logsigmoid(inf) is -0, the limit.

    >>> import numpy as np, dlkernels as dk
    >>> dk.logsigmoid(np.array([-1.0, 0.0]))
    array([-1.31326169, -0.69314718])
    """
    return -(np.maximum(-x, 0.0) + np.log1p(np.exp(-np.abs(-x))))


@map_op(ulp=1.0, grad_ulp=2.0, source="hyperbolic tangent", domain=(-12, 12))
def tanhshrink(x: Any, *, out: Any = None) -> Any:
    """x - tanh x.

    Nearly x^3 / 3 for small x, where the difference would cancel (PyTorch gives 0 below 1e-4 in float32).

    >>> import numpy as np, dlkernels as dk
    >>> dk.tanhshrink(np.array([0.001, 1.0]))
    array([3.33333200e-10, 2.38405844e-01])
    """
    # tanh x = x / (1 + x^2 / (3 + x^2 / (5 + ...)))
    fraction = 41.0
    for odd in range(39, 1, -2):
        fraction = odd + x * x / fraction
    tail = x * x / fraction
    return np.where(np.abs(x) < 2.0, x * tail / (1.0 + tail), x - np.tanh(x))


@map_op(ulp=0.75, grad_ulp=2.0, source="Bergstra et al. (2009)", domain=(-100, 100))
def softsign(x: Any, *, out: Any = None) -> Any:
    """x / (1 + |x|).

    1 at inf and -1 at -inf, the limits (PyTorch gives NaN).

    >>> import numpy as np, dlkernels as dk
    >>> dk.softsign(np.array([-3.0, 1.0]))
    array([-0.75,  0.5 ])
    """
    return np.where(np.isposinf(x), 1.0, np.where(np.isneginf(x), -1.0, x / (1.0 + np.abs(x))))


@map_op(ulp=1.0, grad_ulp=2.0, source="Barron (2021), arXiv:2112.11687", domain=(-100, 100), limits={"b": "> 0"})
def squareplus(x: Any, b: float = 4.0, *, out: Any = None) -> Any:
    """(x + sqrt(x^2 + b)) / 2, for b > 0: like softplus, without an exponential.

    With b = 4 it is 1 at 0, with b = 4 log(2)^2 it meets softplus there. jax.nn.squareplus is the same.

    >>> import numpy as np, dlkernels as dk
    >>> dk.squareplus(np.array([0.0, 1.5]))
    array([1., 2.])
    """
    half = (
        np.where(np.abs(x) > 1e100, np.abs(x), np.sqrt(x * x + b)) / 2.0
    )  # where the square might overflow, b does not count
    return np.where(x < 0, b / 4.0 / (half - x / 2.0), half + x / 2.0)


@map_op(
    ulp=1.0, grad_ulp=2.0, source="Clevert, Unterthiner & Hochreiter (2015), arXiv:1511.07289", domain=(-120, 120),
    from_y=True, y_needs_positive="alpha",
)  # fmt: skip
def elu(x: Any, alpha: float = 1.0, *, out: Any = None) -> Any:
    """x where x > 0, alpha (exp(x) - 1) elsewhere.

    The derivative at 0 is alpha. backward accepts ``y=`` for a positive alpha.

    >>> import numpy as np, dlkernels as dk
    >>> dk.elu(np.array([-1.0, 2.0]))
    array([-0.63212056,  2.        ])
    """
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


@map_op(ulp=1.0, grad_ulp=2.0, source="Klambauer et al. (2017), arXiv:1706.02515", domain=(-120, 120), from_y=True)
def selu(x: Any, *, out: Any = None) -> Any:
    """1.0507009873554805 x where x > 0, 1.0507009873554805 1.6732632423543772 (exp(x) - 1) elsewhere.

    The numbers keep mean 0 and variance 1 from layer to layer. The derivative at 0 is the left one, 1.7580993.

    >>> import numpy as np, dlkernels as dk
    >>> dk.selu(np.array([-1.0, 2.0]))
    array([-1.11133074,  2.10140197])
    """
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    return np.where(x > 0, x * scale, np.expm1(np.minimum(x, 0.0)) * alpha * scale)


@map_op(
    ulp=1.0, grad_ulp=2.5, source="Barron (2017), arXiv:1704.07483", domain=(-120, 120), from_y=True,
    limits={"alpha": "> 0"},
)  # fmt: skip
def celu(x: Any, alpha: float = 1.0, *, out: Any = None) -> Any:
    """x where x > 0, alpha (exp(x / alpha) - 1) elsewhere, for alpha > 0.

    Its derivative is continuous for every alpha, that of elu for alpha = 1 only, where the two are the same.

    >>> import numpy as np, dlkernels as dk
    >>> dk.celu(np.array([-1.0, 2.0]), alpha=2.0)
    array([-0.78693868,  2.        ])
    """
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha))
