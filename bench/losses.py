"""Losses: value and gradient with respect to the prediction."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import OURS, Make, Timed, data, value_and_grad


def _huber(j: Any, x: Any, t: Any) -> Any:
    n = j.numpy
    d = n.abs(x - t)
    return n.mean(n.where(d < 1, 0.5 * d * d, d - 0.5))


_JAX = {
    "mse_loss": lambda j, x, t: j.numpy.mean((x - t) ** 2),
    "l1_loss": lambda j, x, t: j.numpy.mean(j.numpy.abs(x - t)),
    "huber_loss": _huber,
    "smooth_l1_loss": _huber,
    "binary_cross_entropy_with_logits": lambda j, x, t: j.numpy.mean(j.nn.softplus(x) - x * t),
    "soft_margin_loss": lambda j, x, t: j.numpy.mean(j.nn.softplus(-t * x)),
    "poisson_nll_loss": lambda j, x, t: j.numpy.mean(j.numpy.exp(x) - t * x),
}


def loss(name: str, n: int) -> Make:
    """An elementwise loss; the target is 0 or 1."""

    def make(peer: str) -> Timed | None:
        p, t = data(n), (data(n, seed=1) > 0).astype(np.float32)
        if peer == OURS:
            import dlkernels as dk

            dx, both = np.empty_like(p), getattr(dk, name).value_and_grad
            return lambda: both(p, t, out=dx)
        return value_and_grad(peer, (p, t), torch_f=lambda f, a, b: getattr(f, name)(a, b), jax_f=_JAX[name])

    return make


def cross_entropy(rows: int, classes: int) -> Make:
    """Class ids."""

    def jax_form(j: Any, x: Any, y: Any) -> Any:
        picked = j.numpy.take_along_axis(x, y[:, None], axis=1)[:, 0]
        return j.numpy.mean(j.nn.logsumexp(x, axis=1) - picked)

    def make(peer: str) -> Timed | None:
        x = data(rows, classes)
        y = np.random.default_rng(1).integers(0, classes, rows)
        if peer == OURS:
            import dlkernels as dk

            dx = np.empty_like(x)
            return lambda: dk.cross_entropy.value_and_grad(x, y, out=dx)
        return value_and_grad(peer, (x, y), torch_f=lambda f, a, b: f.cross_entropy(a, b), jax_f=jax_form)

    return make
