"""Statistics that grow block by block: the least and the largest, the mean and the variance. NaN counts for nothing.

Found by NumPy, in float64: once for each data set, so not where the time goes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from dlkernels import arguments

Statistic = np.ndarray[Any, np.dtype[np.float64]]

_BLOCK = 1 << 20  # elements converted to float64 at a time


def values(where: str, name: str, given: Any) -> np.ndarray[Any, Any]:
    """An array as NumPy sees it: floats or uint8, at least one row."""
    x: np.ndarray[Any, Any] = np.asarray(arguments.array(where, name, given))
    try:
        known = x.dtype == np.uint8 or (x.dtype.kind != "c" and bool(ml_dtypes.finfo(x.dtype)))  # type: ignore[no-untyped-call]
    except ValueError:
        known = False
    if not known:
        raise TypeError(
            f'{where}: {name} must be a float array or uint8, got {x.dtype}. Cast it: {name}.astype("float32").'
        )
    if x.size == 0:
        raise ValueError(f"{where}: {name} is empty, of shape {x.shape}: there is nothing to learn from.")
    return x


def blocks(x: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    """x in pieces along its first axis."""
    step = max(1, _BLOCK * len(x) // x.size)
    return (x[i : i + step] for i in range(0, len(x), step))


class Extremes:
    """Least and largest along an axis, which stays; NaN where nothing was counted."""

    def __init__(self) -> None:
        self.low: Any = np.nan
        self.high: Any = np.nan

    def add(self, where: str, x: np.ndarray[Any, Any], axis: Any) -> None:
        low, high = (f.reduce(x, axis=axis, keepdims=True).astype(np.float64) for f in (np.fmin, np.fmax))
        if np.isinf(low).any() or np.isinf(high).any():
            raise ValueError(f"{where}: infinity cannot be scaled. Replace it first.")
        self.low, self.high = np.fmin(self.low, low), np.fmax(self.high, high)

    def range(self) -> Statistic:
        """largest - least; 1 where that is 0."""
        extent = np.asarray(self.high - self.low)
        return np.where(extent == 0, 1.0, extent)


class Moments:
    """Mean and sum of squared deviations along an axis, which stays, of blocks that are merged (Chan, Golub & LeVeque 1979).

    Everything is measured from the mean of the first block: where the mean is large and the variance small, no digits are lost in between.
    """

    def __init__(self) -> None:
        self.count: Any = 0.0
        self._origin: Any = None
        self._mean: Any = 0.0
        self._squares: Any = 0.0

    def add(self, where: str, x: np.ndarray[Any, Any], axis: Any) -> None:
        x = x.astype(np.float64)
        if np.isinf(x).any():
            raise ValueError(f"{where}: infinity cannot be scaled. Replace it first.")
        there = ~np.isnan(x)
        count = np.sum(there, axis=axis, keepdims=True, dtype=np.float64)

        some = np.maximum(count, 1)
        if self._origin is None:
            self._origin = np.sum(x, axis=axis, keepdims=True, where=there) / some
        x -= self._origin
        mean = np.sum(x, axis=axis, keepdims=True, where=there) / some
        x -= mean
        squares = np.sum(x * x, axis=axis, keepdims=True, where=there)
        apart = mean - self._mean
        both = np.maximum(self.count + count, 1)
        self._squares = self._squares + squares + apart**2 * (self.count * count / both)
        self._mean = self._mean + apart * (count / both)
        self.count = self.count + count

    def mean(self) -> Statistic:
        return np.where(self.count == 0, np.nan, self._origin + self._mean)

    def variance(self) -> Statistic:
        """The population's (ddof 0)."""
        return np.where(self.count == 0, np.nan, self._squares / np.maximum(self.count, 1))

    def deviation(self) -> Statistic:
        """The standard deviation; 1 where the variance is no more than what rounding makes of a constant."""
        eps, variance = np.finfo(np.float64).eps, self.variance()
        constant = variance <= self.count * eps * variance + (self.count * self.mean() * eps) ** 2
        return np.where(constant, 1.0, np.sqrt(variance))
