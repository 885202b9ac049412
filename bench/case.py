"""What a row of the benchmark is, and how each framework runs a function in its best form.

A row's `make` takes a peer's name and returns a callable to time, or None where the peer has no such thing. Peers run in processes of
their own, so nothing here imports a framework before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Timed = Callable[[], Any]
Make = Callable[[str], Timed | None]
MI = 1 << 20
OURS = "dlkernels"
THREADS = 2


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    make: Make
    bytes: int  # that any implementation must move
    peer: str  # whom the ratio is against: "best" of the peers that have a form, or the name of an earlier row
    goal: float  # ratio wanted: time of the peer / our time
    inner: int = 1  # calls in one timed sample


def data(*shape: int, dtype: Any = "float32", seed: int = 0) -> Any:
    """Standard normal numbers."""
    if dtype == "bfloat16":
        import ml_dtypes

        dtype = ml_dtypes.bfloat16
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32).astype(dtype)


def torch_module() -> Any:
    """PyTorch, with as many threads as everybody."""
    import torch

    torch.set_num_threads(THREADS)
    return torch


def tensor(x: Any) -> Any:
    """A tensor on the array's memory."""
    torch = torch_module()
    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def _compiled(f: Callable[..., Any]) -> Callable[..., Any]:
    torch = torch_module()
    torch.compiler.reset()  # or the case before counts as a recompilation, of which only a few are made before it stays eager
    return torch.compile(f, dynamic=False)  # type: ignore[no-any-return]


def forward(peer: str, arrays: tuple[Any, ...], *, torch_f: Any = None, jax_f: Any = None) -> Timed | None:
    """f(*arrays). torch_f takes (functional, *tensors), jax_f (jax, *arrays)."""
    if peer in {"torch", "torch.compile"} and torch_f is not None:
        tensors = tuple(tensor(x) for x in arrays)
        functional = torch_module().nn.functional

        def plain(*t: Any) -> Any:
            return torch_f(functional, *t)

        f = _compiled(plain) if peer == "torch.compile" else plain
        return lambda: f(*tensors)
    if peer == "jax" and jax_f is not None:
        import jax

        held = tuple(jax.numpy.asarray(x) for x in arrays)
        g = jax.jit(lambda *a: jax_f(jax, *a))
        return lambda: g(*held).block_until_ready()
    return None


def value_and_grad(peer: str, arrays: tuple[Any, ...], *, torch_f: Any = None, jax_f: Any = None) -> Timed | None:
    """A loss of arrays[0], and its gradient."""
    if peer == "torch" and torch_f is not None:
        functional = torch_module().nn.functional
        x, *rest = (tensor(a) for a in arrays)
        x.requires_grad_()

        def step() -> None:
            x.grad = None
            torch_f(functional, x, *rest).backward()

        return step
    if peer == "torch.compile" and torch_f is not None:
        torch = torch_module()
        tensors = tuple(tensor(a) for a in arrays)
        both = _compiled(torch.func.grad_and_value(lambda *t: torch_f(torch.nn.functional, *t)))
        return lambda: both(*tensors)
    if peer == "jax" and jax_f is not None:
        import jax

        held = tuple(jax.numpy.asarray(a) for a in arrays)
        f = jax.jit(jax.value_and_grad(lambda *a: jax_f(jax, *a)))
        return lambda: jax.block_until_ready(f(*held))
    return None


def there_and_back(
    peer: str, dy: Any, arrays: tuple[Any, ...], *, torch_f: Any = None, jax_f: Any = None, back_only: bool = False
) -> Timed | None:
    """f(*arrays) and the gradients of all arrays for an upstream gradient dy; the way back alone is timed where a framework can."""
    if peer == "torch" and torch_f is not None:
        torch = torch_module()
        tensors = tuple(tensor(a).requires_grad_() for a in arrays)
        g = tensor(dy)
        if back_only:
            y = torch_f(torch.nn.functional, *tensors)
            return lambda: torch.autograd.grad(y, tensors, g, retain_graph=True)
        return lambda: torch.autograd.grad(torch_f(torch.nn.functional, *tensors), tensors, g)
    if peer == "torch.compile" and torch_f is not None:
        torch = torch_module()

        def torch_both(g: Any, *t: Any) -> Any:
            y, back = torch.func.vjp(lambda *a: torch_f(torch.nn.functional, *a), *t)
            return back(g) if back_only else (y, back(g))

        f, tensors = _compiled(torch_both), tuple(tensor(a) for a in (dy, *arrays))
        return lambda: f(*tensors)
    if peer == "jax" and jax_f is not None:
        import jax

        def jax_both(g: Any, *a: Any) -> Any:
            y, back = jax.vjp(lambda *b: jax_f(jax, *b), *a)
            return back(g) if back_only else (y, back(g))

        h, held = jax.jit(jax_both), tuple(jax.numpy.asarray(a) for a in (dy, *arrays))
        return lambda: jax.block_until_ready(h(*held))
    return None
