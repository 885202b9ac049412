"""Sums are added in the order of DESIGN.md 3.2: an implementation of that text in NumPy gives exactly the bits of the compiled ones."""

from __future__ import annotations

import itertools

import numerics
import numpy as np
import pytest
from numerics import DTYPES, canonical_sum, compute_dtype

import dlkernels as dk

LENGTHS = [1, 2, 3, 100, 127, 128, 129, 255, 256, 257, 511, 513, 4095, 4096, 4097, 4353, 8192, 3 * 4096 + 300, 100_003]
LONG = 2**20 + 3


def test_the_order_of_256_is_by_halving() -> None:
    x = np.float32(10) ** np.arange(8, dtype=np.float32)
    halved = ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
    assert canonical_sum(x) == halved
    lanes = np.arange(1, 513, dtype=np.float64)
    assert canonical_sum(lanes) == lanes.sum()


THREE_LEVELS = 4096 * 4096 + 5000  # one dtype is enough


@pytest.mark.parametrize(("n", "dtype"), [*itertools.product([*LENGTHS, LONG], DTYPES), (THREE_LEVELS, "float32")])
def test_mse_loss(n: int, dtype: str, rng: np.random.Generator) -> None:
    x, t = (rng.standard_normal(n, dtype=np.float32).astype(DTYPES[dtype]) for _ in range(2))
    kind = compute_dtype(dtype)
    e = x.astype(kind) - t.astype(kind)
    total = canonical_sum(e * e)
    numerics.assert_same_bits(dk.mse_loss(x, t, reduction="sum"), np.array(total), "sum")
    numerics.assert_same_bits(dk.mse_loss(x, t), np.array(total / kind.type(n)), "mean")
    numerics.assert_same_bits(dk.mse_loss.value_and_grad(x, t)[0], np.array(total / kind.type(n)), "value_and_grad")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", [*LENGTHS, LONG, THREE_LEVELS])
def test_softmax_denominator(n: int, dtype: str, target: str, rng: np.random.Generator) -> None:
    x = (4 * rng.standard_normal(n)).astype(DTYPES[dtype])
    z = x - x.max()
    e = dk.elu.backward(
        np.ones_like(z), z
    )  # for x <= 0 and alpha 1 the derivative is exp(x), the very bits that softmax adds
    denominator = canonical_sum(e)
    numerics.assert_same_bits(dk.softmax(x), e / denominator, "softmax")


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("n", [*LENGTHS, LONG])
def test_sums_of_backward_rows(n: int, dtype: str, target: str, rng: np.random.Generator) -> None:
    dy, y = (rng.standard_normal(n).astype(DTYPES[dtype]) for _ in range(2))
    dy[0], y[0] = 0, 1
    kind = compute_dtype(dtype)
    total = canonical_sum(dy.astype(kind) * y.astype(kind))  # dx[0] = 1 (0 - total)
    numerics.assert_same_bits(dk.softmax.backward(dy, y)[0], (kind.type(0) - total).astype(DTYPES[dtype]), "softmax")
    y[0] = 0
    total = canonical_sum(dy.astype(kind))  # dx[0] = 0 - exp(0) total
    numerics.assert_same_bits(
        dk.log_softmax.backward(dy, y)[0], (kind.type(0) - total).astype(DTYPES[dtype]), "log_softmax"
    )


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("n", LENGTHS)
def test_cross_entropy_over_rows(n: int, dtype: str, weighted: bool, target: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((n, 3)).astype(DTYPES[dtype])
    labels = rng.integers(0, 3, n)
    weight = np.array([0.3, 1.7, 0.9]).astype(DTYPES[dtype]) if weighted else None
    each = dk.cross_entropy(x, labels, weight, reduction="none")
    total = canonical_sum(each)
    numerics.assert_same_bits(dk.cross_entropy(x, labels, weight, reduction="sum"), np.array(total), "sum")
    kind = compute_dtype(dtype)
    divisor = kind.type(n) if weight is None else canonical_sum(weight.astype(kind)[labels])
    numerics.assert_same_bits(dk.cross_entropy(x, labels, weight), np.array(total / divisor), "mean")


def test_a_long_scan_of_class_ids(target: str, rng: np.random.Generator) -> None:
    """The weights of the rows that count, in canonical order over more than a block of blocks; rows that do not are absent."""
    n = THREE_LEVELS
    y = rng.integers(0, 2, n).astype(np.int32)
    y[::1000] = -100
    weight = np.array([0.3, 1.7], np.float32)
    counted = np.where(y < 0, np.float32(-0.0), weight[np.maximum(y, 0)])
    loss = dk.nll_loss(np.broadcast_to(np.float32(-1.0), (n, 2)).copy(), y, weight, reduction="sum")
    np.testing.assert_allclose(loss, canonical_sum(counted), rtol=1e-6)
    mean = dk.nll_loss.value_and_grad(np.full((n, 2), -1.0, np.float32), y, weight)[1]
    first = 1  # row 0 is ignored
    expected = -(weight[y[first]] * (np.float32(1) / canonical_sum(counted)))
    np.testing.assert_allclose(mean[first, y[first]], expected, rtol=2e-7)
