"""dlkernels: the compiled kernels of deep learning that are not matrix multiplication.

Right (a float64 definition and an error bound for every op), the same bits (any thread count, instruction set, offset), at the memory
floor (one read and one write per element). Zero-copy on NumPy arrays and on whatever speaks DLPack.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import ops
from ._runtime import (
    __version__,
    build_info,
    get_cmake_dir,
    get_include,
    get_num_threads,
    get_target,
    set_num_threads,
    set_target,
    targets,
)
from .ops import (
    celu,
    cross_entropy,
    distance_transform_edt,
    dropout,
    elu,
    gelu,
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    heaviside,
    leaky_relu,
    log_softmax,
    logsigmoid,
    mish,
    mse_loss,
    quick_gelu,
    relu,
    relu6,
    rescale,
    selu,
    sigmoid,
    signed_distance_map,
    silu,
    softmax,
    softplus,
    softshrink,
    softsign,
    squareplus,
    tanh,
    tanhshrink,
    threshold,
)
from .perceptual import perceptual_loss
from .scalers import MinMaxScaler, StandardScaler, min_max_scale, standardize

_LAZY = {"data", "filters", "init", "nn", "optim", "schedules", "train"}  # imported when they are asked for

__all__ = [
    "MinMaxScaler",
    "StandardScaler",
    "__version__",
    "build_info",
    "celu",
    "cross_entropy",
    "data",
    "distance_transform_edt",
    "dropout",
    "elu",
    "filters",
    "gelu",
    "get_cmake_dir",
    "get_include",
    "get_num_threads",
    "get_target",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "heaviside",
    "init",
    "leaky_relu",
    "log_softmax",
    "logsigmoid",
    "min_max_scale",
    "mish",
    "mse_loss",
    "nn",
    "ops",
    "optim",
    "perceptual_loss",
    "quick_gelu",
    "relu",
    "relu6",
    "rescale",
    "schedules",
    "selu",
    "set_num_threads",
    "set_target",
    "sigmoid",
    "signed_distance_map",
    "silu",
    "softmax",
    "softplus",
    "softshrink",
    "softsign",
    "squareplus",
    "standardize",
    "tanh",
    "tanhshrink",
    "targets",
    "threshold",
    "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
