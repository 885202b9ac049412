"""Optimizer steps: the lists of tensors of real models, and how each library takes a step over them in its best form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from .peers import Ready, tensor, torch_module
from .problem import filled
from .row import DTYPES, NAMED, OURS, PLAIN, REST, STEP, Row

MI = 1 << 20

_GPT2_BLOCK = [
    (768,),
    (768,),
    (768, 2304),
    (2304,),
    (768, 768),
    (768,),
    (768,),
    (768,),
    (768, 3072),
    (3072,),
    (3072, 768),
    (768,),
]
_LLAMA_BLOCK = [
    (2048,),
    (2048, 2048),
    (512, 2048),
    (512, 2048),
    (2048, 2048),
    (2048,),
    (8192, 2048),
    (8192, 2048),
    (2048, 8192),
]
LISTS: dict[str, list[tuple[int, ...]]] = {
    "small CNN": [(32, 1, 3, 3), (32,), (64, 32, 3, 3), (64,), (64,), (64,), (128, 9216), (128,), (10, 128), (10,)],
    "GPT-2 small": [(50_257, 768), (1024, 768), *(12 * _GPT2_BLOCK), (768,), (768,)],
    # one of 16 shards of a model of Llama 3.2's 1 B sizes (each matrix cut along its first axis), so that state and copies fit anywhere
    "1 B model, 1/16": [
        (128_256 // 16, 2048), *(16 * [(max(s[0] // 16, 1), *s[1:]) for s in _LLAMA_BLOCK]), (2048 // 16,),
    ],
}  # fmt: skip
# Numbers moved for each parameter: gradient read, parameter and each state read and written.
_STATES = {
    "SGD": 0, "Adagrad": 1, "RMSprop": 1, "Lion": 1, "LARS": 1, "ASGD": 1, "Rprop": 2, "Adadelta": 2, "Adam": 2, "AdamW": 2, "NAdam": 2,
    "RAdam": 2, "Adamax": 2, "LAMB": 2, "Adafactor": 0, "Muon": 1,
}  # fmt: skip
_FUSED = {"Adam", "AdamW", "SGD", "Adagrad"}  # what PyTorch has a fused kernel for on a CPU
_SLOW = {"Adafactor", "Muon"}  # a direction by NumPy: the small list only


def sizes_of(row: Row) -> list[tuple[int, ...]]:
    """Shapes of the row's tensors; Muon's are its matrices."""
    if row.shape:
        count, size = row.shape
        return [(size,) for _ in range(count)]
    return [s for s in LISTS[row.size] if row.subject != "Muon" or len(s) == 2]


def _row(optimizer: str, size: str, tier: int, **options: Any) -> Row:
    return Row(optimizer, STEP, size=size, family="optimizers", tier=tier, options={"list": size, **options})


OPTIMIZER_ROWS = [
    *[_row(name, "small CNN", PLAIN) for name in _STATES],
    *[
        _row(name, "GPT-2 small", DTYPES, **more)
        for name, more in (("AdamW", {}), ("AdamW", {"clip": True}), ("SGD", {}), ("Lion", {}))
    ],
    *[_row(name, "GPT-2 small", REST) for name in _STATES if name not in _SLOW],
    *[_row("AdamW", "1 B model, 1/16", DTYPES, **more) for more in ({}, {"clip": True})],
    *[_row(name, "1 B model, 1/16", REST) for name in _STATES if name not in _SLOW],
]


def _asked(label: str, name: str, count: int, size: int, asked: float, **more: Any) -> Row:
    dtype = more.pop("dtype", "float32")
    return Row(
        name, STEP, dtype, (count, size), "memory" if size > MI else "1,000 x 4,096", "optimizers", tier=NAMED, label=label, asked=asked,
        options=more,
    )  # fmt: skip


ASKED_UPDATES = [
    _asked("AdamW 1,000 x 4,096", "AdamW", 1000, 4096, 2.5),
    _asked("AdamW clipped 1,000 x 4,096", "AdamW", 1000, 4096, 4.0, clip=True),
    _asked("AdamW 1 x 32 Mi", "AdamW", 1, 32 * MI, 1.0),
    _asked("AdamW clipped 1 x 32 Mi", "AdamW", 1, 32 * MI, 1.25, clip=True),
    *[_asked(f"{name} 1 x 16 Mi", name, 1, 16 * MI, 1.0) for name in ("RMSprop", "Adagrad", "NAdam", "Lion")],
    _asked("AdamW bfloat16, float32 state 1 x 16 Mi", "AdamW", 1, 16 * MI, 1.5, dtype="bfloat16"),
    _asked("AdamW 8-bit state 1 x 16 Mi", "AdamW", 1, 16 * MI, 1.0, state_dtype="uint8"),
    _asked("AdamW bfloat16 + remainder 1 x 16 Mi", "AdamW", 1, 16 * MI, 1.0, dtype="bfloat16", precision="remainder"),
]


def step_bytes(row: Row) -> int:
    """Gradient read; parameter and state read and written; with clipping the gradient once more; state in float32 unless in bytes."""
    numbers = sum(math.prod(s) for s in sizes_of(row))
    item = 2 if row.dtype == "bfloat16" else 4
    state = 1 if row.options.get("state_dtype") == "uint8" else 4
    remainder = 2 * 2 if row.options.get("precision") == "remainder" else 0
    grads = 2 if row.options.get("clip") else 1
    return numbers * (item * (grads + 2) + 2 * state * _STATES[row.subject] + remainder)


def step_operations(row: Row) -> int:
    """About four for each number of the parameter and its state."""
    return 4 * (2 + _STATES[row.subject]) * sum(math.prod(s) for s in sizes_of(row))


def run_step(peer: str, row: Row, place: Callable[[Any], Any] = lambda x: x, device: str = "cpu") -> Ready | None:
    """One step of the optimizer. `place` puts our arrays where they are to be, `device` PyTorch's."""
    shapes = sizes_of(row)
    params = [filled(s, row.dtype, seed=i % 7) for i, s in enumerate(shapes)]
    grads = [filled(s, row.dtype, seed=8 + i % 7) for i, s in enumerate(shapes)]
    if peer == OURS:
        return _ours(row, [place(p) for p in params], [place(g) for g in grads])
    if peer not in {"torch", "torch-compile"}:
        return None
    return _torch(peer, row, params, grads, device)


def _ours(row: Row, params: list[Any], grads: list[Any]) -> Ready:
    import dlkernels as dk

    storage = {k: v for k, v in row.options.items() if k in {"state_dtype", "precision"}}
    opt = getattr(dk.optim, row.subject)(params, lr=1e-3, **storage)
    limit = 1.0 if row.options.get("clip") else None
    return Ready(lambda: opt.step(grads, max_norm=limit), lambda _: [params[0]])


def _lion(torch: Any, ps: list[Any]) -> Callable[[], None]:
    """Its formula on the multi-tensor operations that PyTorch's other optimizers are made of."""
    grads, moments = [p.grad for p in ps], [torch.zeros_like(p) for p in ps]

    def step() -> None:
        with torch.no_grad():
            update = torch._foreach_mul(moments, 0.9)
            torch._foreach_add_(update, grads, alpha=0.1)
            torch._foreach_sign_(update)
            torch._foreach_add_(ps, update, alpha=-1e-3)
            torch._foreach_lerp_(moments, grads, 0.01)

    return step


def _torch(peer: str, row: Row, params: list[Any], grads: list[Any], device: str) -> Ready | None:
    torch = torch_module()
    if row.subject != "Lion" and not hasattr(torch.optim, row.subject):
        return None
    if peer == "torch-compile" and len(params) > 1:
        return None  # it unrolls the list: minutes for 1,000 tensors
    ps = [torch.nn.Parameter(tensor(p, device)) for p in params]
    for p, g in zip(ps, grads, strict=True):
        p.grad = tensor(g, device)
    if row.subject == "Lion":
        step = _lion(torch, ps)
    else:
        fused = row.subject in _FUSED and peer == "torch"
        form = {"fused": True} if fused else {"foreach": peer == "torch"}  # the compiler fuses by itself
        if row.subject == "Muon":
            form = {}  # it has one form
        rate = torch.tensor(1e-3, device=device) if peer == "torch-compile" else 1e-3
        step = getattr(torch.optim, row.subject)(ps, lr=rate, **form).step

    def clipped() -> None:
        torch.nn.utils.clip_grad_norm_(ps, 1.0, foreach=True)
        step()

    whole = clipped if row.options.get("clip") else step
    if peer == "torch-compile":
        torch.compiler.reset()
        whole = torch.compile(whole)
    return Ready(whole, lambda _: [ps[0].detach().float().cpu().numpy()])
