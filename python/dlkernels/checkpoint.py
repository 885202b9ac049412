"""Arrays on disk: safetensors files that prove themselves before anything is believed.

The container is safetensors' (8 bytes of header length, a JSON header, the raw little-endian data), so any
safetensors reader opens the files. That format has no checksum: a flipped bit loads silently. Here its free
metadata carries a CRC-32 of every array and one of the header itself, and `load` checks sizes against the
file before it allocates, then the checksums, and hands out nothing unless all of it is right. No pickle, so a
file cannot run code. It is written by hand (60 lines) because a checksum of the header needs its exact bytes,
and because saving should not need an extra.
"""

from __future__ import annotations

import json
import math
import os
import re
import struct
import zlib
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import ml_dtypes
import numpy as np

from dlkernels.atomic import replacing

_TAGS: dict[str, np.dtype[Any]] = {
    tag: np.dtype(kind)
    for tag, kind in {
        "F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16,
        "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
        "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
    }.items()
}  # fmt: skip
_TAG_OF = {kind: tag for tag, kind in _TAGS.items()}
_ARRAY_CRCS, _HEADER_CRC, _METADATA = "dlkernels.crc32", "dlkernels.header_crc32", "dlkernels.metadata"
_SEAL = re.compile(rb'"dlkernels\.header_crc32":"([0-9a-f]{8})"')
_MAX_HEADER = 100_000_000  # safetensors' own limit


def _seal(crc: int) -> bytes:
    """The header's own checksum as it stands in the header; it is computed over the header with a zero in its
    place.
    """
    return b'"%s":"%08x"' % (_HEADER_CRC.encode(), crc)


class CheckpointError(ValueError):
    """The file is not what was saved: truncated, altered, or another format."""


class Checkpoint(NamedTuple):
    """What a file holds: arrays by name, and the metadata that was saved with them."""

    arrays: dict[str, np.ndarray]
    metadata: Any


def _on_host(name: str, value: Any) -> np.ndarray:
    """`value` as a C-contiguous, little-endian NumPy array: a transposed view must not be written as its
    base.
    """
    if hasattr(value, "__cuda_array_interface__"):
        value = value.get()
    try:
        array = np.asarray(value, order="C")
    except (RuntimeError, TypeError, ValueError) as error:  # a PyTorch tensor that needs a gradient, for one
        raise TypeError(f"save: arrays[{name!r}] cannot be read as a NumPy array: {error}") from error
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    if array.dtype not in _TAG_OF:
        wanted = ", ".join(str(kind) for kind in _TAG_OF)
        raise TypeError(f"save: arrays[{name!r}] must be one of {wanted}, got {array.dtype}. Convert it first.")
    return array


def _bytes_of(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def save(path: str | PathLike[str], arrays: Mapping[str, Any], metadata: Any = None) -> None:
    """Write arrays (NumPy or CuPy, any strides) and JSON-able metadata to `path`, atomically and checksummed.

    The old file stays whole until the new one is complete on the disk; an error, a full disk or kill -9
    leaves it.

    ``save("weights.safetensors", model.state_dict(), {"epoch": 3})``
    """
    held = {name: _on_host(name, value) for name, value in arrays.items()}
    if "__metadata__" in held:
        raise ValueError("save: an array must not be called __metadata__, the container's own name. Rename it.")
    crcs = {name: zlib.crc32(_bytes_of(array)) for name, array in held.items()}
    try:
        described = json.dumps(metadata)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"save: metadata must be plain JSON (dicts, lists, numbers, text): {error}.") from error
    notes = {
        "format": "np",
        _HEADER_CRC: "0" * 8,
        _ARRAY_CRCS: json.dumps(crcs),
        _METADATA: described,
    }
    entries: dict[str, Any] = {"__metadata__": notes}
    offset = 0
    for name, array in held.items():
        entries[name] = {
            "dtype": _TAG_OF[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # the data starts aligned
    if len(header) > _MAX_HEADER:
        raise ValueError(
            f"save: the header must stay below {_MAX_HEADER} bytes, got {len(header)}. Save less metadata."
        )
    header = _SEAL.sub(_seal(zlib.crc32(header)), header)
    with replacing(path) as file:
        file.write(struct.pack("<Q", len(header)) + header)
        for array in held.values():
            file.write(_bytes_of(array))


def load(path: str | PathLike[str], *, verify: bool = True) -> Checkpoint:
    """Read what `save` wrote: new arrays and the metadata. Raises CheckpointError unless every byte is as
    saved.

    ``verify=False`` also reads safetensors files of other programs, which carry no checksums; their structure
    is checked.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        entries, notes = _read_header(file, size, os.fspath(path), verify)
        crcs = json.loads(notes[_ARRAY_CRCS]) if verify else {}
        if verify and crcs.keys() != entries.keys():
            raise CheckpointError(f"{path}: checksums and arrays do not match.")
        arrays = {}
        for name, (dtype, shape, nbytes) in entries.items():
            raw = np.empty(nbytes, np.uint8)
            if file.readinto(raw.data) != nbytes:
                raise CheckpointError(f"{path}: truncated within {name!r}.")
            if verify and zlib.crc32(raw.data) != crcs[name]:
                raise CheckpointError(
                    f"{path}: {name!r} does not match its checksum: the file is damaged. Use another copy."
                )
            arrays[name] = raw.view(dtype).reshape(shape)
    try:
        return Checkpoint(arrays, json.loads(notes.get(_METADATA, "null")))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: the metadata is no JSON ({error}).") from error


_Entry = tuple["np.dtype[Any]", tuple[int, ...], int]


def _read_header(file: BinaryIO, size: int, path: str, verify: bool) -> tuple[dict[str, _Entry], dict[str, str]]:
    """(dtype, shape, bytes) of every array in file order, and the metadata: all consistent with the file's
    size.
    """
    head = file.read(8)
    length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
    if not 2 <= length <= min(size - 8, _MAX_HEADER):
        raise CheckpointError(f"{path}: not a safetensors file, or truncated ({size} bytes).")
    header = file.read(length)
    if verify:
        seals = _SEAL.findall(header)
        if len(seals) != 1:
            raise CheckpointError(
                f"{path}: holds no dlkernels checksums: damaged, or written by another program. "
                f"To read it all the same: dk.train.load(path, verify=False)."
            )
        if zlib.crc32(_SEAL.sub(_seal(0), header)) != int(seals[0], 16):
            raise CheckpointError(
                f"{path}: the header does not match its checksum: the file is damaged. Use another copy."
            )
    try:
        parsed = json.loads(header)
        notes = parsed.pop("__metadata__", {})
        if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
            raise ValueError("__metadata__ must map names to text")
        entries, position = {}, 0
        for name, entry in sorted(parsed.items(), key=lambda item: item[1]["data_offsets"]):
            dtype, (start, end) = _TAGS[entry["dtype"]], entry["data_offsets"]
            shape = tuple(map(int, entry["shape"]))
            sound = list(shape) == entry["shape"] and min(shape, default=0) >= 0
            if not sound or start != position or end - start != math.prod(shape) * dtype.itemsize:
                raise ValueError(f"{name!r}: shape, dtype and offsets do not fit together")
            entries[name], position = (dtype, shape, end - start), end
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: not a valid safetensors header ({error}).") from error
    if 8 + length + position != size:
        raise CheckpointError(f"{path}: must hold {8 + length + position} bytes, got {size}: truncated or appended to.")
    return entries, notes


# -- trees: nested dicts, lists and tuples with arrays at the leaves, as an optimizer's state_dict() gives --

_MARK = "__dlkernels__"


def pack(tree: Any, arrays: dict[str, Any], prefix: str) -> Any:
    """`tree` as plain JSON, its arrays moved to ``arrays[prefix + path]``. `unpack` gives back an equal tree.

    JSON has no tuples and no integer keys; both are marked, so (0.9, 0.999) and {0: ...} return as they were.
    """
    if isinstance(tree, Mapping):
        pairs = [[key, pack(value, arrays, f"{prefix}/{key}")] for key, value in tree.items()]
        return dict(pairs) if all(isinstance(key, str) for key in tree) else {_MARK: "items", "value": pairs}
    if isinstance(tree, list | tuple):
        values = [pack(value, arrays, f"{prefix}/{i}") for i, value in enumerate(tree)]
        return values if isinstance(tree, list) else {_MARK: "tuple", "value": values}
    if hasattr(tree, "shape"):
        arrays[prefix] = tree
        return {_MARK: "array", "value": prefix}
    return tree


def unpack(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The tree that `pack` took apart."""
    if isinstance(tree, list):
        return [unpack(value, arrays) for value in tree]
    if not isinstance(tree, dict):
        return tree
    match tree.get(_MARK):
        case "items":
            return {key: unpack(value, arrays) for key, value in tree["value"]}
        case "tuple":
            return tuple(unpack(value, arrays) for value in tree["value"])
        case "array":
            return arrays[tree["value"]]
    return {key: unpack(value, arrays) for key, value in tree.items()}


def weights(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The model's parameters in a file: a trainer's state has a slash in its names, a parameter has none."""
    return {name: array for name, array in arrays.items() if "/" not in name}
