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
    cross_entropy,
    distance_transform_edt,
    dropout,
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    mse_loss,
    relu,
    sigmoid,
    signed_distance_map,
    silu,
    softmax,
    tanh,
)

_LAZY = {"data", "init", "nn", "optim", "schedules", "train"}  # imported when they are asked for

__all__ = [
    "__version__",
    "build_info",
    "cross_entropy",
    "data",
    "distance_transform_edt",
    "dropout",
    "elu",
    "gelu",
    "get_cmake_dir",
    "get_include",
    "get_num_threads",
    "get_target",
    "init",
    "leaky_relu",
    "log_softmax",
    "mse_loss",
    "nn",
    "ops",
    "optim",
    "relu",
    "schedules",
    "set_num_threads",
    "set_target",
    "sigmoid",
    "signed_distance_map",
    "silu",
    "softmax",
    "tanh",
    "targets",
    "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
