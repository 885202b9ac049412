"""The boundary loss: the worked example, chosen classes, use beside a regional loss and before softmax, its errors.

What all elementwise losses owe (bits, layouts, dtypes, reductions, weights) is tested for it by the registry.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numerics
import numpy as np
import pytest
from numerics import DTYPES

import dlkernels as dk

EXAMPLE = json.loads((Path(__file__).parent / "vectors" / "advanced_losses.json").read_text())["boundary_loss"]
DIGITS = {"rtol": 1e-12, "atol": 1e-15}
loss = dk.boundary_loss


def test_example(target: str) -> None:
    prob, mask = np.array(EXAMPLE["prob"]), np.array(EXAMPLE["mask"])
    phi = dk.signed_distance_map(mask)
    value, grad = loss.value_and_grad(prob, phi)
    np.testing.assert_allclose(value, EXAMPLE["value_mean"], **DIGITS)
    np.testing.assert_allclose(grad, EXAMPLE["grad_prob"], **DIGITS)
    np.testing.assert_allclose(loss.reference(prob, phi), EXAMPLE["value_mean"], **DIGITS)
    assert loss(mask.astype(float), phi) == EXAMPLE["value_at_perfect_segmentation"]


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("idc", [1, [1], (0, 2), [2, 1, 2], range(4), np.array([3])], ids=str)
def test_chosen_classes(idc: Any, dtype: str, target: str, rng: np.random.Generator) -> None:
    """The mean over the classes' elements, whatever the others hold; no gradient for the others."""
    prob = rng.uniform(size=(3, 4, 5, 6)).astype(DTYPES[dtype])
    phi = rng.normal(size=prob.shape).astype(DTYPES[dtype])
    chosen = np.unique(np.ravel(idc))
    others = np.setdiff1d(np.arange(4), chosen)
    phi[:, others] = np.nan
    value, grad = loss.value_and_grad(prob, phi, idc=idc)
    few, few_grad = loss.value_and_grad(prob[:, chosen].copy(), phi[:, chosen].copy())
    np.testing.assert_allclose(value, few, rtol=1e-12 if dtype == "float64" else 1e-5, atol=1e-6 * (dtype != "float64"))
    assert not grad[:, others].any()
    numerics.assert_same_bits(grad[:, chosen], few_grad)
    np.testing.assert_allclose(
        value, loss.reference(prob.astype(float), np.nan_to_num(phi.astype(float)), idc=idc), rtol=1e-5, atol=1e-6
    )
    total = loss(prob, phi, idc=idc, reduction="sum")
    np.testing.assert_allclose(total, value * few_grad.size, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(
        loss.backward(np.array(2, value.dtype), prob, phi, idc=idc).astype(float), 2 * grad.astype(float), rtol=1e-2
    )


def test_proportional_to_the_distance(target: str) -> None:
    """SPEC D18 (a): one more false positive costs a Dice loss the same everywhere, this one in proportion to its distance."""
    mask = np.zeros((1, 40), bool)
    mask[0, :3] = True
    phi = dk.signed_distance_map(mask)
    for at in (5, 10, 20, 39):
        found = mask.astype(float)
        found[0, at] = 1
        assert loss(found, phi, reduction="sum") == loss(mask.astype(float), phi, reduction="sum") + at - 2


def test_gradient_of_the_logits(rng: np.random.Generator) -> None:
    """As the docstring goes: beside a regional loss, before softmax."""
    logits = rng.normal(size=(2, 3, 4, 5))
    label = rng.integers(0, 3, (2, 4, 5))
    one_hot = np.moveaxis(np.eye(3)[label], -1, 1)
    phi = dk.signed_distance_map(label, 3, spacing=(1.0, 2.0))
    alpha = dk.schedules.rebalance()(30)
    assert alpha == 0.7

    def combined(z: np.ndarray) -> Any:
        prob = dk.softmax(z, axis=1)
        return alpha * dk.mse_loss(prob, one_hot) + (1 - alpha) * loss(prob, phi, idc=[1, 2])

    prob = dk.softmax(logits, axis=1)
    d_region = dk.mse_loss.value_and_grad(prob, one_hot)[1]
    d_border = loss.value_and_grad(prob, phi, idc=[1, 2])[1]
    d_logits = dk.softmax.backward(alpha * d_region + (1 - alpha) * d_border, prob, axis=1)
    np.testing.assert_allclose(d_logits, numerics.central_difference(combined, logits), rtol=1e-8, atol=1e-12)


def test_rebalance() -> None:
    alpha = dk.schedules.rebalance(0.9, 0.1, 0.2)
    np.testing.assert_allclose([alpha(t) for t in range(10)], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2, 0.2])
    for bad in ((1.5,), (0.5, -0.1), (0.5, 0.1, 0.6)):
        with pytest.raises(ValueError, match="rebalance: "):
            dk.schedules.rebalance(*bad)


P = np.full((2, 3, 4), 0.5)


@pytest.mark.parametrize(
    ("kind", "text", "options"),
    [
        (ValueError, "idc must be in [0, 3), the classes on dimension 1, got 3", {"idc": [0, 3]}),
        (ValueError, "idc must be in [0, 3)", {"idc": -1}),
        (TypeError, "idc must be an integer", {"idc": [1.0]}),
        (TypeError, "idc must be an integer", {"idc": True}),
        (ValueError, "wanted idc or weight, got both", {"idc": 1, "weight": np.ones(4)}),
        (ValueError, "idc chooses among the classes on dimension 1", {"prob": P[0, 0], "dist_map": P[0, 0], "idc": 0}),
        (ValueError, "dist_map must have the shape of prob", {"dist_map": P[:, :2]}),
        (TypeError, "dist_map must be float64", {"dist_map": P.astype("f4")}),
    ],
)  # fmt: skip
def test_errors(kind: type[Exception], text: str, options: dict[str, Any]) -> None:
    for call, name in ((loss, "boundary_loss"), (loss.value_and_grad, "boundary_loss.value_and_grad")):
        with pytest.raises(kind) as caught:
            call(**{"prob": P, "dist_map": P, **options})
        assert str(caught.value).startswith(f"{name}: ")
        assert text in str(caught.value)
