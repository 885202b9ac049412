"""Divergences between distributions, and likelihoods of observations, elementwise. The bodies are the float64 definitions; calling a
loss runs its kernel.

Where weight is given, each element's loss and gradients are multiplied by it; a "mean" then divides by the sum of the weights, or with
denominator="count" by the number of elements. "batchmean" is the sum divided by the first dimension.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import loss_op
from .losses import weighted


@loss_op(
    ulp=2.0, grad_ulp=2.0, source="Kullback & Leibler (1951), doi:10.1214/aoms/1177729694",
    domain={"input": (-6.0, 0.0), "target": (0.0, 1.0)}, variants={"log_target": {False: "", True: "_log_target"}},
    reductions=("batchmean", "mean", "sum", "none"),
)  # fmt: skip
def kl_div(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "batchmean",
    denominator: str = "weight",
    log_target: bool = False,
) -> Any:
    """p (log p - input) of a predicted log-probability and the true probability p = target (log_target=True: p = exp(target)).

    Its sum over the classes is KL(p || prediction), the divergence of the truth from the prediction: PyTorch's order of arguments. Where
    p = 0 it is 0, whatever the prediction. The gradient is -p.
    The default reduction is "batchmean", the mean of the rows' divergences; PyTorch's default "mean" divides by the number of elements
    as well (it warns of it). Keras takes two probabilities, the true one first, clipped to [1e-7, 1]; scipy.special.kl_div adds
    prediction - p to each term, scipy.special.rel_entr does not.

    >>> import numpy as np, dlkernels as dk
    >>> round(float(dk.kl_div(np.log([[0.25, 0.75]]), np.array([[0.5, 0.5]]))), 6)
    0.143841
    """
    if log_target:
        p, log_p = np.exp(target), target
    else:
        p = target
        log_p = np.log(p)
    loss = np.where((p == 0) & ~np.isnan(input), 0.0, p * (log_p - input))
    return weighted(loss, weight, reduction, denominator)


@loss_op(
    ulp=12.0, grad_ulp=4.0, source="Lin (1991), doi:10.1109/18.61115", domain={"p": (0.0, 1.0), "q": (0.0, 1.0)}, grads=("p", "q"),
    variants={"log": {False: "", True: "_log"}}, reductions=("batchmean", "mean", "sum", "none"),
)  # fmt: skip
def js_div(
    p: Any, q: Any, *, weight: Any = None, reduction: str = "batchmean", denominator: str = "weight", log: bool = False
) -> Any:
    """(p log(p/m) + q log(q/m))/2 with m = (p + q)/2; log=True: of log-probabilities.

    Its sum over the classes is the Jensen-Shannon divergence of two distributions, between 0 and log 2.
    scipy.spatial.distance.jensenshannon is its square root. Gradients are with respect to both, a tuple: log(p/m)/2 and log(q/m)/2,
    which is -inf for p = 0; with log=True it is that times p, and 0 there. No digits are lost where p and q are close.

    >>> import numpy as np, dlkernels as dk
    >>> loss, (dp, dq) = dk.js_div.value_and_grad(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]))
    >>> round(float(loss), 6), dq.round(6)
    (0.215762, array([[-0.202733,  0.346574]]))
    """
    if log:
        d = np.where(p == q, 0.0, p - q)
        r, log_p, log_q = np.tanh(d / 2), -np.log((1 + np.exp(-d)) / 2), -np.log((1 + np.exp(d)) / 2)
        p, q = np.exp(p), np.exp(q)
    else:
        m = (p + q) / 2
        r, log_p, log_q = np.where(p == q, 0.0, (p - q) / (p + q)), np.log(p / m), np.log(q / m)
    far = (np.where(p == 0, 0.0, p * log_p) + np.where(q == 0, 0.0, q * log_q)) / 2
    # the same for p = m (1 + r) and q = m (1 - r), without the terms that cancel
    near = (p + q) / 4 * (r * (np.log1p(r) - np.log1p(-r)) + np.log1p(-r * r))
    return weighted(np.where(np.abs(r) < 0.5, near, far), weight, reduction, denominator)


def _stirling(t: Any) -> Any:
    return np.where(t > 1, t * np.log(t) - t + 0.5 * np.log(2 * np.pi * t), 0.0)


@loss_op(
    ulp=6.0, grad_ulp=2.0, source="PyTorch's definition", domain={"input": (0.1, 6.0), "target": (0.0, 12.0)},
    variants={"log_input": {True: "", False: "_rate"}, "full": {False: "", True: "_full"}}, limits={"eps": ">= 0"},
)  # fmt: skip
def poisson_nll_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
) -> Any:
    """exp(x) - t x for the logarithm x = input of a rate and a count t = target; log_input=False: x - t log(x + eps) for a rate x.

    full adds the part that depends on the count alone, log t! by Stirling: t log t - t + log(2 pi t)/2 for t > 1. It has no gradient.
    PyTorch's definition; Keras' Poisson is the form of a rate with eps = 1e-7.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dinput = dk.poisson_nll_loss.value_and_grad(np.array([0.0]), np.array([3.0]))
    >>> float(loss), dinput
    (1.0, array([-2.]))
    """
    x, t = input, target
    loss = np.exp(x) - np.where(t == 0, 0.0, t * x) if log_input else x - t * np.log(x + eps)
    return weighted(loss + _stirling(t) if full else loss, weight, reduction, denominator)


@loss_op(
    ulp=4.0, grad_ulp=4.0, source="Nix & Weigend (1994), doi:10.1109/ICNN.1994.374138", grads=("input", "var"),
    domain={"input": (-10.0, 10.0), "target": (-10.0, 10.0), "var": (0.1, 10.0)},
    variants={"full": {False: "", True: "_full"}}, limits={"eps": "> 0"},
)  # fmt: skip
def gaussian_nll_loss(
    input: Any,
    target: Any,
    var: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    full: bool = False,
    eps: float = 1e-6,
) -> Any:
    """(log v + e^2/v)/2 with e = input - target and v = max(var, eps); full adds log(2 pi)/2.

    var has input's shape (PyTorch also takes one number or one per row, and raises for a negative one, which is eps here). Gradients are
    with respect to input and var, a tuple: e/v and (1/v - e^2/v^2)/2, the latter also where var is below eps, as in PyTorch.

    >>> import numpy as np, dlkernels as dk
    >>> loss, (dinput, dvar) = dk.gaussian_nll_loss.value_and_grad(np.array([3.0]), np.array([1.0]), np.array([1.0]))
    >>> float(loss), dinput, dvar
    (2.0, array([2.]), array([-1.5]))
    """
    e, v = input - target, np.maximum(var, eps)
    loss = 0.5 * (np.log(v) + e * (e / v))
    return weighted(loss + 0.5 * np.log(2 * np.pi) if full else loss, weight, reduction, denominator)
