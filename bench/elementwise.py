"""Activations, gates, the copy that is their roof, and the cost of a call."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import OURS, Make, Timed, data, forward, tensor, there_and_back, torch_module

_TORCH_OUT = {  # the out= forms of PyTorch's own kernels, on preallocated memory
    "sigmoid": lambda t, x, o: t.sigmoid(x, out=o),
    "tanh": lambda t, x, o: t.tanh(x, out=o),
    "relu": lambda t, x, o: t.clamp_min(x, 0, out=o),
    "silu": lambda t, x, o: t.ops.aten.silu.out(x, out=o),
    "gelu": lambda t, x, o: t.ops.aten.gelu.out(x, out=o),
    "mish": lambda t, x, o: t.ops.aten.mish.out(x, out=o),
    "elu": lambda t, x, o: t.ops.aten.elu.out(x, 1.0, 1.0, 1.0, out=o),
    "softplus": lambda t, x, o: t.ops.aten.softplus.out(x, 1.0, 20.0, out=o),
}
_JAX = {
    "sigmoid": lambda j, x: j.nn.sigmoid(x),
    "tanh": lambda j, x: j.numpy.tanh(x),
    "relu": lambda j, x: j.nn.relu(x),
    "silu": lambda j, x: j.nn.silu(x),
    "gelu": lambda j, x: j.nn.gelu(x, approximate=False),
    "mish": lambda j, x: j.nn.mish(x),
    "elu": lambda j, x: j.nn.elu(x),
    "softplus": lambda j, x: j.nn.softplus(x),
}


def activation(op: str, n: int, dtype: str = "float32") -> Make:
    """An activation with a preallocated output, where a peer takes one."""

    def make(peer: str) -> Timed | None:
        x = data(n, dtype=dtype)
        if peer == OURS:
            import dlkernels as dk

            f, y = getattr(dk, op), np.empty_like(x)
            return lambda: f(x, out=y)
        if peer == "torch":
            torch, write = torch_module(), _TORCH_OUT[op]
            t = tensor(x)
            o = torch.empty_like(t)
            return lambda: write(torch, t, o)
        if peer == "torch.compile":
            torch = torch_module()
            return forward(peer, (x,), torch_f=lambda f, t: torch.tanh(t) if op == "tanh" else getattr(f, op)(t))
        return forward(peer, (x,), jax_f=_JAX[op])

    return make


def itself(op: str, n: int) -> Make:
    """float32 against our own bfloat16: what half the bytes are worth."""

    def make(peer: str) -> Timed | None:
        return activation(op, n)(OURS) if peer == OURS else None

    return make


def copy(n: int) -> Make:
    """The roof: the same bytes, moved only; the faster of NumPy's and PyTorch's two-threaded copy is the peer."""

    def make(peer: str) -> Timed | None:
        x = data(n)
        if peer == "torch":
            t = tensor(x)
            o = torch_module().empty_like(t)
            return lambda: o.copy_(t)
        if peer == "numpy":
            y = np.empty_like(x)
            return lambda: np.copyto(y, x)
        return None

    return make


def swiglu(n: int, backward: bool) -> Make:
    """silu(gate) up, and both gradients."""

    def make(peer: str) -> Timed | None:
        gate, up, dy = (data(n, seed=i) for i in range(3))
        if peer == OURS:
            import dlkernels as dk

            if backward:
                out = (np.empty_like(gate), np.empty_like(gate))
                return lambda: dk.swiglu.backward(dy, gate, up, out=out)
            y = np.empty_like(gate)
            return lambda: dk.swiglu(gate, up, out=y)
        forms: dict[str, Any] = {
            "torch_f": lambda f, a, b: f.silu(a) * b,
            "jax_f": lambda j, a, b: j.nn.silu(a) * b,
        }
        if backward:
            return there_and_back(peer, dy, (gate, up), back_only=True, **forms)
        return forward(peer, (gate, up), **forms)

    return make


def bias_gelu_dropout(rows: int, cols: int) -> Make:
    """dropout(gelu(x + b), 0.1)"""

    def jax_form(j: Any, a: Any, b: Any) -> Any:
        key = j.random.key(1, impl="unsafe_rbg")  # its fastest
        kept = j.random.bernoulli(key, 0.9, a.shape)
        return j.numpy.where(kept, j.nn.gelu(a + b, approximate=False) / 0.9, 0)

    def make(peer: str) -> Timed | None:
        x, b = data(rows, cols), data(cols)
        if peer == OURS:
            import dlkernels as dk

            y = np.empty_like(x)
            return lambda: dk.bias_act(x, b, "gelu", 0.1, seed=1, out=y)
        return forward(peer, (x, b), torch_f=lambda f, a, c: f.dropout(f.gelu(a + c), 0.1), jax_f=jax_form)

    return make


def call_overhead(peer: str) -> Timed | None:
    """A call on an array so small that only the call costs."""
    x = data(16)
    y = np.empty_like(x)
    if peer == OURS:
        import dlkernels as dk

        tanh = dk.tanh
        return lambda: tanh(x, out=y)
    if peer == "numpy":
        return lambda: np.tanh(x, out=y)
    return None
