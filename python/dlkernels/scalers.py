"""Feature scaling: min-max and standardization, as functions and as objects that learn their statistics, also from a stream of batches.

The transforms are `dk.rescale`: one compiled pass, computed in float64 whatever the dtype, casting on the way. NaN counts for nothing in
the statistics and stays NaN in the transforms.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from dlkernels import arguments
from dlkernels.moments import Extremes, Moments, Statistic, blocks, values
from dlkernels.ops import rescale

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["MinMaxScaler", "StandardScaler", "min_max_scale", "standardize"]

Array = Any  # a NumPy array, or a CPU array that DLPack lends


def _learned(statistics: Any, where: str, x: Array, axis: Any) -> Any:
    """`statistics` after all of x."""
    x = values(where, "x", x)
    if x.ndim == 0:
        raise ValueError(f"{where}: x must have at least one dimension, got a single number.")
    axes = _axes(where, axis, x.ndim)
    for block in blocks(x) if 0 in axes else (x,):
        statistics.add(where, block, axes)
    return statistics


def _axes(where: str, axis: Any, ndim: int) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(ndim))
    axes: tuple[Any, ...] = axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        if type(a) is not int:
            raise TypeError(f"{where}: axis must be an integer, a tuple of them, or None, got {axis!r}.")
        if not -ndim <= a < ndim:
            raise ValueError(
                f"{where}: axis must be in [{-ndim}, {ndim}) for an array of {ndim} dimensions, got {axis!r}."
            )
    return tuple(int(a) % ndim for a in axes)


def _bounds(where: str, feature_range: Any) -> tuple[float, float]:
    if not isinstance(feature_range, (tuple, list)) or len(feature_range) != 2:
        raise TypeError(f"{where}: feature_range must be a pair (low, high), got {feature_range!r}.")
    low, high = (arguments.real(where, "feature_range", bound) for bound in feature_range)
    if not (np.isfinite(low) and low < high < np.inf):
        raise ValueError(f"{where}: feature_range must be (low, high) with low < high, got {feature_range}.")
    return low, high


def min_max_scale(
    x: Array,
    feature_range: tuple[float, float] = (0.0, 1.0),
    axis: int | tuple[int, ...] | None = 0,
    *,
    dtype: Any = None,
    out: Any = None,
) -> Array:
    """``(x - min) / (max - min) (high - low) + low``, with the least and the largest of x along `axis`.

    x: uint8, float16, bfloat16, float32 or float64, any shape. axis: what the statistics are taken over: 0 for features in columns,
    (0, 2, 3) for the channels of images, None for everything. A constant becomes low. NaN counts for nothing and stays NaN. The result has
    x's shape and the `dtype` asked for: by default x's, float32 for uint8; ``out=`` receives it and may be x. The gradient, with the
    statistics as constants: ``dy (high - low) / (max - min)``.

    Errors: TypeError for another dtype; ValueError for infinity, an empty x, a range that is none, and what `rescale` refuses.

    >>> import numpy as np, dlkernels as dk
    >>> dk.min_max_scale(np.array([0.0, 1.0, 4.0]), (-1.0, 1.0))
    array([-1. , -0.5,  1. ])
    """
    low, high = _bounds("min_max_scale", feature_range)
    seen: Extremes = _learned(Extremes(), "min_max_scale", x, axis)
    return rescale(x, seen.low, (high - low) / seen.range(), low, dtype=dtype, out=out)


def standardize(
    x: Array,
    axis: int | tuple[int, ...] | None = 0,
    *,
    with_mean: bool = True,
    with_std: bool = True,
    dtype: Any = None,
    out: Any = None,
) -> Array:
    """``(x - mean) / std``, with mean and population standard deviation (ddof 0) of x along `axis`.

    Shapes, dtypes, NaN, `axis`, `dtype`, ``out=`` and errors are those of `min_max_scale`. A constant is divided by 1. The gradient, with
    the statistics as constants: ``dy / std``. torch.std and pandas divide by n - 1; scikit-learn and this by n.

    >>> import numpy as np, dlkernels as dk
    >>> dk.standardize(np.array([[1.0, 5.0], [3.0, 5.0]]))
    array([[-1.,  0.],
           [ 1.,  0.]])
    """
    seen: Moments = _learned(Moments(), "standardize", x, axis)
    mean, scale = seen.mean() if with_mean else 0.0, 1 / seen.deviation() if with_std else 1.0
    return rescale(x, mean, scale, dtype=dtype, out=out)


class _Scaler:
    """What the scalers share: rows of features, learning from all at once or batch by batch, and back again."""

    n_features_in_: int

    def __init__(self) -> None:
        self._seen: Any = None
        self._samples = 0

    # -- what a scaler gives -----------------------------------------------------------------------------

    def _nothing_seen(self) -> Any:
        raise NotImplementedError

    def _conclude(self) -> None:
        """Sets the public attributes from the statistics."""
        raise NotImplementedError

    def _forward(self) -> tuple[Any, Any, Any, float, float]:
        """shift, scale, offset, low, high"""
        raise NotImplementedError

    def _inverse(self) -> tuple[Any, Any, Any]:
        """shift, scale, offset"""
        raise NotImplementedError

    # -- learning ----------------------------------------------------------------------------------------

    def fit(self, X: Array, y: Any = None) -> Self:
        """Learn from X (n_samples, n_features), forgetting what was learned before. y is ignored."""
        del y
        return self._learn("fit", X, None)

    def partial_fit(self, X: Array, y: Any = None) -> Self:
        """Learn from one more batch: the same as `fit` on all batches together, up to rounding."""
        del y
        return self._learn("partial_fit", X, self._seen)

    def _learn(self, method: str, X: Array, before: Any) -> Self:
        """Nothing changes if X is refused."""
        where = f"{type(self).__name__}.{method}"
        x = values(where, "X", self._rows(where, X, before is not None))
        seen = self._nothing_seen() if before is None else copy.copy(before)
        for block in blocks(x):
            seen.add(where, block, 0)
        self._samples = len(x) if before is None else self._samples + len(x)
        self._seen, self.n_features_in_ = seen, x.shape[1]
        self._conclude()
        return self

    def _rows(self, where: str, X: Array, as_before: bool = True) -> Array:
        arguments.array(where, "X", X)
        if X.ndim != 2:
            raise ValueError(
                f"{where}: X must have shape (n_samples, n_features), got {tuple(X.shape)}. Reshape it first."
            )
        if as_before and X.shape[1] != self.n_features_in_:
            raise ValueError(
                f"{where}: X has {X.shape[1]} features, but the scaler has learned from {self.n_features_in_}."
            )
        return X

    def _fitted_rows(self, method: str, X: Array) -> Array:
        where = f"{type(self).__name__}.{method}"
        if self._seen is None:
            raise RuntimeError(f"{where}: nothing has been learned yet. Call fit(X) first.")
        return self._rows(where, X)

    # -- applying ----------------------------------------------------------------------------------------

    def transform(self, X: Array, *, dtype: Any = None, out: Any = None) -> Array:
        """X scaled, in one pass; of X's dtype, float32 for uint8, or what `dtype` or `out` say."""
        X = self._fitted_rows("transform", X)
        shift, scale, offset, low, high = self._forward()
        return rescale(X, shift, scale, offset, low=low, high=high, dtype=dtype, out=out)

    def fit_transform(self, X: Array, y: Any = None, *, dtype: Any = None, out: Any = None) -> Array:
        """``fit(X).transform(X)``."""
        return self.fit(X, y).transform(X, dtype=dtype, out=out)

    def inverse_transform(self, X: Array, *, dtype: Any = None, out: Any = None) -> Array:
        """What `transform` made X of, up to rounding (and clipping)."""
        X = self._fitted_rows("inverse_transform", X)
        shift, scale, offset = self._inverse()
        return rescale(X, shift, scale, offset, dtype=dtype, out=out)

    def backward(self, dy: Array, *, out: Any = None) -> Array:
        """dX for the gradient dy of what follows `transform`: the statistics are constants."""
        dy = self._fitted_rows("backward", dy)
        _, scale, _, low, high = self._forward()
        if np.isfinite(low) or np.isfinite(high):
            raise ValueError(
                f"{type(self).__name__}.backward: a clipped transform forgets where it clipped. Use clip=False."
            )
        return rescale(dy, 0.0, scale, out=out)


class MinMaxScaler(_Scaler):
    """Scales each feature to `feature_range`: ``(x - data_min_) / (data_max_ - data_min_) (high - low) + low``.

    X has shape (n_samples, n_features): uint8, float16, bfloat16, float32 or float64. A constant feature becomes low. NaN counts for
    nothing in `fit` and stays NaN in `transform`; infinity is an error in `fit`, and stays infinite in `transform` unless it is clipped.
    With clip=True what lies outside of the data seen is moved to the ends of feature_range.

    After fit, as scikit-learn names them (float64, one per feature): data_min_, data_max_, data_range_, scale_, min_, and n_samples_seen_,
    n_features_in_. Differences: transforms are computed in float64 and rounded once, with the least value exactly at low; uint8 becomes
    float32, not float64, other integers are refused; a feature is constant when its range is 0, not below 2.2e-15; no sample weights.

    Errors: RuntimeError before fit; TypeError for another dtype; ValueError for another number of features, an X that has not two
    dimensions or no samples, infinity in fit, a feature_range without low < high.

    >>> import numpy as np, dlkernels as dk
    >>> scaler = dk.MinMaxScaler().fit(np.array([[0.0, 1.0], [4.0, 3.0]]))
    >>> scaler.transform(np.array([[1.0, 2.0]]))
    array([[0.25, 0.5 ]])
    """

    data_min_: Statistic
    data_max_: Statistic
    data_range_: Statistic
    scale_: Statistic
    min_: Statistic
    n_samples_seen_: int

    def __init__(self, feature_range: tuple[float, float] = (0.0, 1.0), *, clip: bool = False) -> None:
        super().__init__()
        self.feature_range = _bounds("MinMaxScaler", feature_range)
        self.clip = clip

    def _nothing_seen(self) -> Extremes:
        return Extremes()

    def _conclude(self) -> None:
        low, high = self.feature_range
        self.data_min_, self.data_max_ = self._seen.low[0], self._seen.high[0]
        self.data_range_ = self.data_max_ - self.data_min_
        self.scale_ = (high - low) / self._seen.range()[0]
        self.min_ = low - self.data_min_ * self.scale_
        self.n_samples_seen_ = self._samples

    def _forward(self) -> tuple[Any, Any, Any, float, float]:
        low, high = self.feature_range
        return self.data_min_, self.scale_, low, *((low, high) if self.clip else (-np.inf, np.inf))

    def _inverse(self) -> tuple[Any, Any, Any]:
        low, high = self.feature_range
        return low, self._seen.range()[0] / (high - low), self.data_min_

    def __repr__(self) -> str:
        return f"MinMaxScaler({self.feature_range}, clip={self.clip})"


class StandardScaler(_Scaler):
    """Scales each feature to mean 0 and variance 1: ``(x - mean_) / scale_``, scale_ the population's standard deviation (ddof 0).

    X has shape (n_samples, n_features): uint8, float16, bfloat16, float32 or float64. A constant feature is divided by 1. NaN counts for
    nothing in `fit` and stays NaN in `transform`; infinity is an error in `fit` and stays infinite in `transform`.

    After fit, as scikit-learn names them (float64, one per feature): mean_ (None without with_mean and with_std), var_ and scale_ (None
    without with_std), n_samples_seen_ (an array where NaN makes the features' counts differ), n_features_in_. Differences: transforms are
    computed in float64, as ``(x - mean_) (1 / scale_)``, and rounded once; uint8 becomes float32, other integers are refused; no sample
    weights. Errors are those of `MinMaxScaler`.

    >>> import numpy as np, dlkernels as dk
    >>> scaler = dk.StandardScaler()
    >>> for batch in (np.array([[1.0], [2.0]]), np.array([[3.0], [6.0]])):
    ...     _ = scaler.partial_fit(batch)
    >>> scaler.mean_, scaler.var_
    (array([3.]), array([3.5]))
    """

    mean_: Statistic | None
    var_: Statistic | None
    scale_: Statistic | None
    n_samples_seen_: Any

    def __init__(self, *, with_mean: bool = True, with_std: bool = True) -> None:
        super().__init__()
        self.with_mean, self.with_std = with_mean, with_std

    def _nothing_seen(self) -> Moments:
        return Moments()

    def _conclude(self) -> None:
        seen: Moments = self._seen
        self.mean_ = seen.mean()[0] if self.with_mean or self.with_std else None
        self.var_ = seen.variance()[0] if self.with_std else None
        self.scale_ = seen.deviation()[0] if self.with_std else None
        counts = seen.count[0].astype(np.int64)
        self.n_samples_seen_ = int(counts[0]) if (counts == counts[0]).all() else counts

    def _forward(self) -> tuple[Any, Any, Any, float, float]:
        mean = self.mean_ if self.with_mean else 0.0
        return mean, 1.0 if self.scale_ is None else 1 / self.scale_, 0.0, -np.inf, np.inf

    def _inverse(self) -> tuple[Any, Any, Any]:
        return 0.0, 1.0 if self.scale_ is None else self.scale_, self.mean_ if self.with_mean else 0.0

    def __repr__(self) -> str:
        return f"StandardScaler(with_mean={self.with_mean}, with_std={self.with_std})"
