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
    elsewhere = {"hinge_embedding_loss", "boundary_loss"}  # test_elementwise_losses.py, test_boundary_loss.py
    assert names <= set(ACTIVATIONS) | set(LOSSES) | here | elsewhere


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


@pytest.mark.parametrize("op", ROW_OPS, ids=lambda op: op.__name__)
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


@pytest.mark.parametrize("name", [n for n in LOSSES if n.startswith("cross_entropy") and "z_loss" not in n])
def test_cross_entropy(name: str, target: str) -> None:
    params = LOSSES[name].get("params", {})
    options = {k: params[k] for k in ("ignore_index", "label_smoothing") if k in params}
    if params.get("weight") is not None:
        options["weight"] = np.array(params["weight"])
    check_loss(dk.cross_entropy, name, **options)


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
