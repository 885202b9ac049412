"""Normalization layers, named as PyTorch's. Each is one op of dk.ops.norms; weights start at 1 and biases at 0."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import dlkernels as dk
from dlkernels import arguments
from dlkernels.layer import Array, Backprop, Layer

__all__ = ["BatchNorm1d", "BatchNorm2d", "GroupNorm", "InstanceNorm2d", "LayerNorm", "RMSNorm"]


class _Norm(Layer):
    """What the layers share: weight and bias, statistics kept for backward, gradients accumulated."""

    def __init__(self, shape: tuple[int, ...], affine: bool, bias: bool, eps: float, dtype: DTypeLike) -> None:
        super().__init__()
        if np.dtype(dtype).kind in "iub":
            raise TypeError(f"{type(self).__name__}: dtype must be a floating-point type, got {np.dtype(dtype)}.")
        self.eps = arguments.real(type(self).__name__, "eps", eps, 0, np.inf)
        self.weight: Array | None = np.ones(shape, dtype) if affine else None
        self.bias: Array | None = np.zeros(shape, dtype) if affine and bias else None

    def reset(self, seed: int | np.random.SeedSequence) -> None:  # noqa: ARG002 - nothing is drawn
        if self.weight is not None:
            self.weight[...] = 1
        if self.bias is not None:
            self.bias[...] = 0

    def parameters(self) -> dict[str, Array]:
        both = {"weight": self.weight, "bias": self.bias}
        return {name: array for name, array in both.items() if array is not None}

    def norm(self, x: Array, **extra: Any) -> Any:
        """The op's forward pass."""
        raise NotImplementedError

    def train_norm(self, x: Array, **extra: Any) -> Any:
        """The op's forward pass in training."""
        return self.norm(x, **extra)

    def norm_backward(self, dy: Array, x: Array, stats: Any, out: Array) -> Any:
        """The op's backward pass: dx and the gradients of the parameters."""
        raise NotImplementedError

    def predict(self, x: Array) -> Array:
        y: Array = self.norm(x)
        return y

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:  # noqa: ARG002 - backward needs x
        y, stats = self.train_norm(x, return_stats=True, out=self.buffers("y", x.shape, x))

        def backward(dy: Array, own: bool, need_dx: bool) -> Array | None:
            result = self.norm_backward(dy, x, stats, dy if own else self.buffers("dx", dy.shape, dy))
            dx, *gradients = result if isinstance(result, tuple) else (result,)
            for (name, like), gradient in zip(self.parameters().items(), gradients, strict=False):
                self.accumulate(name, like, partial(np.copyto, src=gradient, casting="same_kind"))
            return dx if need_dx else None

        return y, backward


def _channels(layer: Layer, x: Array, wanted: int) -> None:
    """What the op finds by itself only where there is a weight."""
    arguments.array(type(layer).__name__, "x", x)
    if x.ndim < 2 or x.shape[1] != wanted:
        raise ValueError(f"{type(layer).__name__}: x must have shape (n, {wanted}, ...), got {tuple(x.shape)}.")


def _shape(layer: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    return tuple(arguments.whole(layer, "normalized_shape", n) for n in shape)


class LayerNorm(_Norm):
    """Normalizes the last dimensions, of the given shape (dk.layer_norm)."""

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-5, elementwise_affine: bool = True,
        bias: bool = True, *, dtype: DTypeLike = "float32",
    ) -> None:  # fmt: skip
        self.normalized_shape = _shape("LayerNorm", normalized_shape)
        super().__init__(self.normalized_shape, elementwise_affine, bias, eps, dtype)

    def norm(self, x: Array, **extra: Any) -> Any:
        shape = self.normalized_shape
        return dk.layer_norm(x, self.weight, self.bias, self.eps, normalized_shape=shape, **extra)

    def norm_backward(self, dy: Array, x: Array, stats: Any, out: Array) -> Any:
        shape = self.normalized_shape
        return dk.layer_norm.backward(dy, x, self.weight, self.eps, normalized_shape=shape, stats=stats, out=out)

    def __repr__(self) -> str:
        return f"LayerNorm({self.normalized_shape})"


class RMSNorm(_Norm):
    """Divides the last dimensions, of the given shape, by their root mean square (dk.rms_norm)."""

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float = 1e-6, elementwise_affine: bool = True,
        *, dtype: DTypeLike = "float32",
    ) -> None:  # fmt: skip
        self.normalized_shape = _shape("RMSNorm", normalized_shape)
        super().__init__(self.normalized_shape, elementwise_affine, False, eps, dtype)

    def norm(self, x: Array, **extra: Any) -> Any:
        return dk.rms_norm(x, self.weight, self.eps, normalized_shape=self.normalized_shape, **extra)

    def norm_backward(self, dy: Array, x: Array, stats: Any, out: Array) -> Any:
        shape = self.normalized_shape
        return dk.rms_norm.backward(dy, x, self.weight, self.eps, normalized_shape=shape, stats=stats, out=out)

    def __repr__(self) -> str:
        return f"RMSNorm({self.normalized_shape})"


class GroupNorm(_Norm):
    """Normalizes groups of channels of each example (dk.group_norm)."""

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *,
        dtype: DTypeLike = "float32",
    ) -> None:  # fmt: skip
        self.num_groups = arguments.whole("GroupNorm", "num_groups", num_groups)
        self.num_channels = arguments.whole("GroupNorm", "num_channels", num_channels)
        if num_channels % num_groups != 0:
            raise ValueError(f"GroupNorm: num_groups must divide num_channels, got {num_groups} and {num_channels}.")
        super().__init__((self.num_channels,), affine, True, eps, dtype)

    def norm(self, x: Array, **extra: Any) -> Any:
        _channels(self, x, self.num_channels)
        return dk.group_norm(x, self.num_groups, self.weight, self.bias, self.eps, **extra)

    def norm_backward(self, dy: Array, x: Array, stats: Any, out: Array) -> Any:
        return dk.group_norm.backward(
            dy, x, self.num_groups, self.weight, self.bias, self.eps, stats=stats, out=out
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"GroupNorm({self.num_groups}, {self.num_channels})"


class InstanceNorm2d(_Norm):
    """Normalizes each channel of each example (dk.instance_norm); no running statistics."""

    def __init__(
        self, num_features: int, eps: float = 1e-5, affine: bool = False, *, dtype: DTypeLike = "float32"
    ) -> None:
        self.num_features = arguments.whole("InstanceNorm2d", "num_features", num_features)
        super().__init__((self.num_features,), affine, True, eps, dtype)

    def norm(self, x: Array, **extra: Any) -> Any:
        _channels(self, x, self.num_features)
        return dk.instance_norm(x, self.weight, self.bias, self.eps, **extra)

    def norm_backward(self, dy: Array, x: Array, stats: Any, out: Array) -> Any:
        return dk.instance_norm.backward(dy, x, self.weight, self.bias, self.eps, stats=stats, out=out)

    def __repr__(self) -> str:
        return f"InstanceNorm2d({self.num_features})"


class BatchNorm1d(_Norm):
    """Normalizes each channel (dimension 1) over the batch; in inference by running statistics (dk.batch_norm).

    momentum=None averages all batches so far, each with the same weight.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, *,
        dtype: DTypeLike = "float32",
    ) -> None:  # fmt: skip
        name = type(self).__name__
        self.num_features = arguments.whole(name, "num_features", num_features)
        self.momentum = None if momentum is None else arguments.real(name, "momentum", momentum, 0, 1)
        super().__init__((self.num_features,), affine, True, eps, dtype)
        wide = np.float64 if np.dtype(dtype) == np.float64 else np.float32
        self.running_mean, self.running_var = np.zeros(self.num_features, wide), np.ones(self.num_features, wide)
        self.num_batches_tracked = np.zeros((), np.int64)

    def reset(self, seed: int | np.random.SeedSequence) -> None:
        super().reset(seed)
        self.running_mean[...], self.running_var[...], self.num_batches_tracked[...] = 0, 1, 0

    def statistics(self) -> dict[str, Array]:
        names = ("running_mean", "running_var", "num_batches_tracked")
        return {name: getattr(self, name) for name in names}

    def norm(self, x: Array, **extra: Any) -> Any:
        running = (self.running_mean, self.running_var)
        return dk.batch_norm(x, *running, self.weight, self.bias, eps=self.eps, **extra)

    def train_norm(self, x: Array, **extra: Any) -> Any:
        if self.frozen:
            return self.norm(x, **extra)
        momentum = self.momentum
        if momentum is None:
            momentum = 1.0 / (float(self.num_batches_tracked) + 1.0)
        result = self.norm(x, training=True, momentum=momentum, **extra)
        self.num_batches_tracked += 1
        return result

    def norm_backward(self, dy: Array, x: Array, stats: Any, out: Array) -> Any:
        running = (self.running_mean, self.running_var) if self.frozen else (None, None)
        return dk.batch_norm.backward(
            dy, x, *running, self.weight, self.bias, not self.frozen, self.eps, stats=stats, out=out
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_features})"


class BatchNorm2d(BatchNorm1d):
    """BatchNorm1d for images (N, C, H, W); the computation is the same."""
