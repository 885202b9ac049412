"""Losses. The bodies are the float64 definitions; calling a loss runs its compiled kernel.

All of them: float16, bfloat16, float32, float64 inputs; the loss itself is float64 for float64 input and float32 otherwise, a 0-d array
for reduction "mean" and "sum". Sums are added in one canonical order, so no result depends on threads, instruction set or strides.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import row_loss_op


def _reduced(loss: Any, reduction: str, denominator: Any) -> Any:
    if reduction == "none":
        return loss
    total = np.sum(loss)
    return total if reduction == "sum" else total / denominator


def weighted(loss: Any, weight: Any, reduction: str, denominator: str) -> Any:
    """What an elementwise loss is reduced to. Elements of weight 0 count for nothing, whatever their loss."""
    if weight is not None:
        weight = np.broadcast_to(weight, np.shape(loss))
        loss = np.where(weight == 0, 0.0, weight * loss)
    if reduction == "none":
        return loss
    if reduction == "batchmean":
        return np.sum(loss) / np.float64(np.shape(loss)[0] if np.ndim(loss) else 1)
    total = np.sum(weight) if weight is not None and denominator == "weight" else np.float64(np.size(loss))
    return _reduced(loss, reduction, total)


@row_loss_op(
    ulp=8.0,
    grad_ulp=16.0,
    source="PyTorch's definition; smoothing: Szegedy et al. (2015), arXiv:1512.00567",
    make="_make_cross_entropy",
)
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    axis: int = 1,
) -> Any:
    """Softmax cross-entropy of logits, along `axis` (1; 0 for a single vector of logits).

    Class ids y (int32 or int64, input's shape without `axis`), e = label_smoothing, lp = log_softmax(input):
    ``-(1-e) w_y lp_y - e/C sum_c w_c lp_c``; "mean" divides by the sum of w_y over the rows whose target is not ignore_index. Ignored
    rows have loss 0 and gradient exactly 0. Probabilities q (input's shape and dtype): ``-sum_c w_c q'_c lp_c`` with
    ``q' = (1-e) q + e/C``; q need not sum to 1, and "mean" divides by the number of rows, also with weights, as in PyTorch.
    weight: one per class, input's dtype. A logit of -inf is a masked class; all rows ignored: mean NaN, sum 0, gradient 0.
    IndexError for a class id out of range, before anything is written.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dlogits = dk.cross_entropy.value_and_grad(np.zeros((1, 2)), np.array([0]))
    >>> dlogits
    array([[-0.5,  0.5]])
    """
    x = np.asarray(input, dtype=np.float64)
    x = np.moveaxis(x, axis if x.ndim > 1 else 0, -1)
    classes = x.shape[-1]
    w = np.ones(classes) if weight is None else np.asarray(weight, dtype=np.float64)
    z = x - np.max(x, axis=-1, keepdims=True)
    lp = z - np.log(np.sum(np.exp(z), axis=-1, keepdims=True))
    target = np.asarray(target)
    if target.dtype.kind not in "iu":
        q = np.moveaxis(target.astype(np.float64), axis if target.ndim > 1 else 0, -1)
        mass = w * ((1 - label_smoothing) * q + label_smoothing / classes)
        loss = -np.sum(np.where(mass == 0, 0.0, mass * lp), axis=-1)
        return _reduced(loss, reduction, np.float64(loss.size))
    kept = target != ignore_index
    y = np.where(kept, target, 0)
    spread = np.sum(np.where(w == 0, 0.0, w * lp), axis=-1) * (label_smoothing / classes) if label_smoothing else 0.0
    loss = -(1 - label_smoothing) * w[y] * np.take_along_axis(lp, y[..., None], axis=-1)[..., 0] - spread
    return _reduced(np.where(kept, loss, 0.0), reduction, np.sum(w[y] * kept))
