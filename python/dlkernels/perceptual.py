"""The perceptual loss: images compared by the features that a frozen network sees, not pixel by pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dlkernels import arguments
from dlkernels.layer import Array, Backprop, Layer
from dlkernels.ops import mse_loss

__all__ = ["perceptual_loss"]


class _Loss:
    """The terms of one call: each adds its value, and its gradient with respect to a feature or to the image."""

    def __init__(self, want_grad: bool) -> None:
        self.want_grad = want_grad
        self.value: Any = 0.0

    def compared(self, scale: float, a: Array, b: Array, reduction: str) -> Any:
        """Adds scale times the squared difference; its gradient with respect to a, at least float32, or None."""
        a, b = _wide(a), _wide(b)
        if not self.want_grad:
            self.value = self.value + scale * mse_loss(a, b, reduction=reduction)
            return None
        value, gradient = mse_loss.value_and_grad(a, b, reduction=reduction)
        self.value = self.value + scale * value
        gradient *= gradient.dtype.type(scale)
        return gradient


def _wide(a: Array) -> Array:
    """float32 in the place of 16 bits: sums of many features, and weights such as 1e5, are beyond float16."""
    return a.astype(np.float32) if a.dtype.itemsize == 2 else a


def _gram(features: Array) -> Array:
    """F F^T / (C H W) of each image."""
    flat = _wide(features).reshape(*features.shape[:2], -1)
    return np.matmul(flat, flat.swapaxes(1, 2)) / (flat.shape[1] * flat.shape[2])


def _style(loss: _Loss, scale: float, features: Array, wanted: Array) -> Any:
    gram = _gram(features)
    d_gram = loss.compared(scale / len(gram), gram, np.broadcast_to(wanted, gram.shape), "sum")
    if d_gram is None:
        return None
    flat = _wide(features).reshape(*features.shape[:2], -1)
    d_features = np.matmul(d_gram, flat) * (2 / (flat.shape[1] * flat.shape[2]))  # d_gram is symmetric
    return d_features.reshape(features.shape)


def _total_variation(loss: _Loss, scale: float, image: Array) -> Any:
    gradient = np.zeros_like(_wide(image)) if loss.want_grad else None
    down = (image[:, :, 1:], image[:, :, :-1]), (np.s_[:, :, 1:], np.s_[:, :, :-1])
    right = (image[:, :, :, 1:], image[:, :, :, :-1]), (np.s_[:, :, :, 1:], np.s_[:, :, :, :-1])
    for (a, b), (at_a, at_b) in (down, right):
        difference = loss.compared(scale / len(image), a, b, "sum")
        if gradient is not None:
            gradient[at_a] += difference
            gradient[at_b] -= difference
    return gradient


def _places(where: str, name: str, chosen: Sequence[int], layers: Sequence[Layer]) -> list[int]:
    """Indices into layers, as Python counts them."""
    if not isinstance(chosen, (list, tuple, range)):
        raise TypeError(f"{where}: {name} must be a list of indices, got {type(chosen).__name__}.")
    for index in chosen:
        arguments.whole(where, name, index, least=-len(layers))
        if index >= len(layers):
            raise ValueError(f"{where}: {name} must be below {len(layers)}, the number of layers, got {index}.")
    return [index % len(layers) for index in chosen]


def _check_images(where: str, image: Array, target: Array, style_target: Array | None) -> None:
    images = {"image": image, "target": target, "style_target": style_target}
    for name, x in images.items():
        if x is None:
            continue
        arguments.array(where, name, x)
        if x.ndim != 4 or x.size == 0:
            raise ValueError(f"{where}: {name} must be images of shape (n, channels, height, width), got {x.shape}.")
        if x.dtype != image.dtype:
            raise TypeError(
                f"{where}: {name} must be {image.dtype} like image, got {x.dtype}. "
                f'Cast it: {name}.astype("{image.dtype}").'
            )
    if target.shape != image.shape:
        raise ValueError(f"{where}: target must have image's shape {image.shape}, got {target.shape}.")
    if style_target is not None and style_target.shape[:2] not in {image.shape[:2], (1, image.shape[1])}:
        raise ValueError(
            f"{where}: style_target must have image's {image.shape[1]} channels, and one image or {len(image)}, "
            f"got {style_target.shape}."
        )


def _seen(layers: Sequence[Layer], x: Array, wanted: set[int]) -> dict[int, Array]:
    """The features of x after the wanted layers."""
    features = {}
    for index in range(max(wanted, default=-1) + 1):
        x = layers[index](x)
        if index in wanted:
            features[index] = x
    return features


def _trained(layers: Sequence[Layer], x: Array, wanted: set[int]) -> tuple[dict[int, Array], list[Backprop]]:
    """The same, with the way back from each layer."""
    features: dict[int, Array] = {}
    backprops: list[Backprop] = []
    for layer in layers[: max(wanted, default=-1) + 1]:
        x, backprop = layer(x, train=True)
        features[len(backprops)] = x
        backprops.append(backprop)
    return features, backprops


@contextmanager
def _inference(layers: Sequence[Layer]) -> Iterator[None]:
    """Running statistics and dropout masks stand still, in training passes too."""
    leaves = [leaf for layer in layers for _, leaf in layer.leaves()]
    before = [leaf.frozen for leaf in leaves]
    try:
        for leaf in leaves:
            leaf.frozen = True
        yield
    finally:
        for leaf, frozen in zip(leaves, before, strict=True):
            leaf.frozen = frozen


def _add(gradients: dict[int, Any], index: int, more: Any) -> None:
    if more is not None:
        gradients[index] = more if gradients.get(index) is None else gradients[index] + more


def _back(
    layers: Sequence[Layer], backprops: Sequence[Backprop], gradients: dict[int, Any], d_image: Any, dtype: Any
) -> Any:
    """d_image, and what comes back to the image from the features' gradients."""
    back = None
    for index in reversed(range(len(backprops))):
        _add(gradients, index, back)
        back = backprops[index](gradients[index].astype(dtype, copy=False))
    for layer in layers[: len(backprops)]:
        layer.zero_grad()  # frozen
    if back is None:
        return None if d_image is None else d_image.astype(dtype, copy=False)
    # `back` may be a buffer of the first layer
    return back.copy() if d_image is None else (d_image + back).astype(dtype, copy=False)


def _evaluate(
    where: str,
    want_grad: bool,
    image: Array,
    target: Array,
    extractor: Layer | Sequence[Layer],
    content_layers: Sequence[int] = (),
    style_layers: Sequence[int] = (),
    content_weight: float = 1.0,
    style_weight: float = 0.0,
    tv_weight: float = 0.0,
    style_target: Array | None = None,
) -> tuple[Any, Any]:
    """(loss, dimage or None)"""
    layers = [*(extractor.children() or (extractor,))] if isinstance(extractor, Layer) else [*extractor]
    weights = {"content_weight": content_weight, "style_weight": style_weight, "tv_weight": tv_weight}
    for name, weight in weights.items():
        arguments.real(where, name, weight, low=0)
    content = _places(where, "content_layers", content_layers, layers) if content_weight else []
    style = _places(where, "style_layers", style_layers, layers) if style_weight else []
    if not (content or style or tv_weight):
        raise ValueError(
            f"{where}: nothing to compare. Give content_layers, or style_layers and a style_weight, or a tv_weight."
        )
    _check_images(where, image, target, style_target)

    # Targets first: layers keep the activations of one training pass, and that is the image's.
    same = style_target is None
    at_target = _seen(layers, target, {*content, *(style if same else ())})
    at_style = at_target if same else _seen(layers, style_target, set(style))
    grams = {index: _gram(at_style[index]) for index in style}
    wanted = {*content, *style}
    loss = _Loss(want_grad)
    gradients: dict[int, Any] = {}
    with _inference(layers):
        features, backprops = _trained(layers, image, wanted) if want_grad else (_seen(layers, image, wanted), [])
        for index in content:
            _add(gradients, index, loss.compared(content_weight, features[index], at_target[index], "mean"))
        for index in style:
            _add(gradients, index, _style(loss, style_weight, features[index], grams[index]))
        d_image = _total_variation(loss, tv_weight, image) if tv_weight else None
        return loss.value, _back(layers, backprops, gradients, d_image, image.dtype)


def _value_and_grad(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """(loss, dimage): perceptual_loss and its gradient with respect to image, of image's shape and dtype. Arguments as perceptual_loss."""
    return _evaluate("perceptual_loss.value_and_grad", True, *args, **kwargs)


def _with_gradient(function: Any) -> Any:
    """Gives the loss its `value_and_grad`, as the compiled losses have one."""
    _value_and_grad.__name__ = "value_and_grad"
    _value_and_grad.__qualname__ = "perceptual_loss.value_and_grad"
    function.value_and_grad = _value_and_grad
    return function


@_with_gradient
def perceptual_loss(
    image: Array,
    target: Array,
    extractor: Layer | Sequence[Layer],
    content_layers: Sequence[int] = (),
    style_layers: Sequence[int] = (),
    content_weight: float = 1.0,
    style_weight: float = 0.0,
    tv_weight: float = 0.0,
    style_target: Array | None = None,
) -> Any:
    """How far the features of image are from those of target: content, style and smoothness, the mean over the images.

    With F_j the output of layer j of `extractor`, of shape (C, H, W), and G = F F^T / (C H W) its Gram matrix (F as C x HW):

    - content_weight times the sum over content_layers of ``|F_j(image) - F_j(target)|^2 / (C H W)``,
    - style_weight times the sum over style_layers of ``|G_j(image) - G_j(style_target)|^2`` (Frobenius; style_target is target if None),
    - tv_weight times the sum of squared differences of neighboring pixels, down and to the right.

    image and target: (n, channels, height, width), one shape and dtype; style_target: as many images or one, of any size. extractor: a
    stack of layers that follow dk.nn's protocol ``layer(x, train) -> (y, backprop)``, such as a Sequential; content_layers and
    style_layers count its layers from 0, or from the end. It is frozen: gradients of its own parameters are thrown away (its zero_grad is
    called), and its last training pass becomes the image's. The loss is a scalar, float64 for float64 images, float32 otherwise.

    ``perceptual_loss.value_and_grad(...)`` gives (loss, dimage): through the extractor back to the image, with ``dF = 2 (F - F*) / (C H
    W)`` for content and ``dF = 4 (G - G*) F / (C H W)`` for style. Squared differences are dk.mse_loss; Gram matrices and what goes back
    through them are matrix products of the array library.

    Errors: TypeError for arrays of two dtypes or something that is no array; ValueError for shapes that do not fit, layers that do not
    exist, negative weights, and nothing to compare.

    Scalings differ: these are Johnson's. pytorch/examples takes the mean of the squared Gram differences, with weights of 1e5 to 1e10;
    Gatys et al. divide by 4 C^2 (H W)^2 and do not scale the Gram matrices. The usual layers of VGG-16: relu2_2 for content, relu1_2,
    relu2_2, relu3_3, relu4_3 for style. No network weights come with this library; `dk.filters.fixed_filter_bank` is a small extractor
    that needs none.

    >>> import numpy as np, dlkernels as dk
    >>> bank, flat = dk.filters.fixed_filter_bank(blocks=1), np.zeros((1, 1, 8, 8), "float32")
    >>> float(dk.perceptual_loss(flat, flat + 1, bank, content_layers=[2], tv_weight=0.1)) > 0
    True

    Source: Johnson, Alahi & Fei-Fei (2016), Perceptual losses for real-time style transfer and super-resolution, arXiv:1603.08155.
    """
    return _evaluate(
        "perceptual_loss", False, image, target, extractor, content_layers, style_layers, content_weight, style_weight,
        tv_weight, style_target,
    )[0]  # fmt: skip
