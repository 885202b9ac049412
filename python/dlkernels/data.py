"""Mini-batches and splits of arrays that fit in memory; the bundled data sets.

The order of an epoch is a permutation drawn from Philox keyed by the seed alone, so it can be replayed: there
is no generator state to save. `reuse=True` copies every batch into one buffer, which saves the allocator a
page-fault storm.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from dlkernels import arguments
from dlkernels.datasets import Dataset, digits, fashion_mnist
from dlkernels.init import generator

__all__ = ["Dataset", "batches", "digits", "fashion_mnist", "train_test_split"]

Array = Any
IntSeed = int | Sequence[int]


def check_pair(where: str, X: Array, y: Array) -> int:
    """The number of examples; raises unless X and y hold the same number of them and at least one."""
    arguments.array(where, "X", X)
    arguments.array(where, "y", y)
    if not X.shape or not y.shape:
        raise ValueError(f"{where}: X and y must have an axis of examples, got shapes {X.shape} and {y.shape}.")
    if len(X) != len(y):
        raise ValueError(f"{where}: X and y must have the same length, got {len(X)} and {len(y)}.")
    if len(X) == 0:
        raise ValueError(f"{where}: X and y must hold at least one example, got none.")
    return len(X)


def _rows(source: Array, index: np.ndarray) -> Array:
    """source[index]; CuPy's arrays take indices of their own kind."""
    return source[index if isinstance(source, np.ndarray) else np.asarray(index, like=source)]


def _gather(source: Array, index: np.ndarray, buffer: Array | None) -> Array:
    if buffer is None:
        return _rows(source, index)
    # clip: with the default mode="raise", take() goes through a second buffer. The indices are a permutation
    # of ours.
    return np.take(source, index, axis=0, out=buffer[: len(index)], mode="clip")


def batches(
    X: Array,
    y: Array,
    batch_size: int,
    *,
    shuffle: bool = True,
    seed: IntSeed = 0,
    drop_last: bool = False,
    reuse: bool = False,
) -> Iterator[tuple[Array, Array]]:
    """Yield (X[i], y[i]) for consecutive slices i of a permutation of the examples, the last one shorter.

    The permutation is a function of `seed`: pass (seed, epoch) for a new order every epoch. Without `shuffle`
    the batches are views, in order. With `reuse` a batch is valid until the next one is asked for (NumPy
    arrays only).

    >>> [len(xb) for xb, yb in batches(np.zeros((5, 2)), np.zeros(5), batch_size=2)]
    [2, 2, 1]
    """
    n = check_pair("batches", X, y)
    batch_size = arguments.whole("batches", "batch_size", batch_size)
    order = generator(seed).permutation(n) if shuffle else None
    return _slices(X, y, range(0, n - n % batch_size if drop_last else n, batch_size), order, reuse)


def _slices(X: Array, y: Array, starts: range, order: np.ndarray | None, reuse: bool) -> Iterator[tuple[Array, Array]]:
    """The batches that begin at `starts`, of the arrays as they are or in `order`."""
    ends = [min(start + starts.step, len(X)) for start in starts]
    if order is None:
        for start, end in zip(starts, ends, strict=True):
            yield X[start:end], y[start:end]
        return
    size = min(starts.step, len(X))
    buffers = [np.empty((size, *a.shape[1:]), a.dtype) if reuse and isinstance(a, np.ndarray) else None for a in (X, y)]
    for start, end in zip(starts, ends, strict=True):
        index = order[start:end]
        yield _gather(X, index, buffers[0]), _gather(y, index, buffers[1])


def train_test_split(
    X: Array, y: Array, test_size: float = 0.2, *, seed: IntSeed = 0
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """((X_train, y_train), (X_test, y_test)): a random split.

    `test_size` is a fraction between 0 and 1 or a whole number of examples; at least one lands on each side. The
    rows are copied, in an order that is a function of `seed`.
    """
    n = check_pair("train_test_split", X, y)
    if 0 < test_size < 1:
        held = max(1, round(n * test_size))
    else:
        held = arguments.whole("train_test_split", "test_size, where it is no fraction between 0 and 1,", test_size)
    if held >= n:
        raise ValueError(
            f"train_test_split: test_size must leave examples on both sides of {n}, got {test_size}. "
            f"Use a fraction such as 0.2."
        )
    order = generator(seed).permutation(n)
    train, test = order[held:], order[:held]
    return (_rows(X, train), _rows(y, train)), (_rows(X, test), _rows(y, test))
