"""NumPy's best forms, into memory that is there, and what scikit-learn has. NumPy has no gradients: only values are compared with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from .forms import Formula


def _sigmoid(x: Any, out: Any) -> Any:
    np.negative(x, out=out)
    np.exp(out, out=out)
    np.add(out, 1, out=out)
    return np.reciprocal(out, out=out)


def _silu(x: Any, out: Any) -> Any:
    _sigmoid(x, out)
    return np.multiply(x, out, out=out)


def _softmax(x: Any, out: Any) -> Any:
    np.subtract(x, x.max(-1, keepdims=True), out=out)
    np.exp(out, out=out)
    return np.divide(out, out.sum(-1, keepdims=True), out=out)


NUMPY_OUT: dict[str, Formula] = {
    "tanh": np.tanh,  # no Python between: its call is what ours is compared with
    "relu": lambda x, out: np.maximum(x, 0, out=out),
    "relu6": lambda x, out: np.clip(x, 0, 6, out=out),
    "hardtanh": lambda x, out: np.clip(x, -1, 1, out=out),
    "sigmoid": _sigmoid,
    "silu": _silu,
    "swish": _silu,
    "softmax": _softmax,
}


def _sklearn_softmax(x: Any) -> Any:
    from sklearn.utils.extmath import softmax

    return softmax(x, copy=True)


def _metric(name: str) -> Formula:
    def call(x: Any, t: Any) -> Any:
        from sklearn import metrics

        return getattr(metrics, name)(t, x)

    return call


SKLEARN: dict[str, Formula] = {
    "softmax": _sklearn_softmax,
    "mse_loss": _metric("mean_squared_error"),
    "l1_loss": _metric("mean_absolute_error"),
    "rmse_loss": _metric("root_mean_squared_error"),
}
