"""The suite on a CUDA device: the same rows on CuPy arrays and CUDA tensors, timed by events. Not yet run on a GPU.

`python -m dlkernels.bench.device PEER` is a library's process, as worker.py is on a CPU. An op or dtype that a library refuses there is
named with its reason, like everywhere.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .forms import PLAIN, Formula
from .peers import Ready, flat, run_compiled, run_torch, tensor, torch_module
from .problem import Problem
from .row import COPY, OURS, STEP, VALUE, Row
from .updates import run_step
from .worker import Form, Worker, ours, serve

GRID = tuple(1 << k for k in range(16, 32, 3))  # bytes moved by the copies
_FLUSHED = 256 << 20  # bytes overwritten before a cold call: more than any L2
_FUSIBLE = {"map", "gate", "slope"}
_LARGER = 16  # a device's memory is that much faster, so its longest arrays are that much longer


def on_device(row: Row) -> Row:
    """The row with the size that a device needs to leave its caches."""
    return replace(row, shape=(row.shape[0] * _LARGER,)) if row.size == "memory" and len(row.shape) == 1 else row


def _cupy() -> Any:
    return importlib.import_module("cupy")


def _moved(p: Problem) -> Problem:
    cp = _cupy()
    dy = None if p.dy is None else cp.asarray(p.dy)
    return replace(p, arrays={name: cp.asarray(a) for name, a in p.arrays.items()}, dy=dy)


def _from_cupy(result: Any) -> list[Any]:
    return [a.get() for a in flat(result)]


def _run_cupy(row: Row, p: Problem) -> Ready | None:
    """CuPy's best form of a value: one fused kernel where its compiler can, else its functions."""
    plain = PLAIN.get(row.subject)
    if plain is None or row.part != VALUE:
        return None
    cp = _cupy()
    arrays = tuple(cp.asarray(a) for a in p.arrays.values())

    def f(*a: Any) -> Any:
        return plain(cp, *a)

    call = cp.fuse(f) if p.op.kind in _FUSIBLE else f
    return Ready(lambda: call(*arrays), _from_cupy)


def _liger(name: str, *more: Any) -> Formula:
    """A function of Liger's on tensors; some return a tuple that begins with the result."""

    def call(_: Any, *tensors: Any) -> Any:
        functional = importlib.import_module("liger_kernel.transformers.functional")
        result = getattr(functional, name)(*tensors, *more)
        return result[0] if isinstance(result, tuple) else result

    return call


LIGER: dict[str, Formula] = {
    "cross_entropy": _liger("liger_cross_entropy"),
    "swiglu": _liger("liger_swiglu"),
    "layer_norm": _liger("liger_layer_norm", 1e-5),
    "rms_norm": _liger("liger_rms_norm", 1e-6),
    "softmax": _liger("liger_softmax"),
}


def _run_liger(row: Row, p: Problem) -> Ready | None:
    formula = LIGER.get(row.subject)
    return run_torch(row, p, "cuda", formula) if formula else None


_FORMS: dict[str, Callable[[Row, Problem], Ready | None]] = {
    OURS: lambda row, p: replace(ours(row, _moved(p)), numbers=_from_cupy),
    "cupy": _run_cupy,
    "torch": lambda row, p: run_torch(row, p, "cuda"),
    "torch-compile": lambda row, p: run_compiled(row, p, "cuda"),
    "liger": _run_liger,
}


def run_copy(peer: str, row: Row) -> Ready | None:
    """A copy from device memory to device memory."""
    x = np.ones(row.shape, np.float32)
    if peer == "cupy":
        cp = _cupy()
        source, target = cp.asarray(x), cp.empty_like(x)
        return Ready(lambda: cp.copyto(target, source), lambda _: [target])
    if peer == "torch":
        from_, to = tensor(x, "cuda"), tensor(x, "cuda")
        return Ready(lambda: to.copy_(from_), lambda _: [to])
    return None


def device_form(peer: str, row: Row, p: Problem | None) -> Ready | None:
    """A library's form of a row on the device."""
    if row.part == COPY:
        return run_copy(peer, row)
    if row.part == STEP:
        place: Callable[[Any], Any] = _cupy().asarray if peer == OURS else lambda x: x
        form = run_step(peer, row, place, "cuda")
        return replace(form, numbers=lambda result: _from_cupy(form.numbers(result))) if form and peer == OURS else form
    return _FORMS[peer](row, p) if p else None


class DeviceWorker(Worker):
    """A worker whose clock is the device's."""

    form: Form = staticmethod(device_form)

    def sample(self) -> float:
        """Seconds a call, between two events on the stream that the library uses."""
        assert self.run
        start, end, elapsed = _events(self.peer)
        if self.row and self.row.variant == "cold":
            self.overwrite_caches()
        start.record()
        for _ in range(self.inner):
            self.run()
        end.record()
        end.synchronize()
        return float(elapsed(start, end)) * 1e-3 / self.inner

    def overwrite_caches(self) -> None:
        """Fills more than the L2."""
        if self.flush is None:
            torch = None if self.peer in {OURS, "cupy"} else torch_module()
            self.flush = (
                torch.empty(_FLUSHED, dtype=torch.uint8, device="cuda") if torch else _cupy().empty(_FLUSHED, np.uint8)
            )
        (self.flush.zero_ if hasattr(self.flush, "zero_") else lambda: self.flush.fill(0))()


def _events(peer: str) -> tuple[Any, Any, Callable[[Any, Any], float]]:
    if peer in {OURS, "cupy"}:
        cp = _cupy()
        return cp.cuda.Event(), cp.cuda.Event(), cp.cuda.get_elapsed_time
    torch = torch_module()
    make = torch.cuda.Event
    return make(enable_timing=True), make(enable_timing=True), lambda start, end: start.elapsed_time(end)


def describe_device() -> dict[str, Any]:
    """Name, architecture and versions of the device, for the results."""
    cp = _cupy()
    about = cp.cuda.runtime.getDeviceProperties(cp.cuda.Device().id)
    return {
        "gpu": about["name"].decode(),
        "sm": f"{about['major']}.{about['minor']}",
        "driver": cp.cuda.runtime.driverGetVersion(),
        "runtime": cp.cuda.runtime.runtimeGetVersion(),
    }


if __name__ == "__main__":
    serve(DeviceWorker(sys.argv[1]))
