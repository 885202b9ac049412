"""Activations with a number that may be learned. The bodies are the float64 definitions; calling an op runs its compiled kernel.

The number is a Python number, or an array of x's dtype with one element or with one for each channel, which is dimension 1 of x. For an
array backward gives (dx, dnumber), else dx alone. The gradient of the number is a sum in canonical order, float64 for float64 x and
float32 otherwise: the same bits for any number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import slope_op


def _over_channels(number: Any, x: Any) -> Any:
    """One number for each channel (dimension 1), shaped so that it repeats over the others."""
    return np.reshape(number, (-1,) + (1,) * (np.ndim(x) - 2)) if np.size(number) > 1 else number


@slope_op(
    ulp=0.5, grad_ulp=0.5, source="He et al. (2015), arXiv:1502.01852", number="weight", plain="leaky_relu",
    domain=(-100, 100),
)  # fmt: skip
def prelu(x: Any, weight: Any = 0.25, *, out: Any = None) -> Any:
    """x where x > 0, weight * x elsewhere; a weight of 0 is relu, also at -inf.

    The derivative at 0 is weight. dweight is the sum of dy min(x, 0). Keras has one slope for each element and starts them at 0; ONNX
    broadcasts the slope from the right.

    >>> import numpy as np, dlkernels as dk
    >>> dk.prelu(np.array([-1.0, 2.0]), np.array(0.25))
    array([-0.25,  2.  ])
    """
    w = _over_channels(weight, x)
    return np.where(x > 0, x, np.where((x < 0) & (w == 0), 0.0, w * x))


@slope_op(
    ulp=1.25, grad_ulp=2.0, source="Ramachandran, Zoph & Le (2017), arXiv:1710.05941", number="beta", plain="swish",
    domain=(-120, 120),
)  # fmt: skip
def swish(x: Any, beta: Any = 1.0, *, out: Any = None) -> Any:
    """x sigma(beta x).

    silu for beta 1, quick_gelu for 1.702, x / 2 for 0, nearer and nearer to relu for large beta. dbeta is the sum of
    dy x^2 sigma(beta x) sigma(-beta x). Keras' swish has no beta; ONNX Swish calls it alpha.

    >>> import numpy as np, dlkernels as dk
    >>> dk.swish(np.array([0.0, 1.0]), 2.0)
    array([0.        , 0.88079708])
    """
    t = _over_channels(beta, x) * x
    e = np.exp(-np.abs(t))
    return np.where(np.isneginf(t), -0.0, x * np.where(t >= 0, 1.0, e) / (1.0 + e))
