"""Losses: their values and gradients against the definitions in ULP, and cross-entropy with every option against PyTorch in float64."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import numerics
import numpy as np
import pytest
from cases import LOSS_CASES, LossCase, elementwise, ops, plain_case
from numerics import DTYPES
from row_cases import TERMS

import dlkernels as dk

SHAPES = [(50, 3), (7, 100), (4, 5000), (3, 4, 5), (2, 6, 3, 2)]


def widened(dtype: str, arrays: tuple[np.ndarray, ...], options: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The arguments of a call in the precision of its exact result."""
    wide = np.longdouble if dtype == "float64" else np.float64

    def convert(a: Any) -> Any:
        return a.astype(wide) if isinstance(a, np.ndarray) and a.dtype.kind != "i" else a

    return [convert(a) for a in arrays], {k: convert(v) for k, v in options.items()}


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_values(case: LossCase, dtype: str, target: str) -> None:
    """Within the stated bound of the definition: per row in ULP at the largest term (log-sum-exp against the logit), per element at the
    mean of the absolute losses (the terms of some cancel). A weight and a sum may add one ULP each.
    """
    rng = np.random.default_rng(17)
    for shape in SHAPES:
        arrays, options = case.arrays(rng, shape, DTYPES[dtype])
        wide, wide_options = widened(dtype, arrays, options)
        exact = np.asarray(case.op.reference(*wide, **wide_options))
        value = case.op(*arrays, **options)
        out = numerics.compute_dtype(dtype).name
        assert value.dtype == numerics.compute_dtype(dtype)
        if case.by_rows:
            name = case.op.__name__
            terms = TERMS[name](case.op.reference, *wide, **wide_options) if name in TERMS else exact
            scale = np.maximum(np.abs(exact), np.max(np.abs(terms)) if exact.ndim else np.maximum(np.abs(terms), 1e-30))
            allowed = case.op.ulp
        else:
            each = case.op.reference(*wide, **{**wide_options, "reduction": "none"})
            mean = np.mean(np.abs(each))
            scale = np.maximum(np.abs(exact), mean if exact.ndim else np.abs(exact / np.sum(each)) * mean * each.size)
            allowed = case.op.ulp + (not exact.ndim) + bool(case.extra)
        numerics.assert_within(value, exact, allowed, out, hint=f"{case} of {shape}", scale=scale)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("case", [c for c in LOSS_CASES if not c.by_rows and c.options["reduction"] == "none"], ids=str)
def test_gradients_in_ulp(case: LossCase, dtype: str, target: str) -> None:
    """Within the stated bound of the definition's derivative, at the mean of the absolute gradients (their terms may cancel)."""
    rng = np.random.default_rng(19)
    for shape in ((7, 100), (4, 5000)):
        arrays, options = case.arrays(rng, shape, DTYPES[dtype])
        wide, wide_options = widened(dtype, arrays, options)
        dy = rng.uniform(0.5, 2, shape).astype(numerics.compute_dtype(dtype))
        grads = case.gradients(case.op.backward(dy, *arrays, **options))
        weight = wide_options.pop("weight", 1)
        kink = arrays[0] == arrays[1] if len(arrays) > 1 else np.zeros(shape, bool)  # 16-bit numbers may be equal
        for k, grad in zip(case.differentiable, grads, strict=True):
            duals = [numerics.Dual(a, 1.0) if i == k else a for i, a in enumerate(wide)]
            exact = np.where(kink, grad.astype(dy.dtype), case.op.reference(*duals, **wide_options).slope * dy * weight)
            scale = np.maximum(np.abs(exact), np.mean(np.abs(exact)))
            allowed = numerics.bound(
                case.op.backward.ulp + 1 + bool(case.extra), dtype
            )  # dy and a weight: half an ULP each
            numerics.assert_within(grad, exact, allowed, dtype, x=arrays[k], hint=f"{case} of {shape}", scale=scale)


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_value_and_grad_and_backward_agree(case: LossCase, dtype: str, target: str) -> None:
    rng = np.random.default_rng(18)
    op = case.op
    for shape in SHAPES:
        arrays, options = case.arrays(rng, shape, DTYPES[dtype])
        before = [a.copy() for a in arrays]
        value, grads = op.value_and_grad(*arrays, **options)
        hint = f"{case} of {shape}"
        numerics.assert_same_bits(op(*arrays, **options), value, hint)
        back = case.gradients(op.backward(np.ones_like(value), *arrays, **options))
        for got, want in zip(back, case.gradients(grads), strict=True):
            numerics.assert_same_bits(got, want, hint)
        for a, b in zip(arrays, before, strict=True):
            numerics.assert_same_bits(a, b, "an input was written")
        if dtype in numerics.HALF:  # computed in float32, rounded once
            single = [a if a.dtype.kind == "i" else a.astype(np.float32) for a in arrays]
            single_options = {k: v.astype(np.float32) if isinstance(v, np.ndarray) else v for k, v in options.items()}
            value_wide, grads_wide = op.value_and_grad(*single, **single_options)
            numerics.assert_same_bits(value, value_wide, f"{hint}: the loss of 16-bit input is float32")
            for got, want in zip(case.gradients(grads), case.gradients(grads_wide), strict=True):
                numerics.assert_same_bits(got, want.astype(DTYPES[dtype]), hint)


REDUCED = [op for op in ops("loss") if op is not dk.rmse_loss]  # which is a mean and nothing else


@pytest.mark.parametrize("op", REDUCED, ids=lambda op: op.__name__)
def test_reductions_agree(op: Any, target: str, rng: np.random.Generator) -> None:
    case = plain_case(op)
    arrays, _ = case.arrays(rng, (40, 6), np.float64)
    each = op(*arrays, reduction="none")
    total, grads = op.value_and_grad(*arrays, reduction="sum")
    np.testing.assert_allclose(total, each.sum(), rtol=1e-12)
    divisors = {"mean": each.size, "batchmean": 40}
    for reduction in getattr(op, "reductions", ("mean", "sum", "none")):
        if reduction not in divisors:
            continue
        value, divided = op.value_and_grad(*arrays, reduction=reduction)
        np.testing.assert_allclose(value, total / divisors[reduction], rtol=1e-14)
        for got, want in zip(case.gradients(divided), case.gradients(grads), strict=True):
            np.testing.assert_allclose(got * divisors[reduction], want, rtol=1e-12 if case.by_rows else 1e-14)


@pytest.mark.parametrize("op", [op for op in REDUCED if elementwise(op)], ids=lambda op: op.__name__)
def test_weights(op: Any, target: str, rng: np.random.Generator) -> None:
    """A weight broadcasts, multiplies loss and gradients, divides the mean or does not; weight 0 silences NaN."""
    case = LossCase(op, "")
    arrays, _ = case.arrays(rng, (8, 6), np.float64)
    weight = rng.uniform(0.5, 2, 6)
    weight[2] = 0
    full = np.broadcast_to(weight, (8, 6)).copy()
    broken = [a.copy() for a in arrays]
    broken[0][:, 2] = np.nan
    each = op(*arrays, reduction="none")
    grads = case.gradients(op.value_and_grad(*arrays, reduction="sum")[1])
    default = inspect.signature(op).parameters["denominator"].default
    for w in (weight, full, full.T.copy().T):
        for denominator, divisor in (("weight", full.sum()), ("count", full.size)):
            options = {"weight": w, "denominator": denominator, "reduction": "mean"}
            for given in (arrays, broken):
                value, weighted = op.value_and_grad(*given, **options)
                np.testing.assert_allclose(value, np.sum(full * each) / divisor, rtol=1e-13)
                for got, want in zip(case.gradients(weighted), grads, strict=True):
                    np.testing.assert_allclose(got, full * want / divisor, rtol=1e-13)
            if denominator == default:
                del options["denominator"]
                numerics.assert_same_bits(op(*arrays, **options), value, "the default denominator")


SEVERAL = [op for op in ops("loss") if len(getattr(op, "grads", ())) > 1]


@pytest.mark.parametrize("op", SEVERAL, ids=lambda op: op.__name__)
def test_out_of_several_gradients(op: Any, rng: np.random.Generator) -> None:
    arrays, _ = plain_case(op).arrays(rng, (5, 7), np.float32)
    value, grads = op.value_and_grad(*arrays)
    dy = np.ones_like(value)
    outs = tuple(np.empty((5, 7), np.float32) for _ in grads)
    found = op.value_and_grad(*arrays, out=outs)[1], op.backward(dy, *arrays, out=(outs[0], *[None] * (len(outs) - 1)))
    assert all(a is b for a, b in zip(found[0], outs, strict=True))
    assert found[1][0] is outs[0]
    for got in found:
        for g, want in zip(got, grads, strict=True):
            numerics.assert_same_bits(g, want)
    for out, error in (
        (outs[0], TypeError),
        (outs[:1], TypeError),
        ((outs[0],) * len(outs), ValueError),
        ([*outs], TypeError),
    ):
        with pytest.raises(error, match=r"out"):
            op.value_and_grad(*arrays, out=out)


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
