"""Special values in rows and losses: masked, infinite and NaN logits, ignored rows, rows and batches with nothing in them."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numerics
import numpy as np
import pytest
from cases import LOSS_CASES, ROW_OPS, LossCase
from numerics import DTYPES
from row_cases import RowCase

import dlkernels as dk

INF, NAN = np.inf, np.nan
FLOATS = pytest.mark.parametrize("dtype", list(DTYPES))


# --- rows ---------------------------------------------------------------------------------------------------------------


@FLOATS
@pytest.mark.parametrize("columns", [1, 2, 5, 17, 300, 5000])
@pytest.mark.parametrize("op", ROW_OPS, ids=lambda op: op.__name__)
def test_special_rows(op: Any, columns: int, dtype: str, target: str) -> None:
    kind = DTYPES[dtype]
    ordinary = np.linspace(-1, 1, columns).astype(kind)
    rows = np.stack(
        [ordinary, np.full(columns, -INF), np.full(columns, INF), np.full(columns, NAN), ordinary, ordinary, ordinary]
    ).astype(kind)
    rows[4, columns // 2], rows[5, columns // 2] = NAN, INF
    y = op(rows)
    numerics.assert_same_bits(y[[0, 6]], op(rows[[0, 6]]), "neighbors of bad rows")
    assert np.isfinite(y[[0, 6]]).all()
    assert np.isnan(y[1:6]).all()
    dx = op.backward(np.ones_like(y), y)
    assert np.isfinite(dx[[0, 6]]).all()
    assert np.isnan(dx[1:6]).all()


@FLOATS
def test_masked_classes(dtype: str, target: str) -> None:
    x = np.array([[1.0, -INF, 2.0, -INF], [-INF, -INF, -INF, 5.0]]).astype(DTYPES[dtype])
    y, log_y = dk.softmax(x), dk.log_softmax(x)
    assert y[0, 1] == y[0, 3] == 0
    assert y[1].tolist() == [0, 0, 0, 1]
    assert log_y[1].tolist() == [-INF, -INF, -INF, 0]
    numerics.assert_same_bits(y[0, [0, 2]], dk.softmax(x[0, [0, 2]]), "a masked class contributes nothing")
    assert (dk.softmax.backward(np.ones_like(y), y)[:, 1] == 0).all()
    assert np.isfinite(dk.log_softmax.backward(np.ones_like(y), log_y)).all()


@FLOATS
def test_size_one_rows_and_large_logits(dtype: str, target: str) -> None:
    kind = DTYPES[dtype]
    most = float(ml_dtypes.finfo(kind).max)
    one = np.array([[0.0], [-5.0], [most], [-most]]).astype(kind)
    assert dk.softmax(one).tolist() == [[1], [1], [1], [1]]
    assert dk.log_softmax(one).tolist() == [[0], [0], [0], [0]]
    assert dk.softmax(np.array([most, -most, most]).astype(kind)).tolist() == [0.5, 0, 0.5]


# --- cross-entropy ------------------------------------------------------------------------------------------------------

WITH_IDS = [c for c in LOSS_CASES if c.by_rows and c.ids]


@FLOATS
@pytest.mark.parametrize("case", WITH_IDS, ids=str)
def test_ignored_rows(case: RowCase, dtype: str, target: str, rng: np.random.Generator) -> None:
    """Loss 0 and gradient exactly 0 even where the row holds NaN or infinity; the other rows as if it were not there."""
    (x, t), options = case.arrays(rng, (6, 7), DTYPES[dtype])
    ignored = options.get("ignore_index", -100)
    t[:] = np.where(t == ignored, 0, t)
    if ignored == 0:
        t[t == 0] = 1
    t[[1, 3, 4]] = ignored
    t[[0, 2, 5]] = 2
    x[1], x[3], x[4, 2] = NAN, INF, -INF
    kept = [0, 2, 5]
    value, grad = case.op.value_and_grad(x, t, **options)
    few, few_grad = case.op.value_and_grad(x[kept], t[kept], **options)
    numerics.assert_same_bits(grad[kept], few_grad, str(case))
    numerics.assert_same_bits(grad[[1, 3, 4]], np.zeros((3, 7), DTYPES[dtype]), str(case))
    np.testing.assert_allclose(
        value[kept] if value.ndim else value, few, rtol=1e-6
    )  # the zeros change the order of a sum
    dy = np.full_like(value, NAN)
    numerics.assert_same_bits(
        case.op.backward(dy, x, t, **options)[[1, 3, 4]], np.zeros((3, 7), DTYPES[dtype]), f"{case}: NaN upstream"
    )
    in_place = x.copy()
    numerics.assert_same_bits(case.op.value_and_grad(in_place, t, **options, out=in_place)[1], grad, f"{case} in place")


@FLOATS
@pytest.mark.parametrize("case", WITH_IDS, ids=str)
def test_all_rows_ignored(case: RowCase, dtype: str, target: str) -> None:
    (x, t), options = case.arrays(np.random.default_rng(0), (3, 4), DTYPES[dtype])
    x[:], t[:] = NAN, options.get("ignore_index", -100)
    value, grad = case.op.value_and_grad(x, t, **options)
    numerics.assert_same_bits(grad, np.zeros((3, 4), DTYPES[dtype]), str(case))
    assert {"mean": np.isnan(value).all(), "sum": np.all(value == 0), "none": np.all(value == 0)}[options["reduction"]]


def test_logits_that_are_not_numbers(target: str) -> None:
    y = np.array([0])
    x = np.array([[0.0, 1.0, 2.0]], np.float32)
    for bad in (NAN, INF):
        for at in range(3):
            row = x.copy()
            row[0, at] = bad
            value, grad = dk.cross_entropy.value_and_grad(row, y)
            assert np.isnan(value)
            assert np.isnan(grad).all()
    masked = np.array([[0.0, -INF, 2.0]], np.float32)
    value, grad = dk.cross_entropy.value_and_grad(masked, y)
    numerics.assert_same_bits(value, dk.cross_entropy(masked[:, [0, 2]], y), "a masked class is as good as absent")
    assert grad[0, 1] == 0
    assert dk.cross_entropy(masked, np.array([1])) == INF  # the label itself is masked
    assert dk.cross_entropy(masked, y, label_smoothing=0.1) == INF  # smoothing gives the masked class a share
    weight = np.array([1.0, 0.0, 1.0], np.float32)
    assert np.isfinite(dk.cross_entropy(masked, y, weight, label_smoothing=0.1))  # of weight 0, none
    soft = np.array([[0.5, 0.0, 0.5]], np.float32)
    assert np.isfinite(dk.cross_entropy(masked, soft))
    assert np.isnan(dk.cross_entropy(np.full((1, 3), -INF, np.float32), y))


def test_probabilities_that_do_not_sum_to_one(target: str) -> None:
    x, q = np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 2.0, 4.0]])
    np.testing.assert_allclose(dk.cross_entropy(x, q), -np.sum(q * dk.log_softmax(x)), rtol=1e-14)


# --- nothing ------------------------------------------------------------------------------------------------------------


@FLOATS
@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_empty_losses(case: LossCase, dtype: str, target: str) -> None:
    """A mean of nothing is NaN, a sum of nothing 0, and there is no gradient."""
    kind = DTYPES[dtype]
    for shape in ((0, 3), (0, 3, 2), (2, 3, 0)):
        rows = case.of_rows(shape) if case.by_rows else shape
        if case.by_rows and math.prod(rows) > 0:
            continue  # rows without columns: test_no_classes
        arrays, options = case.arrays(np.random.default_rng(0), shape, kind)
        value, grads = case.op.value_and_grad(*arrays, **options)
        for grad in case.gradients(grads):
            assert grad.shape == shape
            assert grad.dtype == kind
        assert value.dtype == numerics.compute_dtype(dtype)
        reduction = case.options["reduction"]
        if reduction == "none":
            assert value.shape == rows
        else:
            assert value.shape == ()
            divides_by_0 = reduction == "mean" or (reduction == "batchmean" and shape[0] == 0)
            assert np.isnan(value) if divides_by_0 else value == 0
        numerics.assert_same_bits(case.op(*arrays, **options), value, str(case))
        for grad in case.gradients(case.op.backward(np.ones_like(value), *arrays, **options)):
            assert grad.shape == shape


def test_no_classes() -> None:
    """A row without classes has no legal class id; with probabilities its loss is an empty sum."""
    x = np.empty((3, 0), np.float32)
    with pytest.raises(IndexError, match=r"cross_entropy: target\[0\] is 0, wanted a class id in \[0, 0\)"):
        dk.cross_entropy(x, np.zeros(3, np.int64))
    assert dk.cross_entropy(x, np.full(3, -100), reduction="none").tolist() == [0, 0, 0]
    assert dk.cross_entropy.value_and_grad(x, x)[1].shape == (3, 0)
