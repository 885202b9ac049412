"""Losses over rows: ties, masked classes, lengths of 0 and beyond the squares' range, rows without columns; and PyTorch's losses."""

from __future__ import annotations

import itertools
from typing import Any

import numerics
import numpy as np
import pytest
from numerics import DTYPES

import dlkernels as dk

INF, NAN = np.inf, np.nan


# --- hinges -------------------------------------------------------------------------------------------------------------


def test_crammer_singer_takes_the_lowest_of_equal_classes(target: str) -> None:
    for columns in (3, 8, 40, 5000):
        x = np.zeros((1, columns), np.float32)
        for y in (0, 1, columns - 1):
            loss, grad = dk.categorical_hinge_loss.value_and_grad(x, np.array([y]))
            assert loss == 1
            assert np.flatnonzero(grad).tolist() == sorted({y, 0 if y else 1})
            assert grad[0, y] == -1
            assert grad.sum() == 0
    one = dk.categorical_hinge_loss.value_and_grad(np.zeros((2, 1)), np.array([0, 0]))
    assert one[0] == 0
    assert not one[1].any()


@pytest.mark.parametrize("name", ["categorical_hinge_loss", "multi_margin_loss"])
def test_hinges_of_special_scores(name: str, target: str) -> None:
    op, y = getattr(dk, name), np.array([1])
    for at in range(4):
        x = np.zeros((1, 4), np.float32)
        x[0, at] = NAN
        assert np.isnan(op(x, y)), f"NaN in column {at} is lost"
    masked = np.array([[0.0, 0.5, -INF, 0.25]], np.float32)
    loss, grad = op.value_and_grad(masked, y)
    assert np.isfinite(loss)
    assert grad[0, 2] == 0
    assert op(np.array([[0.0, -INF]], np.float32), y) == INF


def test_terms_on_the_margin_have_no_gradient(target: str) -> None:
    x = np.array([[2.0, 1.0, 1.5]])
    for op, count in ((dk.multi_margin_loss, 1 / 3), (dk.categorical_hinge_loss, 1)):
        loss, grad = op.value_and_grad(x, np.array([0]))
        assert loss == 0.5 * count
        np.testing.assert_array_equal(grad, np.array([[-1, 0, 1]]) * count)
    assert not dk.categorical_hinge_loss.value_and_grad(np.array([[2.0, 1.0]]), np.array([0]))[1].any()


# --- focal ----------------------------------------------------------------------------------------------------------------


def test_softmax_focal_loss(target: str, rng: np.random.Generator) -> None:
    x, y = 3 * rng.standard_normal((20, 7)), rng.integers(0, 7, 20)
    for got, want in zip(
        dk.softmax_focal_loss.value_and_grad(x, y, gamma=0.0), dk.cross_entropy.value_and_grad(x, y), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-16)
    # sure and right: 1 - p keeps its digits, which 1 - softmax would lose
    sure = np.array([[60.0, 0.0]])
    loss, grad = dk.softmax_focal_loss.value_and_grad(sure, np.array([0]), gamma=1.0)
    np.testing.assert_allclose(loss, np.exp(-60.0) ** 2, rtol=1e-12)
    np.testing.assert_allclose(grad, [[-2 * np.exp(-120.0), 2 * np.exp(-120.0)]], rtol=1e-12)
    for gamma in (0.0, 0.5, 2.0):
        loss, grad = dk.softmax_focal_loss.value_and_grad(np.array([[2000.0, -INF, 0.0]]), np.array([0]), gamma=gamma)
        assert loss == 0
        assert not grad.any()
        loss, grad = dk.softmax_focal_loss.value_and_grad(np.array([[2000.0, -2000.0]]), np.array([1]), gamma=gamma)
        assert loss == 4000
        np.testing.assert_array_equal(grad, [[1, -1]])


# --- lengths --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_squares_out_of_range(dtype: str, target: str) -> None:
    """A row scaled by a power of two has a scaled length, though its squares overflow or vanish."""
    kind, wide = DTYPES[dtype], numerics.compute_dtype(dtype).type
    rng = np.random.default_rng(0)
    a, b = (rng.uniform(0.5, 1, (3, 40)).astype(kind) for _ in range(2))
    y = np.array([1, -1, -1], wide)
    near = {"atol": 1e-12 if dtype == "float64" else 1e-5}
    rough = {"float64": 1e-12, "float32": 1e-5}.get(dtype, 1e-2)
    exponent = 900 if dtype == "float64" else 110
    expected = dk.cosine_embedding_loss(a, b, y, reduction="none")
    for big in (a * kind.type(2.0**exponent), b * kind.type(2.0**exponent)):
        other = b if big[0, 0] / a[0, 0] == 2.0**exponent else a
        value, grads = dk.cosine_embedding_loss.value_and_grad(big, other, y, reduction="none")
        np.testing.assert_allclose(value, expected, **near)
        assert all(np.isfinite(g.astype(np.float64)).all() for g in grads)
    for p in (1.0, 2.0, 3.0, 10.0):
        options = {"p": p, "eps": 0.0, "margin": 0.0, "reduction": "none"}
        near_zero = np.zeros_like(a)
        plain, plain_grads = dk.triplet_margin_loss.value_and_grad(a, near_zero, a, **options)
        for k in (exponent, -exponent):
            scaled = a * kind.type(2.0**k)
            value, grads = dk.triplet_margin_loss.value_and_grad(scaled, near_zero, scaled, **options)
            np.testing.assert_allclose(value / wide(2.0**k), plain, rtol=1e-5 if wide is np.float32 else 1e-12)
            for got, want in zip(grads, plain_grads, strict=True):
                np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=rough, atol=1e-6)
    for k in (exponent, -exponent):
        grad = dk.gradient_penalty.value_and_grad(a * kind.type(2.0**k), lambda_=1.0, reduction="none")[1]
        assert np.isfinite(grad.astype(np.float64)).all()
        if k < 0:  # 2 (n - 1) / n v with n near 0: minus twice the direction
            length = np.linalg.norm(a.astype(np.float64), axis=1, keepdims=True)
            np.testing.assert_allclose(grad.astype(np.float64), -2 * a.astype(np.float64) / length, rtol=rough)


def test_lengths_of_zero(target: str) -> None:
    zero = np.zeros((2, 5), np.float32)
    ones = np.ones(2, np.float32)
    assert dk.cosine_embedding_loss(zero, zero, ones) == 1
    for grad in dk.cosine_embedding_loss.value_and_grad(zero, zero, ones)[1]:
        assert not grad.any()
    for p in (1.0, 2.0, 3.5):
        loss, grads = dk.triplet_margin_loss.value_and_grad(zero, zero, zero, p=p, eps=0.0)
        assert loss == 1
        assert not any(g.any() for g in grads)
        assert all(np.isfinite(g).all() for g in dk.triplet_margin_loss.value_and_grad(zero, zero, zero, p=p)[1])
    loss, grad = dk.gradient_penalty.value_and_grad(zero)
    assert loss == 10
    assert not grad.any()
    assert not dk.gradient_penalty.value_and_grad(zero + 0.1, one_sided=True)[1].any()


def test_rows_that_are_not_numbers(target: str) -> None:
    x, y = np.ones((3, 4), np.float32), np.ones(3, np.float32)
    for bad in (NAN, INF):
        broken = x.copy()
        broken[1, 2] = bad
        for loss in (
            dk.cosine_embedding_loss(broken, x, y, reduction="none"),
            dk.triplet_margin_loss(broken, x, x, swap=True, reduction="none"),
            dk.gradient_penalty(broken, reduction="none"),
            dk.dice_loss(broken, x, axes=1, reduction="none"),
        ):
            assert np.isnan(loss[1]) or loss[1] == INF
            assert np.isfinite(loss[[0, 2]]).all()


def test_swap_shares_a_tie(target: str) -> None:
    """As PyTorch's minimum does: each distance gets half."""
    a, p, n = np.array([[0.0, 1.0]]), np.array([[0.0, -1.0]]), np.array([[4.0, 0.0]])
    da, dp, dn = dk.triplet_margin_loss.value_and_grad(a, p, n, margin=9.0, eps=0.0, swap=True)[1]
    d = np.sqrt(17)
    np.testing.assert_allclose(da, [[2 / d, 1 - 0.5 / d]])
    np.testing.assert_allclose(dp, [[2 / d, -1 + 0.5 / d]])
    np.testing.assert_allclose(dn, [[-4 / d, 0]], atol=1e-16)


# --- overlap --------------------------------------------------------------------------------------------------------------


def test_overlap_of_nothing_and_of_everything(target: str) -> None:
    nothing, all_ = np.zeros((2, 3, 4, 4), np.float32), np.ones((2, 3, 4, 4), np.float32)
    for op in (dk.dice_loss, dk.tversky_loss):
        for region in (nothing, all_):
            assert op(region, region) == 0
        assert np.isnan(op(nothing, nothing, smooth=0.0))
        assert op(nothing, nothing, smooth=0.0, eps=1e-6) == 1
    loss, grad = dk.tversky_loss.value_and_grad(all_, all_, gamma=0.5)
    assert loss == 0
    assert not grad.any()
    # a small miss keeps its digits, which 1 - ratio would lose
    prob = all_.copy()
    prob[..., 0, 0] = 1 - 2**-20
    np.testing.assert_allclose(dk.dice_loss(prob, all_), 2**-20 / (33 - 2**-20), rtol=1e-6)


def test_regions_may_be_taken_together(target: str, rng: np.random.Generator) -> None:
    p, t = rng.uniform(0, 1, (2, 3, 4, 5)), (rng.uniform(0, 1, (2, 3, 4, 5)) < 0.5).astype(float)

    def dice(axes: tuple[int, ...]) -> Any:
        return np.mean(1 - (2 * np.sum(p * t, axis=axes) + 1) / (np.sum(p, axis=axes) + np.sum(t, axis=axes) + 1))

    for axes in ((2, 3), (1, 2, 3), (0, 1, 2, 3), (1,), (-2, -1)):
        np.testing.assert_allclose(dk.dice_loss(p, t, axes=axes), dice(axes), rtol=1e-13)
    np.testing.assert_allclose(dk.dice_loss(p, t), dice((2, 3)), rtol=1e-13)
    by_class = dk.dice_loss.value_and_grad(p.swapaxes(0, 1), t.swapaxes(0, 1), axes=(1, 2, 3))
    np.testing.assert_allclose(by_class[0], dice((0, 2, 3)), rtol=1e-13)
    for axes in ((0, 2), (3, 2), (1, 1)):
        with pytest.raises(ValueError, match=r"dice_loss: axes must be neighboring dimensions in order.*moveaxis"):
            dk.dice_loss(p, t, axes=axes)
    with pytest.raises(ValueError, match=r"dice_loss: axis must be in"):
        dk.dice_loss(p, t, axes=(3, 4))


# --- tempered -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("t", [0.5, 0.9, 1.0, 1.0001, 1.2, 2.0, 4.0, 20.0])
def test_tempered_softmax_sums_to_one(t: float, dtype: str, target: str, rng: np.random.Generator) -> None:
    for scale, columns in itertools.product((0.0, 1.0, 30.0), (1, 2, 64, 1000, 20_000)):
        x = (scale * rng.standard_normal((3, columns))).astype(dtype)
        p = dk.tempered_softmax(x, t)
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(p.sum(axis=1, dtype=np.float64), 1, rtol=0, atol=4 * eps)
        assert (np.diff(p[np.arange(3)[:, None], np.argsort(x, axis=1)], axis=1) >= -eps * p.max()).all()


def test_tempered_softmax_of_special_rows(target: str) -> None:
    for t in (0.8, 1.0, 1.2):
        p = dk.tempered_softmax(np.array([[0.0, -INF, 0.0], [-INF, -INF, -INF], [0.0, NAN, 0.0]]), t)
        np.testing.assert_allclose(p[0], [0.5, 0, 0.5], rtol=1e-14)
        assert np.isnan(p[1:]).all()
        loss, grad = dk.bi_tempered_logistic_loss.value_and_grad(np.array([[0.0, -INF, 1.0]]), np.array([0]), 0.5, t)
        assert np.isfinite(loss)
        assert grad[0, 1] == 0
        assert abs(grad.sum()) < 1e-15


def test_bi_tempered_is_cross_entropy_at_one(target: str, rng: np.random.Generator) -> None:
    x, y, q = rng.standard_normal((9, 5)), rng.integers(0, 5, 9), rng.dirichlet(np.ones(5), 9)
    for got, want in zip(
        dk.bi_tempered_logistic_loss.value_and_grad(x, y), dk.cross_entropy.value_and_grad(x, y), strict=True
    ):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-16)
    entropy = -np.sum(q * np.log(q), axis=1).mean()
    np.testing.assert_allclose(dk.bi_tempered_logistic_loss(x, q), dk.cross_entropy(x, q) - entropy, rtol=1e-12)


def test_the_authors_iterations(target: str, rng: np.random.Generator) -> None:
    """num_iters: the probabilities of so many steps, and the gradient that the authors' code forms from them."""
    x, y = 2 * rng.standard_normal((6, 5)), np.eye(5)[rng.integers(0, 5, 6)]
    for t1, t2 in ((0.8, 1.2), (0.5, 4.0), (0.8, 0.9)):
        p = dk.tempered_softmax.reference(x, t2, num_iters=5)
        d = (p - y) * p ** (t2 - t1)
        escort = p**t2 / np.sum(p**t2, axis=1, keepdims=True)
        grad = dk.bi_tempered_logistic_loss.value_and_grad(x, y, t1, t2, num_iters=5, reduction="sum")[1]
        np.testing.assert_allclose(grad, d - escort * d.sum(axis=1, keepdims=True), rtol=1e-9, atol=1e-12)
    for wrong, error in ((2.5, TypeError), (-1, ValueError), (True, TypeError)):
        with pytest.raises(error, match=r"tempered_softmax: num_iters must be"):
            dk.tempered_softmax(x, 1.2, num_iters=wrong)


def test_binary_form(target: str, rng: np.random.Generator) -> None:
    a, y = 2 * rng.standard_normal((4, 5)), rng.uniform(0, 1, (4, 5))
    binary = dk.bi_tempered_binary_logistic_loss
    for got, want in zip(
        binary.value_and_grad(a, y), dk.binary_cross_entropy_with_logits.value_and_grad(a, y), strict=True
    ):
        entropy = 0 if np.ndim(got) else -np.mean(y * np.log(y) + (1 - y) * np.log(1 - y))
        np.testing.assert_allclose(got, want - entropy, rtol=1e-11, atol=1e-15)
    for reduction, t1, t2 in itertools.product(("mean", "sum", "none"), (0.5, 1.0), (1.0, 1.25, 4.0)):
        options = {"label_smoothing": 0.1, "reduction": reduction}
        value, grad = binary.value_and_grad(a, y, t1, t2, **options)
        assert value.shape == (a.shape if reduction == "none" else ())
        np.testing.assert_allclose(value, binary.reference(a, y, t1, t2, **options), rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(binary(a, y, t1, t2, **options), value)
        slope = numerics.central_difference(lambda v, o=(t1, t2), k=options: np.sum(binary.reference(v, y, *o, **k)), a)
        np.testing.assert_allclose(grad, slope, rtol=1e-7, atol=1e-9)
        back = binary.backward(np.full(value.shape, 2.0), a, y, t1, t2, **options)
        np.testing.assert_allclose(back, 2 * grad, rtol=1e-12)


# --- nothing, and numbers per row -------------------------------------------------------------------------------------------


def test_logsumexp(target: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 4, 5)).astype(np.float32)
    for axis, keepdims in itertools.product((0, 1, 2, -1), (False, True)):
        y = dk.logsumexp(x, axis, keepdims)
        np.testing.assert_allclose(y, dk.logsumexp.reference(x.astype(float), axis, keepdims), rtol=1e-6)
        out = np.empty_like(y)
        assert dk.logsumexp(x, axis, keepdims, out=out) is out
        numerics.assert_same_bits(out, y)
        dx = dk.logsumexp.backward(np.full_like(y, 2), x, axis, keepdims)
        np.testing.assert_allclose(dx, 2 * dk.softmax(x, axis), rtol=1e-6)
        numerics.assert_same_bits(dk.logsumexp.backward(np.full_like(y, 2), x.copy(), axis, keepdims, out=x.copy()), dx)
    for rows, want in (([-INF, -INF], -INF), ([0.0, INF], INF), ([0.0, NAN], NAN), ([1e38, 1e38], 1e38)):
        numerics.assert_same_bits(dk.logsumexp(np.array(rows, np.float32)), np.float32(want))
    for dtype in numerics.HALF:
        half = x.astype(DTYPES[dtype])
        numerics.assert_same_bits(
            dk.logsumexp(half), dk.logsumexp(half.astype(np.float32)), "is not rounded to 16 bits"
        )
        assert dk.logsumexp.backward(dk.logsumexp(half), half).dtype == half.dtype
    assert dk.logsumexp(np.empty((0, 3))).shape == (0,)
    assert dk.logsumexp(np.empty((2, 0))).tolist() == [-INF, -INF]
    assert dk.logsumexp.backward(np.ones(2), np.empty((2, 0))).shape == (2, 0)
    with pytest.raises(
        ValueError, match=r"logsumexp: out must have the shape of the result, \(3, 4\), got \(3, 4, 1\)"
    ):
        dk.logsumexp(x, out=np.empty((3, 4, 1), np.float32))
    with pytest.raises(TypeError, match="logsumexp: keepdims must be a bool"):
        dk.logsumexp(x, keepdims=1)


# --- against PyTorch ------------------------------------------------------------------------------------------------------


def agree(
    op: Any, theirs: Any, arrays: list[Any], fixed: list[Any], options: dict[str, Any], changes: Any = None
) -> None:
    """Value and gradients for a random upstream gradient; `fixed` arrays have none."""
    import torch

    leaves = [torch.from_numpy(a.copy()).requires_grad_() for a in arrays]
    expected = theirs(*leaves, *[torch.from_numpy(f) for f in fixed], **(changes or options))
    dy = np.random.default_rng(0).uniform(0.5, 2, tuple(expected.shape))
    expected.backward(torch.from_numpy(np.asarray(dy)))
    hint = f"{op.__name__} {options}"
    np.testing.assert_allclose(
        op(*arrays, *fixed, **options), expected.detach().numpy(), rtol=1e-12, atol=1e-14, err_msg=hint
    )
    got = op.backward(np.asarray(dy), *arrays, *fixed, **options)
    for mine, leaf in zip(got if isinstance(got, tuple) else (got,), leaves, strict=True):
        np.testing.assert_allclose(mine, leaf.grad.numpy(), rtol=1e-10, atol=1e-14, err_msg=hint)


@pytest.mark.torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_class_losses_against_pytorch(reduction: str, target: str, rng: np.random.Generator) -> None:
    import torch

    functional = torch.nn.functional
    weight = rng.uniform(0.2, 3, 5)
    for w in (None, weight):
        theirs = {"reduction": reduction, "weight": None if w is None else torch.from_numpy(w)}
        for shape in ((6, 5), (4, 5, 3), (3, 5, 2, 4), (2, 5, 3, 2, 2)):
            x = np.log(rng.dirichlet(np.ones(5), np.delete(shape, 1)))
            x = np.ascontiguousarray(np.moveaxis(x, -1, 1))
            y = rng.integers(0, 5, np.delete(shape, 1))
            for ignore in (-100, 2):
                options = {"ignore_index": ignore, "reduction": reduction, "weight": w}
                agree(dk.nll_loss, functional.nll_loss, [x], [y], options, {**theirs, "ignore_index": ignore})
        x, y = rng.standard_normal((9, 5)), rng.integers(0, 5, 9)
        for p, margin in itertools.product((1, 2), (1.0, 0.3)):
            options = {"p": p, "margin": margin, "reduction": reduction, "weight": w}
            agree(dk.multi_margin_loss, functional.multi_margin_loss, [x], [y], options, {**options, **theirs})


@pytest.mark.torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_metric_losses_against_pytorch(reduction: str, target: str, rng: np.random.Generator) -> None:
    import torch

    functional = torch.nn.functional
    a, p, n = rng.standard_normal((3, 9, 6))
    for margin in (0.0, 0.5):
        options = {"margin": margin, "reduction": reduction}
        y = rng.choice([1.0, -1.0], 9)
        agree(dk.cosine_embedding_loss, functional.cosine_embedding_loss, [a, n], [y], options)
    for norm, swap, eps in itertools.product((1.0, 2.0, 3.5), (False, True), (1e-6, 0.1)):
        options = {"margin": 0.5, "p": norm, "swap": swap, "eps": eps, "reduction": reduction}
        agree(dk.triplet_margin_loss, functional.triplet_margin_loss, [a, p, n], [], options)


@pytest.mark.torch
def test_logsumexp_against_pytorch(target: str, rng: np.random.Generator) -> None:
    import torch

    x = rng.standard_normal((3, 4, 5))
    x[0, 0, 1] = -INF
    for axis in range(3):
        leaf = torch.from_numpy(x.copy()).requires_grad_()
        y = torch.logsumexp(leaf, axis)
        y.sum().backward()
        np.testing.assert_allclose(dk.logsumexp(x, axis), y.detach().numpy(), rtol=1e-14)
        np.testing.assert_allclose(dk.logsumexp.backward(np.ones(y.shape), x, axis), leaf.grad.numpy(), rtol=1e-13)
