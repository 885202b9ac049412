"""Frozen convolution layers, and a bank of fixed filters made of them: features of images without any network weights.

They are layers of dk.nn without parameters, for demonstrations of the perceptual loss. Arrays are (n, channels, height, width).
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from dlkernels import arguments
from dlkernels import init as initializers
from dlkernels.layer import Array, Backprop, Layer
from dlkernels.nn import ReLU
from dlkernels.sequential import Sequential

__all__ = ["FixedConv", "MeanPool", "fixed_filter_bank"]


def _images(layer: Layer, x: Array) -> Array:
    where = type(layer).__name__
    arguments.array(where, "x", x)
    if x.ndim != 4:
        raise ValueError(f"{where}: x must have shape (n, channels, height, width), got {x.shape}.")
    return x


class FixedConv(Layer):
    """y[n, k] = sum over c, i, j of filters[k, c, i, j] x[n, c, . + i, . + j]: correlation with filters that are never trained.

    filters has shape (out, in, height, width). Without `circular` only whole overlaps count: an image loses height - 1 rows and
    width - 1 columns. With it, images are tori: filters are centered, and y is as large as x. dx is the transpose of the same map.
    One matrix product of the array library for all images.
    """

    def __init__(self, filters: Array, *, circular: bool = False) -> None:
        super().__init__()
        self.filters = arguments.array("FixedConv", "filters", filters)
        if filters.ndim != 4:
            raise ValueError(f"FixedConv: filters must have shape (out, in, height, width), got {filters.shape}.")
        self.circular = circular

    def _places(self) -> list[tuple[int, int]]:
        return list(product(range(self.filters.shape[2]), range(self.filters.shape[3])))

    def _center(self) -> tuple[int, int]:
        return self.filters.shape[2] // 2, self.filters.shape[3] // 2

    def _columns(self, x: Array) -> Array:
        """What each filter element meets, (n, in, places, height, width)."""
        if self.circular:
            a, b = self._center()
            return np.stack([np.roll(x, (a - i, b - j), axis=(2, 3)) for i, j in self._places()], axis=2)
        rows, cols = (x.shape[d] - self.filters.shape[d] + 1 for d in (2, 3))
        return np.stack([x[:, :, i : i + rows, j : j + cols] for i, j in self._places()], axis=2)

    def _apply(self, x: Array) -> Array:
        out, channels, height, width = self.filters.shape
        if _images(self, x).shape[1] != channels or (not self.circular and (x.shape[2] < height or x.shape[3] < width)):
            raise ValueError(
                f"FixedConv: x must have shape (n, {channels}, {height} or more, {width} or more), got {x.shape}."
            )
        if x.dtype != self.filters.dtype:
            raise TypeError(
                f"FixedConv: x must be {self.filters.dtype} like the filters, got {x.dtype}. "
                f'Cast it: x.astype("{self.filters.dtype}").'
            )
        columns = self._columns(x)
        y = np.matmul(self.filters.reshape(out, -1), columns.reshape(x.shape[0], channels * height * width, -1))
        y = y.astype(x.dtype, copy=False)  # NumPy's product of bfloat16 is float32
        return y.reshape(x.shape[0], out, *columns.shape[3:])

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:  # noqa: ARG002
        y = self._apply(x)

        def backward(dy: Array, _own: bool, need_dx: bool) -> Array | None:
            if not need_dx:
                return None
            n, out, rows, cols = dy.shape
            places = self._places()
            met = np.matmul(self.filters.reshape(out, -1).T, dy.reshape(n, out, -1))
            met = met.reshape(n, x.shape[1], len(places), rows, cols)
            dx = np.zeros_like(x)
            for place, (i, j) in enumerate(places):
                if self.circular:
                    a, b = self._center()
                    dx += np.roll(met[:, :, place], (i - a, j - b), axis=(2, 3))
                else:
                    dx[:, :, i : i + rows, j : j + cols] += met[:, :, place]
            return dx

        return y, backward

    def predict(self, x: Array) -> Array:
        return self._apply(x)

    def __repr__(self) -> str:
        out, channels, height, width = self.filters.shape
        return f"FixedConv({channels}, {out}, {height}x{width}{', circular=True' if self.circular else ''})"


class MeanPool(Layer):
    """The mean of each `size` x `size` square of an image; what does not fill a square at the far edges is left out."""

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        self.size = arguments.whole("MeanPool", "size", size)

    def predict(self, x: Array) -> Array:
        n, channels, rows, cols = _images(self, x).shape
        rows, cols = rows // self.size, cols // self.size
        if not rows or not cols:
            raise ValueError(f"MeanPool: x must be at least {self.size} x {self.size}, got {x.shape}.")
        kept = x[:, :, : rows * self.size, : cols * self.size]
        return kept.reshape(n, channels, rows, self.size, cols, self.size).mean(axis=(3, 5))

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:  # noqa: ARG002
        def backward(dy: Array, _own: bool, need_dx: bool) -> Array | None:
            if not need_dx:
                return None
            rows, cols = (self.size * n for n in dy.shape[2:])
            dx = np.zeros_like(x)
            share = dy * dy.dtype.type(1 / self.size**2)
            dx[:, :, :rows, :cols] = share.repeat(self.size, axis=2).repeat(self.size, axis=3)
            return dx

        return self.predict(x), backward

    def __repr__(self) -> str:
        return f"MeanPool({self.size})"


# Sobel's two derivatives and the Laplacian, of gain about 1.
_EDGES = np.array(
    [
        [[1, 0, -1], [2, 0, -2], [1, 0, -1]],
        [[1, 2, 1], [0, 0, 0], [-1, -2, -1]],
        [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    ]
) * np.array(0.25)


def _orthogonal(out: int, channels: int, random: np.random.Generator) -> Any:
    """Random 3 x 3 filters, orthonormal as far as there are dimensions."""
    size = channels * 9
    q, r = np.linalg.qr(random.standard_normal((max(out, size), min(out, size))))
    q = q * np.sign(np.diagonal(r))
    return (q.T if out <= size else q).reshape(out, channels, 3, 3)


def fixed_filter_bank(
    channels: int = 1,
    filters: int = 8,
    blocks: int = 2,
    *,
    circular: bool = False,
    seed: initializers.Seed = 0,
    dtype: DTypeLike = "float32",
) -> Sequential:
    """A frozen feature extractor: `blocks` times 3 x 3 filters, ReLU, 2 x 2 mean; three layers a block, `filters` channels each.

    The first block has Sobel's two derivatives and the Laplacian of the mean over channels, and random orthogonal filters; the others
    are random orthogonal. The same seed gives the same filters. circular: as in FixedConv; then features of an image shifted around the
    edges by a multiple of ``2 ** blocks`` are the shifted features.

    >>> from dlkernels import filters
    >>> filters.fixed_filter_bank(channels=3, blocks=1)
    Sequential(FixedConv(3, 8, 3x3), ReLU(), MeanPool(2))
    """
    where = "fixed_filter_bank"
    arguments.whole(where, "channels", channels)
    arguments.whole(where, "filters", filters, least=4)
    random = initializers.generator(seed)
    edges = np.repeat(_EDGES[:, None], channels, axis=1) / channels
    first = np.concatenate([edges, _orthogonal(filters - len(edges), channels, random)])
    banks = [
        first,
        *(_orthogonal(filters, filters, random) for _ in range(arguments.whole(where, "blocks", blocks) - 1)),
    ]
    layers = [(FixedConv(bank.astype(dtype), circular=circular), ReLU(), MeanPool(2)) for bank in banks]
    return Sequential(*(layer for block in layers for layer in block))
