"""The perceptual loss: the worked example, gradients against central differences, batches, fixed filters, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numerics
import numpy as np
import pytest

import dlkernels as dk
from dlkernels import filters, nn

EXAMPLE = json.loads((Path(__file__).parent / "vectors" / "advanced_losses.json").read_text())["perceptual_loss"]
DIGITS = {"rtol": 1e-12, "atol": 1e-15}
loss = dk.perceptual_loss


def example_extractor() -> nn.Sequential:
    return nn.Sequential(filters.FixedConv(np.array(EXAMPLE["filters"])[:, None]), nn.ReLU())


def images(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.uniform(0, 1, shape)


# --- the worked example -------------------------------------------------------------------------------------------------------


def test_example(target: str) -> None:
    image, wanted = (np.array(EXAMPLE[name])[None, None] for name in ("image", "target"))
    extractor = example_extractor()
    np.testing.assert_allclose(extractor(image)[0], EXAMPLE["features_image"], **DIGITS)
    np.testing.assert_allclose(extractor(wanted)[0], EXAMPLE["features_target"], **DIGITS)

    value, grad = loss.value_and_grad(image, wanted, extractor, content_layers=[1])
    np.testing.assert_allclose(value, EXAMPLE["content_loss(/CHW)"], **DIGITS)
    np.testing.assert_allclose(grad[0, 0], EXAMPLE["grad_content"], **DIGITS)

    value, grad = loss.value_and_grad(image, wanted, extractor, style_layers=[-1], style_weight=1.0)
    np.testing.assert_allclose(value, EXAMPLE["style_loss(sum sq Frobenius)"], **DIGITS)
    np.testing.assert_allclose(grad[0, 0], EXAMPLE["grad_style"], **DIGITS)

    # the features as they are: an extractor that does nothing
    features, at_target = (np.array(EXAMPLE[f"features_{name}"])[None] for name in ("image", "target"))
    value, grad = loss.value_and_grad(features, at_target, [nn.Dropout(0.0)], style_layers=[0], style_weight=1.0)
    np.testing.assert_allclose(value, EXAMPLE["style_loss(sum sq Frobenius)"], **DIGITS)
    np.testing.assert_allclose(grad[0].reshape(2, 4), EXAMPLE["grad_style_wrt_features"], **DIGITS)

    assert loss(image, wanted, extractor, tv_weight=1.0) == pytest.approx(EXAMPLE["total_variation_sq"], rel=1e-12)
    assert dk.mse_loss(image, wanted) == pytest.approx(EXAMPLE["pixel_mse"], rel=1e-12)

    weights = {"content_weight": 2.0, "style_weight": 3.0, "tv_weight": 0.5}
    every = loss(image, wanted, extractor, [1], [1], **weights)
    parts = [EXAMPLE[name] for name in ("content_loss(/CHW)", "style_loss(sum sq Frobenius)", "total_variation_sq")]
    np.testing.assert_allclose(every, np.dot(list(weights.values()), parts), **DIGITS)


# --- gradients ------------------------------------------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Any]] = {
    "content": {"content_layers": [2]},
    "two of each": {"content_layers": [0, 3], "style_layers": [1, 4], "style_weight": 2.0, "content_weight": 0.5},
    "the same layer": {"content_layers": [3], "style_layers": [3], "style_weight": 3.0},
    "all": {"content_layers": [-3], "style_layers": [0, 2, -1], "style_weight": 5.0, "tv_weight": 0.1},
    "variation": {"tv_weight": 2.0},
}


@pytest.mark.parametrize("circular", [False, True])
@pytest.mark.parametrize("name", list(OPTIONS))
def test_gradient(name: str, circular: bool, rng: np.random.Generator) -> None:
    """Smooth extractor (GELU): central differences then know nothing of kinks."""
    bank = filters.fixed_filter_bank(1, 5, circular=circular, dtype="float64").layers
    extractor = nn.Sequential(bank[0], nn.GELU(), bank[2], bank[3], nn.GELU())
    image, wanted = images(rng, 2, 1, 8, 9), images(rng, 2, 1, 8, 9)
    for style_target in (None, images(rng, 2, 1, 10, 8), images(rng, 1, 1, 8, 9)):
        options = {**OPTIONS[name], "style_target": style_target}
        value, grad = loss.value_and_grad(image, wanted, extractor, **options)
        assert value == loss(image, wanted, extractor, **options)
        for way in rng.normal(size=(4, *image.shape)):
            along = numerics.central_difference(
                lambda t, o=options, way=way: loss(image + t[0] * way, wanted, extractor, **o), np.zeros(1)
            )
            np.testing.assert_allclose(np.sum(grad * way), along[0], rtol=1e-7, atol=1e-10)


def test_a_batch_is_the_mean_of_its_images(rng: np.random.Generator) -> None:
    extractor = filters.fixed_filter_bank(3, dtype="float64")
    image, wanted = images(rng, 4, 3, 12, 16), images(rng, 4, 3, 12, 16)
    options: dict[str, Any] = {"content_layers": [1, 5], "style_layers": [1, 4], "style_weight": 7.0, "tv_weight": 0.3}
    value, grad = loss.value_and_grad(image, wanted, extractor, **options)
    one_by_one = [loss.value_and_grad(image[i : i + 1], wanted[i : i + 1], extractor, **options) for i in range(4)]
    np.testing.assert_allclose(value, np.mean([v for v, _ in one_by_one]), rtol=1e-13)
    np.testing.assert_allclose(grad, np.concatenate([g for _, g in one_by_one]) / 4, rtol=1e-12, atol=1e-16)


def test_zero_at_the_target(rng: np.random.Generator) -> None:
    extractor, image = filters.fixed_filter_bank(dtype="float64"), images(rng, 1, 1, 12, 12)
    value, grad = loss.value_and_grad(image, image, extractor, [2, 5], [1, 4], style_weight=1.0)
    assert value == 0
    assert not grad.any()


def test_dtypes(target: str, rng: np.random.Generator) -> None:
    image, wanted = images(rng, 2, 3, 16, 16), images(rng, 2, 3, 16, 16)
    options: dict[str, Any] = {"content_layers": [5], "style_layers": [1], "style_weight": 10.0, "tv_weight": 0.01}
    exact = loss.value_and_grad(image, wanted, filters.fixed_filter_bank(3, dtype="float64"), **options)
    value, grad = loss.value_and_grad(image.astype("f4"), wanted.astype("f4"), filters.fixed_filter_bank(3), **options)
    assert value.dtype == grad.dtype == np.float32
    np.testing.assert_allclose(value, exact[0], rtol=1e-5)
    np.testing.assert_allclose(grad, exact[1], rtol=1e-3, atol=1e-5 * np.abs(exact[1]).max())


def test_the_extractor_is_frozen(rng: np.random.Generator) -> None:
    """Parameters in it keep their values and get no gradient; the loss alone leaves even those of others alone."""
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(36, 10, dtype="float64", seed=0), nn.Tanh())
    image, wanted = images(rng, 3, 1, 6, 6), images(rng, 3, 1, 6, 6)
    before = [p.copy() for p in extractor.params()]
    _, grad = loss.value_and_grad(image, wanted, extractor, [1, 2])
    assert extractor.grads() == [None, None]
    assert all(np.array_equal(a, b) for a, b in zip(before, extractor.params(), strict=True))
    expected = numerics.central_difference(lambda x: loss(x, wanted, extractor, [1, 2]), image)
    np.testing.assert_allclose(grad, expected, rtol=1e-8, atol=1e-12)
    extractor(image, train=True)[1](np.ones((3, 10)))
    loss(image, wanted, extractor, [2])
    assert extractor.grads()[0] is not None


def test_results_outlive_the_next_call(rng: np.random.Generator) -> None:
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(16, 16, dtype="float64", seed=0))
    image, wanted = images(rng, 2, 1, 4, 4), images(rng, 2, 1, 4, 4)
    _, grad = loss.value_and_grad(image, wanted, extractor, [1])
    kept = grad.copy()
    loss.value_and_grad(wanted * 3, image, extractor, [1])
    assert np.array_equal(grad, kept)


# --- the filter bank ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "same"), [((4, 8), True), ((1, 2), False)])
def test_style_does_not_see_a_shift(shift: tuple[int, int], same: bool, rng: np.random.Generator) -> None:
    """On a torus, shifted by a multiple of all pooling: the Gram matrices are those of the image; the pixels are not."""
    image = np.round(images(rng, 1, 1, 32, 32)) * 1.0
    moved = np.roll(image, shift, axis=(2, 3))
    assert dk.mse_loss(image, moved) > 0.1
    extractor = filters.fixed_filter_bank(circular=True, dtype="float64")
    style = loss(image, moved, extractor, style_layers=range(6), style_weight=1.0)
    assert style < 1e-6 if same else style > 1e-6
    assert loss(image, moved, extractor, content_layers=[5]) > 1e-3


def test_fixed_filters(rng: np.random.Generator) -> None:
    """Correlation, its transpose, and on a torus its definition by indices."""
    bank = rng.normal(size=(4, 3, 3, 3))
    x = images(rng, 2, 3, 6, 7)
    y, backprop = filters.FixedConv(bank)(x, train=True)
    assert y.shape == (2, 4, 4, 5)
    np.testing.assert_allclose(y[1, 2, 3, 1], np.sum(bank[2] * x[1, :, 3:6, 1:4]), rtol=1e-13)
    dy = rng.normal(size=y.shape)
    np.testing.assert_allclose(np.sum(backprop(dy) * x), np.sum(dy * y), rtol=1e-12)
    y, backprop = filters.FixedConv(bank, circular=True)(x, train=True)
    assert y.shape == (2, 4, 6, 7)
    np.testing.assert_allclose(y[:, :, 1:-1, 1:-1], filters.FixedConv(bank)(x), rtol=1e-12, atol=1e-14)
    around = np.take(np.take(x[0], [5, 0, 1], axis=1), [6, 0, 1], axis=2)
    np.testing.assert_allclose(y[0, 3, 0, 0], np.sum(bank[3] * around), rtol=1e-13)
    dy = rng.normal(size=y.shape)
    np.testing.assert_allclose(np.sum(backprop(dy) * x), np.sum(dy * y), rtol=1e-12)
    assert backprop(dy, need_dx=False) is None


def test_mean_pool(rng: np.random.Generator) -> None:
    x = images(rng, 2, 3, 7, 9)
    y, backprop = filters.MeanPool(2)(x, train=True)
    assert y.shape == (2, 3, 3, 4)
    np.testing.assert_allclose(y[1, 2, 1, 3], x[1, 2, 2:4, 6:8].mean(), rtol=1e-15)
    dy = rng.normal(size=y.shape)
    dx = backprop(dy)
    np.testing.assert_allclose(np.sum(dx * x), np.sum(dy * y), rtol=1e-12)
    assert not dx[:, :, 6:].any()
    assert not dx[:, :, :, 8:].any()


def test_filter_banks() -> None:
    first = filters.fixed_filter_bank(3, 16, 2, dtype="float64")
    again = filters.fixed_filter_bank(3, 16, 2, dtype="float64")
    other = filters.fixed_filter_bank(3, 16, 2, seed=1, dtype="float64")
    for layer in (0, 3):
        assert np.array_equal(first.layers[layer].filters, again.layers[layer].filters)
        assert not np.array_equal(first.layers[layer].filters, other.layers[layer].filters)
    random = first.layers[0].filters[3:].reshape(13, -1)
    np.testing.assert_allclose(random @ random.T, np.eye(13), atol=1e-13)
    np.testing.assert_allclose(first.layers[0].filters[:3].sum(axis=(1, 2, 3)), 0, atol=1e-15)
    assert not first.params()
    wide = filters.fixed_filter_bank(1, 16, 1, dtype="float64").layers[0].filters[3:].reshape(13, 9)
    np.testing.assert_allclose(wide.T @ wide, np.eye(9), atol=1e-13)


# --- errors ---------------------------------------------------------------------------------------------------------------------

X = np.zeros((2, 1, 8, 8))


@pytest.mark.parametrize(
    ("kind", "text", "arguments", "options"),
    [
        (ValueError, "nothing to compare", (X, X), {}),
        (ValueError, "nothing to compare", (X, X), {"style_layers": [1]}),
        (ValueError, "content_layers must be below 2, the number of layers, got 2", (X, X), {"content_layers": [2]}),
        (ValueError, "style_layers must be at least -2", (X, X), {"style_layers": [-3], "style_weight": 1.0}),
        (TypeError, "content_layers must be a whole number", (X, X), {"content_layers": [1.0]}),
        (ValueError, "tv_weight must be in", (X, X), {"tv_weight": -1.0}),
        (TypeError, "content_weight must be a number", (X, X), {"content_weight": "1"}),
        (TypeError, "image must be an array", ([[0.0]], X), {"tv_weight": 1.0}),
        (ValueError, "image must be images of shape", (X[0], X), {"tv_weight": 1.0}),
        (ValueError, "target must have image's shape (2, 1, 8, 8), got (1, 1, 8, 8)", (X, X[:1]), {"tv_weight": 1.0}),
        (TypeError, "target must be float64 like image, got float32", (X, X.astype("f4")), {"tv_weight": 1.0}),
        (ValueError, "style_target must have image's 1 channels", (X, X), {"tv_weight": 1.0, "style_target": np.zeros((3, 1, 8, 8))}),
        (ValueError, "style_target must have image's 1 channels", (X, X), {"tv_weight": 1.0, "style_target": np.zeros((2, 3, 8, 8))}),
        (ValueError, "x must have shape (n, 1, 3 or more, 3 or more)", (X[..., :2], X[..., :2]), {"content_layers": [0]}),
        (TypeError, "x must be float64 like the filters", (X.astype("f4"), X.astype("f4")), {"content_layers": [0]}),
    ],
)  # fmt: skip
def test_errors(kind: type[Exception], text: str, arguments: tuple[Any, Any], options: dict[str, Any]) -> None:
    for call in (loss, loss.value_and_grad):
        with pytest.raises(kind) as caught:
            call(*arguments, example_extractor(), **options)
        assert text in str(caught.value)


def test_errors_of_the_filters() -> None:
    with pytest.raises(ValueError, match=r"filters must have shape \(out, in, height, width\)"):
        filters.FixedConv(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="x must have shape"):
        filters.MeanPool()(np.zeros((4, 4)))
    with pytest.raises(ValueError, match="x must be at least 2 x 2"):
        filters.MeanPool()(np.zeros((1, 1, 1, 4)))
    with pytest.raises(ValueError, match="filters must be at least 4"):
        filters.fixed_filter_bank(filters=3)


def test_a_frozen_extractor_stays_what_it_is(rng: np.random.Generator) -> None:
    """Batch norm by its running statistics and no dropout, for the value and for the gradient; nothing in the extractor moves."""
    norm, drop = nn.BatchNorm2d(3, dtype=np.float64), nn.Dropout(0.5, seed=0)
    norm.running_mean[...], norm.running_var[...] = 0.3, 2.0
    extractor = nn.Sequential(norm, nn.Sequential(drop, nn.Softplus()))
    image, wanted = images(rng, 2, 3, 4, 4), images(rng, 2, 3, 4, 4)
    before = {name: a.copy() for name, a in extractor.named_statistics().items()}
    value, grad = loss.value_and_grad(image, wanted, extractor, [0, 1])
    np.testing.assert_allclose(value, loss(image, wanted, extractor, [0, 1]), rtol=1e-14)
    numeric = numerics.central_difference(lambda x: loss(x, wanted, extractor, [0, 1]), image)
    np.testing.assert_allclose(grad, numeric, rtol=1e-7, atol=1e-9)
    for name, a in extractor.named_statistics().items():
        numerics.assert_same_bits(a, before[name], name)
    assert drop.offset == 0
    assert (norm.frozen, drop.frozen, drop.is_view) == (False, False, False)
    extractor.freeze()
    assert drop.is_view
    np.testing.assert_array_equal(extractor(image, train=True)[0], extractor(image))


def test_sixteen_bits_are_computed_in_32(rng: np.random.Generator) -> None:
    image, wanted = (images(rng, 1, 2, 40, 40) * 60 for _ in range(2))
    options = {"style_layers": [0], "style_weight": 1.0, "content_layers": [0], "content_weight": 1e5}
    exact, _ = loss.value_and_grad(
        image, wanted, filters.fixed_filter_bank(channels=2, blocks=1, dtype="float64"), **options
    )
    for dtype in (np.float16, ml_dtypes.bfloat16):
        bank = filters.fixed_filter_bank(channels=2, blocks=1, dtype=dtype)
        value, grad = loss.value_and_grad(image.astype(dtype), wanted.astype(dtype), bank, **options)
        assert grad.dtype == dtype
        np.testing.assert_allclose(float(value), exact, rtol=0.05)
        assert np.isfinite(loss(image.astype(dtype), wanted.astype(dtype), bank, **options))
