"""What a call costs the host on a GPU: microseconds until it returns, with nothing waited for. Prints and returns JSON.

`python -m bench.gpu_host [out.json]` with CuPy on a GPU; PyTorch beside it where it is there. `--emulated`: on the stand-in of
tests/emulated.py with launches that do nothing, so without what CUDA's launch costs; the stand-in's attributes are Python functions, which
CuPy's are not.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import dlkernels as dk

TENSORS = 1000


def median_us(call: Callable[[], Any], wait: Callable[[], Any], rounds: int = 200) -> float:
    """Of single calls; the queue is emptied now and then, or a full one would be waited for."""
    times = []
    for i in range(rounds):
        if i % 20 == 0:
            wait()
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    wait()
    return round(statistics.median(times) * 1e6, 2)


@contextlib.contextmanager
def emulated() -> Iterator[tuple[Any, Callable[[], None]]]:
    """The stand-in for CuPy, and what ends its work: launches and allocations, which take longer than all else."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    import pytest

    device = importlib.import_module("emulated").Device(Path(tempfile.mkdtemp()))
    with pytest.MonkeyPatch.context() as patch, device.used(patch) as cupy:
        spare = cupy.asarray(np.ones(2))

        def end() -> None:
            cupy.ndarray.memory.library.dlk_device_idle(True)
            patch.setattr(cupy, "empty", lambda *_, **__: spare)

        yield cupy, end


def ours(cp: Any, begin: Callable[[], None], wait: Callable[[], None]) -> dict[str, float]:
    """Calls with out=, and optimizer steps."""
    x, dy = (cp.asarray(np.ones((8, 1000), np.float32)) for _ in range(2))
    w, b, y = cp.asarray(np.ones(1000, np.float32)), cp.asarray(np.ones(1000, np.float32)), cp.asarray(x)
    params, grads, others = ([cp.asarray(np.ones(64, np.float32)) for _ in range(TENSORS)] for _ in range(3))
    opt = dk.optim.AdamW(params, lr=1e-3)
    opt.step(grads, max_norm=1.0)
    begin()
    calls: dict[str, Callable[[], Any]] = {
        "silu": lambda: dk.silu(x, out=y),
        "silu backward": lambda: dk.silu.backward(dy, x, out=y),
        "softmax": lambda: dk.softmax(x, out=y),
        "layer_norm": lambda: dk.layer_norm(x, w, b, out=y),
        f"AdamW, {TENSORS} tensors": lambda: opt.step(grads),
        f"AdamW clipped, {TENSORS} tensors": lambda: opt.step(grads, max_norm=1.0),
    }
    found = {name: median_us(call, wait) for name, call in calls.items()}
    turns = [grads, others] * 100
    found[f"AdamW, {TENSORS} tensors, other gradients each time"] = median_us(lambda: opt.step(turns.pop()), wait)
    return found


def torchs() -> dict[str, float]:
    """PyTorch's, in its cheapest forms."""
    torch = importlib.import_module("torch")
    f = torch.nn.functional
    x = torch.ones((8, 1000), device="cuda")
    w = torch.ones(1000, device="cuda")
    params = [torch.ones(64, device="cuda", requires_grad=True) for _ in range(TENSORS)]
    for p in params:
        p.grad = torch.ones_like(p)
    opt = torch.optim.AdamW(params, lr=1e-3, fused=True)
    calls: dict[str, Callable[[], Any]] = {
        "silu": lambda: torch.ops.aten.silu.out(x, out=x),
        "softmax": lambda: torch.softmax(x, -1),
        "layer_norm": lambda: f.layer_norm(x, (1000,), w, w),
        f"AdamW, {TENSORS} tensors": opt.step,
    }
    return {name: median_us(call, torch.cuda.synchronize) for name, call in calls.items()}


def main(arguments: list[str]) -> int:
    """One JSON object: library -> call -> microseconds."""
    found: dict[str, Any] = {}
    if "--emulated" in arguments:
        with emulated() as (cp, end):
            found["dlkernels, launches emulated"] = ours(cp, end, lambda: None)
    else:
        cp = importlib.import_module("cupy")
        found["dlkernels"] = ours(cp, lambda: None, cp.cuda.get_current_stream().synchronize)
        with contextlib.suppress(ImportError):
            found["torch"] = torchs()
    text = json.dumps(found, indent=1)
    print(text)
    for path in arguments:
        if not path.startswith("-"):
            Path(path).write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
