"""The formulas of the ops in the words that NumPy, PyTorch, JAX and CuPy share: the form of a library that has no function of its own.

`PLAIN[op](m, *arrays)`, m the library's module. Losses are means, as ours are by default. torch_forms.py and the others have the functions
that a library does have; gelu, dropout and what is made of them stand only there. tests/test_bench_peers.py compares each form with
the op's definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

Formula = Callable[..., Any]


def softplus(m: Any, x: Any) -> Any:
    """log(1 + exp x) without overflow."""
    return m.clip(x, 0, None) + m.log1p(m.exp(-m.abs(x)))


def _sigmoid(m: Any, x: Any) -> Any:
    return 1 / (1 + m.exp(-x))


def _log_softmax(m: Any, x: Any) -> Any:
    z = x - _largest(m, x)
    return z - m.log(m.sum(m.exp(z), axis=-1, keepdims=True))


def _logsumexp(m: Any, x: Any) -> Any:
    largest = _largest(m, x)
    return (largest + m.log(m.sum(m.exp(x - largest), axis=-1, keepdims=True)))[..., 0]


def _largest(m: Any, x: Any) -> Any:
    return m.amax(x, axis=-1, keepdims=True)


def picked(m: Any, x: Any, ids: Any) -> Any:
    """Each row's number at its id."""
    take = m.gather(x, 1, ids[:, None]) if hasattr(m, "gather") else m.take_along_axis(x, ids[:, None], axis=1)
    return take[:, 0]


def _hot(m: Any, x: Any, ids: Any) -> Any:
    numbers = m.arange(x.shape[-1], device=x.device) if hasattr(m, "gather") else m.arange(x.shape[-1])
    return numbers == ids[:, None]


def _focal(m: Any, x: Any, t: Any, alpha: float = 0.25, gamma: float = 2.0) -> Any:
    p = _sigmoid(m, x)
    entropy = softplus(m, x) - x * t
    wrong = p + t - 2 * p * t
    return m.mean((alpha * t + (1 - alpha) * (1 - t)) * wrong**gamma * entropy)


def _softmax_focal(m: Any, x: Any, ids: Any) -> Any:
    lp = picked(m, _log_softmax(m, x), ids)
    return m.mean(-((1 - m.exp(lp)) ** 2) * lp)


def _multi_margin(m: Any, x: Any, ids: Any) -> Any:
    terms = m.clip(1 - picked(m, x, ids)[:, None] + x, 0, None)
    return m.mean(m.sum(m.where(_hot(m, x, ids), 0.0, terms), axis=-1)) / x.shape[-1]


def _categorical_hinge(m: Any, x: Any, ids: Any) -> Any:
    others = m.amax(m.where(_hot(m, x, ids), -math.inf, x), axis=-1)
    return m.mean(m.clip(1 + others - picked(m, x, ids), 0, None))


def _dice(m: Any, p: Any, t: Any) -> Any:
    along = tuple(range(2, p.ndim))
    union = m.sum(p, axis=along) + m.sum(t, axis=along)
    return m.mean(1 - (2 * m.sum(p * t, axis=along) + 1) / (union + 1))


def _tversky(m: Any, p: Any, t: Any) -> Any:
    along = tuple(range(2, p.ndim))
    hit = m.sum(p * t, axis=along) + 1
    miss = 0.5 * m.sum(p * (1 - t), axis=along) + 0.5 * m.sum((1 - p) * t, axis=along)
    return m.mean(miss / (hit + miss))


def _cosine(m: Any, a: Any, b: Any, t: Any) -> Any:
    norms = m.sqrt((m.sum(a * a, axis=-1) + 1e-12) * (m.sum(b * b, axis=-1) + 1e-12))
    cos = m.sum(a * b, axis=-1) / norms
    return m.mean(m.where(t == 1, 1 - cos, m.clip(cos, 0, None)))


def _triplet(m: Any, anchor: Any, near: Any, far: Any) -> Any:
    def distance(other: Any) -> Any:
        return m.sqrt(m.sum((anchor - other + 1e-6) ** 2, axis=-1))

    return m.mean(m.clip(distance(near) - distance(far) + 1, 0, None))


def _tempered(m: Any, x: Any, t: float) -> Any:
    """The authors' fixed point, for t > 1."""

    def exp_t(u: Any) -> Any:
        return (1 + (1 - t) * u) ** (1 / (1 - t))

    largest = _largest(m, x)
    centered = x - largest
    a = centered
    for _ in range(20):
        a = centered * m.sum(exp_t(a), axis=-1, keepdims=True) ** (1 - t)
    total = m.sum(exp_t(a), axis=-1, keepdims=True)
    return exp_t(centered - (total ** (t - 1) - 1) / (t - 1))


def _bi_tempered(m: Any, x: Any, ids: Any, t1: float = 0.8, t2: float = 1.25) -> Any:
    p = _tempered(m, x, t2)
    right = picked(m, p, ids)
    log_t = (right ** (1 - t1) - 1) / (1 - t1)
    return m.mean(-log_t - (1 - m.sum(p ** (2 - t1), axis=-1)) / (2 - t1))


def _layer_norm(m: Any, x: Any, w: Any, b: Any, eps: float = 1e-5) -> Any:
    d = x - m.mean(x, axis=-1, keepdims=True)
    return d / m.sqrt(m.mean(d * d, axis=-1, keepdims=True) + eps) * w + b


def _rms_norm(m: Any, x: Any, w: Any, eps: float = 1e-6) -> Any:
    return x / m.sqrt(m.mean(x * x, axis=-1, keepdims=True) + eps) * w


def _channel_norm(m: Any, x: Any, w: Any, b: Any, axes: tuple[int, ...], groups: int = 0) -> Any:
    shape = x.shape
    g = x.reshape((shape[0], groups, -1)) if groups else x
    d = g - m.mean(g, axis=axes, keepdims=True)
    y = (d / m.sqrt(m.mean(d * d, axis=axes, keepdims=True) + 1e-5)).reshape(shape)
    one = (1, shape[1], *(1 for _ in shape[2:]))
    return y * w.reshape(one) + b.reshape(one)


def _js(m: Any, p: Any, q: Any) -> Any:
    log_middle = m.log((p + q) / 2)
    return m.sum(p * (m.log(p) - log_middle) + q * (m.log(q) - log_middle)) / 2 / p.shape[0]


def _log_cosh(m: Any, x: Any, t: Any) -> Any:
    size = m.abs(x - t)
    return m.mean(size + m.log1p(m.exp(-2 * size)) - math.log(2))


def _huber(m: Any, x: Any, t: Any) -> Any:
    d = m.abs(x - t)
    return m.mean(m.where(d < 1, 0.5 * d * d, d - 0.5))


PLAIN: dict[str, Formula] = {
    "sigmoid": _sigmoid,
    "tanh": lambda m, x: m.tanh(x),
    "silu": lambda m, x: x / (1 + m.exp(-x)),
    "quick_gelu": lambda m, x: x / (1 + m.exp(-1.702 * x)),
    "mish": lambda m, x: x * m.tanh(softplus(m, x)),
    "softplus": softplus,
    "logsigmoid": lambda m, x: -softplus(m, -x),
    "tanhshrink": lambda m, x: x - m.tanh(x),
    "softsign": lambda m, x: x / (1 + m.abs(x)),
    "squareplus": lambda m, x: 0.5 * (x + m.sqrt(x * x + 4)),
    "elu": lambda m, x: m.where(x > 0, x, m.expm1(m.clip(x, None, 0))),
    "selu": lambda m, x: 1.0507009873554805 * m.where(x > 0, x, 1.6732632423543772 * m.expm1(m.clip(x, None, 0))),
    "celu": lambda m, x: m.where(x > 0, x, m.expm1(m.clip(x, None, 0))),
    "relu": lambda m, x: m.clip(x, 0, None),
    "leaky_relu": lambda m, x: m.where(x > 0, x, 0.01 * x),
    "hardtanh": lambda m, x: m.clip(x, -1, 1),
    "relu6": lambda m, x: m.clip(x, 0, 6),
    "hardsigmoid": lambda m, x: m.clip(x + 3, 0, 6) / 6,
    "hardswish": lambda m, x: x * m.clip(x + 3, 0, 6) / 6,
    "hardshrink": lambda m, x: m.where(m.abs(x) > 0.5, x, 0.0),
    "softshrink": lambda m, x: x - m.clip(x, -0.5, 0.5),
    "threshold": lambda m, x: m.where(x > 0, x, 0.0),
    "heaviside": lambda m, x: m.where(x > 0, 1.0, 0.0) + 0 * x,
    "prelu": lambda m, x: m.where(x > 0, x, 0.25 * x),
    "swish": lambda m, x: x / (1 + m.exp(-x)),
    "glu": lambda m, value, gate: value * _sigmoid(m, gate),
    "reglu": lambda m, gate, up: up * m.clip(gate, 0, None),
    "swiglu": lambda m, gate, up: up * gate / (1 + m.exp(-gate)),
    "softmax": lambda m, x: m.exp(_log_softmax(m, x)),
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "tempered_softmax": lambda m, x: _tempered(m, x, 1.25),
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "batch_norm": lambda m, x, w, b: _channel_norm(m, x, w, b, (0, *range(2, x.ndim))),
    "group_norm": lambda m, x, w, b: _channel_norm(m, x, w, b, (2,), groups=4),
    "instance_norm": lambda m, x, w, b: _channel_norm(m, x, w, b, tuple(range(2, x.ndim))),
    "gan_real_loss": lambda m, x: m.mean(softplus(m, -x)),
    "gan_fake_loss": lambda m, x: m.mean(softplus(m, x)),
    "gan_generator_loss": lambda m, x: m.mean(softplus(m, -x)),
    "boundary_loss": lambda m, p, d: m.mean(p * d),
    "cross_entropy": lambda m, x, ids: -m.mean(picked(m, _log_softmax(m, x), ids)),
    "nll_loss": lambda m, x, ids: -m.mean(picked(m, x, ids)),
    "categorical_hinge_loss": _categorical_hinge,
    "multi_margin_loss": _multi_margin,
    "softmax_focal_loss": _softmax_focal,
    "bi_tempered_logistic_loss": _bi_tempered,
    "kl_div": lambda m, x, t: m.sum(t * (m.log(t) - x)) / x.shape[0],
    "js_div": _js,
    "poisson_nll_loss": lambda m, x, t: m.mean(m.exp(x) - t * x),
    "gaussian_nll_loss": lambda m, x, t, v: m.mean(0.5 * (m.log(v) + (x - t) ** 2 / v)),
    "binary_cross_entropy": lambda m, p, t: -m.mean(t * m.log(p) + (1 - t) * m.log1p(-p)),
    "binary_cross_entropy_with_logits": lambda m, x, t: m.mean(softplus(m, x) - x * t),
    "sigmoid_focal_loss": _focal,
    "hinge_loss": lambda m, x, t: m.mean(m.clip(1 - t * x, 0, None)),
    "squared_hinge_loss": lambda m, x, t: m.mean(m.clip(1 - t * x, 0, None) ** 2),
    "soft_margin_loss": lambda m, x, t: m.mean(softplus(m, -t * x)),
    "hinge_embedding_loss": lambda m, x, t: m.mean(m.where(t == 1, x, m.clip(1 - x, 0, None))),
    "dice_loss": _dice,
    "tversky_loss": _tversky,
    "cosine_embedding_loss": _cosine,
    "triplet_margin_loss": _triplet,
    "gradient_penalty": lambda m, v: 10 * m.mean((m.sqrt(m.sum(v * v, axis=tuple(range(1, v.ndim)))) - 1) ** 2),
    "l1_penalty": lambda m, w: 0.01 * m.sum(m.abs(w)),
    "l2_penalty": lambda m, w: 0.01 * m.sum(w * w),
    "mse_loss": lambda m, x, t: m.mean((x - t) ** 2),
    "rmse_loss": lambda m, x, t: m.sqrt(m.mean((x - t) ** 2)),
    "l1_loss": lambda m, x, t: m.mean(m.abs(x - t)),
    "msle_loss": lambda m, x, t: m.mean((m.log1p(x) - m.log1p(t)) ** 2),
    "huber_loss": _huber,
    "smooth_l1_loss": _huber,
    "pseudo_huber_loss": lambda m, x, t: m.mean(m.sqrt(1 + (x - t) ** 2) - 1),
    "log_cosh_loss": _log_cosh,
    "quantile_loss": lambda m, x, t: 0.5 * m.mean(m.abs(x - t)),
}  # fmt: skip
