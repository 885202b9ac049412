"""Losses that know where a boundary is. The bodies are the float64 definitions; calling a loss runs its compiled kernel."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import loss_op
from .losses import weighted


@loss_op(
    ulp=2.0,
    grad_ulp=2.0,
    source="Kervadec et al. (2019), Boundary loss for highly unbalanced segmentation, MIDL, arXiv:1812.07032",
    grads=("prob",),
    domain={"prob": (0, 1), "dist_map": (-10, 10)},
)
def boundary_loss(
    prob: Any,
    dist_map: Any,
    *,
    idc: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
) -> Any:
    """``phi s``: the signed distance phi of each element to the boundary of a class, times the probability s that it is of that class.

    prob: softmax probabilities, (n, classes, *spatial). dist_map: `signed_distance_map` of the label, computed once for each label, in
    prob's shape and dtype. idc: the classes that count, a number or several; the mean is over their elements alone, the gradient elsewhere
    is 0. weight broadcasts to prob, instead of idc. The gradient with respect to prob is phi / count: it does not depend on prob; for
    logits the backward pass of softmax follows.

    It is linear, and its least value is not at 0: it is meant to be added to a regional loss L, as ``alpha L + (1 - alpha) boundary``, with
    alpha lowered from 1 to 0.01 in the course of the training (`schedules.rebalance`), or as ``L + w boundary`` with growing w:

        alpha = dk.schedules.rebalance()(epoch)
        prob = dk.softmax(logits, axis=1)
        region, d_region = dk.dice_loss.value_and_grad(prob, one_hot)
        border, d_border = dk.boundary_loss.value_and_grad(prob, phi, idc=1)
        dlogits = dk.softmax.backward(alpha * d_region + (1 - alpha) * d_border, prob, axis=1)

    >>> import numpy as np, dlkernels as dk
    >>> loss, dprob = dk.boundary_loss.value_and_grad(np.array([0.5, 0.25]), np.array([-1.0, 2.0]))
    >>> float(loss), dprob
    (0.0, array([-0.5,  1. ]))
    """
    if idc is not None:
        weight = np.zeros((prob.shape[1], *[1] * (prob.ndim - 2)))
        weight[np.ravel(idc)] = 1
    return weighted(prob * dist_map, weight, reduction, denominator)
