"""dk.data: every example once, replayable orders, honest splits, files checked before they are believed."""

from __future__ import annotations

import gzip
import struct
import sys

import numpy as np
import pytest

from dlkernels import data
from dlkernels.datasets import DEBIAN_FASHION_MNIST, DataError, read_idx


def pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Examples that say which they are: X[i] = (i, -i), y[i] = i."""
    ids = np.arange(n)
    return np.stack([ids, -ids], axis=1).astype("f4"), ids


@pytest.mark.parametrize("n", [1, 2, 6, 7, 12, 13])
@pytest.mark.parametrize("size", [1, 3, 6, 20])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("reuse", [True, False])
def test_an_epoch_is_every_example_once(n, size, shuffle, reuse):
    X, y = pairs(n)
    seen = [(xb.copy(), yb.copy()) for xb, yb in data.batches(X, y, size, shuffle=shuffle, seed=1, reuse=reuse)]
    assert [len(xb) for xb, _ in seen] == [size] * (n // size) + ([n % size] if n % size else [])
    xs, ys = (np.concatenate(part) for part in zip(*seen, strict=True))
    assert sorted(ys) == list(range(n))
    assert np.array_equal(xs[:, 0], ys)
    assert np.array_equal(xs[:, 1], -ys)
    if not shuffle:
        assert np.array_equal(ys, y)


def test_drop_last_drops_only_a_short_batch():
    X, y = pairs(10)
    for shuffle in (True, False):
        assert [len(b) for b, _ in data.batches(X, y, 4, drop_last=True, shuffle=shuffle)] == [4, 4]
        assert [len(b) for b, _ in data.batches(X, y, 5, drop_last=True, shuffle=shuffle)] == [5, 5]
        assert list(data.batches(X, y, 11, drop_last=True, shuffle=shuffle)) == []


def order(seed) -> list[int]:
    X, y = pairs(50)
    return [int(i) for _, yb in data.batches(X, y, 8, seed=seed) for i in yb]


def test_the_order_is_a_function_of_the_seed():
    assert order(0) == order(0)
    assert order((0, 1)) == order((0, 1))
    assert len({tuple(order(seed)) for seed in (0, 1, (0, 1), (0, 2), (1, 1))}) == 5
    assert order(0) != sorted(order(0))


def test_reused_batches_share_memory_and_plain_ones_do_not():
    X, y = pairs(10)
    first, second = list(data.batches(X, y, 5, reuse=True))
    assert np.shares_memory(first[0], second[0])
    first, second = list(data.batches(X, y, 5))
    assert not np.shares_memory(first[0], second[0])
    assert not np.shares_memory(first[0], X)


def test_images_of_any_shape_and_strides():
    X, y = np.arange(2 * 3 * 40).reshape(40, 3, 2)[::2].transpose(0, 2, 1), np.arange(20)
    for xb, yb in data.batches(X, y, 6, reuse=True):
        assert np.array_equal(xb, X[yb])


def test_a_split_keeps_every_example_on_one_side():
    X, y = pairs(23)
    (X_train, y_train), (X_test, y_test) = data.train_test_split(X, y, 0.2, seed=4)
    assert (len(y_train), len(y_test)) == (18, 5)
    assert sorted([*y_train, *y_test]) == list(range(23))
    assert np.array_equal(X_train[:, 0], y_train)
    assert np.array_equal(X_test[:, 0], y_test)
    again = data.train_test_split(X, y, 5, seed=4)[1][1]
    assert np.array_equal(again, y_test)
    assert not np.array_equal(data.train_test_split(X, y, 5, seed=5)[1][1], y_test)
    assert len(data.train_test_split(X, y, 0.001)[1][1]) == 1


def test_errors_say_what_was_wanted():
    X, y = pairs(5)
    with pytest.raises(ValueError, match="same length, got 5 and 4"):
        data.batches(X, y[:4], 2)
    with pytest.raises(ValueError, match="at least one example"):
        data.batches(X[:0], y[:0], 2)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        data.batches(X, y, 0)
    with pytest.raises(TypeError, match="X must be an array, got list"):
        data.batches([[1.0]], [0], 1)
    for size in (5, 6):
        with pytest.raises(ValueError, match="on both sides of 5"):
            data.train_test_split(X, y, size)
    for size in (0, -1):
        with pytest.raises(ValueError, match=r"test_size.* must be at least 1"):
            data.train_test_split(X, y, size)
    for size in (1.0, 1.5, -0.5, True, "a fifth"):
        with pytest.raises(TypeError):
            data.train_test_split(X, y, size)
    with pytest.raises(TypeError, match=r"batch_size must be a whole number, got 2\.5"):
        data.batches(X, y, 2.5)


def test_digits_are_scaled_and_split_once():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    digits = data.digits()
    (X, y), (X_test, y_test) = digits.train, digits.test
    assert (X.shape, X_test.shape) == ((1438, 64), (359, 64))
    assert X.dtype == X_test.dtype == np.float32
    assert y.dtype == y_test.dtype == np.int64
    assert (X.min(), X.max()) == (0, 1)
    assert set(y_test) == set(range(10))
    assert np.array_equal(data.digits().test[0], X_test)


def test_digits_without_scikit_learn_say_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "dlkernels\[train\]"'):
        data.digits()


# -- IDX ---------------------------------------------------------------------------------------------------


def idx_bytes(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_files_plain_and_compressed(tmp_path, images, suffix):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(idx_bytes(images)) if suffix else idx_bytes(images))
    assert np.array_equal(read_idx(path, (5, 4, 3)), images)


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gz"])
def test_every_truncation_of_an_idx_file_is_an_error(tmp_path, images, compress):
    whole = gzip.compress(idx_bytes(images)) if compress else idx_bytes(images)
    path = tmp_path / ("images.gz" if compress else "images")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError):
            read_idx(path, (5, 4, 3))


def test_every_damaged_header_bit_of_an_idx_file_is_an_error(tmp_path, images):
    path, whole = tmp_path / "images", idx_bytes(images)
    for bit in range(8 * 16):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            read_idx(path, (5, 4, 3))


def test_idx_errors_name_the_file_and_the_difference(tmp_path, images):
    path = tmp_path / "images"
    path.write_bytes(idx_bytes(images) + b"\0")
    with pytest.raises(DataError, match=r"images: must hold 76 bytes, got more"):
        read_idx(path, (5, 4, 3))
    path.write_bytes(idx_bytes(images[:4]))
    with pytest.raises(DataError, match=r"shape must be \(5, 4, 3\), got \(4, 4, 3\)"):
        read_idx(path, (5, 4, 3))
    path.write_bytes(idx_bytes(images[0]))
    with pytest.raises(DataError, match="IDX magic must be 0x00000803, got 0x00000802"):
        read_idx(path, (5, 4, 3))


def test_absent_fashion_mnist_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        data.fashion_mnist(tmp_path)


@pytest.mark.skipif(not DEBIAN_FASHION_MNIST.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_is_standardized():
    clothes = data.fashion_mnist()
    (X, y), (X_test, y_test) = clothes.train, clothes.test
    assert (X.shape, X_test.shape) == ((60_000, 784), (10_000, 784))
    assert X.dtype == np.float32
    assert y.dtype == np.int64
    assert np.array_equal(np.bincount(y), [6000] * 10)
    assert np.array_equal(np.bincount(y_test), [1000] * 10)
    # the float32 mean and deviation that are taken out are off by 2^-24 of themselves
    assert abs(X.mean(dtype="f8")) < 1e-6
    assert abs(X.std(dtype="f8") - 1) < 1e-6
