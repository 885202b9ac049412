"""How a peer runs a row in its best form: its own function or the shared formula, written into memory that is there, fused, compiled.

`run_peer(peer, row, problem)` gives a callable, and what turns its result into NumPy arrays in the order of our results; None where the
peer has no such thing. Nothing here imports a framework before it is asked for: each peer is a process of its own.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from . import jax_forms, torch_forms
from .forms import PLAIN, Formula
from .numpy_forms import NUMPY_OUT, SKLEARN
from .problem import Problem
from .row import THERE_AND_BACK, VALUE, VALUE_AND_GRAD, Row

_NUMBERS = ("float16", "float32", "float64")  # what NumPy itself computes in


@dataclass(frozen=True)
class Ready:
    """A row made ready to run."""

    run: Callable[[], Any]
    numbers: Callable[[Any], list[Any]]  # NumPy arrays of what run() returned
    eager: Callable[[], Any] | None = None  # a compiled form: the same, not compiled, to compare with


def run_peer(peer: str, row: Row, p: Problem) -> Ready | None:
    """The peer's form, or None."""
    return _MAKERS[peer](row, p)


def flat(result: Any) -> list[Any]:
    """The arrays of a nested tuple, in order."""
    if isinstance(result, (tuple, list)):
        return [a for part in result for a in flat(part)]
    return [result]


# --- NumPy and scikit-learn -------------------------------------------------------------------------------------------------


def _run_numpy(row: Row, p: Problem) -> Ready | None:
    if row.part != VALUE or row.dtype not in _NUMBERS:
        return None
    arrays = tuple(p.arrays.values())
    write, plain = NUMPY_OUT.get(row.subject), PLAIN.get(row.subject)
    if write and row.variant != "allocating":
        out = np.empty_like(arrays[0])
        return Ready(partial(write, *arrays, out), flat)
    return Ready(lambda: plain(np, *arrays), flat) if plain else None


def _run_sklearn(row: Row, p: Problem) -> Ready | None:
    f = SKLEARN.get(row.subject)
    if f is None or row.part != VALUE or row.dtype not in _NUMBERS or any(a.ndim > 2 for a in p.arrays.values()):
        return None
    arrays = tuple(p.arrays.values())
    return Ready(lambda: f(*arrays), flat)


# --- PyTorch ----------------------------------------------------------------------------------------------------------------


def torch_module() -> Any:
    """PyTorch, with as many threads as everybody."""
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    return torch


def tensor(x: Any, device: str = "cpu") -> Any:
    """A tensor on the array's memory; on a GPU, a copy of it."""
    import torch

    x = np.ascontiguousarray(x)
    t = torch.from_numpy(x.view(np.int16)).view(torch.bfloat16) if x.dtype.name == "bfloat16" else torch.from_numpy(x)
    return t if device == "cpu" else t.to(device)


def from_torch(result: Any) -> list[Any]:
    """NumPy arrays, of bfloat16 as float32, which holds the same numbers."""
    import torch

    tensors = [t.detach().cpu() for t in flat(result)]
    return [(t.float() if t.dtype == torch.bfloat16 else t).numpy() for t in tensors]


def torch_formula(row: Row) -> Formula | None:
    """PyTorch's own function, else the shared formula."""
    if row.subject == "bias_act" and row.options.get("p"):
        return torch_forms.dropped
    return torch_forms.TORCH.get(row.subject) or PLAIN.get(row.subject)


def run_torch(row: Row, p: Problem, device: str = "cpu", formula: Formula | None = None) -> Ready | None:
    """PyTorch's form; or that of another library on tensors, by its formula."""
    write = None if formula else torch_forms.OUT.get(row.subject)
    formula = formula or torch_formula(row)
    if formula is None:
        return None
    torch = torch_module()
    tensors = [tensor(a, device) for a in p.arrays.values()]

    def f() -> Any:
        return formula(torch, *tensors)

    if row.part == VALUE:
        return Ready(_torch_value(torch, write if row.variant != "allocating" else None, f, tensors), from_torch)
    wrt = [tensors[i].requires_grad_() for i in p.places]
    if p.dy is None and row.part == VALUE_AND_GRAD:

        def step() -> Any:
            y = f()
            return y, torch.autograd.grad(y, wrt)

        return Ready(step, from_torch)
    dy = None if p.dy is None else tensor(p.dy, device)
    if row.part == THERE_AND_BACK:
        return Ready(lambda: torch.autograd.grad(f(), wrt, dy), from_torch)
    y = f()
    return Ready(lambda: torch.autograd.grad(y, wrt, dy, retain_graph=True), from_torch)


def _torch_value(torch: Any, write: Formula | None, f: Callable[[], Any], tensors: list[Any]) -> Callable[[], Any]:
    if write:
        with torch.no_grad():
            x, out = tensors[0], torch.empty_like(f())
        return partial(write, torch, x, out)

    return f  # nothing asks for a gradient, so none is recorded; inference_mode would cost microseconds in each call


def run_compiled(row: Row, p: Problem, device: str = "cpu") -> Ready | None:
    """PyTorch's compiled form."""
    formula = torch_formula(row)
    if formula is None:
        return None
    torch = torch_module()
    torch.compiler.reset()  # or the row before counts as a recompilation, of which only a few are made before it stays eager

    def f(*t: Any) -> Any:
        return formula(torch, *t)

    held = [tensor(a, device) for a in p.arrays.values()]
    if row.part == VALUE:
        call = f
    elif p.dy is None and row.part == VALUE_AND_GRAD:
        swapped = torch.func.grad_and_value(f, argnums=p.places)

        def call(*t: Any) -> Any:
            grads, y = swapped(*t)
            return y, grads

    else:
        held.append(tensor(np.ones((), p.arrays[p.wrt[0]].dtype) if p.dy is None else p.dy, device))
        call = _torch_back(torch, f, p.places)
    compiled = torch.compile(call, dynamic=False)

    def run(one: Any = compiled) -> Any:
        with torch.no_grad():
            return one(*held)

    return Ready(run, from_torch, eager=lambda: run(call))


def _torch_back(torch: Any, f: Formula, places: tuple[int, ...]) -> Formula:
    def call(*t: Any) -> Any:
        *arrays, dy = t

        def of(*chosen: Any) -> Any:
            given = dict(zip(places, chosen, strict=True))
            return f(*[given.get(i, a) for i, a in enumerate(arrays)])

        y, back = torch.func.vjp(of, *[arrays[i] for i in places])
        return back(dy.to(y.dtype))

    return call


# --- JAX --------------------------------------------------------------------------------------------------------------------


def _run_jax(row: Row, p: Problem) -> Ready | None:
    formula = jax_forms.JAX.get(row.subject)
    if row.subject == "bias_act" and row.options.get("p"):
        formula = jax_forms.dropped
    plain = PLAIN.get(row.subject)
    if formula is None and plain is None:
        return None
    jax: Any = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)

    def f(*a: Any) -> Any:
        return formula(jax, *a) if formula else plain(jax.numpy, *a)  # type: ignore[misc]

    held = [jax.numpy.asarray(a) for a in p.arrays.values()]
    if row.part == VALUE:
        call: Any = f
    elif p.dy is None and row.part == VALUE_AND_GRAD:
        call = jax.value_and_grad(f, argnums=p.places)
    else:
        held.append(jax.numpy.asarray(np.ones(()) if p.dy is None else p.dy))
        call = _jax_back(jax, f, p.places)
    compiled = jax.jit(call)
    return Ready(lambda: jax.block_until_ready(compiled(*held)), lambda r: [np.asarray(a) for a in flat(r)])


def _jax_back(jax: Any, f: Formula, places: tuple[int, ...]) -> Formula:
    def call(*a: Any) -> Any:
        *arrays, dy = a

        def of(*chosen: Any) -> Any:
            given = dict(zip(places, chosen, strict=True))
            return f(*[given.get(i, x) for i, x in enumerate(arrays)])

        y, back = jax.vjp(of, *[arrays[i] for i in places])
        return back(dy.astype(y.dtype))

    return call


_MAKERS: dict[str, Callable[[Row, Problem], Ready | None]] = {
    "numpy": _run_numpy,
    "sklearn": _run_sklearn,
    "torch": run_torch,
    "torch-compile": run_compiled,
    "jax": _run_jax,
}
