"""Elementwise losses: against PyTorch with every option that it has, at the edges of their domains, and what they refuse."""

from __future__ import annotations

import re
from typing import Any

import numerics
import numpy as np
import pytest
from cases import LOSS_CASES, LossCase, elementwise, ops
from numerics import DTYPES

import dlkernels as dk

INF, NAN = np.inf, np.nan
FLOATS = pytest.mark.parametrize("dtype", list(DTYPES))
ELEMENTWISE = [op for op in ops("loss") if elementwise(op)]

# --- against PyTorch ----------------------------------------------------------------------------------------------------

# What torch.nn.functional has; with the options of ours that it has not.
TORCH: dict[str, set[str]] = {
    "mse_loss": set(),
    "l1_loss": set(),
    "huber_loss": set(),
    "smooth_l1_loss": {"weight"},
    "hinge_embedding_loss": {"weight"},
    "soft_margin_loss": {"weight"},
    "binary_cross_entropy": set(),
    "binary_cross_entropy_with_logits": {"label_smoothing"},
    "kl_div": {"weight"},
    "poisson_nll_loss": {"weight"},
    "gaussian_nll_loss": {"weight"},
}


def torch_cases() -> list[LossCase]:
    """The cases that PyTorch has too; its denominator is the default of ours, and is not chosen."""
    return [
        c
        for c in LOSS_CASES
        if c.op.__name__ in TORCH
        and not TORCH[c.op.__name__] & {*c.options, *c.extra}
        and "denominator" not in c.options
    ]


@pytest.mark.torch
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # of kl_div
@pytest.mark.parametrize("case", torch_cases(), ids=str)
def test_against_pytorch(case: LossCase, target: str, rng: np.random.Generator) -> None:
    import torch

    for shape in ((6, 5), (7,), (2, 3, 4)):
        arrays, options = case.arrays(rng, shape, np.float64)
        tensors = [torch.from_numpy(a.copy()) for a in arrays]
        for k in case.differentiable:
            tensors[k].requires_grad_()
        theirs = {k: torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        expected = getattr(torch.nn.functional, case.op.__name__)(*tensors, **theirs)
        dy = rng.uniform(0.5, 2, tuple(expected.shape))
        expected.backward(torch.from_numpy(np.asarray(dy)))
        got = case.op(*arrays, **options)
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-12, atol=1e-14, err_msg=str(case))
        grads = case.gradients(case.op.backward(np.asarray(dy), *arrays, **options))
        for k, grad in zip(case.differentiable, grads, strict=True):
            np.testing.assert_allclose(grad, tensors[k].grad.numpy(), rtol=1e-11, atol=1e-14, err_msg=str(case))


@pytest.mark.torch
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [-1.0, 0.25])
def test_focal_loss_against_the_code_of_torchvision(alpha: float, gamma: float, rng: np.random.Generator) -> None:
    import torch

    x, t = 4 * rng.standard_normal((2, 40, 5))
    t = np.where(rng.uniform(size=t.shape) < 0.5, t > 0, 1 / (1 + np.exp(-t)))
    logits, target = torch.from_numpy(x.copy()).requires_grad_(), torch.from_numpy(t)
    p = torch.sigmoid(logits)
    p_t = p * target + (1 - p) * (1 - target)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    loss = entropy * (1 - p_t) ** gamma
    if alpha >= 0:
        loss = (alpha * target + (1 - alpha) * (1 - target)) * loss
    loss.sum().backward()
    value, grad = dk.sigmoid_focal_loss.value_and_grad(x, t, alpha=alpha, gamma=gamma, reduction="sum")
    np.testing.assert_allclose(value, loss.sum().item(), rtol=1e-12)
    np.testing.assert_allclose(grad, logits.grad.numpy(), rtol=1e-10, atol=1e-13)


def test_hard_focal_losses_are_finite_for_small_gammas() -> None:
    x = np.array([-3e38, -200.0, -90.0, 0.0, 90.0, 200.0, 3e38], np.float32)
    for gamma in (0.0, 0.25, 1.0, 5.0):
        for t in (0.0, 0.5, 1.0):
            value, grad = dk.sigmoid_focal_loss.value_and_grad(x, np.full_like(x, t), gamma=gamma, reduction="none")
            assert np.isfinite(value).all()
            assert np.isfinite(grad).all()


def test_special_cases_agree(rng: np.random.Generator) -> None:
    """What one loss is under an option of another."""
    x, t = 3 * rng.standard_normal((2, 30, 7))
    hard = (t > 0).astype(np.float64)
    options = {"reduction": "none"}
    pairs = {
        "huber and smooth L1": (
            dk.huber_loss(x, t, delta=0.5, **options),
            0.5 * dk.smooth_l1_loss(x, t, beta=0.5, **options),
        ),
        "smooth L1 without a bend": (dk.smooth_l1_loss(x, t, beta=0.0, **options), dk.l1_loss(x, t, **options)),
        "median": (2 * dk.quantile_loss(x, t, **options), dk.l1_loss(x, t, **options)),
        "soft margin": (
            dk.soft_margin_loss(x, 2 * hard - 1, **options),
            dk.binary_cross_entropy_with_logits(x, hard, **options),
        ),
        "focal without focus": (
            dk.sigmoid_focal_loss(x, hard, alpha=-1.0, gamma=0.0, **options),
            dk.binary_cross_entropy_with_logits(x, hard, **options),
        ),
        "probabilities": (
            dk.binary_cross_entropy(1 / (1 + np.exp(-x)), hard, **options),
            dk.binary_cross_entropy_with_logits(x, hard, **options),
        ),
        "hinge of 0 and 1": (dk.hinge_loss(x, hard, labels="01", **options), dk.hinge_loss(x, 2 * hard - 1, **options)),
        "Keras' smoothing": (
            dk.binary_cross_entropy_with_logits(x, hard, label_smoothing=0.2, **options),
            dk.binary_cross_entropy_with_logits(x, 0.8 * hard + 0.1, **options),
        ),
        "rmse": (dk.rmse_loss(x, t), np.sqrt(dk.mse_loss(x, t))),
        "JS of logarithms": (
            dk.js_div(np.exp(-np.abs(x)), np.exp(-np.abs(t)), **options),
            dk.js_div(-np.abs(x), -np.abs(t), log=True, **options),
        ),
    }
    for name, (one, other) in pairs.items():
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-15, err_msg=name)


# --- edges --------------------------------------------------------------------------------------------------------------

# op, arrays, options, value, gradients (None: not looked at); float32
EDGES: list[tuple[str, tuple[float, ...], dict[str, Any], float, tuple[float | None, ...]]] = [
    ("l1_loss", (2.0, 2.0), {}, 0.0, (0.0,)),
    ("l1_loss", (INF, 2.0), {}, INF, (1.0,)),
    ("quantile_loss", (2.0, 2.0), {"quantile": 0.9}, 0.0, (0.0,)),
    ("huber_loss", (-INF, 0.0), {}, INF, (-1.0,)),
    ("smooth_l1_loss", (1.0, 1.0), {"beta": 0.0}, 0.0, (0.0,)),
    ("pseudo_huber_loss", (3e38, 0.0), {}, 3e38, (1.0,)),
    ("pseudo_huber_loss", (1e-20, 0.0), {}, 5e-41, (1e-20,)),
    ("pseudo_huber_loss", (INF, 0.0), {}, INF, (1.0,)),
    ("log_cosh_loss", (3e38, 0.0), {}, 3e38, (1.0,)),
    ("log_cosh_loss", (1e-3, 0.0), {}, 4.9999992e-7, (9.9999967e-4,)),
    ("msle_loss", (-1.0, 0.0), {}, NAN, (NAN,)),
    ("msle_loss", (0.0, -2.0), {}, NAN, (NAN,)),
    ("msle_loss", (-2.0, 0.0), {"clamp_min": 0.0}, 0.0, (0.0,)),
    ("msle_loss", (3.4e38, -0.99999994), {}, (np.log(3.4e38) + 24 * np.log(2)) ** 2, (None,)),
    ("hinge_loss", (1.0, 1.0), {}, 0.0, (0.0,)),
    ("hinge_loss", (INF, 1.0), {}, 0.0, (0.0,)),
    ("hinge_loss", (-INF, 1.0), {}, INF, (-1.0,)),
    ("soft_margin_loss", (-1000.0, 1.0), {}, 1000.0, (-1.0,)),
    ("soft_margin_loss", (1000.0, 1.0), {}, 0.0, (0.0,)),
    ("hinge_embedding_loss", (2.0, 0.0), {}, NAN, (NAN,)),
    ("hinge_embedding_loss", (1.0, -1.0), {}, 0.0, (0.0,)),
    ("binary_cross_entropy", (0.0, 1.0), {}, 100.0, (-1e12,)),
    ("binary_cross_entropy", (1.0, 0.0), {}, 100.0, (1e12,)),
    ("binary_cross_entropy", (0.0, 0.0), {}, 0.0, (0.0,)),
    ("binary_cross_entropy", (1.0, 1.0), {}, 0.0, (0.0,)),
    ("binary_cross_entropy_with_logits", (INF, 1.0), {}, 0.0, (0.0,)),
    ("binary_cross_entropy_with_logits", (-INF, 0.0), {}, 0.0, (0.0,)),
    ("binary_cross_entropy_with_logits", (INF, 0.0), {}, INF, (1.0,)),
    ("binary_cross_entropy_with_logits", (-3e38, 1.0), {}, 3e38, (-1.0,)),
    ("binary_cross_entropy_with_logits", (100.0, 1.0), {}, 3.783506e-44, (-3.783506e-44,)),
    ("sigmoid_focal_loss", (INF, 1.0), {}, 0.0, (0.0,)),
    ("sigmoid_focal_loss", (INF, 0.0), {"alpha": -1.0}, INF, (1.0,)),
    ("kl_div", (-INF, 0.0), {}, 0.0, (0.0,)),
    ("kl_div", (-INF, 0.5), {}, INF, (-0.5,)),
    ("kl_div", (NAN, 0.0), {}, NAN, (0.0,)),
    ("kl_div", (-1.0, -0.5), {}, NAN, (0.5,)),
    ("kl_div", (-1.0, -INF), {"log_target": True}, 0.0, (0.0,)),
    ("js_div", (0.0, 0.0), {}, 0.0, (0.0, 0.0)),
    ("js_div", (0.5, 0.0), {}, 0.25 * np.log(2), (0.5 * np.log(2), -INF)),
    ("js_div", (0.5, 0.5), {}, 0.0, (0.0, 0.0)),
    ("js_div", (-0.5, 0.25), {}, NAN, (np.log(2), NAN)),
    ("js_div", (-1.0, -INF), {"log": True}, 0.5 * np.log(2) / np.e, (0.5 * np.log(2) / np.e, 0.0)),
    ("js_div", (-INF, -INF), {"log": True}, 0.0, (0.0, 0.0)),
    ("poisson_nll_loss", (-INF, 0.0), {}, 0.0, (0.0,)),
    ("poisson_nll_loss", (0.0, 1.0), {"full": True}, 1.0, (0.0,)),
    ("poisson_nll_loss", (1000.0, 3.0), {}, INF, (INF,)),
    ("poisson_nll_loss", (0.0, 0.0), {"log_input": False}, 0.0, (1.0,)),
    ("gaussian_nll_loss", (1.0, 1.0, 0.0), {}, 0.5 * np.log(1e-6), (0.0, 5e5)),
    ("gaussian_nll_loss", (1e20, 0.0, 1e10), {}, 5e29, (1e10, -5e19)),
    ("gan_real_loss", (-1000.0,), {}, 1000.0, (-1.0,)),
    ("gan_real_loss", (INF,), {}, 0.0, (0.0,)),
    ("gan_real_loss", (1.0,), {"mode": "hinge"}, 0.0, (0.0,)),
    ("gan_fake_loss", (-1.0,), {"mode": "hinge"}, 0.0, (0.0,)),
    ("gan_generator_loss", (-10.0,), {"mode": "saturating"}, -4.539890e-5, (-4.539787e-5,)),
    ("gan_generator_loss", (-10.0,), {"mode": "non_saturating"}, 10.0000454, (-0.9999546,)),
]  # fmt: skip


def test_edges(target: str) -> None:
    for name, values, options, value, grads in EDGES:
        op = getattr(dk, name)
        arrays = [np.full(3, v, np.float32) for v in values]
        got, gradients = op.value_and_grad(*arrays, **options, reduction="none")
        hint = f"{name}{values} {options}"
        np.testing.assert_allclose(got, np.float32(value), rtol=2e-6, atol=2e-45, err_msg=hint)
        for grad, wanted in zip(gradients if isinstance(gradients, tuple) else (gradients,), grads, strict=True):
            if wanted is not None:
                np.testing.assert_allclose(grad, np.float32(wanted), rtol=2e-6, atol=2e-45, err_msg=hint)
        with np.errstate(all="ignore"):
            defined = op.reference(*(a.astype(np.float64) for a in arrays), **options, reduction="none")
        np.testing.assert_allclose(defined.astype(np.float32), np.float32(value), rtol=2e-6, atol=2e-45, err_msg=hint)


@FLOATS
@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.__name__)
def test_nan_in_nan_out(op: Any, dtype: str, target: str, rng: np.random.Generator) -> None:
    """A NaN in any array makes its own element NaN and no other."""
    if "none" not in op.reductions:
        pytest.skip("one value only")
    arrays, _ = LossCase(op, "").arrays(rng, (4, 9), DTYPES[dtype])
    for k in range(len(arrays)):
        broken = [a.copy() for a in arrays]
        broken[k][1::2] = np.nan
        each = op(*broken, reduction="none")
        assert np.isnan(each[1::2]).all()
        numerics.assert_same_bits(each[::2], op(*arrays, reduction="none")[::2], op.__name__)


@FLOATS
@pytest.mark.parametrize("op", [op for op in ELEMENTWISE if op is not dk.rmse_loss], ids=lambda op: op.__name__)
def test_finite_in_finite_out(op: Any, dtype: str, target: str) -> None:
    """From one end of a domain to the other, where the definition is finite too. (rmse_loss says that its squares may overflow.)"""
    kind = DTYPES[dtype]
    most = float(np.finfo(np.float32).max if dtype == "bfloat16" else np.finfo(kind).max) / 8
    names = list(op.domain)[: 2 + ("var" in op.domain)]
    draws = []
    for name in names:
        domain = op.domain[name]
        if isinstance(domain, set) or max(abs(d) for d in domain) <= 1:
            draws.append(sorted({*domain}))
        else:
            low = 0.0 if domain[0] > 0 else -0.999 if domain[0] > -1 else -most
            draws.append([low, -0.5 if low < 0 else 0.5, 0.0, 1.0, 100.0, most])
    grid = [a.ravel().astype(kind) for a in np.meshgrid(*draws)]
    with np.errstate(all="ignore"):
        wide = [a.astype(np.longdouble) for a in grid]
        known = np.abs(op.reference(*wide, reduction="none")) < (most if dtype in {"float32", "float64"} else 3e37)
    value = op(*grid, reduction="none")
    assert np.isfinite(value[known]).all(), f"{op.__name__}: {[a[known][~np.isfinite(value[known])] for a in grid]}"


# --- what they refuse ---------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("huber_loss", {"delta": 0.0}, "delta must be > 0, got 0"),
    ("huber_loss", {"delta": NAN}, "delta must be > 0, got nan"),
    ("smooth_l1_loss", {"beta": -1.0}, "beta must be >= 0, got -1"),
    ("pseudo_huber_loss", {"delta": -1.0}, "delta must be > 0, got -1"),
    ("quantile_loss", {"quantile": 1.0}, "quantile must be in (0, 1), got 1"),
    ("hinge_loss", {"labels": "0/1"}, 'labels must be "pm1" or "01", got "0/1"'),
    ("binary_cross_entropy_with_logits", {"label_smoothing": 1.5}, "label_smoothing must be in [0, 1], got 1.5"),
    ("binary_cross_entropy_with_logits", {"pos_weight": np.ones(4, np.float32)}, "pos_weight must broadcast to input's shape (4, 5)"),
    ("sigmoid_focal_loss", {"gamma": -1.0}, "gamma must be >= 0, got -1"),
    ("sigmoid_focal_loss", {"alpha": 1.5}, "alpha must be <= 1, got 1.5"),
    ("poisson_nll_loss", {"eps": -1.0}, "eps must be >= 0, got -1"),
    ("gaussian_nll_loss", {"eps": 0.0}, "eps must be > 0, got 0"),
    ("gan_real_loss", {"mode": "minmax"}, 'mode must be "minimax", "lsgan", "hinge" or "wgan", got "minmax"'),
    ("gan_real_loss", {"mode": "hinge", "label_smoothing": 0.1}, "label_smoothing means nothing with these options, got 0.1"),
    ("mse_loss", {"denominator": "n"}, 'denominator must be "weight" or "count", got "n"'),
    ("mse_loss", {"reduction": "batchmean"}, 'reduction must be "mean", "sum" or "none", got "batchmean"'),
    ("rmse_loss", {"reduction": "sum"}, 'reduction must be "mean", got "sum"'),
    ("mse_loss", {"weight": np.ones((5, 4), np.float32)}, "weight must broadcast to input's shape (4, 5), got (5, 4)"),
]  # fmt: skip


def test_refusals(rng: np.random.Generator) -> None:
    for name, options, text in REFUSED:
        op = getattr(dk, name)
        arrays, _ = LossCase(op, "").arrays(rng, (4, 5), np.float32)
        for function in (op, op.value_and_grad):
            with pytest.raises(ValueError, match=re.escape(text)):
                function(*arrays, **options)
    x = np.ones((4, 5), np.float32)
    for options, text in (
        ({"log_target": 1}, "log_target must be a bool, got 1"),
        ({"weight": np.ones(5)}, "weight must be float32"),
        ({"weight": [1.0] * 5}, "weight must be a NumPy"),
    ):
        with pytest.raises(TypeError, match=re.escape(text)):
            dk.kl_div(x, x, **options)


# --- the discriminator --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["minimax", "lsgan", "hinge", "wgan"])
def test_discriminator(mode: str, target: str, rng: np.random.Generator) -> None:
    """One call on real and fake, of different numbers, is the sum of the two losses."""
    real, fake = 2 * rng.standard_normal((7, 3)), 2 * rng.standard_normal(11)
    smooth = {"label_smoothing": 0.1} if mode in {"minimax", "lsgan"} else {}
    for reduction in ("mean", "sum"):
        options = {"mode": mode, "reduction": reduction, **smooth}
        value, (dreal, dfake) = dk.gan_discriminator_loss.value_and_grad(real, fake, **options)
        assert isinstance(value, np.ndarray)
        np.testing.assert_allclose(value, dk.gan_discriminator_loss.reference(real, fake, **options), rtol=1e-14)
        numerics.assert_same_bits(dk.gan_discriminator_loss(real, fake, **options), value)
        first = numerics.central_difference(lambda v: dk.gan_discriminator_loss.reference(v, fake, **options), real)  # noqa: B023
        second = numerics.central_difference(lambda v: dk.gan_discriminator_loss.reference(real, v, **options), fake)  # noqa: B023
        np.testing.assert_allclose(dreal, first, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(dfake, second, rtol=1e-8, atol=1e-9)
        again = dk.gan_discriminator_loss.backward(np.ones(()), real, fake, **options)
        for got, want in zip(again, (dreal, dfake), strict=True):
            numerics.assert_same_bits(got, want)
        # half of it could be written when the other half is refused
        with pytest.raises(TypeError, match="out"):
            dk.gan_discriminator_loss.value_and_grad(real, fake, **options, out=(real, fake))
    for call in (dk.gan_discriminator_loss, dk.gan_discriminator_loss.value_and_grad):
        with pytest.raises(ValueError, match='reduction must be "mean" or "sum", got "none"'):
            call(real, fake, mode=mode, reduction="none")


def test_rmse_of_no_error_has_no_gradient(target: str) -> None:
    x = np.arange(5000, dtype=np.float32)
    value, grad = dk.rmse_loss.value_and_grad(x, x)
    assert value == 0
    numerics.assert_same_bits(grad, np.zeros_like(x), "0, not 0/0")
    assert np.isnan(dk.rmse_loss.backward(np.array(NAN, np.float32), x, x + 1)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rmse_of_any_size(dtype: str, target: str, rng: np.random.Generator) -> None:
    """Squares that overflow or vanish cost no digits of the root or of the gradient."""
    kind = numerics.DTYPES[dtype].type
    e = rng.uniform(0.5, 1, 5000).astype(kind)
    zero, weight = np.zeros_like(e), rng.uniform(0.5, 2, 5000).astype(kind)
    for options in ({}, {"weight": weight}):
        value, grad = dk.rmse_loss.value_and_grad(e, zero, **options)
        for k in (-500, 900, -1000) if dtype == "float64" else (-70, 110, -120):
            scale = kind(2.0**k)
            got, got_grad = dk.rmse_loss.value_and_grad(e * scale, zero, **options)
            np.testing.assert_allclose(got / scale, value, rtol=4 * np.finfo(kind).eps)
            np.testing.assert_allclose(got_grad, grad, rtol=8 * np.finfo(kind).eps)
            np.testing.assert_allclose(
                dk.rmse_loss(e * scale, zero, **options) / scale, value, rtol=4 * np.finfo(kind).eps
            )


def test_pos_weight_is_no_third_positional_argument() -> None:
    x = np.zeros(3)
    with pytest.raises(TypeError, match="binary_cross_entropy_with_logits"):
        dk.binary_cross_entropy_with_logits(x, x, x)  # torch's third is weight


def test_remedy_names_an_op_that_exists() -> None:
    with pytest.raises(ValueError, match=r"take binary_cross_entropy_with_logits\."):
        dk.binary_cross_entropy.value_and_grad(np.array([1.5]), np.array([1.0]))
