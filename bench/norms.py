"""Normalization over rows: forward and backward, with weight (and bias)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import OURS, Make, Timed, data, there_and_back


def _jax_layer(j: Any, x: Any, w: Any, b: Any) -> Any:
    mean = x.mean(1, keepdims=True)
    return (x - mean) * j.lax.rsqrt(x.var(1, keepdims=True) + 1e-5) * w + b


def norm(name: str, rows: int, cols: int) -> Make:
    """layer_norm or rms_norm of (rows, cols)."""

    def make(peer: str) -> Timed | None:
        x, dy, w = data(rows, cols), data(rows, cols, seed=1), data(cols, seed=2)
        biased = name == "layer_norm"
        if peer == OURS:
            import dlkernels as dk

            op, y, dx = getattr(dk, name), np.empty_like(x), np.empty_like(x)
            forward = {"bias": w} if biased else {}

            def ours() -> None:
                _, stats = op(x, w, **forward, return_stats=True, out=y)
                op.backward(dy, x, w, stats=stats, out=dx)

            return ours
        if biased:
            return there_and_back(
                peer, dy, (x, w, w.copy()), torch_f=lambda f, a, v, b: f.layer_norm(a, (cols,), v, b), jax_f=_jax_layer
            )
        return there_and_back(
            peer, dy, (x, w), torch_f=lambda f, a, v: f.rms_norm(a, (cols,), v, 1e-6),
            jax_f=lambda j, a, v: a * j.lax.rsqrt((a * a).mean(1, keepdims=True) + 1e-6) * v,
        )  # fmt: skip

    return make
