"""Optimizer steps."""

from __future__ import annotations

from typing import Any

from .case import OURS, Make, Timed, data, tensor, torch_module


def adamw(tensors: int, size: int) -> Make:
    """One step over `tensors` parameters of `size` elements."""

    def make(peer: str) -> Timed | None:
        if peer not in {OURS, "torch", "torch.compile"}:
            return None
        params = [data(size, seed=i) for i in range(tensors)]
        grads = [data(size, seed=i + tensors) for i in range(tensors)]
        if peer == OURS:
            import dlkernels as dk

            opt = dk.optim.AdamW(params, lr=1e-3)
            return lambda: opt.step(grads)
        torch = torch_module()
        ps = [torch.nn.Parameter(tensor(p)) for p in params]
        for p, g in zip(ps, grads, strict=True):
            p.grad = tensor(g)
        if peer == "torch":
            best: Any = torch.optim.AdamW(ps, lr=1e-3, fused=True)
            return best.step  # type: ignore[no-any-return]
        if tensors > 1:
            return None  # torch.compile unrolls the list: minutes for 1,000 tensors
        best = torch.optim.AdamW(ps, lr=torch.tensor(1e-3), foreach=False)
        torch.compiler.reset()
        return torch.compile(best.step)  # type: ignore[no-any-return]

    return make
