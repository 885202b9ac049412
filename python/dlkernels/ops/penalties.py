"""Penalties on weights, as losses of one array: value and gradient in one pass. The bodies are the float64 definitions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import loss_op
from .losses import weighted


@loss_op(ulp=1.5, grad_ulp=1.0, source="Tibshirani (1996)", grads=("w",), domain={"w": (-10.0, 10.0)})
def l1_penalty(
    w: Any, *, weight: Any = None, reduction: str = "sum", denominator: str = "weight", strength: float = 0.01
) -> Any:
    """strength |w|, summed. The gradient is strength times the sign of w, 0 at 0. Keras: regularizers.L1(strength).

    >>> import numpy as np, dlkernels as dk
    >>> float(dk.l1_penalty(np.array([0.5, -1.0, 2.0]), strength=1.0))
    3.5
    """
    return weighted(strength * np.abs(w), weight, reduction, denominator)


@loss_op(ulp=2.5, grad_ulp=2.5, source="Hoerl & Kennard (1970)", grads=("w",), domain={"w": (-10.0, 10.0)})
def l2_penalty(
    w: Any, *, weight: Any = None, reduction: str = "sum", denominator: str = "weight", strength: float = 0.01
) -> Any:
    """strength w^2, summed. The gradient is 2 strength w. Keras: regularizers.L2(strength).

    No factor 1/2: an optimizer's coupled weight_decay is the gradient of weight_decay / 2 w^2, so strength = weight_decay / 2.

    >>> import numpy as np, dlkernels as dk
    >>> float(dk.l2_penalty(np.array([1.0, 2.0]), strength=1.0))
    5.0
    """
    return weighted(strength * (w * w), weight, reduction, denominator)
