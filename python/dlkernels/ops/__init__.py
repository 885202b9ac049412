"""The ops. Each module holds float64 definitions; importing it registers the compiled calls in `registry`."""

from __future__ import annotations

from .._op import registry
from .activations import (
    celu,
    elu,
    gelu,
    logsigmoid,
    mish,
    quick_gelu,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    squareplus,
    tanh,
    tanhshrink,
)
from .distance import distance_transform_edt, signed_distance_map
from .losses import cross_entropy, mse_loss
from .piecewise import (
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    heaviside,
    leaky_relu,
    relu,
    relu6,
    softshrink,
    threshold,
)
from .random import dropout
from .rows import log_softmax, softmax
from .scaling import rescale

__all__ = [
    "celu",
    "cross_entropy",
    "distance_transform_edt",
    "dropout",
    "elu",
    "gelu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "heaviside",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "mish",
    "mse_loss",
    "quick_gelu",
    "registry",
    "relu",
    "relu6",
    "rescale",
    "selu",
    "sigmoid",
    "signed_distance_map",
    "silu",
    "softmax",
    "softplus",
    "softshrink",
    "softsign",
    "squareplus",
    "tanh",
    "tanhshrink",
    "threshold",
]
