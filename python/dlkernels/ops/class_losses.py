"""Losses of scores of C classes against class ids. The bodies are the float64 definitions; calling a loss runs its compiled kernel.

Scores have shape (N, C), (N, C, d1, ...), (C,) or the class axis anywhere; ids (int32 or int64) have that shape without the class axis.
One pass over the scores gives the value and the gradient, which may be written over them. A row whose id is ignore_index has loss 0 and
gradient exactly 0, whatever it holds; all rows ignored: mean NaN, sum 0, gradient 0. IndexError for an id out of range, before anything
is written. `weight` has one number per class, in the scores' dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import row_loss_op
from .losses import _reduced


def _rows(input: Any, axis: int) -> Any:
    """Scores with the classes last; a single row has only one axis to choose."""
    x = np.asarray(input)
    return np.moveaxis(x, axis if x.ndim > 1 else 0, -1)


def _log_softmax(x: Any) -> Any:
    z = x - np.max(x, axis=-1, keepdims=True)
    return z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))


def _at_label(x: Any, target: Any, ignore_index: int) -> tuple[Any, Any, Any]:
    """Of each row: its id (0 if it is ignored), the score there, and where that is."""
    y = np.where(np.asarray(target) == ignore_index, 0, target)
    return y, np.take_along_axis(x, y[..., None], axis=-1)[..., 0], np.arange(x.shape[-1]) == y[..., None]


def _of_rows(
    loss: Any, y: Any, weight: Any, target: Any, ignore_index: int, reduction: str, denominator: str = "weight"
) -> Any:
    """weight[y] times the loss of each row that counts."""
    kept = np.asarray(target) != ignore_index
    w = np.ones(loss.shape) if weight is None else np.asarray(weight)[y]
    count = np.sum(w * kept) if denominator == "weight" else np.float64(np.count_nonzero(kept))
    return _reduced(np.where(kept, w * loss, 0.0), reduction, count)


@row_loss_op(
    ulp=8.0,
    grad_ulp=16.0,
    source="PyTorch's definition; smoothing: Szegedy et al. (2015), arXiv:1512.00567; z-loss: Chowdhery et al. (2022), arXiv:2204.02311",
    label="target",
    soft=True,
    where={"label_smoothing": ".smooth"},
    limits={"label_smoothing": "in [0, 1]", "z_loss": ">= 0"},
)
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    reduction: str = "mean",
    axis: int = 1,
) -> Any:
    """Softmax cross-entropy of logits, along `axis` (1; 0 for a single row).

    Class ids y, e = label_smoothing, lp = log_softmax(input): ``-(1-e) w_y lp_y - e/C sum_c w_c lp_c``; "mean" divides by the sum of w_y
    over the rows that count. Probabilities q (input's shape and dtype): ``-sum_c w_c q'_c lp_c`` with ``q' = (1-e) q + e/C``; q need
    not sum to 1, nothing is ignored, and "mean" divides by the number of rows, also with weights, as in PyTorch. A logit of -inf is a
    masked class.

    z_loss adds z_loss * logsumexp(input)^2 to each row that counts, without class weights: its mean is over the number of rows.

    Keras and optax smooth in the same way. Keras' sparse_categorical_crossentropy has ignore_class for ignore_index, no class weights, and
    clips probabilities to 1e-7 unless from_logits. ONNX has no smoothing.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dlogits = dk.cross_entropy.value_and_grad(np.zeros((1, 2)), np.array([0]))
    >>> dlogits
    array([[-0.5,  0.5]])
    """
    x = _rows(input, axis)
    classes = x.shape[-1]
    w = np.ones(classes) if weight is None else np.asarray(weight)
    lp = _log_softmax(x)
    z = z_loss * (x[..., 0] - lp[..., 0]) ** 2 if z_loss else 0.0
    target = np.asarray(target)
    if target.dtype.kind not in "iu":
        mass = w * ((1 - label_smoothing) * _rows(target, axis) + label_smoothing / classes)
        loss = -np.sum(np.where(mass == 0, 0.0, mass * lp), axis=-1) + z
        return _reduced(loss, reduction, np.float64(loss.size))
    y, score, _ = _at_label(lp, target, ignore_index)
    kept = target != ignore_index
    spread = np.sum(np.where(w == 0, 0.0, w * lp), axis=-1) * (label_smoothing / classes) if label_smoothing else 0.0
    loss = np.where(kept, -(1 - label_smoothing) * w[y] * score - spread, 0.0)
    total = np.sum(w[y] * kept)
    if reduction == "mean":
        z = z * total / np.count_nonzero(kept)
    return _reduced(loss + np.where(kept, z, 0.0), reduction, total)


@row_loss_op(ulp=4.0, grad_ulp=1.0, source="PyTorch's definition", label="target")
def nll_loss(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    axis: int = 1,
) -> Any:
    """-weight[y] input[y]: the negative log likelihood of class ids y, from log-probabilities along `axis` (1; 0 for a single row).

    "mean" divides by the sum of weight[y] over the rows that count, as in PyTorch. Only the score at the label is read: the others have
    gradient 0 and may be anything. log_softmax and nll_loss in one pass are `cross_entropy`. Keras has no such loss; its
    sparse_categorical_crossentropy takes probabilities and clips them to 1e-7.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dinput = dk.nll_loss.value_and_grad(np.log([[0.25, 0.75], [0.5, 0.5]]), np.array([1, 0]), reduction="sum")
    >>> dinput
    array([[ 0., -1.],
           [-1.,  0.]])
    """
    x = _rows(input, axis)
    y, score, _ = _at_label(x, target, ignore_index)
    return _of_rows(-score, y, weight, target, ignore_index, reduction)


@row_loss_op(ulp=4.0, grad_ulp=2.0, source="Crammer & Singer (2001), JMLR 2:265", label="target")
def categorical_hinge_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    denominator: str = "weight",
    axis: int = 1,
) -> Any:
    """weight[y] max(0, 1 + max_{j != y} x_j - x_y): the margin to the best of the other classes, along `axis` (1; 0 for a single row).

    Where that is positive the gradient is +weight[y] at the best other class, the lowest of several, and -weight[y] at y. "mean" divides
    by the sum of weight[y] over the rows that count, or by their number (denominator="count"). One class has loss 0.
    Keras' categorical_hinge and optax' multiclass_hinge_loss are this with one-hot targets, without weights. For the sum over all
    violating classes (Weston-Watkins) see `multi_margin_loss`.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dscores = dk.categorical_hinge_loss.value_and_grad(np.array([[1.0, 0.25, 0.5]]), np.array([0]))
    >>> float(loss), dscores
    (0.5, array([[-1.,  0.,  1.]]))
    """
    x = _rows(input, axis)
    y, score, hot = _at_label(x, target, ignore_index)
    loss = np.maximum(0.0, 1.0 + np.max(np.where(hot, -np.inf, x), axis=-1) - score)
    return _of_rows(loss, y, weight, target, ignore_index, reduction, denominator)


@row_loss_op(
    ulp=8.0,
    grad_ulp=8.0,
    source="Weston & Watkins (1999); PyTorch's definition",
    label="target",
    variants={"p": {1: "", 2: ".squared"}},
)
def multi_margin_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    denominator: str = "count",
    p: int = 1,
    margin: float = 1.0,
    axis: int = 1,
) -> Any:
    """weight[y] / C sum_{j != y} max(0, margin - x_y + x_j)^p along `axis` (1; 0 for a single row); p is 1 or 2.

    "mean" divides by the number of rows that count (denominator="weight": by the sum of their weight[y]). As in PyTorch, whose
    arguments p, margin and weight are positional and which has no ignore_index. A class whose term is exactly 0 has gradient 0.
    The largest violation alone (Crammer-Singer) is `categorical_hinge_loss`.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dscores = dk.multi_margin_loss.value_and_grad(np.array([[1.0, 0.25, 0.5, -1.0]]), np.array([0]))
    >>> float(loss), dscores
    (0.1875, array([[-0.5 ,  0.25,  0.25,  0.  ]]))
    """
    x = _rows(input, axis)
    y, score, hot = _at_label(x, target, ignore_index)
    terms = np.where(hot, 0.0, np.maximum(0.0, margin - score[..., None] + x) ** p)
    loss = np.sum(terms, axis=-1) / x.shape[-1]
    return _of_rows(loss, y, weight, target, ignore_index, reduction, denominator)


@row_loss_op(
    ulp=8.0,
    grad_ulp=16.0,
    source="Lin, Goyal, Girshick, He & Dollár (2017), arXiv:1708.02002",
    label="target",
    limits={"gamma": ">= 0"},
)
def softmax_focal_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    denominator: str = "weight",
    gamma: float = 2.0,
    axis: int = 1,
) -> Any:
    """-weight[y] (1 - p_y)^gamma log p_y with p = softmax(input) along `axis` (1; 0 for a single row).

    gamma = 0 is `cross_entropy`. "mean" divides by the sum of weight[y] over the rows that count, or by their number
    (denominator="count"). 1 - p_y is the sum of the other probabilities: it keeps its digits where p_y is close to 1.
    The weights take the place of the paper's alpha. Keras' CategoricalFocalCrossentropy takes one-hot targets and alpha = 0.25 for every
    class, and clips the probabilities to 1e-7.

    >>> import numpy as np, dlkernels as dk
    >>> round(float(dk.softmax_focal_loss(np.zeros((1, 2)), np.array([0]))), 6)  # 0.25 log 2
    0.173287
    """
    x = _rows(input, axis)
    y, _, hot = _at_label(x, target, ignore_index)
    lp = _log_softmax(x)
    others = np.sum(np.where(hot, 0.0, np.exp(lp)), axis=-1)
    loss = -(others**gamma) * np.sum(np.where(hot, lp, 0.0), axis=-1)
    return _of_rows(loss, y, weight, target, ignore_index, reduction, denominator)
