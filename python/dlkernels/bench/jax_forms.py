"""What JAX has of our ops: `JAX[op](jax, *arrays)`. All of it is compiled by jax.jit, so the plain formula is as good where it has none."""

from __future__ import annotations

from typing import Any

from .forms import Formula


def _nn(name: str, **options: Any) -> Formula:
    return lambda j, *arrays: getattr(j.nn, name)(*arrays, **options)


def _kept(j: Any, x: Any) -> Any:
    """Which elements dropout keeps, by JAX's fastest generator."""
    return j.random.bernoulli(j.random.key(1, impl="unsafe_rbg"), 0.9, x.shape)


def dropped(j: Any, x: Any, b: Any) -> Any:
    """bias_act with p = 0.1."""
    return j.numpy.where(_kept(j, x), j.nn.gelu(x + b, approximate=False) / 0.9, 0)


def _layer_norm(j: Any, x: Any, w: Any, b: Any) -> Any:
    mean = x.mean(-1, keepdims=True)
    return (x - mean) * j.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5) * w + b


JAX: dict[str, Formula] = {
    **{
        name: _nn(name)
        for name in (
            "sigmoid", "silu", "mish", "softplus", "elu", "selu", "celu", "relu", "leaky_relu", "relu6", "softmax", "log_softmax",
        )
    },
    "tanh": lambda j, x: j.numpy.tanh(x),
    "gelu": _nn("gelu", approximate=False),
    "softsign": _nn("soft_sign"),
    "squareplus": _nn("squareplus", b=4.0),
    "logsigmoid": _nn("log_sigmoid"),
    "swish": _nn("silu"),
    "glu": lambda j, value, gate: value * j.nn.sigmoid(gate),
    "reglu": lambda j, gate, up: j.nn.relu(gate) * up,
    "geglu": lambda j, gate, up: j.nn.gelu(gate, approximate=False) * up,
    "swiglu": lambda j, gate, up: j.nn.silu(gate) * up,
    "logsumexp": lambda j, x: j.nn.logsumexp(x, axis=-1),
    "dropout": lambda j, x: j.numpy.where(_kept(j, x), x / 0.9, 0),
    "bias_act": lambda j, x, b: j.nn.gelu(x + b, approximate=False),
    "layer_norm": _layer_norm,
    "rms_norm": lambda j, x, w: x * j.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-6) * w,
    "cross_entropy": lambda j, x, y: j.numpy.mean(
        j.nn.logsumexp(x, axis=1) - j.numpy.take_along_axis(x, y[:, None], axis=1)[:, 0]
    ),
    "binary_cross_entropy_with_logits": lambda j, x, t: j.numpy.mean(j.nn.softplus(x) - x * t),
    "soft_margin_loss": lambda j, x, t: j.numpy.mean(j.nn.softplus(-t * x)),
}  # fmt: skip
