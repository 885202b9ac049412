"""Optimizer steps: over many small tensors, and over one that is far larger than the caches."""

from __future__ import annotations

from typing import Any

from .case import OURS, Make, Timed, data, tensor, torch_module

FUSED = {"Adam", "AdamW", "SGD", "Adagrad"}  # what PyTorch has a fused kernel for on a CPU


def _lion(torch: Any, ps: list[Any]) -> Timed:
    """PyTorch has no Lion: its formula on the multi-tensor operations that its other optimizers are made of."""
    grads, moments = [p.grad for p in ps], [torch.zeros_like(p) for p in ps]

    @torch.no_grad()  # type: ignore[untyped-decorator, unused-ignore]
    def step() -> None:
        update = torch._foreach_mul(moments, 0.9)
        torch._foreach_add_(update, grads, alpha=0.1)
        torch._foreach_sign_(update)
        torch._foreach_add_(ps, update, alpha=-1e-4)
        torch._foreach_lerp_(moments, grads, 0.01)

    return step  # type: ignore[no-any-return]


def optimizer(
    name: str,
    tensors: int,
    size: int,
    *,
    clip: bool = False,
    dtype: str = "float32",
    ours: dict[str, Any] | None = None,
    **options: Any,
) -> Make:
    """One step over `tensors` parameters of `size` elements; ours: options that only we have."""

    def make(peer: str) -> Timed | None:
        if peer not in {OURS, "torch", "torch.compile"}:
            return None
        params = [data(size, seed=i, dtype=dtype) for i in range(tensors)]
        grads = [data(size, seed=i + tensors, dtype=dtype) for i in range(tensors)]
        if peer == OURS:
            import dlkernels as dk

            opt = getattr(dk.optim, name)(params, lr=1e-3, **options, **(ours or {}))
            return lambda: opt.step(grads, max_norm=1.0 if clip else None)
        torch = torch_module()
        if peer == "torch.compile" and tensors > 1:
            return None  # it unrolls the list: minutes for 1,000 tensors
        ps = [torch.nn.Parameter(tensor(p)) for p in params]
        for p, g in zip(ps, grads, strict=True):
            p.grad = tensor(g)
        if name == "Lion":
            step = _lion(torch, ps)
        else:
            fused = name in FUSED and peer == "torch"
            form = {"fused": True} if fused else {"foreach": peer == "torch"}  # the compiler fuses by itself
            rate = torch.tensor(1e-3) if peer == "torch.compile" else 1e-3
            step = getattr(torch.optim, name)(ps, lr=rate, **form, **options).step

        def clipped() -> None:
            torch.nn.utils.clip_grad_norm_(ps, 1.0, foreach=True)
            step()

        whole = clipped if clip else step
        if peer == "torch.compile":
            torch.compiler.reset()
            whole = torch.compile(whole)
        return whole

    return make
