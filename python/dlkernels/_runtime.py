"""Which target runs, on how many threads, and where the C library lies."""

from __future__ import annotations

import operator
from pathlib import Path

from . import _op
from ._op import build_info, core

__all__ = [
    "__version__",
    "build_info",
    "get_cmake_dir",
    "get_include",
    "get_num_threads",
    "get_target",
    "set_num_threads",
    "set_target",
    "synchronize",
    "targets",
]

__version__: str = core.__version__

_MAX_THREADS: int = core.max_threads
_ROOT = Path(core.__file__).parent  # not this file's: an editable install keeps lib/ and include/ beside the core


def targets() -> list[str]:
    """Names of the CPU targets that this machine supports, best first."""
    return list(core.supported_targets())


def get_target() -> str:
    """The CPU target in use. Chosen at import, best first, or by DLKERNELS_TARGET."""
    return str(core.target())


def set_target(name: str) -> None:
    """Uses the named CPU target from now on. Results do not change, speed does. ValueError if it cannot run here."""
    if not isinstance(name, str):
        raise TypeError(f"set_target: name must be a string, got {name!r}.")
    core.set_target(name)


def get_num_threads() -> int:
    """Threads that a call may use, the caller's included."""
    return int(core.num_threads())


def synchronize(device: int = 0) -> None:
    """Waits until everything queued on a CUDA device is done, and raises what kernels found meanwhile.

    Calls on GPU arrays return before their kernels have run, so a class id out of range is not known then: the loss is NaN, and the
    IndexError comes from here, or from the next loss with class ids on that device.

    Raises RuntimeError if a kernel failed or no CUDA device can be used, IndexError for a class id out of range.

    Example:
        loss = dk.cross_entropy(logits, target)  # CuPy arrays
        dk.synchronize()
    """
    _op.require_cuda()
    core.synchronize(operator.index(device))


def set_num_threads(n: int) -> None:
    """Lets calls use up to n threads. Results do not change. ValueError outside 1 to 1024.

    The default is the smallest of: cores this process may run on, the cgroup's CPU quota, DLKERNELS_NUM_THREADS.
    """
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"set_num_threads: n must be an integer, got {n!r}.")
    if not 1 <= n <= _MAX_THREADS:
        raise ValueError(f"set_num_threads: n must be from 1 to {_MAX_THREADS}, got {n!r}.")
    core.set_num_threads(n)


def get_include() -> str:
    """Folder of the C headers, for ``-I``."""
    return str(_ROOT / "include")


def get_cmake_dir() -> str:
    """Folder of the CMake package, for ``-Ddlkernels_DIR=``."""
    return str(_ROOT / "lib" / "cmake" / "dlkernels")
