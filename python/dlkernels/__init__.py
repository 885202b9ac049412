"""dlkernels: the compiled kernels of deep learning that are not matrix multiplication.

Right (a float64 definition and an error bound for every op), the same bits (any thread count, instruction set, offset), at the memory
floor (one read and one write per element). Zero-copy on NumPy arrays and on whatever speaks DLPack.
"""

# ruff: noqa: F405 - the lazy modules of __all__ come from __getattr__

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
    synchronize,
    targets,
)
from .ops import *  # noqa: F403 - every op is a name of the package
from .perceptual import perceptual_loss
from .scalers import MinMaxScaler, StandardScaler, min_max_scale, standardize

_LAZY = {"data", "filters", "init", "nn", "optim", "schedules", "train"}  # imported when they are asked for

__all__ = [
    "MinMaxScaler",
    "StandardScaler",
    "__version__",
    "build_info",
    "data",
    "filters",
    "get_cmake_dir",
    "get_include",
    "get_num_threads",
    "get_target",
    "init",
    "min_max_scale",
    "nn",
    "ops",
    "optim",
    "perceptual_loss",
    "schedules",
    "set_num_threads",
    "set_target",
    "standardize",
    "synchronize",
    "targets",
    "train",
]
__all__ += [name for name in ops.__all__ if name != "registry"]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
