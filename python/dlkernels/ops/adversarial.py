"""Adversarial objectives, of a discriminator's logits or a critic's scores. The bodies are the float64 definitions; calling a loss runs
its kernel.

`real` holds what the discriminator says of real examples, `fake` what it says of generated ones: logits, never probabilities. A step of
the discriminator minimises gan_discriminator_loss, one of the generator gan_generator_loss; gan_real_loss and gan_fake_loss are the two
halves of the former. Modes: "minimax" is Goodfellow et al. (2014), arXiv:1406.2661; "lsgan" Mao et al. (2016), arXiv:1611.04076, with the
paper's factor 1/2; "hinge" Lim & Ye (2017), arXiv:1705.02894; "wgan" Arjovsky et al. (2017), arXiv:1701.07875.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import composed_loss, loss_op
from .losses import weighted

_LOGITS = (-20.0, 20.0)
_CRITIC = {mode: f"_{mode}" for mode in ("minimax", "lsgan", "hinge", "wgan")}
_GENERATOR = {mode: f"_{mode}" for mode in ("non_saturating", "saturating", "lsgan", "hinge", "wgan")}


def _softplus(x: Any) -> Any:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


@loss_op(
    ulp=3.0, grad_ulp=4.0, source="the papers named by mode; smoothing: Salimans et al. (2016), arXiv:1606.03498",
    grads=("real",), domain={"real": _LOGITS}, variants={"mode": _CRITIC}, limits={"label_smoothing": "in [0, 1]"},
)  # fmt: skip
def gan_real_loss(
    real: Any,
    *,
    weight: Any = None,
    reduction: str = "mean",
    denominator: str = "weight",
    mode: str = "minimax",
    label_smoothing: float = 0.0,
) -> Any:
    """The discriminator's loss on real examples. "minimax": log(1 + exp(-r)); "lsgan": (r - 1)^2/2; "hinge": max(0, 1 - r); "wgan": -r.

    label_smoothing s moves the label 1 to 1 - s, of the real examples alone, for "minimax" and "lsgan": log(1 + exp(-r)) + s r and
    (r - 1 + s)^2/2. TF-GAN's default label_smoothing=0.25 is its two-sided formula, s = 0.125 here.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dreal = dk.gan_real_loss.value_and_grad(np.array([0.0, 3.0]), mode="hinge")
    >>> float(loss), dreal
    (0.5, array([-0.5,  0. ]))
    """
    if mode == "minimax":
        # the target 1 - s speaks against a negative logit, s against a positive one: no term cancels
        denied = np.where(real < 0, 1 - label_smoothing, label_smoothing)
        loss = np.where(denied == 0, 0.0, denied * np.abs(real)) + np.log1p(np.exp(-np.abs(real)))
    elif mode == "lsgan":
        loss = 0.5 * (real - (1 - label_smoothing)) ** 2
    else:
        loss = np.maximum(0.0, 1 - real) if mode == "hinge" else -real
    return weighted(loss, weight, reduction, denominator)


@loss_op(
    ulp=2.0, grad_ulp=3.0, source="the papers named by mode", grads=("fake",), domain={"fake": _LOGITS},
    variants={"mode": _CRITIC},
)  # fmt: skip
def gan_fake_loss(
    fake: Any, *, weight: Any = None, reduction: str = "mean", denominator: str = "weight", mode: str = "minimax"
) -> Any:
    """The discriminator's loss on generated examples. "minimax": log(1 + exp(f)); "lsgan": f^2/2; "hinge": max(0, 1 + f); "wgan": f.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dfake = dk.gan_fake_loss.value_and_grad(np.array([0.0, -3.0]), mode="lsgan")
    >>> float(loss), dfake
    (2.25, array([ 0. , -1.5]))
    """
    if mode == "minimax":
        loss = _softplus(fake)
    elif mode == "lsgan":
        loss = 0.5 * fake**2
    else:
        loss = np.maximum(0.0, 1 + fake) if mode == "hinge" else fake
    return weighted(loss, weight, reduction, denominator)


@loss_op(
    ulp=2.0, grad_ulp=3.0, source="the papers named by mode", grads=("fake",), domain={"fake": _LOGITS},
    variants={"mode": _GENERATOR},
)  # fmt: skip
def gan_generator_loss(
    fake: Any, *, weight: Any = None, reduction: str = "mean", denominator: str = "weight", mode: str = "non_saturating"
) -> Any:
    """The generator's loss: what the discriminator's verdict on generated examples costs it.

    "non_saturating": log(1 + exp(-f)); "saturating": -log(1 + exp(f)), the minimax game's own, whose gradient vanishes where the
    discriminator is sure (4.5e-5 at f = -10, against 0.99995); "lsgan": (f - 1)^2/2; "hinge" and "wgan": -f.
    The default is what Goodfellow et al. recommend, and what TF-GAN calls the modified generator loss.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dfake = dk.gan_generator_loss.value_and_grad(np.array([0.0, 0.0]))
    >>> round(float(loss), 6), dfake
    (0.693147, array([-0.25, -0.25]))
    """
    if mode == "non_saturating":
        loss = _softplus(-fake)
    elif mode == "saturating":
        loss = -_softplus(fake)
    else:
        loss = 0.5 * (fake - 1) ** 2 if mode == "lsgan" else -fake
    return weighted(loss, weight, reduction, denominator)


def _refuse_none(reduction: str) -> None:
    if reduction == "none":
        raise ValueError(
            'gan_discriminator_loss: reduction must be "mean" or "sum", got "none". '
            "gan_real_loss and gan_fake_loss tell the loss of each example."
        )


def _discriminator(
    real: Any, fake: Any, *, reduction: str = "mean", mode: str = "minimax", label_smoothing: float = 0.0
) -> Any:
    _refuse_none(reduction)
    loss = gan_real_loss(real, reduction=reduction, mode=mode, label_smoothing=label_smoothing)
    loss += gan_fake_loss(fake, reduction=reduction, mode=mode)  # in place: a 0-d array stays one
    return loss


def _discriminator_value_and_grad(
    real: Any, fake: Any, *, reduction: str = "mean", mode: str = "minimax", label_smoothing: float = 0.0
) -> Any:
    """(loss, (dreal, dfake)) in one pass over each array.

    There is no ``out=``: an error in `fake` could then come after dreal was written. gan_real_loss and gan_fake_loss have it.
    """
    _refuse_none(reduction)
    options = {"reduction": reduction, "mode": mode}
    loss, dreal = gan_real_loss.value_and_grad(real, **options, label_smoothing=label_smoothing)
    also, dfake = gan_fake_loss.value_and_grad(fake, **options)
    loss += also
    return loss, (dreal, dfake)


def _discriminator_backward(
    dy: Any, real: Any, fake: Any, *, reduction: str = "mean", mode: str = "minimax", label_smoothing: float = 0.0
) -> Any:
    """(dreal, dfake) for an upstream gradient dy of the loss; no ``out=``, as for value_and_grad."""
    _refuse_none(reduction)
    options = {"reduction": reduction, "mode": mode}
    dreal = gan_real_loss.backward(dy, real, **options, label_smoothing=label_smoothing)
    return dreal, gan_fake_loss.backward(dy, fake, **options)


@composed_loss(
    ulp=4.0, grad_ulp=4.0, source="the papers named by mode; smoothing: Salimans et al. (2016), arXiv:1606.03498",
    value=_discriminator, value_and_grad=_discriminator_value_and_grad, backward=_discriminator_backward,
)  # fmt: skip
def gan_discriminator_loss(
    real: Any, fake: Any, *, reduction: str = "mean", mode: str = "minimax", label_smoothing: float = 0.0
) -> Any:
    """What a step of the discriminator minimises: gan_real_loss of real plus gan_fake_loss of fake, each reduced by itself.

    "minimax": mean log(1 + exp(-r)) + mean log(1 + exp(f)), the negative of the game's value V = E log D + E log(1 - D), which is log 4
    at equilibrium; "lsgan": mean (r - 1)^2/2 + mean f^2/2 (many implementations drop the 1/2); "hinge": mean max(0, 1 - r) + mean
    max(0, 1 + f); "wgan": mean f - mean r. label_smoothing as for gan_real_loss; 0 by default (TF-GAN: 0.25, two-sided).
    real and fake may differ in shape and number. Gradients are with respect to both, a tuple.

    >>> import numpy as np, dlkernels as dk
    >>> loss, (dreal, dfake) = dk.gan_discriminator_loss.value_and_grad(np.zeros(2), np.zeros(4))
    >>> round(float(loss), 6), dreal, dfake
    (1.386294, array([-0.25, -0.25]), array([0.125, 0.125, 0.125, 0.125]))
    """
    options = {"reduction": reduction, "mode": mode}
    return gan_real_loss.reference(real, label_smoothing=label_smoothing, **options) + gan_fake_loss.reference(
        fake, **options
    )
