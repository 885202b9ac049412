"""What stands between two linear layers, in one pass over the elements. The bodies are the float64 definitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import bias_act_op
from .activations import gelu, silu
from .random import dropout

_ACTIVATIONS = {
    "none": lambda z: z,
    "relu": lambda z: np.where(z < 0, 0.0, z),
    "gelu": gelu.reference,
    "gelu_tanh": lambda z: gelu.reference(z, "tanh"),
    "silu": silu.reference,
}


@bias_act_op(ulp=3.0, grad_ulp=4.0, source="the composition of its parts; dropout: Srivastava et al. (2014)")
def bias_act(
    x: Any,
    bias: Any = None,
    activation: str = "gelu",
    p: float = 0.0,
    *,
    residual: Any = None,
    seed: Any = None,
    offset: int = 0,
    out: Any = None,
) -> Any:
    """dropout(act(x + bias), p) + residual, bias along the last dimension; activation none, relu, gelu, gelu_tanh or silu.

    The mask is dropout's for (seed, offset): element i of x in C order is kept where its uniform is >= p. With p > 0, seed is
    needed; p = 0 draws nothing. One read of x and residual and one write; separate ops would take eight passes.

    backward(dy, x, bias, activation, p, ...) recomputes the mask and gives (dx, dbias), or dx alone without bias; dbias, the sum of
    dx over all but the last dimension, is float64 for float64 x and float32 otherwise. The gradient of residual is dy itself.

    >>> import numpy as np, dlkernels as dk
    >>> dk.bias_act(np.array([[1.0, -2.0]]), np.array([0.5, 0.5]), "relu")
    array([[1.5, 0. ]])
    """
    y = _ACTIVATIONS[activation](x if bias is None else x + bias)
    if p > 0:
        y = dropout.reference(y, p, seed=seed, offset=offset)
    return y if residual is None else y + residual
