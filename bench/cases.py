"""What is measured: for every case, how each peer does it in its best form on preallocated arrays.

A case is a function that takes a peer's name and returns a callable to time, or None where the peer has no such thing. Peers run in
processes of their own, so a case may import only its peer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Timed = Callable[[], Any]
MI = 1 << 20


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    make: Callable[[str], Timed | None]
    bytes: int  # that any implementation must move
    peer: str  # whom the ratio is against
    goal: float  # ratio wanted: time of the peer / our time
    inner: int = 1  # calls in one timed sample


def _torch() -> Any:
    import torch

    torch.set_num_threads(2)
    return torch


def _data(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def activation(op: str, n: int) -> Callable[[str], Timed | None]:
    """An activation with a preallocated output."""

    def make(peer: str) -> Timed | None:
        x = _data(n)
        if peer == "dlkernels":
            import dlkernels as dk

            f, y = getattr(dk, op), np.empty_like(x)
            return lambda: f(x, out=y)
        if peer == "torch":
            torch = _torch()
            t = torch.from_numpy(x)
            o = torch.empty_like(t)
            if op in {"sigmoid", "tanh"}:
                g = getattr(torch, op)
                return lambda: g(t, out=o)
            aten: dict[str, Timed] = {  # ops whose out= form has another name or more arguments
                "relu": lambda: torch.clamp_min(t, 0, out=o),
                "elu": lambda: torch.ops.aten.elu.out(t, 1.0, 1.0, 1.0, out=o),
                "softplus": lambda: torch.ops.aten.softplus.out(t, 1.0, 20.0, out=o),
            }
            if op in aten:
                return aten[op]
            g = getattr(torch.ops.aten, op).out
            return lambda: g(t, out=o)
        return None

    return make


def copy(n: int) -> Callable[[str], Timed | None]:
    """The roof: the same bytes, moved only; the faster of NumPy's and PyTorch's two-threaded copy is the peer."""

    def make(peer: str) -> Timed | None:
        x = _data(n)
        if peer == "torch":
            torch = _torch()
            t = torch.from_numpy(x)
            o = torch.empty_like(t)
            return lambda: o.copy_(t)
        if peer == "numpy":
            y = np.empty_like(x)
            return lambda: np.copyto(y, x)
        return None

    return make


def cross_entropy(rows: int, classes: int) -> Callable[[str], Timed | None]:
    """Value and gradient with respect to the logits."""

    def make(peer: str) -> Timed | None:
        x = _data(rows, classes)
        y = np.random.default_rng(1).integers(0, classes, rows)
        if peer == "dlkernels":
            import dlkernels as dk

            dx = np.empty_like(x)
            return lambda: dk.cross_entropy.value_and_grad(x, y, out=dx)
        if peer == "torch":
            torch = _torch()
            t = torch.from_numpy(x).requires_grad_()
            labels = torch.from_numpy(y)

            def step() -> None:
                t.grad = None
                torch.nn.functional.cross_entropy(t, labels).backward()

            return step
        return None

    return make


def loss(name: str, n: int) -> Callable[[str], Timed | None]:
    """Value and gradient with respect to the prediction; the target is 0 or 1."""

    def make(peer: str) -> Timed | None:
        p, t = _data(n), (_data(n, seed=1) > 0).astype(np.float32)
        if peer == "dlkernels":
            import dlkernels as dk

            dx, both = np.empty_like(p), getattr(dk, name).value_and_grad
            return lambda: both(p, t, out=dx)
        if peer == "torch":
            torch = _torch()
            a = torch.from_numpy(p).requires_grad_()
            b = torch.from_numpy(t)

            def step() -> None:
                a.grad = None
                getattr(torch.nn.functional, name)(a, b).backward()

            return step
        return None

    return make


def norm(name: str, rows: int, cols: int) -> Callable[[str], Timed | None]:
    """Forward and backward, with weight (and bias)."""

    def make(peer: str) -> Timed | None:
        x, dy, w = _data(rows, cols), _data(rows, cols, seed=1), _data(cols, seed=2)
        biased = name == "layer_norm"
        if peer == "dlkernels":
            import dlkernels as dk

            op, y, dx = getattr(dk, name), np.empty_like(x), np.empty_like(x)
            forward = {"bias": w} if biased else {}

            def ours() -> None:
                _, stats = op(x, w, **forward, return_stats=True, out=y)
                op.backward(dy, x, w, stats=stats, out=dx)

            return ours
        if peer == "torch":
            torch = _torch()
            t, g = torch.from_numpy(x).requires_grad_(), torch.from_numpy(dy)
            weight, bias = (torch.from_numpy(w.copy()).requires_grad_() for _ in range(2))

            def theirs() -> None:
                t.grad = weight.grad = bias.grad = None
                f = torch.nn.functional
                y = f.layer_norm(t, (cols,), weight, bias) if biased else f.rms_norm(t, (cols,), weight, 1e-6)
                y.backward(g)

            return theirs
        return None

    return make


def swiglu(n: int, backward: bool) -> Callable[[str], Timed | None]:
    """silu(gate) up, and both gradients."""

    def make(peer: str) -> Timed | None:
        gate, up, dy = (_data(n, seed=i) for i in range(3))
        if peer == "dlkernels":
            import dlkernels as dk

            y, out = np.empty_like(gate), (np.empty_like(gate), np.empty_like(gate))
            return (
                (lambda: dk.swiglu.backward(dy, gate, up, out=out)) if backward else lambda: dk.swiglu(gate, up, out=y)
            )
        if peer == "torch":
            torch = _torch()
            a, b, g = (torch.from_numpy(v) for v in (gate, up, dy))
            if not backward:
                return lambda: torch.nn.functional.silu(a) * b
            a.requires_grad_()
            b.requires_grad_()
            y = torch.nn.functional.silu(a) * b
            return lambda: torch.autograd.grad(y, (a, b), g, retain_graph=True)
        return None

    return make


def bias_gelu_dropout(rows: int, cols: int) -> Callable[[str], Timed | None]:
    """dropout(gelu(x + b), 0.1)"""

    def make(peer: str) -> Timed | None:
        x, b = _data(rows, cols), _data(cols)
        if peer == "dlkernels":
            import dlkernels as dk

            y = np.empty_like(x)
            return lambda: dk.bias_act(x, b, "gelu", 0.1, seed=1, out=y)
        if peer == "torch":
            torch = _torch()
            t, bias = torch.from_numpy(x), torch.from_numpy(b)
            f = torch.nn.functional
            return lambda: f.dropout(f.gelu(t + bias), 0.1)
        return None

    return make


def adamw(tensors: int, size: int) -> Callable[[str], Timed | None]:
    """One step over `tensors` parameters of `size` elements."""

    def make(peer: str) -> Timed | None:
        params = [_data(size, seed=i) for i in range(tensors)]
        grads = [_data(size, seed=i + tensors) for i in range(tensors)]
        if peer == "dlkernels":
            import dlkernels as dk

            opt = dk.optim.AdamW(params, lr=1e-3)
            return lambda: opt.step(grads)
        if peer == "torch":
            torch = _torch()
            ps = [torch.nn.Parameter(torch.from_numpy(p)) for p in params]
            for p, g in zip(ps, grads, strict=True):
                p.grad = torch.from_numpy(g)
            best = torch.optim.AdamW(ps, lr=1e-3, fused=True)
            return best.step
        return None

    return make


def call_overhead(peer: str) -> Timed | None:
    """A call on an array so small that only the call costs."""
    x = _data(16)
    y = np.empty_like(x)
    if peer == "dlkernels":
        import dlkernels as dk

        tanh = dk.tanh
        return lambda: tanh(x, out=y)
    if peer == "numpy":
        return lambda: np.tanh(x, out=y)
    return None


CASES = [
    Case("call tanh 16, out=", call_overhead, 128, "numpy", 1.0, inner=20_000),
    *[
        Case(f"{op} 8,192", activation(op, 8192), 2 * 4 * 8192, "torch", 1.5, inner=500)
        for op in ("sigmoid", "silu", "gelu", "tanh")
    ],
    *[
        Case(f"{op} {label}", activation(op, n), 2 * 4 * n, "torch", 1.5, inner=inner)
        for op in ("softplus", "mish", "elu")
        for label, n, inner in (("8,192", 8192, 500), ("1 Mi", MI, 10), ("32 Mi, torch", 32 * MI, 1))
    ],
    Case("swiglu 16 Mi", swiglu(16 * MI, False), 3 * 4 * 16 * MI, "torch", 1.3),
    Case("swiglu backward 16 Mi", swiglu(16 * MI, True), 5 * 4 * 16 * MI, "torch", 1.3),
    *[
        Case(f"{name} forward+backward 4096x1024", norm(name, 4096, 1024), 5 * 4 * 4096 * 1024, "torch", 1.5)
        for name in ("layer_norm", "rms_norm")
    ],
    Case("bias+gelu+dropout 4096x4096", bias_gelu_dropout(4096, 4096), 2 * 4 * 4096 * 4096, "torch", 3.0),
    Case("copy 32 Mi", copy(32 * MI), 2 * 4 * 32 * MI, "copy", 1.0),
    *[
        Case(f"{op} 32 Mi", activation(op, 32 * MI), 2 * 4 * 32 * MI, "copy", 1 / 1.2)
        for op in ("relu", "sigmoid", "silu")
    ],
    *[Case(f"{op} 32 Mi", activation(op, 32 * MI), 2 * 4 * 32 * MI, "copy", 1 / 1.6) for op in ("tanh", "gelu")],
    Case("cross_entropy value+grad 8192x1000", cross_entropy(8192, 1000), 2 * 4 * 8192 * 1000, "torch", 3.0),
    *[
        Case(f"{name} value+grad 16 Mi", loss(name, 16 * MI), 3 * 4 * 16 * MI, "torch", goal)
        for name, goal in (
            ("mse_loss", 4.0),
            ("l1_loss", 3.0),
            ("huber_loss", 3.0),
            ("smooth_l1_loss", 3.0),
            ("binary_cross_entropy_with_logits", 5.0),
            ("soft_margin_loss", 3.0),
            ("poisson_nll_loss", 3.0),
        )
    ],
    Case("AdamW 1,000 x 4,096", adamw(1000, 4096), 28 * 1000 * 4096, "torch", 2.5),
    Case("AdamW 1 x 32 Mi", adamw(1, 32 * MI), 28 * 32 * MI, "torch", 1.0),
]
