"""A DLPack producer made of ctypes: any field of the tensor can be set, hostile values included, and calls of its deleter are counted."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

CPU, CUDA, UNKNOWN = 1, 2, 99
FLOAT, BFLOAT, INT = 2, 4, 0
READ_ONLY = 1

_Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class _Tensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32), ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    )  # fmt: skip


class _Managed(ctypes.Structure):
    _fields_ = (("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", _Deleter))


class _ManagedVersioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p), ("deleter", _Deleter),
        ("flags", ctypes.c_uint64), ("tensor", _Tensor),
    )  # fmt: skip


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
capsule_name = ctypes.pythonapi.PyCapsule_GetName
capsule_name.restype, capsule_name.argtypes = ctypes.c_char_p, [ctypes.py_object]


_lent: list[Any] = []  # never freed: a capsule may outlive its producer


class Producer:
    """Lends the memory of a float32 array. Keywords replace fields; `strides=None` is a null pointer; strides count elements."""

    def __init__(self, a: np.ndarray, *, versioned: bool = True, major: int = 1, flags: int = 0, **fields: Any) -> None:
        self.array, self.versioned, self.major, self.flags = a, versioned, major, flags
        self.fields = {
            "data": a.ctypes.data, "device_type": CPU, "device_id": 0, "ndim": a.ndim, "code": FLOAT, "bits": 8 * a.itemsize, "lanes": 1,
            "shape": a.shape, "strides": tuple(s // a.itemsize for s in a.strides), "byte_offset": 0, **fields,
        }  # fmt: skip
        self.deleted, self.asked = 0, 0
        self.stream: Any = None  # as it was named in the last call

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.fields["device_type"], 0

    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any:
        self.asked += 1
        self.stream = stream
        tensor = _Tensor()
        for name, value in self.fields.items():
            if name in {"shape", "strides"}:
                value = None if value is None else (ctypes.c_int64 * max(1, len(value)))(*value)
            setattr(tensor, name, value)
        deleter = _Deleter(self._delete)
        managed = (
            _ManagedVersioned(self.major, 0, None, deleter, self.flags, tensor)
            if self.versioned
            else _Managed(tensor, None, deleter)
        )
        _lent.append((self, tensor, deleter, managed))
        name = b"dltensor_versioned" if self.versioned else b"dltensor"
        return _new_capsule(ctypes.addressof(managed), name, None)

    def _delete(self, _managed: int) -> None:
        self.deleted += 1
