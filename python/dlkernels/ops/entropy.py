"""Binary cross-entropies, elementwise. The bodies are the float64 definitions; calling a loss runs its kernel.

Targets are probabilities in [0, 1] in the input's dtype, hard or soft. Where weight is given, each element's loss and gradient are
multiplied by it; a "mean" divides by the number of elements or by the sum of the weights, as `denominator` says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import loss_op
from .losses import weighted


@loss_op(
    ulp=2.5,
    grad_ulp=4.0,
    source="PyTorch's definition",
    domain={"input": (0.02, 0.98), "target": (0.0, 1.0)},
    probabilities="input",
)
def binary_cross_entropy(
    input: Any, target: Any, *, weight: Any = None, reduction: str = "mean", denominator: str = "count"
) -> Any:
    """-t log p - (1 - t) log(1 - p) of a probability p = input and t = target.

    With PyTorch's limits: each logarithm is at least -100, and the gradient is (p - t) / max(p (1 - p), 1e-12), so that p = 0, t = 1
    costs 100 and has the gradient -1e12. Keras clips p to [1e-7, 1 - 1e-7] instead: at most 16.118, with no gradient outside. ValueError
    for p outside [0, 1], for which a CPU reads input once more (NaN on a GPU, where PyTorch stops the device). The gradient with respect
    to target is log((1 - p)/p).
    Where p is a sigmoid, binary_cross_entropy_with_logits is faster and keeps all digits.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dinput = dk.binary_cross_entropy.value_and_grad(np.array([0.0, 0.5]), np.array([1.0, 0.5]), reduction="sum")
    >>> round(float(loss), 6), dinput
    (100.693147, array([-1.e+12,  0.e+00]))
    """
    p = input
    loss = -target * np.maximum(np.log(p), -100.0) + (target - 1) * np.maximum(np.log1p(-p), -100.0)
    return weighted(loss, weight, reduction, denominator)


@loss_op(
    ulp=3.0, grad_ulp=4.0, source="PyTorch's definition; smoothing: Szegedy et al. (2015), arXiv:1512.00567",
    domain={"input": (-20.0, 20.0), "target": (0.0, 1.0), "pos_weight": (0.25, 4.0)}, limits={"label_smoothing": "in [0, 1]"},
)  # fmt: skip
def binary_cross_entropy_with_logits(
    input: Any,
    target: Any,
    *,
    pos_weight: Any = None,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "count",
    label_smoothing: float = 0.0,
) -> Any:
    """(1 - t) x + (1 + (q - 1) t) log(1 + exp(-x)) of a logit x = input, t = target and q = pos_weight.

    pos_weight broadcasts to input, one number per class as a rule: a positive example counts q times (TensorFlow's
    weighted_cross_entropy_with_logits). label_smoothing s makes the target (1 - s) t + s/2, as Keras does. For q = 1 the gradient is
    sigmoid(x) - t; with respect to target it is (q - 1) log(1 + exp(-x)) - x.
    No cancellation or overflow for any finite logit; a certain and right x = inf costs 0 (NaN in PyTorch).

    >>> import numpy as np, dlkernels as dk
    >>> loss, dinput = dk.binary_cross_entropy_with_logits.value_and_grad(np.array([0.0, 1000.0]), np.array([1.0, 0.0]), reduction="sum")
    >>> round(float(loss), 6), dinput
    (1000.693147, array([-0.5,  1. ]))
    """
    x, q = input, 1.0 if pos_weight is None else pos_weight
    t = (1 - label_smoothing) * target + label_smoothing / 2
    denied = np.where(x < 0, q * t, 1 - t)  # of the class that x speaks against
    far = np.where(denied == 0, 0.0, denied * np.abs(x))
    return weighted(far + (1 - t + q * t) * np.log1p(np.exp(-np.abs(x))), weight, reduction, denominator)


@loss_op(
    ulp=8.0, grad_ulp=12.0, source="Lin et al. (2017), arXiv:1708.02002", domain={"input": (-12.0, 12.0), "target": (0.0, 1.0)},
    limits={"gamma": ">= 0", "alpha": "<= 1"},
)  # fmt: skip
def sigmoid_focal_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Any:
    """alpha_t (1 - p_t)^gamma times the cross-entropy of a logit x = input and t = target, p = 1 / (1 + exp(-x)).

    p_t = t p + (1 - t)(1 - p) and alpha_t = alpha t + (1 - alpha)(1 - t); a negative alpha means alpha_t = 1. gamma=0, alpha=-1 is
    binary_cross_entropy_with_logits. alpha and gamma are torchvision's, whose reduction is "none"; optax has no alpha by default, and
    Keras uses it only with apply_class_balancing. RetinaNet divides the sum by the number of positives: reduction="sum", and do that.
    Soft targets have the gradient of this formula. Finite for every finite logit and any gamma, also below 1.

    >>> import numpy as np, dlkernels as dk
    >>> dk.sigmoid_focal_loss(np.array([0.0, 4.0]), np.array([1.0, 1.0]), reduction="none")
    array([4.33216988e-02, 1.46789243e-06])
    """
    x, t = input, target
    e = np.exp(-np.abs(x))
    denied = np.where(x < 0, t, 1 - t)  # of the class that x speaks against
    entropy = np.where(denied == 0, 0.0, denied * np.abs(x)) + np.log1p(e)
    power = ((denied + e * (1 - denied)) / (1 + e)) ** gamma
    balance = alpha * t + (1 - alpha) * (1 - t) if alpha >= 0 else 1.0
    return weighted(balance * power * entropy, weight, reduction, denominator)
