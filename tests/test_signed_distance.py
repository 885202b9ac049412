"""Signed distance maps: the published examples, the published algorithm on random labels, absent and full classes, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

import dlkernels as dk

EXAMPLE = json.loads((Path(__file__).parent / "vectors" / "advanced_losses.json").read_text())["boundary_loss"]
CONVENTIONS = ("liviaets", "half_pixel")


def one_hot2dist(mask: np.ndarray, spacing: Any, convention: str) -> np.ndarray:
    """One class of one image, written from the published code; SciPy's distances."""
    if not mask.any() or mask.all():
        return np.zeros(mask.shape)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing)
    if convention == "liviaets":
        return outside * ~mask - (inside - 1) * mask
    half = 0.5 * np.min(1 if spacing is None else spacing)
    return (outside - half) * ~mask - (inside - half) * mask


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_example(convention: str, target: str) -> None:
    mask = np.array(EXAMPLE["mask"])
    expected = np.array(EXAMPLE[f"phi_{convention}"])
    for phi in (
        dk.signed_distance_map(mask, convention=convention),
        dk.signed_distance_map(mask.astype(bool), convention=convention),
        dk.signed_distance_map(mask.astype(np.uint8), 2, convention=convention)[1],
        dk.signed_distance_map(mask[None], 3, convention=convention)[0, 1],
    ):
        np.testing.assert_allclose(phi, expected, rtol=1e-12, atol=1e-15)
    assert not dk.signed_distance_map(mask, 3, convention=convention)[2].any()


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(
    ("space", "spacing"), [((9, 11), None), ((9, 11), (0.7, 2.0)), ((7,), 1.5), ((5, 6, 7), (3.0, 1.0, 0.5))]
)
def test_published_algorithm(space: tuple[int, ...], spacing: Any, convention: str, rng: np.random.Generator) -> None:
    label = rng.integers(0, 4, (3, *space)) % 3  # class 3 is absent
    label[2] = 1  # and here class 1 is all there is
    phi = dk.signed_distance_map(label, 4, spatial_dims=len(space), spacing=spacing, convention=convention)
    assert phi.shape == (3, 4, *space)
    assert phi.dtype == np.float64
    for b, k in np.ndindex(3, 4):
        np.testing.assert_allclose(phi[b, k], one_hot2dist(label[b] == k, spacing, convention), rtol=1e-14, atol=1e-15)
    one_hot = (label[:, None] == np.arange(4).reshape(-1, *[1] * len(space))).astype(np.uint8)
    again = dk.signed_distance_map(one_hot, spatial_dims=len(space), spacing=spacing, convention=convention)
    assert np.array_equal(again, phi)


def test_absent_full_and_empty() -> None:
    for convention in CONVENTIONS:
        assert not dk.signed_distance_map(np.zeros((4, 5), bool), convention=convention).any()
        assert not dk.signed_distance_map(np.ones((4, 5), bool), convention=convention).any()
        assert dk.signed_distance_map(np.zeros((0, 4, 5), int), 2, convention=convention).shape == (0, 2, 4, 5)


@pytest.mark.parametrize(
    ("kind", "text", "label", "options"),
    [
        (TypeError, "must be a NumPy array of integers or bool, got list", [[0]], {}),
        (TypeError, "got float64. Convert it", np.zeros((2, 2)), {}),
        (ValueError, "class ids in [0, 2), got a label from 0 to 2", np.array([[0, 2]]), {"num_classes": 2}),
        (ValueError, "got a label from -1 to 0", np.array([[0, -1]]), {"num_classes": 2}),
        (ValueError, "masks of 0 and 1, or num_classes", np.array([[0, 2]]), {}),
        (ValueError, "spatial_dims must be in [1, 2]", np.array([[0, 1]]), {"spatial_dims": 3}),
        (ValueError, "spatial_dims must be in [1, 1]", np.array([0, 1]), {}),
        (ValueError, "convention must be", np.array([[0, 1]]), {"convention": "inner"}),
        (ValueError, "one for each of 2 axes, got 3 numbers", np.array([[0, 1]]), {"spacing": (1, 1, 1)}),
        (ValueError, "sampling must be in", np.array([[0, 1]]), {"spacing": 0}),
    ],
)
def test_errors(kind: type[Exception], text: str, label: Any, options: dict[str, Any]) -> None:
    with pytest.raises(kind) as caught:
        dk.signed_distance_map(label, **options)
    assert text in str(caught.value)
