"""Worked examples with 12 digits, made by an independent program (tests/vectors/, copied from the project's specification)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numerics
import numpy as np
import pytest
from cases import MAP_CASES, ROW_OPS, Case, elementwise, ops
from numerics import DTYPES

import dlkernels as dk

VECTORS = Path(__file__).parent / "vectors"
ACTIVATIONS: dict[str, Any] = json.loads((VECTORS / "activations.json").read_text())
LOSSES: dict[str, Any] = json.loads((VECTORS / "losses.json").read_text())
ADVANCED: dict[str, Any] = json.loads((VECTORS / "advanced_losses.json").read_text())
X = np.array(ACTIVATIONS["x"])
DIGITS = {"rtol": 1e-12, "atol": 1e-15}
DEFAULTS = [
    c
    for c in MAP_CASES
    if c.kernel != "heaviside"
    and not any(isinstance(v, float) for v in c.params.values())  # its table is its definition
]


def test_there_is_an_example_of_every_op() -> None:
    names = {c.kernel for c in DEFAULTS} | {
        op.__name__ for op in dk.ops.registry.values() if op.kind in {"rows", "loss"}
    }
    here = {"rmse_loss", *(name for name in names if name.startswith("gan_"))}  # under other names
    parts = {"tempered_softmax", "gradient_penalty"}  # of other examples
    # test_elementwise_losses.py, test_boundary_loss.py, test_fused.py
    elsewhere = {"hinge_embedding_loss", "boundary_loss", "l1_penalty", "l2_penalty"}
    assert names <= set(ACTIVATIONS) | set(LOSSES) | set(ADVANCED) | here | parts | elsewhere


@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_activations(case: Case, target: str) -> None:
    example = ACTIVATIONS[case.kernel]
    params = {**example["params"], **case.params}
    np.testing.assert_allclose(case.op(X, **params), example["y"], **DIGITS)
    np.testing.assert_allclose(case.op.reference(X, **params), example["y"], **DIGITS)
    np.testing.assert_allclose(case.op.backward(np.ones_like(X), X, **params), example["dy_dx"], **DIGITS)
    if case.op.from_y:
        y = case.op(X, **params)
        np.testing.assert_allclose(case.op.backward(np.ones_like(X), y=y, **params), example["dy_dx"], **DIGITS)


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d != "float64"])
@pytest.mark.parametrize("case", DEFAULTS, ids=str)
def test_activations_rounded(case: Case, dtype: str) -> None:
    """The examples' inputs are exact in every dtype, so their results are too but for the op's error."""
    example = ACTIVATIONS[case.kernel]
    y = case.op(X.astype(DTYPES[dtype]), **{**example["params"], **case.params})
    # a slope of 0.01 is rounded before it is used
    allowed = numerics.bound(case.op.ulp, dtype) + (0.5 if "negative_slope" in example["params"] else 0)
    numerics.assert_within(y, np.array(example["y"]), allowed, dtype, x=X, hint=str(case))


@pytest.mark.parametrize("op", [op for op in ROW_OPS if op.__name__ in ACTIVATIONS], ids=lambda op: op.__name__)
def test_rows(op: Any, target: str) -> None:
    example = ACTIVATIONS[op.__name__]
    x = np.array(example.get("x", X))
    y = op(x)
    np.testing.assert_allclose(y, example["y"], **DIGITS)
    np.testing.assert_allclose(op.reference(x), example["y"], **DIGITS)
    if "dx" in example:
        np.testing.assert_allclose(op.backward(np.array(example["upstream"]), y), example["dx"], **DIGITS)


def check_loss(op: Any, name: str, **options: Any) -> None:
    example = LOSSES[name]
    x, t = np.array(example["input"]), np.array(example["target"])
    mean = example.get("mean", example.get("mean_over_N"))
    for function in (op, op.reference):
        np.testing.assert_allclose(function(x, t, **options), mean, **DIGITS)
        if "none" not in example:
            continue
        np.testing.assert_allclose(function(x, t, reduction="none", **options), example["none"], **DIGITS)
        np.testing.assert_allclose(
            function(x, t, reduction="sum", **options), example.get("sum", np.sum(example["none"])), **DIGITS
        )
    value, grad = op.value_and_grad(x, t, **options)
    np.testing.assert_allclose(value, mean, **DIGITS)
    np.testing.assert_allclose(grad, example["grad_input_mean"], rtol=1e-12, atol=1e-16)
    back = op.backward(np.array(1.0), x, t, **options)
    np.testing.assert_allclose(back, example["grad_input_mean"], rtol=1e-12, atol=1e-16)


SIMPLE = [op for op in ops("loss") if elementwise(op) and "params" in LOSSES.get(op.__name__, {})]
EXAMPLES = [*(op.__name__ for op in SIMPLE), "binary_cross_entropy_with_logits_weighted"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_elementwise_losses(name: str, target: str) -> None:
    example = LOSSES[name]
    op = getattr(dk, name.removesuffix("_weighted"))
    x, t = np.array(example["input"]), np.array(example["target"])
    options = dict(example["params"])
    more = [np.full_like(x, options.pop("var"))] if "var" in options else []
    options |= {k: np.array(options[k]) for k in ("weight", "pos_weight") if k in options}
    for function in (op, op.reference):
        for reduction in {"none", "sum", "mean"} & {*example}:
            np.testing.assert_allclose(
                function(x, t, *more, reduction=reduction, **options), example[reduction], **DIGITS
            )
    value, grads = op.value_and_grad(x, t, *more, **options)
    np.testing.assert_allclose(value, example["mean"], **DIGITS)
    np.testing.assert_allclose(grads[0] if more else grads, example["grad_input_mean"], rtol=1e-12, atol=1e-16)


def test_losses_of_their_own_shape(target: str) -> None:
    """Root of a mean, denominators, divergences; and what minimises what in a game of two networks."""
    example = LOSSES["rmse"]
    assert abs(dk.rmse_loss(np.array(example["input"]), np.array(example["target"])) - example["value"]) < 1e-14
    example = LOSSES["weighted_mean_conventions"]
    x, t, weight = (np.array(example[k]) for k in ("input", "target", "weight"))
    np.testing.assert_allclose(dk.mse_loss(x, t, weight=weight, reduction="sum"), example["sum_w_l"], **DIGITS)
    np.testing.assert_allclose(dk.mse_loss(x, t, weight=weight), example["mean_over_sum_w"], **DIGITS)
    np.testing.assert_allclose(dk.mse_loss(x, t, weight=weight, denominator="count"), example["mean_over_n"], **DIGITS)
    example = LOSSES["kl_div"]
    x, t = np.array(example["input_log_prob"]), np.array(example["target"])
    for reduction in ("none", "sum", "batchmean", "mean"):
        np.testing.assert_allclose(dk.kl_div(x, t, reduction=reduction), example[reduction], rtol=1e-11, atol=1e-15)
    np.testing.assert_allclose(dk.kl_div(x, t), example["batchmean"], rtol=1e-11)
    np.testing.assert_allclose(dk.kl_div.value_and_grad(x, t, reduction="sum")[1], example["grad_input_sum"], **DIGITS)
    example = LOSSES["js_div"]
    p, q = np.array([example["p"]]), np.array([example["q"]])
    value, (dp, _) = dk.js_div.value_and_grad(p, q)
    np.testing.assert_allclose(value, example["value"], rtol=1e-12)
    np.testing.assert_allclose(dp[0], example["grad_p"], rtol=1e-12)
    np.testing.assert_allclose(dk.js_div(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])), example["upper_bound_ln2"])


GAN: dict[str, Any] = json.loads((VECTORS / "advanced_losses.json").read_text())["gan"]


def test_adversarial_losses(target: str) -> None:
    real, fake = np.array(GAN["real_logits"]), np.array(GAN["fake_logits"])
    names = {
        "minimax": "discriminator_minimax", "lsgan": "lsgan_discriminator_half", "hinge": "hinge_discriminator",
        "wgan": "wgan_critic",
    }  # fmt: skip
    for mode, name in names.items():
        value, grads = dk.gan_discriminator_loss.value_and_grad(real, fake, mode=mode)
        np.testing.assert_allclose(value, GAN[name]["value"], **DIGITS)
        for grad, wanted in zip(grads, GAN[name]["grads"], strict=True):
            np.testing.assert_allclose(grad, wanted, rtol=1e-12, atol=1e-16)
    names = {
        "saturating": "generator_saturating", "non_saturating": "generator_non_saturating", "lsgan": "lsgan_generator_half",
        "hinge": "hinge_generator", "wgan": "hinge_generator",
    }  # fmt: skip
    for mode, name in names.items():
        value, grad = dk.gan_generator_loss.value_and_grad(fake, mode=mode)
        np.testing.assert_allclose(value, GAN[name]["value"], **DIGITS)
        np.testing.assert_allclose(grad, GAN[name]["grads"], rtol=1e-12, atol=1e-16)
    zeros = np.zeros(3)
    np.testing.assert_allclose(-dk.gan_discriminator_loss(zeros, zeros), GAN["V_at_equilibrium"], **DIGITS)
    for row in GAN["saturation_demo"]:
        logit = np.array([float(row["fake_logit"])])
        for mode in ("saturating", "non_saturating"):
            grad = dk.gan_generator_loss.value_and_grad(logit, mode=mode)[1]
            np.testing.assert_allclose(grad, row[f"grad_{mode}"], rtol=1e-11)


CLASS_LOSSES = ("cross_entropy", "nll_loss", "multi_margin_loss", "categorical_hinge_loss", "softmax_focal_loss")


@pytest.mark.parametrize("name", [n for n in LOSSES if n.startswith(CLASS_LOSSES)])
def test_class_losses(name: str, target: str) -> None:
    params = {k: v for k, v in LOSSES[name].get("params", {}).items() if v is not None}
    if "weight" in params:
        params["weight"] = np.array(params["weight"])
    op = getattr(dk, next(n for n in CLASS_LOSSES if name.startswith(n)))
    if "z_loss" not in name:
        check_loss(op, name, **params)
        return
    # the example's "none" and "sum" leave the z-loss out
    example = LOSSES[name]
    x, t = np.array(example["input"]), np.array(example["target"])
    value, grad = op.value_and_grad(x, t, **params)
    np.testing.assert_allclose(value, example["mean"], **DIGITS)
    np.testing.assert_allclose(op.reference(x, t, **params), example["mean"], **DIGITS)
    np.testing.assert_allclose(grad, example["grad_input_mean"], rtol=1e-12, atol=1e-16)
    each = np.array(example["none"]) + params["z_loss"] * dk.logsumexp(x, axis=1) ** 2
    np.testing.assert_allclose(op(x, t, reduction="none", **params), each, **DIGITS)


def check_rows(op: Any, arrays: list[Any], value: float, grads: list[Any], **options: Any) -> None:
    """One row: its value and gradients."""
    arrays = [np.array(a, dtype=np.float64) for a in arrays]
    np.testing.assert_allclose(op.reference(*arrays, **options), value, **DIGITS)
    got, gradients = op.value_and_grad(*arrays, **options)
    np.testing.assert_allclose(got, value, **DIGITS)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    for gradient, wanted in zip(gradients, grads, strict=False):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-12, atol=1e-16)


def test_metric_losses(target: str) -> None:
    e = LOSSES["cosine_embedding_loss"]
    x1, x2 = e["input1"], e["input2"]
    check_rows(dk.cosine_embedding_loss, [x1, x2, 1], e["loss_target_1"], [e["grad_input1_target_1"]])
    check_rows(dk.cosine_embedding_loss, [x1, x2, -1], e["loss_target_-1_margin_0.5"], [], margin=0.5)
    e = LOSSES["triplet_margin_loss"]
    params = {k: float(v) for k, v in e["params"].items()}
    check_rows(
        dk.triplet_margin_loss, [e["anchor"], e["positive"], e["negative"]], e["loss"], e["grads_a_p_n"], **params
    )
    e = ADVANCED["gan"]
    penalty = e["wgan_gp_penalty_of_input_gradients(lambda=1)"]
    check_rows(dk.gradient_penalty, [e["wgan_gp_input_gradients"]], penalty["value"], [penalty["grads"]], lambda_=1.0)


def test_overlap_losses(target: str) -> None:
    for name, options in (("dice_loss", {}), ("dice_loss_squared_denominator", {"squared_denominator": True})):
        e = ADVANCED[name]
        check_rows(dk.dice_loss, [e["prob"], e["target"]], e["value"], [e["grad_prob"]], **options)
        check_rows(dk.dice_loss, [e["prob"], e["target"]], e["value_smooth_0"], [], smooth=0.0, **options)
    e = ADVANCED["tversky_loss"]
    weights = {"alpha": e["params"]["alpha_fp"], "beta": e["params"]["beta_fn"]}
    check_rows(dk.tversky_loss, [e["prob"], e["target"]], e["value"], [e["grad_prob"]], **weights)
    check_rows(dk.tversky_loss, [e["prob"], e["target"]], e["focal_gamma_4/3"], [], gamma=3 / 4, **weights)


@pytest.mark.parametrize("example", ADVANCED["bi_tempered_logistic_loss"], ids=lambda e: f"{e['t1']}-{e['t2']}")
def test_bi_tempered(example: dict[str, Any], target: str) -> None:
    x, labels, t1, t2 = (np.array(example[k]) for k in ("activations", "labels", "t1", "t2"))
    params = {"t1": float(t1), "t2": float(t2), "label_smoothing": example["label_smoothing"]}
    check_rows(dk.bi_tempered_logistic_loss, [x, labels], example["loss"], [example["grad_activations"]], **params)
    value, grad = dk.bi_tempered_logistic_loss.value_and_grad(x, np.array(labels.argmax()), **params)
    np.testing.assert_allclose(value, example["loss"], **DIGITS)
    np.testing.assert_allclose(grad, example["grad_activations"], rtol=1e-12, atol=1e-16)
    p = dk.tempered_softmax(x, params["t2"])
    np.testing.assert_allclose(p, example["probabilities"], **DIGITS)
    np.testing.assert_allclose(dk.tempered_softmax.reference(x, params["t2"]), example["probabilities"], **DIGITS)
    if "probabilities_after_5_fixed_point_iterations" in example:
        five = dk.tempered_softmax(x, params["t2"], num_iters=5)
        np.testing.assert_allclose(five, example["probabilities_after_5_fixed_point_iterations"], **DIGITS)
        np.testing.assert_allclose(five.sum(), example["probability_sum_after_5"], **DIGITS)


def test_bi_tempered_is_bounded(target: str) -> None:
    for e in ADVANCED["bi_tempered_bounded"]:
        x, y = np.array([[0.0, e["margin"]]]), np.array([0])
        np.testing.assert_allclose(dk.bi_tempered_logistic_loss(x, y, 0.8, 1.2), e["bi_tempered_0.8_1.2"], **DIGITS)
        np.testing.assert_allclose(dk.cross_entropy(x, y), e["softmax_ce"], **DIGITS)
    limit = dk.bi_tempered_logistic_loss(np.array([[0.0, 1e300]]), np.array([0]), 0.8, 1.2)
    np.testing.assert_allclose(limit, ADVANCED["bi_tempered_supremum_one_hot_t1_0.8"], **DIGITS)


# --- Philox4x32-10: the authors' known answers, seen through dropout's mask -----------------------------------------------

PHILOX = json.loads((VECTORS / "schedules_rng_init.json").read_text())["philox4x32_10"]


def reachable(example: dict[str, list[str]]) -> bool:
    """Counters are (element / 4, offset): the first two words are small here."""
    return int(example["counter"][1], 16) == 0 and int(example["counter"][0], 16) < 1000


@pytest.mark.parametrize(
    "example", [e for e in PHILOX if reachable(e)], ids=lambda e: "-".join([e["counter"][0], e["key"][0]])
)
def test_dropout_draws_philox(example: dict[str, list[str]], target: str) -> None:
    """Word w keeps its element for p up to (w >> 8) / 2^24 exactly, and drops it from the next 24-bit number on."""
    block, _, low, high = (int(c, 16) for c in example["counter"])
    key = [int(k, 16) for k in example["key"]]
    draw = {"seed": key[0] + (key[1] << 32), "offset": low + (high << 32)}
    x = np.ones(4 * block + 4)
    for lane, word in enumerate(example["output"]):
        u = (int(word, 16) >> 8) / 2**24
        for function in (dk.dropout, dk.dropout.backward, dk.dropout.reference):
            assert function(x, u, **draw)[4 * block + lane] != 0
            assert function(x, u + 2**-24, **draw)[4 * block + lane] == 0
            assert function(x, u + 2**-30, **draw)[4 * block + lane] == 0


def test_seed_and_offset_use_all_their_bits() -> None:
    x = np.ones(1000)
    masks = {
        bytes(dk.dropout(x, seed=s, offset=o) == 0) for s in (0, 1, 2**32, 2**63 - 1) for o in (0, 1, 2**32, 2**62)
    }
    assert len(masks) == 16
    for s, o in ((2**32 + 5, 7), (3, 2**40 + 1)):
        assert np.array_equal(dk.dropout(x, seed=s, offset=o), dk.dropout.reference(x, seed=s, offset=o))
