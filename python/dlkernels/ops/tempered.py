"""The tempered softmax and the losses made from it. The bodies are the float64 definitions; calling an op runs its compiled kernel.

log_t(u) = (u^(1-t) - 1) / (1-t) and exp_t(u) = max(0, 1 + (1-t) u)^(1/(1-t)) are log and exp for t = 1. For t > 1 exp_t has a heavy tail,
for t < 1 it is 0 from some point on.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arrays
from .._op import composed_loss, row_loss_op, rows_op
from .class_losses import _rows
from .losses import _reduced


def _exp_t(u: Any, t: float) -> Any:
    return np.exp(u) if t == 1 else np.maximum(0.0, 1 + (1 - t) * u) ** (1 / (1 - t))


def _log_t(u: Any, t: float) -> Any:
    return np.log(u) if t == 1 else (u ** (1 - t) - 1) / (1 - t)


def _normalization(z: Any, t: float, num_iters: int | None) -> Any:
    """lambda with sum exp_t(z - lambda) = 1 along the last axis; the largest z is 0."""

    def total(shift: Any, stretch: Any = 1.0) -> Any:
        return np.sum(_exp_t(z * stretch - shift, t), axis=-1, keepdims=True)

    if t == 1:
        return np.log(total(0.0))
    if num_iters is None:
        shift = np.zeros_like(z[..., :1])
        for _ in range(60):  # Newton's rule for (sum p)^(1-t) = 1
            p = _exp_t(z - shift, t)
            s = np.sum(p, axis=-1, keepdims=True)
            shift = shift - s / np.sum(p**t, axis=-1, keepdims=True) * _log_t(1 / s, t)
        return shift
    if t > 1:  # the authors' fixed point
        stretch = np.ones_like(z[..., :1])
        for _ in range(num_iters):
            stretch = total(0.0, stretch) ** (1 - t)
        return -_log_t(1 / total(0.0, stretch), t)
    low = np.zeros_like(z[..., :1])  # the authors' bisection
    high = -_log_t(1 / np.sum(1 + (1 - t) * z > 0, axis=-1, keepdims=True), t)
    for _ in range(num_iters):
        middle = (low + high) / 2
        below = total(middle) < 1
        low, high = np.where(below, low, middle), np.where(below, middle, high)
    return (low + high) / 2


def _tempered(x: Any, t: float, num_iters: int | None) -> Any:
    z = x - np.max(x, axis=-1, keepdims=True)
    return _exp_t(z - _normalization(z, t, num_iters), t)


@rows_op(
    ulp=16.0,
    grad_ulp=32.0,
    source="Amid, Warmuth, Anil & Koren (2019), arXiv:1906.03361",
    domain=(-10, 10),
    limits={"t": "> 0", "num_iters": "an integer in [1, 1000]"},
    none={"num_iters": -1.0},
)
def tempered_softmax(x: Any, t: float = 1.0, axis: int = -1, *, num_iters: int | None = None, out: Any = None) -> Any:
    """exp_t(x - lambda) along `axis`, with lambda such that the row's sum is 1; t = 1 is `softmax`.

    lambda is found by Newton's rule to the precision of the computation, all in one pass over memory. num_iters=5 instead gives what the
    authors' code gives: so many fixed-point steps (t > 1) or bisections (t < 1), after which the sum is not exactly 1. A masked logit
    (-inf) has probability 0. The backward pass is that of the exact lambda.

    >>> import numpy as np, dlkernels as dk
    >>> dk.tempered_softmax(np.array([2.0, 0.5, -1.0]), 1.2).round(6)
    array([0.715165, 0.207698, 0.077138])
    """
    return np.moveaxis(_tempered(np.moveaxis(x, axis, -1), t, num_iters), -1, axis)


@row_loss_op(
    ulp=16.0,
    grad_ulp=32.0,
    source="Amid, Warmuth, Anil & Koren (2019), arXiv:1906.03361",
    label="labels",
    soft=True,
    domain={"activations": (-1.0, 1.0)},  # beyond, t2 < 1 is ill-conditioned where the support ends
    limits={"t1": "in [0, 1]", "t2": "> 0", "label_smoothing": "in [0, 1)", "num_iters": "an integer in [1, 1000]"},
    none={"num_iters": -1.0},
)
def bi_tempered_logistic_loss(
    activations: Any,
    labels: Any,
    t1: float = 1.0,
    t2: float = 1.0,
    *,
    label_smoothing: float = 0.0,
    num_iters: int | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    axis: int = -1,
) -> Any:
    """sum_i [y_i (log_t1 y_i - log_t1 p_i) - (y_i^(2-t1) - p_i^(2-t1)) / (2-t1)] with p = tempered_softmax(activations, t2).

    labels are probabilities of activations' shape, or class ids of that shape without `axis`. t1 < 1 bounds the loss (one-hot labels: by
    1 / (1-t1)), t2 > 1 gives the probabilities a heavy tail; t1 = t2 = 1 is `cross_entropy`. Label smoothing e
    is the paper's: (1 - e K / (K-1)) y + e / (K-1) over K classes; the true class has 1 - e (PyTorch's cross_entropy: 1 - e + e / K).
    The normalization is differentiated implicitly: the gradient sums to 0 over a row.

    The authors' code returns losses per row and takes num_iters=5: given here, it gives the same probabilities; by default they are exact
    (see `tempered_softmax`). It also adds 1e-10 inside log_t(y); this does not.

    >>> import numpy as np, dlkernels as dk
    >>> x, y = np.array([[2.0, 0.5, -1.0]]), np.array([[1.0, 0.0, 0.0]])
    >>> loss, dx = dk.bi_tempered_logistic_loss.value_and_grad(x, y, 0.8, 1.2)
    >>> round(float(loss), 6), dx.round(6)
    (0.213143, array([[-0.163709,  0.130129,  0.03358 ]]))
    """
    x = _rows(activations, axis)
    labels = np.asarray(labels)
    classes = x.shape[-1]
    ids = labels.dtype.kind in "iu"
    kept = labels != ignore_index if ids else np.ones(x.shape[:-1], dtype=bool)
    y = (np.arange(classes) == labels[..., None]).astype(x.dtype) if ids else _rows(labels, axis)
    if label_smoothing:
        y = (1 - label_smoothing * classes / (classes - 1)) * y + label_smoothing / (classes - 1)
    p = _tempered(x, t2, num_iters)
    match = np.where(y == 0, 0.0, y * (_log_t(y, t1) - _log_t(p, t1)))
    loss = np.sum(match - (y ** (2 - t1) - p ** (2 - t1)) / (2 - t1), axis=-1)
    return _reduced(np.where(kept, loss, 0.0), reduction, np.float64(np.count_nonzero(kept)))


def _two_classes(first: Any, second: Any) -> Any:
    """Two arrays of one shape, or a number and an array, side by side along a new last axis."""
    two = _arrays.empty(second, (*second.shape, 2), str(second.dtype).removeprefix("torch."))
    two[..., 0], two[..., 1] = first, second
    return two


def _as_rows(activations: Any, labels: Any) -> tuple[Any, Any]:
    name = "bi_tempered_binary_logistic_loss"
    for argument, a in (("activations", activations), ("labels", labels)):
        if not (hasattr(a, "dtype") and hasattr(a, "shape")):
            raise TypeError(f"{name}: {argument} must be an array, got {type(a).__name__}.")
    if labels.dtype != activations.dtype:
        raise TypeError(
            f"{name}: labels must be {activations.dtype} as activations, got {labels.dtype}: they are probabilities. Cast them."
        )
    if tuple(labels.shape) != tuple(activations.shape):
        raise ValueError(
            f"{name}: labels must have the shape of activations, {tuple(activations.shape)}, got {tuple(labels.shape)}."
        )
    return _two_classes(0, activations), _two_classes(1 - labels, labels)


def _binary(
    activations: Any,
    labels: Any,
    t1: float = 1.0,
    t2: float = 1.0,
    *,
    label_smoothing: float = 0.0,
    num_iters: int | None = None,
    reduction: str = "mean",
) -> Any:
    options = {"label_smoothing": label_smoothing, "num_iters": num_iters, "reduction": reduction}
    return bi_tempered_logistic_loss(*_as_rows(activations, labels), t1, t2, **options)


def _binary_value_and_grad(
    activations: Any,
    labels: Any,
    t1: float = 1.0,
    t2: float = 1.0,
    *,
    label_smoothing: float = 0.0,
    num_iters: int | None = None,
    reduction: str = "mean",
) -> Any:
    """(loss, dactivations)."""
    options = {"label_smoothing": label_smoothing, "num_iters": num_iters, "reduction": reduction}
    value, two = bi_tempered_logistic_loss.value_and_grad(*_as_rows(activations, labels), t1, t2, **options)
    return value, _arrays.copy(two[..., 1])


def _binary_backward(
    dy: Any,
    activations: Any,
    labels: Any,
    t1: float = 1.0,
    t2: float = 1.0,
    *,
    label_smoothing: float = 0.0,
    num_iters: int | None = None,
    reduction: str = "mean",
) -> Any:
    """dactivations for an upstream gradient dy of the loss."""
    options = {"label_smoothing": label_smoothing, "num_iters": num_iters, "reduction": reduction}
    rows = _as_rows(activations, labels)
    return _arrays.copy(bi_tempered_logistic_loss.backward(dy, *rows, t1, t2, **options)[..., 1])


@composed_loss(
    ulp=16.0,
    grad_ulp=32.0,
    source="Amid, Warmuth, Anil & Koren (2019), arXiv:1906.03361",
    value=_binary,
    value_and_grad=_binary_value_and_grad,
    backward=_binary_backward,
)
def bi_tempered_binary_logistic_loss(
    activations: Any,
    labels: Any,
    t1: float = 1.0,
    t2: float = 1.0,
    *,
    label_smoothing: float = 0.0,
    num_iters: int | None = None,
    reduction: str = "mean",
) -> Any:
    """`bi_tempered_logistic_loss` of the two logits 0 and a with the labels 1 - y and y, for each element.

    activations and labels, probabilities of the class that the logit speaks for, are of one shape and dtype. t1 = t2 = 1 is
    `binary_cross_entropy_with_logits`. It is put together from the loss over rows of two classes, so it takes twice the memory of its
    arrays for a moment.

    >>> import numpy as np, dlkernels as dk
    >>> loss, da = dk.bi_tempered_binary_logistic_loss.value_and_grad(np.array([0.0, 2.0]), np.array([1.0, 0.0]), 0.8, 1.2)
    >>> round(float(loss), 6), da.round(6)
    (0.996249, array([-0.189465,  0.225791]))
    """
    x = np.stack([np.zeros_like(activations), activations], axis=-1)
    y = np.stack([1 - labels, labels], axis=-1)
    return bi_tempered_logistic_loss.reference(
        x, y, t1, t2, label_smoothing=label_smoothing, num_iters=num_iters, reduction=reduction
    )
