"""Losses of a raw score and a label of -1 or +1. The bodies are the float64 definitions; calling a loss runs its kernel.

Labels have the scores' dtype. Where weight is given, each element's loss and gradient are multiplied by it; a "mean" then divides by the
sum of the weights, or with denominator="count" by the number of elements.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import loss_op
from .losses import weighted

_SCORES: dict[str, tuple[float, float] | set[float]] = {"input": (-4.0, 4.0), "target": {-1.0, 1.0}}


@loss_op(
    ulp=1.0, grad_ulp=1.0, source="Cortes & Vapnik (1995), doi:10.1007/BF00994018", domain=_SCORES,
    variants={"labels": {"pm1": "", "01": "_01"}},
)  # fmt: skip
def hinge_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    labels: str = "pm1",
) -> Any:
    """max(0, 1 - t s) of a score s = input and t = target, a label of -1 or +1; labels="01": a label of 0 or 1, t = 2 target - 1.

    The gradient is -t where t s < 1, else 0. Keras turns a batch that happens to hold only 0 and 1 into -1 and +1; here the call says
    which labels it means, and nothing is guessed. (PyTorch's hinge_embedding_loss is another function.)

    >>> import numpy as np, dlkernels as dk
    >>> loss, dinput = dk.hinge_loss.value_and_grad(np.array([0.25, 3.0]), np.array([1.0, 1.0]), reduction="sum")
    >>> float(loss), dinput
    (0.75, array([-1.,  0.]))
    """
    t = 2 * target - 1 if labels == "01" else target
    return weighted(np.maximum(0.0, 1 - t * input), weight, reduction, denominator)


@loss_op(
    ulp=2.0, grad_ulp=2.0, source="Lee & Mangasarian (2001), doi:10.1023/A:1011215321374", domain=_SCORES,
    variants={"labels": {"pm1": "", "01": "_01"}},
)  # fmt: skip
def squared_hinge_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    labels: str = "pm1",
) -> Any:
    """max(0, 1 - t s)^2 of a score s = input and a label t, as for hinge_loss; its gradient is continuous.

    >>> import numpy as np, dlkernels as dk
    >>> float(dk.squared_hinge_loss(np.array([0.5, 3.0]), np.array([1.0, 0.0]), labels="01", reduction="sum"))
    16.25
    """
    t = 2 * target - 1 if labels == "01" else target
    return weighted(np.maximum(0.0, 1 - t * input) ** 2, weight, reduction, denominator)


@loss_op(ulp=2.0, grad_ulp=3.0, source="PyTorch's definition", domain=_SCORES)
def soft_margin_loss(
    input: Any, target: Any, *, weight: Any = None, reduction: str = "mean", denominator: str = "weight"
) -> Any:
    """log(1 + exp(-t s)) of a score s = input and a label t = target of -1 or +1.

    The same as binary_cross_entropy_with_logits of the labels (t + 1)/2. No overflow for a large score (PyTorch's is inf for s = -100 in
    float32).

    >>> import numpy as np, dlkernels as dk
    >>> dk.soft_margin_loss(np.array([0.0, -1000.0]), np.array([1.0, 1.0]), reduction="none")
    array([6.93147181e-01, 1.00000000e+03])
    """
    z = -target * input
    return weighted(np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z))), weight, reduction, denominator)


@loss_op(ulp=1.0, grad_ulp=1.0, source="Hadsell, Chopra & LeCun (2006), doi:10.1109/CVPR.2006.100", domain=_SCORES)
def hinge_embedding_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    margin: float = 1.0,
) -> Any:
    """input, a distance, where target is 1; max(0, margin - input) where it is -1.

    NaN for any other label (PyTorch then adds the two). Not the hinge loss of a support vector machine.

    >>> import numpy as np, dlkernels as dk
    >>> dk.hinge_embedding_loss(np.array([0.25, 0.25, 3.0]), np.array([1.0, -1.0, -1.0]), reduction="none")
    array([0.25, 0.75, 0.  ])
    """
    loss = np.where(target == 1, input, np.where(target == -1, np.maximum(0.0, margin - input), np.nan))
    return weighted(loss, weight, reduction, denominator)
