"""Losses of the overlap of a predicted and a true region. The bodies are the float64 definitions; calling a loss runs its compiled kernel.

prob and target are memberships in [0, 1] of one shape: probabilities and a mask, for segmentation as a rule (N, classes, height, width).
The sums run over `axes`, dimensions next to each other: by default all after the first two, so that each sample and class has a loss of its
own; the last one if there are only one or two. ``axes=(1, 2, 3)`` takes the classes of a sample together, ``axes=(0, 1, 2, 3)`` the
whole batch. For one loss per class over the whole batch pass views: ``prob.swapaxes(0, 1)`` and ``target.swapaxes(0, 1)`` with
``axes=(1, 2, 3)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import row_loss_op
from .losses import _reduced


def _along(axes: Any, ndim: int, first: int) -> tuple[int, ...]:
    """The dimensions that make a row: `axes`, or all from `first` on, at least one."""
    if axes is None:
        return tuple(range(max(0, min(first, ndim - 1)), ndim))
    return tuple(a % ndim for a in (axes if isinstance(axes, tuple) else (axes,)))


@row_loss_op(
    ulp=8.0,
    grad_ulp=8.0,
    source="Milletari, Navab & Ahmadi (2016), arXiv:1606.04797",
    first_axis=2,
    limits={"smooth": ">= 0", "eps": ">= 0"},
    domain={"prob": (0.0, 1.0), "target": (0.0, 1.0)},
)
def dice_loss(
    prob: Any,
    target: Any,
    *,
    reduction: str = "mean",
    smooth: float = 1.0,
    eps: float = 0.0,
    squared_denominator: bool = False,
    axes: Any = None,
) -> Any:
    """1 - (2 sum p t + smooth) / (P + T + smooth + eps), with P = sum p and T = sum t, or the sums of squares (squared_denominator).

    Both regions empty give 0; without smooth and eps, NaN. The mean is over rows: samples and classes. The gradient is with respect to
    prob; the definition is symmetric in prob and target.

    Other libraries: the V-Net paper squares and has no smooth. Keras sums over the whole batch without smooth, with eps in the
    denominator only. optax' dice_loss adds 1 to intersection and half the denominator: this with smooth = 2. LIVIAETS (boundary loss)
    has smooth = 1e-10.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dprob = dk.dice_loss.value_and_grad(np.array([0.5, 0.5]), np.array([1.0, 0.0]))
    >>> round(float(loss), 6), dprob.round(6)
    (0.333333, array([-0.444444,  0.222222]))
    """
    along = _along(axes, np.ndim(prob), 2)
    square = 2 if squared_denominator else 1
    union = np.sum(prob**square, axis=along) + np.sum(target**square, axis=along)
    loss = 1 - (2 * np.sum(prob * target, axis=along) + smooth) / (union + smooth + eps)
    return _reduced(loss, reduction, np.float64(np.size(loss)))


@row_loss_op(
    ulp=8.0,
    grad_ulp=16.0,
    source="Salehi, Erdogmus & Gholipour (2017), arXiv:1706.05721; gamma: Abraham & Khan (2018), arXiv:1810.07842",
    first_axis=2,
    limits={"alpha": ">= 0", "beta": ">= 0", "smooth": ">= 0", "eps": ">= 0", "gamma": "> 0"},
    domain={"prob": (0.0, 1.0), "target": (0.0, 1.0)},
)
def tversky_loss(
    prob: Any,
    target: Any,
    *,
    reduction: str = "mean",
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1.0,
    eps: float = 0.0,
    gamma: float = 1.0,
    axes: Any = None,
) -> Any:
    """(1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth + eps))^gamma.

    TP = sum p t, FP = sum p (1 - t), FN = sum (1 - p) t: alpha weights false positives and beta false negatives, as in the paper. (Keras'
    Tversky has them the other way round in effect.) alpha = beta = 0.5 is the Dice loss with twice the smooth. Abraham & Khan write the
    exponent as 1 / gamma. The mean is over rows: samples and classes. The gradient is with respect to prob, and 0 where the loss is 0.

    >>> import numpy as np, dlkernels as dk
    >>> float(dk.tversky_loss(np.array([1.0, 1.0, 0.0, 0.0]), np.array([1.0, 0.0, 0.0, 1.0]), alpha=0.25, beta=0.75))
    0.3333333333333333
    """
    along = _along(axes, np.ndim(prob), 2)
    hit = np.sum(prob * target, axis=along) + smooth
    miss = alpha * np.sum(prob * (1 - target), axis=along) + beta * np.sum((1 - prob) * target, axis=along) + eps
    loss = (miss / (hit + miss)) ** gamma
    return _reduced(loss, reduction, np.float64(np.size(loss)))
