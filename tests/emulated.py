"""A CUDA device that is not there: the emulator of tests/simt/ registered as the CUDA target, and a `cupy` of a few lines whose arrays lie
in memory that the host cannot touch (a read of a device pointer outside a kernel ends the process). What the library does with CuPy's
arrays is so run on any machine; only CuPy itself is a stand-in.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import itertools
import math
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.lib.mixins import NDArrayOperatorsMixin
from simt_build import device_library

ALIGNMENT = 512  # of CuPy's memory pool


class Memory:
    """The device's memory, given out in pieces; what has been freed is given out again."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        size = ctypes.c_size_t()
        library.dlk_device_memory.restype = ctypes.c_void_p
        self.begin: int = library.dlk_device_memory(ctypes.byref(size))
        assert self.begin, "no memory for the emulated device"
        self.end = self.begin + size.value
        self.next = self.begin
        self.free: dict[int, list[int]] = {}

    def take(self, size: int) -> int:
        size = -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
        if self.free.get(size):
            return self.free[size].pop()
        if self.next + size > self.end:
            raise MemoryError("the emulated device is out of memory")
        self.next += size
        return self.next - size

    def give_back(self, pointer: int, size: int) -> None:
        self.free.setdefault(-(-max(size, 1) // ALIGNMENT) * ALIGNMENT, []).append(pointer)

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """The host may touch it meanwhile."""
        self.library.dlk_device_gate(True)
        try:
            yield
        finally:
            self.library.dlk_device_gate(False)


class Piece:
    """A piece of device memory, as the owner of a NumPy array that is only looked at while the memory is open."""

    def __init__(self, memory: Memory, size: int) -> None:
        self.memory, self.size, self.pointer = memory, size, memory.take(size)
        self.__array_interface__ = {"data": (self.pointer, False), "shape": (size,), "typestr": "|u1", "version": 3}

    def __del__(self) -> None:
        if hasattr(self, "pointer"):  # there was room for it
            self.memory.give_back(self.pointer, self.size)


class ndarray(NDArrayOperatorsMixin):  # noqa: N801  the name that CuPy's arrays have
    """As much of cupy.ndarray as the library and its tests use."""

    __module__ = "cupy"
    memory: Memory

    def __init__(self, view: np.ndarray) -> None:
        self._view = view  # over device memory: shape and strides may be asked for, values only while it is open

    dtype = property(lambda self: self._view.dtype)
    shape = property(lambda self: self._view.shape)
    strides = property(lambda self: self._view.strides)
    ndim = property(lambda self: self._view.ndim)
    size = property(lambda self: self._view.size)
    nbytes = property(lambda self: self._view.nbytes)
    device = types.SimpleNamespace(id=0)
    T = property(lambda self: ndarray(self._view.T))

    @property
    def data(self) -> Any:
        return types.SimpleNamespace(ptr=self._view.__array_interface__["data"][0] if self.size else 0, device_id=0)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        pointer = self._view.__array_interface__["data"][0] if self.size else 0
        described = {"shape": self.shape, "strides": self.strides, "data": (pointer, False), "version": 3, "stream": 1}
        return {**described, "typestr": self._view.dtype.str}

    def __dlpack__(self, **_: Any) -> Any:
        raise BufferError("the library takes arrays of CuPy by their attributes")

    def get(self) -> np.ndarray:
        with self.memory.opened():
            return self._view.copy()

    def copy(self) -> ndarray:
        return asarray(self.get())

    def astype(self, dtype: Any) -> ndarray:
        return asarray(self.get().astype(dtype))

    def reshape(self, *shape: Any) -> ndarray:
        return ndarray(self._view.reshape(shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape))

    def transpose(self, *axes: int) -> ndarray:
        return ndarray(self._view.transpose(*axes))

    def fill(self, value: Any) -> None:
        self[...] = value

    def __getitem__(self, key: Any) -> ndarray:
        if isinstance(key, np.ndarray):
            raise IndexError("Unsupported type <class 'numpy.ndarray'>")  # CuPy's words
        if isinstance(key, ndarray):
            with self.memory.opened():
                chosen = self._view[key._view]
            return asarray(chosen)
        key = key if isinstance(key, tuple) else (key,)
        return ndarray(self._view[key if Ellipsis in key else (*key, ...)])  # never a number, which would be read

    def __setitem__(self, key: Any, value: Any) -> None:
        with self.memory.opened():
            self._view[_host(key)] = _host(value)

    def __getattr__(self, name: str) -> Any:
        """Reductions that the library leaves to the arrays: computed by NumPy."""
        if name not in {"argmax", "max", "mean", "min", "sum"}:
            raise AttributeError(name)

        def reduce(*args: Any, **options: Any) -> ndarray:
            with self.memory.opened():
                result = np.array(getattr(self._view, name)(*args, **options))
            return asarray(result)

        return reduce

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        """Arithmetic that is not the library's: computed by NumPy."""
        with self.memory.opened():
            result = getattr(ufunc, method)(*map(_host, inputs), out=tuple(map(_host, out)) or None, **options)
            result = np.array(result)
        return out[0] if out else asarray(result)

    def __array_function__(self, function: Any, types: Any, args: Any, options: Any) -> Any:
        with self.memory.opened():
            result = function(*[_host(a) for a in args], **{k: _host(v) for k, v in options.items()})
            result = None if result is None else np.array(result)
        return None if result is None else asarray(result)

    def __float__(self) -> float:
        return float(self.get())

    def __len__(self) -> int:
        return len(self._view)


def _host(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return type(value)(map(_host, value))
    return value._view if isinstance(value, ndarray) else value


def empty(shape: Any, dtype: Any = np.float32) -> ndarray:
    """Device memory, filled with a pattern that is NaN in every float type: nobody may count on zeros."""
    dtype = np.dtype(dtype)
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    size = math.prod(shape) * dtype.itemsize
    raw = np.asarray(Piece(ndarray.memory, size))
    with ndarray.memory.opened():
        raw[...] = 0xFF
    return ndarray(raw[:size].view(dtype).reshape(shape))


def asarray(values: Any, dtype: Any = None) -> ndarray:
    """A copy in device memory."""
    if isinstance(values, ndarray):
        values = values.get()
    host = np.asarray(values, dtype)
    made = empty(host.shape, host.dtype)
    made[...] = host
    return made


def empty_like(like: ndarray, dtype: Any) -> ndarray:
    """In the memory order of `like`."""
    order = sorted(range(like.ndim), key=lambda d: -abs(like.strides[d]))
    made = empty([like.shape[d] for d in order], dtype)
    return made.transpose(*np.argsort(order)) if like.ndim else made


def zeros(shape: Any, dtype: Any = np.float32) -> ndarray:
    made = empty(shape, dtype)
    made[...] = 0
    return made


def placed(values: Any, offset: int) -> ndarray:
    """A copy that begins `offset` elements after a boundary of 512 bytes."""
    host = np.asarray(values)
    room = empty(host.size + offset, host.dtype)
    made = ndarray(room._view[offset:].reshape(host.shape))
    made[...] = host
    return made


def stand_in() -> types.ModuleType:
    """The module `cupy`."""
    cupy = types.ModuleType("cupy")
    stream = types.SimpleNamespace(ptr=0)
    cupy.__dict__.update(
        ndarray=ndarray, empty=empty, empty_like=empty_like, asarray=asarray, zeros=zeros,
        float32=np.float32, float64=np.float64, bfloat16=ml_dtypes.bfloat16,
        cuda=types.SimpleNamespace(
            get_current_stream=lambda device=0: stream, Device=lambda device=0: contextlib.nullcontext(),
            runtime=types.SimpleNamespace(
                getDevice=lambda: 0, pointerGetAttributes=lambda pointer: types.SimpleNamespace(device=0)
            ),
        ),
    )  # fmt: skip
    return cupy


class Device:
    """The emulated device and the `cupy` that goes with it, which is in sys.modules while it is used."""

    def __init__(self, folder: Path) -> None:
        self.library = ctypes.CDLL(str(device_library(folder)))
        self.library.dlk_device_target.restype = ctypes.c_void_p
        ndarray.memory = Memory(self.library)
        new = ctypes.pythonapi.PyCapsule_New
        new.restype = ctypes.py_object
        new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
        core = importlib.import_module("dlkernels._op").core
        core.register_cuda_target(new(self.library.dlk_device_target(), None, None))
        self.cupy = stand_in()

    @contextlib.contextmanager
    def used(self, patch: pytest.MonkeyPatch) -> Iterator[Any]:
        patch.setitem(sys.modules, "cupy", self.cupy)
        patch.setattr("dlkernels._op.require_cuda", lambda: None)
        yield self.cupy

    def next_launch_fails(self, code: int) -> None:
        self.library.dlk_device_fails(code)

    @contextlib.contextmanager
    def behind(self) -> Iterator[None]:
        """Within this, what has been queued is not known to be done."""
        self.library.dlk_device_behind(True)
        yield
        self.library.dlk_device_behind(False)

    @contextlib.contextmanager
    def captured(self) -> Iterator[None]:
        """Within this, every stream is being captured in a graph."""
        self.library.dlk_device_captured(True)
        yield
        self.library.dlk_device_captured(False)

    def events(self) -> int:
        """How many there are."""
        return int(self.library.dlk_device_events())

    def waits(self) -> int:
        """How often an event has been waited for."""
        return int(self.library.dlk_device_waits())

    def questions(self) -> int:
        """Questions about the device's numbers so far."""
        self.library.dlk_device_questions.restype = ctypes.c_uint64
        return int(self.library.dlk_device_questions())

    def launches_at_event(self) -> int:
        """Kernels launched before the last event was recorded."""
        self.library.dlk_device_launches_at_event.restype = ctypes.c_uint64
        return int(self.library.dlk_device_launches_at_event())

    def launches(self) -> int:
        """Kernels launched so far."""
        self.library.dlk_device_launches.restype = ctypes.c_uint64
        return int(self.library.dlk_device_launches())


def offsets() -> Iterator[int]:
    """0, 1, 2, 3, 0, ...: where arrays of a test begin, so that aligned and misaligned ones take turns."""
    return itertools.cycle(range(4))
