"""Losses of a prediction and a number, e = input - target. The bodies are the float64 definitions; calling a loss runs its kernel.

Where weight is given, each element's loss and gradient are multiplied by it; a "mean" then divides by the sum of the weights, or with
denominator="count" by the number of elements. The gradient with respect to target is the negative of that to input, but for msle_loss.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import loss_op
from .losses import weighted

_ERRORS = {"input": (-10.0, 10.0), "target": (-10.0, 10.0)}


@loss_op(ulp=2.5, grad_ulp=1.0, source="Legendre (1805)", domain=_ERRORS)
def mse_loss(
    input: Any, target: Any, *, weight: Any = None, reduction: str = "mean", denominator: str = "weight"
) -> Any:
    """e^2.

    No factor 1/2 (optax's l2_loss has one; its squared_error is this). PyTorch's weighted mean divides by the sum of the weights too.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dinput = dk.mse_loss.value_and_grad(np.array([1.0, 2.0]), np.array([0.0, 0.0]))
    >>> float(loss), dinput
    (2.5, array([1., 2.]))
    """
    return weighted((input - target) ** 2, weight, reduction, denominator)


@loss_op(ulp=2.5, grad_ulp=4.0, source="Gauss (1809)", domain=_ERRORS, reductions=("mean",))
def rmse_loss(
    input: Any, target: Any, *, weight: Any = None, reduction: str = "mean", denominator: str = "weight"
) -> Any:
    """The root r of the mean of e^2: r = sqrt(mse_loss). The only reduction is "mean".

    The gradient is e / (N r), N the number of elements (with weights w e / (r sum w)), and 0 where all e are 0. It needs r first, so the
    arrays are read twice. Where squares overflow or vanish (|e| > 1.8e19 or < 1e-20 in float32) they are taken again of scaled errors.
    scikit-learn calls the value root_mean_squared_error.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dinput = dk.rmse_loss.value_and_grad(np.array([3.0, 0.0, 0.0, 0.0]), np.array([0.0, 4.0, 0.0, 0.0]))
    >>> float(loss), dinput
    (2.5, array([ 0.3, -0.4,  0. ,  0. ]))
    """
    return np.sqrt(weighted((input - target) ** 2, weight, reduction, denominator))


@loss_op(ulp=0.5, grad_ulp=0.5, source="Laplace (1774)", domain=_ERRORS)
def l1_loss(
    input: Any, target: Any, *, weight: Any = None, reduction: str = "mean", denominator: str = "weight"
) -> Any:
    """|e|, the mean absolute error. The gradient is the sign of e, and 0 at e = 0, as in PyTorch.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dinput = dk.l1_loss.value_and_grad(np.array([1.0, 2.0]), np.array([0.0, 5.0]))
    >>> float(loss), dinput
    (2.0, array([ 0.5, -0.5]))
    """
    return weighted(np.abs(input - target), weight, reduction, denominator)


@loss_op(
    ulp=4.0, grad_ulp=4.0, source="mean squared logarithmic error", domain={"input": (-0.9, 20.0), "target": (-0.9, 20.0)},
    none={"clamp_min": -np.inf},
)  # fmt: skip
def msle_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    clamp_min: float | None = None,
) -> Any:
    """(log(1 + input) - log(1 + target))^2, of both no less than clamp_min.

    NaN where either is -1 or less (scikit-learn raises there). Keras clips both at 1e-7: that is clamp_min=0 to within 1e-7. The gradient
    is 0 where input is below clamp_min. With respect to target it is -2 (log(1 + input) - log(1 + target)) / (1 + target).

    >>> import numpy as np, dlkernels as dk
    >>> float(dk.msle_loss(np.array([np.e - 1]), np.array([0.0])))
    1.0
    """
    x, t = (v if clamp_min is None else np.maximum(v, clamp_min) for v in (input, target))
    difference = np.log1p(np.abs(x - t) / (1 + np.minimum(x, t)))  # of the logarithms, without their cancellation
    loss = np.where((x > -1) & (t > -1), difference**2, np.nan)
    return weighted(loss, weight, reduction, denominator)


@loss_op(
    ulp=3.0, grad_ulp=1.0, source="Huber (1964), doi:10.1214/aoms/1177703732", domain=_ERRORS, limits={"delta": "> 0"}
)
def huber_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "count",
    delta: float = 1.0,
) -> Any:
    """e^2/2 where |e| <= delta, delta (|e| - delta/2) elsewhere. The gradient is e, limited to [-delta, delta].

    The same in PyTorch, Keras and optax. A weighted mean divides by the number of elements, as in PyTorch, unless denominator="weight".

    >>> import numpy as np, dlkernels as dk
    >>> loss, dinput = dk.huber_loss.value_and_grad(np.array([0.5, 3.0]), np.array([0.0, 0.0]))
    >>> float(loss), dinput
    (1.3125, array([0.25, 0.5 ]))
    """
    size = np.abs(input - target)
    loss = np.where(size <= delta, 0.5 * size**2, delta * (size - 0.5 * delta))
    return weighted(loss, weight, reduction, denominator)


@loss_op(ulp=2.0, grad_ulp=2.0, source="Girshick (2015), arXiv:1504.08083", domain=_ERRORS, limits={"beta": ">= 0"})
def smooth_l1_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    beta: float = 1.0,
) -> Any:
    """e^2 / (2 beta) where |e| < beta, |e| - beta/2 elsewhere: huber_loss(delta=beta) / beta. beta = 0 is l1_loss.

    PyTorch's definition. The two losses agree for beta = 1 only: for a small parameter this one becomes l1_loss, the other one 0.

    >>> import numpy as np, dlkernels as dk
    >>> dk.smooth_l1_loss(np.array([0.5, 3.0]), np.array([0.0, 0.0]), beta=0.5, reduction="none")
    array([0.25, 2.75])
    """
    size = np.abs(input - target)
    near = size**2 / (2 * beta) if beta > 0 else size
    return weighted(np.where(size < beta, near, size - 0.5 * beta), weight, reduction, denominator)


@loss_op(
    ulp=4.0, grad_ulp=3.0, source="Charbonnier et al. (1997), doi:10.1109/83.551699", domain=_ERRORS,
    limits={"delta": "> 0"},
)  # fmt: skip
def pseudo_huber_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    delta: float = 1.0,
) -> Any:
    """delta^2 (sqrt(1 + (e/delta)^2) - 1): e^2/2 near 0, delta |e| - delta^2 far out, smooth between.

    The same as scipy.special.pseudo_huber(delta, e). No cancellation for small e, no overflow for large e. Gradient
    e / sqrt(1 + (e/delta)^2).

    >>> import numpy as np, dlkernels as dk
    >>> dk.pseudo_huber_loss(np.array([0.75, 1e-9]), np.array([0.0, 0.0]), reduction="none")
    array([2.5e-01, 5.0e-19])
    """
    size = np.abs(input - target)
    loss = size * (size / (np.hypot(1.0, size / delta) + 1))  # no cancellation, no early overflow
    return weighted(np.where(np.isinf(size), size, loss), weight, reduction, denominator)


@loss_op(ulp=1.5, grad_ulp=2.0, source="log cosh", domain=_ERRORS)
def log_cosh_loss(
    input: Any, target: Any, *, weight: Any = None, reduction: str = "mean", denominator: str = "weight"
) -> Any:
    """log cosh e: e^2/2 near 0, |e| - log 2 far out. The gradient is tanh e.

    Keras (e + softplus(-2e) - log 2) and optax (logaddexp(e, -e) - log 2) lose all digits of a small e; this does not.

    >>> import numpy as np, dlkernels as dk
    >>> dk.log_cosh_loss(np.array([1e-9, 1000.0]), np.array([0.0, 0.0]), reduction="none")
    array([5.00000000e-19, 9.99306853e+02])
    """
    e = input - target
    size = np.abs(e)
    near, far = -0.5 * np.log1p(-(np.tanh(e) ** 2)), size + np.log((1 + np.exp(-2 * size)) / 2)
    return weighted(np.where(size < 1, near, far), weight, reduction, denominator)


@loss_op(
    ulp=2.0, grad_ulp=1.0, source="Koenker & Bassett (1978), doi:10.2307/1913643", domain=_ERRORS,
    limits={"quantile": "in (0, 1)"},
)  # fmt: skip
def quantile_loss(
    input: Any,
    target: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    quantile: float = 0.5,
) -> Any:
    """quantile |e| where target is above input, (1 - quantile) |e| where it is below: the pinball loss.

    Its minimum is the quantile of the target. quantile=0.5 is half of l1_loss; scikit-learn's mean_pinball_loss calls it alpha. The
    gradient is 0 at e = 0.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dinput = dk.quantile_loss.value_and_grad(np.array([0.0, 4.0]), np.array([2.0, 2.0]), quantile=0.75, reduction="sum")
    >>> float(loss), dinput
    (2.0, array([-0.75,  0.25]))
    """
    d = target - input
    return weighted(np.maximum(quantile * d, (quantile - 1) * d), weight, reduction, denominator)
