"""What PyTorch has of our ops: `TORCH[op](torch, *tensors)`; `OUT[op](torch, tensor, out)` where it writes into memory that is there."""

from __future__ import annotations

from typing import Any

from .forms import Formula


def _f(name: str, **options: Any) -> Formula:
    """torch.nn.functional's function with options."""
    return lambda t, *tensors: getattr(t.nn.functional, name)(*tensors, **options)


def _same(*names: str) -> dict[str, Formula]:
    """Functions of our ops' names."""
    return {name: _f(name) for name in names}


def _batch_norm(t: Any, x: Any, w: Any, b: Any) -> Any:
    return t.nn.functional.batch_norm(x, None, None, w, b, training=True)


def _gate(act: str, **options: Any) -> Formula:
    return lambda t, gate, up: getattr(t.nn.functional, act)(gate, **options) * up


TORCH: dict[str, Formula] = {
    **_same(
        "silu", "gelu", "mish", "softplus", "logsigmoid", "tanhshrink", "softsign", "elu", "selu", "celu", "relu", "leaky_relu",
        "hardtanh", "relu6", "hardsigmoid", "hardswish", "hardshrink", "softshrink", "cross_entropy", "nll_loss", "multi_margin_loss",
        "binary_cross_entropy", "binary_cross_entropy_with_logits", "soft_margin_loss", "mse_loss", "l1_loss",
        "huber_loss", "smooth_l1_loss", "poisson_nll_loss", "gaussian_nll_loss", "hinge_embedding_loss", "triplet_margin_loss",
        "cosine_embedding_loss",
    ),
    "threshold": _f("threshold", threshold=0.0, value=0.0),
    "kl_div": _f("kl_div", reduction="batchmean"),
    "sigmoid": lambda t, x: t.sigmoid(x),
    "tanh": lambda t, x: t.tanh(x),
    "quick_gelu": lambda t, x: x * t.sigmoid(1.702 * x),
    "swish": lambda t, x: t.nn.functional.silu(x),
    "prelu": lambda t, x: t.nn.functional.leaky_relu(x, 0.25),
    "glu": lambda t, value, gate: value * t.sigmoid(gate),
    "reglu": _gate("relu"),
    "geglu": _gate("gelu"),
    "swiglu": _gate("silu"),
    "softmax": lambda t, x: t.softmax(x, -1),
    "log_softmax": lambda t, x: t.log_softmax(x, -1),
    "logsumexp": lambda t, x: t.logsumexp(x, -1),
    "dropout": lambda t, x: t.nn.functional.dropout(x, 0.1),
    "bias_act": lambda t, x, b: t.nn.functional.gelu(x + b),
    "layer_norm": lambda t, x, w, b: t.nn.functional.layer_norm(x, w.shape, w, b),
    "rms_norm": lambda t, x, w: t.nn.functional.rms_norm(x, w.shape, w, 1e-6),
    "batch_norm": _batch_norm,
    "group_norm": lambda t, x, w, b: t.nn.functional.group_norm(x, 4, w, b),
    "instance_norm": lambda t, x, w, b: t.nn.functional.instance_norm(x, weight=w, bias=b),
    "gan_real_loss": lambda t, x: t.nn.functional.softplus(-x).mean(),
    "gan_fake_loss": lambda t, x: t.nn.functional.softplus(x).mean(),
    "gan_generator_loss": lambda t, x: t.nn.functional.softplus(-x).mean(),
}  # fmt: skip


def dropped(t: Any, x: Any, b: Any) -> Any:
    """bias_act with p = 0.1."""
    return t.nn.functional.dropout(t.nn.functional.gelu(x + b), 0.1)


# torch._C._nn is what torch.nn.functional calls; torch.ops takes microseconds more.
OUT: dict[str, Formula] = {
    "sigmoid": lambda t, x, o: t.sigmoid(x, out=o),
    "tanh": lambda t, x, o: t.tanh(x, out=o),
    "relu": lambda t, x, o: t.clamp_min(x, 0, out=o),
    "relu6": lambda t, x, o: t.clamp(x, 0, 6, out=o),
    "hardtanh": lambda t, x, o: t.clamp(x, -1, 1, out=o),
    "silu": lambda t, x, o: t._C._nn.silu(x, out=o),
    "swish": lambda t, x, o: t._C._nn.silu(x, out=o),
    "gelu": lambda t, x, o: t._C._nn.gelu(x, out=o),
    "mish": lambda t, x, o: t._C._nn.mish(x, out=o),
    "elu": lambda t, x, o: t._C._nn.elu(x, 1.0, 1.0, 1.0, out=o),
    "celu": lambda t, x, o: t._C._nn.elu(x, 1.0, 1.0, 1.0, out=o),
    "selu": lambda t, x, o: t._C._nn.elu(x, 1.6732632423543772, 1.0507009873554805, 1.0, out=o),
    "leaky_relu": lambda t, x, o: t._C._nn.leaky_relu(x, 0.01, out=o),
    "prelu": lambda t, x, o: t._C._nn.leaky_relu(x, 0.25, out=o),
    "softplus": lambda t, x, o: t._C._nn.softplus(x, 1.0, 20.0, out=o),
    "hardswish": lambda t, x, o: t._C._nn.hardswish(x, out=o),
    "hardsigmoid": lambda t, x, o: t._C._nn.hardsigmoid(x, out=o),
    "hardshrink": lambda t, x, o: t.hardshrink(x, 0.5, out=o),
    "softshrink": lambda t, x, o: t._C._nn.softshrink(x, 0.5, out=o),
    "threshold": lambda t, x, o: t.threshold(x, 0.0, 0.0, out=o),
    "logsigmoid": lambda t, x, o: t._C._nn.log_sigmoid(x, out=o),
    "softmax": lambda t, x, o: t.softmax(x, -1, out=o),
    "log_softmax": lambda t, x, o: t.log_softmax(x, -1, out=o),
    "logsumexp": lambda t, x, o: t.logsumexp(x, -1, out=o),
}
