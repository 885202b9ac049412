"""What the compiled core asks about arrays that are not NumPy's: their device, their stream, how to allocate beside them.

No array library is imported here: whoever passes a CuPy, PyTorch or JAX array has imported it already, so it is in `sys.modules`.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

_JAX = {"jax", "jaxlib"}
_DLPACK_CUDA = {2, 13}  # kDLCUDA, kDLCUDAManaged
_LIBRARIES = {"cupy", "numpy", "torch"} | _JAX


def _library(x: Any) -> str:
    """The array library of x; a subclass made elsewhere belongs to the library that it derives from."""
    for t in type(x).__mro__:
        root = t.__module__.partition(".")[0]
        if root in _LIBRARIES:
            return root
    return type(x).__module__.partition(".")[0]


_View = tuple[int, bool, tuple[int, ...], tuple[int, ...] | None, Any, int, int, Any]


def foreign_view(x: Any) -> Any:
    """What is to be known of a GPU array: (pointer, readonly, shape, strides in bytes, dtype, device, stream, lent on); or, of one that its
    library lends by DLPack, CuPy's stream on which it will be read. None for what lies in the host's memory.

    lent on: None if its memory is reused in the order of the stream; else CuPy's stream, until which has read it x is to be kept. TypeError
    for an array whose memory does not hold its values.
    """
    library = _library(x)
    if library == "torch":
        if getattr(x, "is_neg", bool)() or getattr(x, "is_conj", bool)():  # PyTorch lends the unresolved memory
            raise TypeError("it is lazily negated or conjugated. Pass x.resolve_neg().resolve_conj()")
        return _torch_cuda_view(x) if getattr(x, "is_cuda", False) else None
    if library == "cupy":
        _require_cuda()
        device = x.data.device_id
        stream = sys.modules["cupy"].cuda.get_current_stream(device).ptr
        return x.data.ptr, False, x.shape, x.strides, x.dtype, device, int(stream), None
    if library in _JAX or not hasattr(x, "__cuda_array_interface__"):
        # JAX has that interface too, but not of bfloat16, and no stream in it that its results could be waited for on.
        lends = _dlpack_cuda_device(x)
        if lends is None:
            return None
        _require_cuda()
        cuda = _cupy("an array on a GPU of a library that is neither CuPy nor PyTorch").cuda
        return cuda.get_current_stream(lends)
    interface = x.__cuda_array_interface__
    if interface.get("mask") is not None:
        raise TypeError("its mask would be lost")
    _require_cuda()
    pointer, readonly = interface["data"]
    device = _cuda_device(x) or 0
    # None from version 3 on: there is nothing to wait for. Before, producers could not say.
    producer = interface.get("stream") if interface.get("version", 0) >= 3 else 1
    stream = stream_after(producer, device)
    dtype = getattr(x, "dtype", None)  # typestr has no name for bfloat16
    kind = interface["typestr"] if dtype is None else str(dtype)
    shape, strides = tuple(interface["shape"]), interface.get("strides")
    return pointer, readonly, shape, strides, kind, device, int(stream.ptr), stream


def _dlpack_cuda_device(x: Any) -> int | None:
    """The GPU that x is on, as its DLPack says."""
    try:
        kind, device = x.__dlpack_device__()
    except (
        AttributeError,
        BufferError,
    ):  # what cannot be lent is refused, with its library's words, when it is asked for
        return None
    return int(device) if kind in _DLPACK_CUDA else None


def _cuda_device(x: Any) -> int | None:
    """The device of a GPU array of whatever library; None for an array elsewhere."""
    device = _dlpack_cuda_device(x)
    if device is not None or hasattr(x, "__dlpack_device__"):
        return device
    interface = getattr(x, "__cuda_array_interface__", None)
    if interface is None:
        return None
    runtime = _cupy("an array on a GPU that only has __cuda_array_interface__").cuda.runtime
    pointer = interface["data"][0]
    return int(runtime.pointerGetAttributes(pointer).device if pointer else runtime.getDevice())  # 0: an empty array


def place_of(x: Any) -> tuple[str, int]:
    """(array library, device) of a GPU array: what shares a current stream."""
    library = _library(x)
    device = x.data.device_id if library == "cupy" else x.device.index if library == "torch" else _cuda_device(x)
    return library, int(device or 0)


def stream_after(producer: int | None, device: int) -> Any:
    """CuPy's current stream, on which results of foreign arrays are made, behind what the producer's stream has been given so far."""
    cuda = _cupy("an array on a GPU of a library that is neither CuPy nor PyTorch").cuda
    current = cuda.get_current_stream(device)
    legacy = 1  # CUDA's name for the stream that CuPy knows as 0
    if producer is not None and (current.ptr or legacy) != (producer or legacy):
        with cuda.Device(device):
            event = cuda.Event(disable_timing=True)
            cuda.runtime.eventRecord(event.ptr, producer)
            current.wait_event(event)
    return current


def _cupy(what: str) -> Any:
    try:
        return importlib.import_module("cupy")
    except ImportError as e:
        raise TypeError(f"{what} needs CuPy, which the results are allocated by. Install cupy-cuda13x") from e


def _torch_cuda_view(x: Any) -> _View:
    torch = sys.modules["torch"]
    if x.requires_grad:
        raise TypeError("it requires grad. Pass x.detach()")
    _require_cuda()
    stream = int(torch.cuda.current_stream(x.device).cuda_stream)
    item = x.element_size()
    dtype = str(x.dtype).removeprefix("torch.")
    device = x.device.index or 0
    return x.data_ptr(), False, tuple(x.shape), tuple(s * item for s in x.stride()), dtype, device, stream, None


def _require_cuda() -> None:
    from ._op import require_cuda

    require_cuda()


def on_gpu(x: Any) -> bool:
    """Is x an array on a GPU? Nothing of it is read."""
    if hasattr(x, "is_cuda"):  # PyTorch's
        return bool(x.is_cuda)
    if _library(x) == "cupy":
        return True
    if hasattr(x, "__dlpack_device__"):
        return _dlpack_cuda_device(x) is not None
    return hasattr(x, "__cuda_array_interface__")


def immutable(x: Any) -> bool:
    """Is x an array that its library never lets anyone write to? (JAX exports its arrays without saying so.)"""
    return _library(x) in _JAX


def empty(like: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """An uninitialized array of the library and device of `like`, that a kernel can write into."""
    library = _library(like)
    if library == "torch":
        torch = sys.modules["torch"]
        with _memory_errors(torch):
            return torch.empty(shape, dtype=getattr(torch, dtype), device=like.device)
    if library == "cupy":
        return _cupy_empty(like.data.device_id, shape, dtype)
    if library in _JAX:
        device = _cuda_device(like)
        return _aligned(shape, _dtype(dtype)) if device is None else _cupy_empty(device, shape, dtype)
    if library != "numpy" and hasattr(like, "__array_namespace__"):
        xp = like.__array_namespace__()
        return xp.empty(shape, dtype=getattr(xp, dtype), device=like.device)
    if library != "numpy" and (device := _cuda_device(like)) is not None:
        return _cupy_empty(device, shape, dtype)
    return np.empty(shape, dtype=_dtype(dtype))


@contextlib.contextmanager
def _memory_errors(torch: Any) -> Iterator[None]:
    """PyTorch's OutOfMemoryError is a RuntimeError."""
    try:
        yield
    except torch.OutOfMemoryError as e:
        raise MemoryError(str(e)) from e


def empty_like(like: Any, dtype: str) -> Any:
    """The same on a GPU, with the order of dimensions that `like` has in memory."""
    library = _library(like)
    if library == "torch":
        torch = sys.modules["torch"]
        with _memory_errors(torch):
            return torch.empty_like(like, dtype=getattr(torch, dtype))
    if library == "cupy":
        with sys.modules["cupy"].cuda.Device(like.data.device_id):
            return sys.modules["cupy"].empty_like(like, dtype=_dtype(dtype))
    return empty(like, tuple(like.shape), dtype)


def _cupy_empty(device: int, shape: tuple[int, ...], dtype: str) -> Any:
    """From CuPy's pool on the given device."""
    cupy = sys.modules["cupy"]
    if cupy.cuda.runtime.getDevice() == device:
        return cupy.empty(shape, dtype=_dtype(dtype))
    with cupy.cuda.Device(device):
        return cupy.empty(shape, dtype=_dtype(dtype))


def _aligned(shape: tuple[int, ...], dtype: Any) -> Any:
    """A NumPy array on a 64-byte boundary: JAX adopts such memory without a copy."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def _dtype(name: str) -> Any:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def finish(like: Any, result: Any) -> Any:
    """The result as an array of the library of `like`."""
    if _library(like) in _JAX:
        jax = sys.modules["jax"]
        return jax.dlpack.from_dlpack(result) if _library(result) == "cupy" else jax.numpy.asarray(result)
    return result


def on_device_of(x: Any) -> contextlib.AbstractContextManager[Any]:
    """CuPy works on the current device, whatever the arrays': within this, it is x's."""
    if _library(x) == "cupy":
        device: contextlib.AbstractContextManager[Any] = sys.modules["cupy"].cuda.Device(x.data.device_id)
        return device
    return contextlib.nullcontext()


def cupy_view(x: Any) -> Any:
    """The same memory as an array of CuPy, for what is computed by the array library."""
    return x if _library(x) == "cupy" else _cupy("an array on a GPU of another library, here,").from_dlpack(x)


def on_stream_of(x: Any) -> contextlib.AbstractContextManager[Any]:
    """CuPy works on the stream and device that kernels for x are queued on."""
    if _library(x) != "torch":
        return on_device_of(x)
    stream = sys.modules["torch"].cuda.current_stream(x.device)
    external: contextlib.AbstractContextManager[Any] = _cupy("a PyTorch array, here,").cuda.ExternalStream(
        stream.cuda_stream, x.device.index
    )
    return external


def zeros(like: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """Zeros in C order, beside `like`."""
    array = empty(like, shape, dtype)
    with on_device_of(array):
        array[...] = 0
    return array


def zeros_state(like: Any) -> Any:
    """Zeros for optimizer state: float64 for float64 parameters, float32 for all others."""
    return zeros(like, tuple(like.shape), "float64" if str(like.dtype).endswith("float64") else "float32")


def device_array(like: Any, values: Any) -> Any:
    """Numbers of a NumPy array beside `like`."""
    array = empty(like, values.shape, str(values.dtype))
    copy_into(array, values)
    return array


def to_host(x: Any, dtype: Any = np.float64) -> Any:
    """The numbers of an array of any library, which is waited for."""
    host = np.empty(tuple(x.shape), dtype)
    copy_into(host, x)
    return host


def copy(x: Any) -> Any:
    """A copy in x's own library."""
    with on_device_of(x):
        return x.clone() if _library(x) == "torch" else x.copy()


def copy_into(to: Any, source: Any) -> None:
    """Copies values between arrays of any two libraries and dtypes."""
    if _library(source) == "torch" and _library(to) != "torch":
        source = source.detach().cpu().double().numpy()
    elif _library(source) == "cupy" and _library(to) != "cupy":
        source = source.get()
    if _library(to) == "torch":
        torch = sys.modules["torch"]
        to.copy_(source if _library(source) == "torch" else torch.from_numpy(np.asarray(source, dtype=np.float64)))
    elif _library(to) == "cupy":
        with on_device_of(to):
            to[...] = sys.modules["cupy"].asarray(source)
    else:
        to[...] = source


class _Memory:
    """Address, shape and strides for NumPy's overlap solver, which reads no element."""

    def __init__(self, pointer: int, shape: tuple[int, ...], strides: tuple[int, ...], item: int) -> None:
        self.__array_interface__ = {
            "data": (pointer, True),
            "shape": shape,
            "strides": strides,
            "typestr": f"|V{item}",
            "version": 3,
        }


def shares_memory(
    a: tuple[int, tuple[int, ...], tuple[int, ...], int], b: tuple[int, tuple[int, ...], tuple[int, ...], int]
) -> bool:
    """Do two arrays, given as (pointer, shape, strides, item size), have an address in common?"""
    try:
        solver: Any = np.shares_memory  # the stub knows only the extreme values of max_work
        return bool(solver(np.asarray(_Memory(*a)), np.asarray(_Memory(*b)), max_work=1_000_000))
    except np.exceptions.TooHardError:
        return True
