"""Losses: their values and gradients against the definitions in ULP, and cross-entropy with every option against PyTorch in float64."""

from __future__ import annotations

import itertools
from typing import Any

import numerics
import numpy as np
import pytest
from cases import LOSS_CASES, LossCase, ops
from numerics import DTYPES

import dlkernels as dk

SHAPES = [(50, 3), (7, 100), (4, 5000), (3, 4, 5), (2, 6, 3, 2)]


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_values(case: LossCase, dtype: str, target: str) -> None:
    """Within the stated bound of the definition, per row in ULP at the largest term (log-sum-exp against the logit)."""
    rng = np.random.default_rng(17)
    for shape in SHAPES:
        x, t, options = case.arrays(rng, shape, DTYPES[dtype])
        wide = np.longdouble if dtype == "float64" else np.float64
        wide_options = {k: v.astype(wide) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        t_wide = t if t.dtype.kind == "i" else t.astype(wide)
        exact = np.asarray(case.op.reference(x.astype(wide), t_wide, **wide_options))
        value = case.op(x, t, **options)
        out = numerics.compute_dtype(dtype).name
        assert value.dtype == numerics.compute_dtype(dtype)
        scale = np.maximum(np.abs(exact), np.max(np.abs(exact)) if exact.ndim else 1e-30)
        numerics.assert_within(value, exact, case.op.ulp, out, hint=f"{case} of {shape}", scale=scale)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_value_and_grad_and_backward_agree(case: LossCase, dtype: str, target: str) -> None:
    rng = np.random.default_rng(18)
    for shape in SHAPES:
        x, t, options = case.arrays(rng, shape, DTYPES[dtype])
        before = x.copy(), t.copy()
        value, grad = case.op.value_and_grad(x, t, **options)
        hint = f"{case} of {shape}"
        numerics.assert_same_bits(case.op(x, t, **options), value, hint)
        numerics.assert_same_bits(case.op.backward(np.ones_like(value), x, t, **options), grad, hint)
        numerics.assert_same_bits(x, before[0], "input was written")
        numerics.assert_same_bits(t, before[1], "target was written")
        if dtype in numerics.HALF:  # computed in float32, rounded once
            wide = {k: v.astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in options.items()}
            t_wide = t if t.dtype.kind == "i" else t.astype(np.float32)
            value_wide, grad_wide = case.op.value_and_grad(x.astype(np.float32), t_wide, **wide)
            numerics.assert_same_bits(value, value_wide, f"{hint}: the loss of 16-bit input is float32")
            numerics.assert_same_bits(grad, grad_wide.astype(DTYPES[dtype]), hint)


@pytest.mark.parametrize("op", ops("loss"), ids=lambda op: op.__name__)
def test_reductions_agree(op: Any, target: str, rng: np.random.Generator) -> None:
    x, t, _ = LossCase(op, "").arrays(rng, (40, 6), np.float64)
    each = op(x, t, reduction="none")
    np.testing.assert_allclose(op(x, t, reduction="sum"), each.sum(), rtol=1e-14)
    np.testing.assert_allclose(op(x, t), each.mean(), rtol=1e-14)
    np.testing.assert_allclose(
        op.value_and_grad(x, t)[1] * each.size, op.value_and_grad(x, t, reduction="sum")[1], rtol=1e-14
    )


def test_mse_gradient_is_exactly_rounded(rng: np.random.Generator) -> None:
    x, t = rng.standard_normal((2, 1024)).astype(np.float32)
    grad = dk.mse_loss.value_and_grad(x, t)[1]
    numerics.assert_same_bits(grad, (x - t) * np.float32(2 / 1024), "a power of two")


def test_one_hot_probabilities_are_class_ids(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((20, 7)), rng.integers(0, 7, 20)
    weight = rng.uniform(0.5, 2, 7)
    for options in ({}, {"label_smoothing": 0.2}, {"weight": weight, "reduction": "sum"}):
        hard, soft = (dk.cross_entropy.value_and_grad(x, t, **options) for t in (y, np.eye(7)[y]))
        if "label_smoothing" not in options or "weight" not in options:
            np.testing.assert_allclose(soft[0], hard[0], rtol=1e-13)
            np.testing.assert_allclose(soft[1], hard[1], rtol=1e-12, atol=1e-16)


def test_adding_a_constant_to_a_row_changes_nothing(rng: np.random.Generator) -> None:
    x = rng.integers(-8, 8, (20, 9)).astype(np.float32)  # exact sums
    y = rng.integers(0, 9, 20)
    for got, want in zip(
        dk.cross_entropy.value_and_grad(x + 1000, y), dk.cross_entropy.value_and_grad(x, y), strict=True
    ):
        numerics.assert_same_bits(got, want)
    numerics.assert_same_bits(dk.softmax(x - 500), dk.softmax(x))


def test_the_true_class_does_not_cancel() -> None:
    """p - 1 is formed in float32 before it is rounded to bfloat16, and small gradients keep their digits."""
    x = np.array([[8.0, 0.0, 0.0]])
    exact = dk.cross_entropy.value_and_grad(x, np.array([0]))[1]
    for dtype in numerics.HALF:
        grad = dk.cross_entropy.value_and_grad(x.astype(DTYPES[dtype]), np.array([0]))[1]
        numerics.assert_within(grad, exact, 0.6, dtype, hint="p - 1")


# --- against PyTorch ----------------------------------------------------------------------------------------------------

OPTIONS: dict[str, list[Any]] = {
    "label_smoothing": [0.0, 0.1, 1.0],
    "weight": [False, True],
    "ignore_index": [-100, 2],
    "reduction": ["mean", "sum", "none"],
}


@pytest.mark.torch
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("shape", [(6, 5), (5,), (4, 5, 3), (3, 5, 2, 4), (2, 5, 3, 2, 2)])
def test_cross_entropy_against_pytorch(
    shape: tuple[int, ...], soft: bool, target: str, rng: np.random.Generator
) -> None:
    """All combinations of all options, values and gradients, 1-D to 5-D."""
    import torch

    axis = 1 if len(shape) > 1 else 0
    for values in itertools.product(*OPTIONS.values()):
        options = dict(zip(OPTIONS, values, strict=True))
        if soft and options["ignore_index"] != -100:
            continue  # PyTorch refuses it; ours does not look at it
        x = 2 * rng.standard_normal(shape)
        weight = rng.uniform(0.2, 3, 5) if options.pop("weight") else None
        t = rng.uniform(0, 1, shape) if soft else rng.integers(0, 5, np.delete(shape, axis))
        mine, theirs = {**options, "weight": weight}, dict(options)
        if weight is not None:
            theirs["weight"] = torch.from_numpy(weight)
        input_, target_ = torch.from_numpy(x).requires_grad_(), torch.from_numpy(np.asarray(t))
        expected = torch.nn.functional.cross_entropy(input_, target_, **theirs)
        dy = rng.uniform(0.5, 2, tuple(expected.shape))
        expected.backward(torch.from_numpy(np.asarray(dy)))
        got = dk.cross_entropy(x, np.asarray(t), **mine)
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-12, atol=1e-14, err_msg=str(mine))
        grad = dk.cross_entropy.backward(np.asarray(dy), x, np.asarray(t), **mine)
        if weight is None and not soft and np.all(np.asarray(t) == options["ignore_index"]):
            continue  # all ignored: NaN mean in both, see test_edges.py
        np.testing.assert_allclose(grad, input_.grad.numpy(), rtol=1e-11, atol=1e-14, err_msg=str(mine))
        np.testing.assert_allclose(
            dk.cross_entropy.reference(x, t, **mine), got, rtol=1e-12, atol=1e-14, err_msg=str(mine)
        )


@pytest.mark.torch
def test_cross_entropy_along_any_axis_against_pytorch(rng: np.random.Generator) -> None:
    import torch

    x = rng.standard_normal((4, 6, 3))
    for axis in (0, 1, 2, -1, -2, -3):
        t = rng.integers(0, x.shape[axis], np.delete(x.shape, axis))
        rows = torch.from_numpy(np.moveaxis(x, axis, 1).copy() if axis % 3 else np.moveaxis(x, 0, 1).copy())
        expected = torch.nn.functional.cross_entropy(rows, torch.from_numpy(t)).item()
        np.testing.assert_allclose(dk.cross_entropy(x, t, axis=axis), expected, rtol=1e-13)


@pytest.mark.torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mse_against_pytorch(reduction: str, rng: np.random.Generator) -> None:
    import torch

    x, t = rng.standard_normal((2, 30, 7))
    input_ = torch.from_numpy(x.copy()).requires_grad_()
    expected = torch.nn.functional.mse_loss(input_, torch.from_numpy(t.copy()), reduction=reduction)
    expected.sum().backward()
    value, grad = dk.mse_loss.value_and_grad(x, t, reduction=reduction)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-14)
    np.testing.assert_allclose(grad, input_.grad.numpy(), rtol=1e-14)
