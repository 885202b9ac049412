"""Real images that need no network beyond a package manager.

`digits` is bundled with scikit-learn (1,797 images of 8 x 8). `fashion_mnist` reads the four IDX files
(60,000 + 10,000 images of 28 x 28), which Debian and Ubuntu ship as dataset-fashion-mnist. An IDX file is a
big-endian header (two zero bytes, a type code, the number of axes, one 32-bit size per axis) and then the
bytes; every field is checked before the data is believed.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
_UINT8 = 0x08


class DataError(ValueError):
    """A data file is not what it should be."""


class Dataset(NamedTuple):
    """A classification problem: float32 images (n, features) and int64 class ids (n,), split for good."""

    name: str
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    classes: tuple[str, ...]


def digits() -> Dataset:
    """8 x 8 handwritten digits from scikit-learn, scaled to [0, 1]; 1,438 to train on, 359 to test on (a
    fixed split).

    Source: UCI, Optical Recognition of Handwritten Digits (Alpaydin & Kaynak 1998).
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise ModuleNotFoundError(
            "digits: the images come with scikit-learn, which is not installed. "
            'Install it: pip install "dlkernels[train]".'
        ) from None
    from dlkernels.data import train_test_split

    images, labels = load_digits(return_X_y=True)
    train, test = train_test_split((images / 16).astype(np.float32), labels.astype(np.int64), 0.2, seed=0)
    return Dataset("digits", train, test, tuple("0123456789"))


def fashion_mnist(data_dir: str | PathLike[str] | None = None) -> Dataset:
    """28 x 28 pictures of clothes, standardized with the training set's mean and deviation. 60,000 / 10,000.

    `data_dir` holds train-images-idx3-ubyte, train-labels-idx1-ubyte and the two t10k- files, plain or .gz;
    the default is where Debian's package puts them. Source: Xiao, Rasul & Vollgraf 2017, arXiv:1708.07747.
    """
    folder = Path(data_dir) if data_dir is not None else DEBIAN_FASHION_MNIST
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    for prefix, count in (("train", 60_000), ("t10k", 10_000)):
        images = read_idx(_find(folder, f"{prefix}-images-idx3-ubyte"), (count, 28, 28))
        labels = read_idx(_find(folder, f"{prefix}-labels-idx1-ubyte"), (count,))
        if labels.max() > 9:
            raise DataError(
                f"fashion-mnist: labels of {prefix} must be 0 to 9, got {labels.max()}. The file is damaged."
            )
        parts.append((images.reshape(count, 28 * 28), labels.astype(np.int64)))
    mean, deviation = parts[0][0].mean(), parts[0][0].std()
    train, test = (((images.astype(np.float32) - np.float32(mean)) / np.float32(deviation), y) for images, y in parts)
    names = (
        "t-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    )
    return Dataset("fashion-mnist", train, test, names)


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"fashion-mnist: {folder} holds no {name} (plain or .gz). On Debian or Ubuntu: "
        f"apt-get install dataset-fashion-mnist. Elsewhere: fetch the four files named at "
        f"https://github.com/zalandoresearch/fashion-mnist and pass --data-dir DIR."
    )


def read_idx(path: str | PathLike[str], shape: tuple[int, ...]) -> np.ndarray:
    """The uint8 array in an IDX file, plain or gzipped, which must have exactly `shape`."""
    path = Path(path)
    header = struct.Struct(f">HBB{len(shape)}I")
    wanted = header.size + math.prod(shape)
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            raw = file.read(wanted + 1)  # one byte more than right: enough to see that a file is too long
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({error}). Fetch it again.") from error
    if len(raw) < header.size:
        raise DataError(f"{path}: an IDX header has {header.size} bytes, got {len(raw)}. Fetch the file again.")
    zero, code, axes, *sizes = header.unpack_from(raw)
    if (zero, code, axes) != (0, _UINT8, len(shape)):
        magic = f"0x{zero:04x}{code:02x}{axes:02x}"
        raise DataError(
            f"{path}: IDX magic must be 0x0000{_UINT8:02x}{len(shape):02x}, got {magic}. Is it the right file?"
        )
    if tuple(sizes) != shape:
        raise DataError(f"{path}: shape must be {shape}, got {tuple(sizes)}. Is it the right file?")
    if len(raw) != wanted:
        got = "more" if len(raw) > wanted else str(len(raw))
        raise DataError(f"{path}: must hold {wanted} bytes, got {got}. Fetch the file again.")
    return np.frombuffer(raw, np.uint8, offset=header.size).reshape(shape)
