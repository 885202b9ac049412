"""The ops. Each module holds float64 definitions; importing it registers the compiled calls in `registry`."""

from __future__ import annotations

from .._op import registry
from .activations import elu, gelu, leaky_relu, relu, sigmoid, silu, tanh
from .distance import distance_transform_edt, signed_distance_map
from .losses import cross_entropy, mse_loss
from .random import dropout
from .rows import log_softmax, softmax

__all__ = [
    "cross_entropy",
    "distance_transform_edt",
    "dropout",
    "elu",
    "gelu",
    "leaky_relu",
    "log_softmax",
    "mse_loss",
    "registry",
    "relu",
    "sigmoid",
    "signed_distance_map",
    "silu",
    "softmax",
    "tanh",
]
