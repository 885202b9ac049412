"""Losses of angles and distances between rows. The bodies are the float64 definitions; calling a loss runs its compiled kernel.

Squares that overflow or vanish do not matter: a row whose sum of squares is out of range is scaled by a power of two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import row_loss_op
from .losses import _reduced
from .overlap import _along


@row_loss_op(
    ulp=8.0, grad_ulp=16.0, source="PyTorch's definition", per_row="target", grads=("input1", "input2"),
)  # fmt: skip
def cosine_embedding_loss(
    input1: Any, input2: Any, target: Any, *, reduction: str = "mean", margin: float = 0.0, axis: int = -1
) -> Any:
    """1 - cos(input1, input2) where target is 1, max(0, cos(input1, input2) - margin) where it is -1, else 0.

    cos = input1 input2 / sqrt((sum input1^2 + 1e-12) (sum input2^2 + 1e-12)) along `axis`. target has input1's shape without `axis`, in
    the loss's dtype (float64 for float64 inputs, else float32). "mean" divides by the number of rows. Gradients: (dinput1, dinput2); at
    cos = margin they are those of cos - margin, as in PyTorch (which takes integer targets too).

    >>> import numpy as np, dlkernels as dk
    >>> input1, input2 = np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])
    >>> loss, (dinput1, dinput2) = dk.cosine_embedding_loss.value_and_grad(input1, input2, np.array([1.0]))
    >>> round(float(loss), 6), dinput1.round(6), dinput2.round(6)
    (1.0, array([[ 0., -1.]]), array([[-0.5,  0. ]]))
    """
    n1, n2 = (np.sum(x * x, axis=axis) + 1e-12 for x in (input1, input2))
    cos = np.sum(input1 * input2, axis=axis) / (np.sqrt(n1) * np.sqrt(n2))
    loss = np.where(target == 1, 1 - cos, np.where(target == -1, np.maximum(0.0, cos - margin), 0.0))
    return _reduced(loss, reduction, np.float64(np.size(loss)))


@row_loss_op(
    ulp=8.0,
    grad_ulp=16.0,
    source="Balntas, Riba, Ponsa & Mikolajczyk (2016); PyTorch's definition",
    grads=("anchor", "positive", "negative"),
    limits={"p": "in [1, 64]", "eps": ">= 0"},
)
def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    reduction: str = "mean",
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    axis: int = -1,
) -> Any:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)), d(x, z) = (sum |x - z + eps|^p)^(1/p) along `axis`.

    p is in [1, 64]: PyTorch takes any, and overflows. swap: the smaller of d(anchor, negative) and d(positive, negative) in the place of
    the former. "mean" divides by the number of rows. Gradients: (danchor, dpositive, dnegative); 0 for a distance of 0 (eps = 0). eps is
    added to the difference, as in PyTorch; optax' triplet_margin_loss has it under the root.

    >>> import numpy as np, dlkernels as dk
    >>> a, p, n = np.array([[3.0, 4.0]]), np.array([[0.0, 0.0]]), np.array([[3.0, 2.0]])
    >>> loss, (da, dp, dn) = dk.triplet_margin_loss.value_and_grad(a, p, n, eps=0.0)
    >>> float(loss), da, dp, dn
    (4.0, array([[ 0.6, -0.2]]), array([[-0.6, -0.8]]), array([[-0.,  1.]]))
    """

    def distance(x: Any, z: Any) -> Any:
        u = np.abs(x - z + eps)
        return np.sum(u**p, axis=axis) ** (1 / p)

    away = distance(anchor, negative)
    if swap:
        away = np.minimum(away, distance(positive, negative))
    loss = np.maximum(0.0, margin + distance(anchor, positive) - away)
    return _reduced(loss, reduction, np.float64(np.size(loss)))


@row_loss_op(
    ulp=8.0,
    grad_ulp=16.0,
    source="Gulrajani, Ahmed, Arjovsky, Dumoulin & Courville (2017), arXiv:1704.00028",
    first_axis=1,
    limits={"lambda_": ">= 0", "eps": ">= 0"},
)
def gradient_penalty(
    v: Any,
    *,
    reduction: str = "mean",
    lambda_: float = 10.0,
    one_sided: bool = False,
    eps: float = 0.0,
    axes: Any = None,
) -> Any:
    """lambda_ (n - 1)^2 with n = sqrt(sum v^2 + eps) over each sample; one_sided: only where n > 1.

    v is the gradient of a critic with respect to a point between real and generated (WGAN-GP): the penalty's gradient with respect to v
    goes back through the critic's own derivative. The sum runs over `axes`, by default all but the first. A v of 0 has gradient 0.
    TensorFlow-GAN adds eps = 1e-10.

    >>> import numpy as np, dlkernels as dk
    >>> loss, dv = dk.gradient_penalty.value_and_grad(np.array([[3.0, 4.0]]), lambda_=1.0)
    >>> float(loss), dv.round(12)
    (16.0, array([[4.8, 6.4]]))
    """
    n = np.sqrt(np.sum(v * v, axis=_along(axes, np.ndim(v), 1)) + eps)
    over = np.maximum(0.0, n - 1) if one_sided else n - 1
    return _reduced(lambda_ * over * over, reduction, np.float64(np.size(n)))
