"""What is no op: how long an import takes, how large an installed package is, how long an epoch of training takes."""

from __future__ import annotations

import importlib.metadata
import io
import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import dlkernels as dk

from .peers import Ready, torch_module
from .row import DTYPES, EPOCH, NAMED, OURS, PACKAGES, Row

IMPORT, INSTALLED, WHEEL = "import", "installed", "wheel"
SIZES = IMPORT, INSTALLED, WHEEL  # what is no time of a call
WHOLE_ROWS = [
    Row("import", IMPORT, size="process", family="whole", tier=NAMED, label="import, in a fresh process"),
    Row("package", INSTALLED, size="package", family="whole", tier=NAMED, label="package, installed"),
    Row("package", WHEEL, size="package", family="whole", tier=NAMED, label="package, as a wheel"),
    Row(
        "digits", EPOCH, size="digits", family="whole", tier=DTYPES, label="training epoch: digits, 64-128-64-10, AdamW"
    ),
]
_MODULES = {OURS: "dlkernels", "torch": "torch", "jax": "jax", "numpy": "numpy", "sklearn": "sklearn"}


def import_seconds(peer: str) -> list[float] | None:
    """Of `import name` in fresh interpreters, their start not counted; ours has NumPy's in it."""
    if peer not in _MODULES:
        return None
    code = f"import time; t = time.perf_counter(); import {_MODULES[peer]}; print(time.perf_counter() - t)"
    found: list[float] = []
    while len(found) < 2 or (len(found) < 5 and sum(found) < 2):
        found.append(float(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout))
    return found


def package_megabytes(peer: str, part: str) -> float | None:
    """What is installed, or, of ours alone, that deflated as a wheel stores it."""
    if peer == OURS:
        root = Path(dk.__file__).parent
        files = [p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        if part == WHEEL:
            return _deflated(files)
    elif peer in _MODULES and part == INSTALLED:
        listed = importlib.metadata.files(PACKAGES.get(peer, peer)) or []
        files = [p for f in listed if (p := Path(str(f.locate()))).is_file() and p.suffix != ".pyc"]
    else:
        return None
    return sum(p.stat().st_size for p in files) / 1e6


def _deflated(files: list[Path]) -> float:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.name)
    return len(packed.getvalue()) / 1e6


_BATCH, _WIDTHS = 64, (64, 128, 64, 10)


def _digits() -> tuple[Any, Any] | None:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        return None
    images, labels = load_digits(return_X_y=True)
    return (images[:1437] / 16).astype(np.float32), labels[:1437].astype(np.int64)


def run_epoch(peer: str) -> Ready | None:
    """One pass over the digits in batches of 64, ours and PyTorch's in the way each is used; the number is the last loss."""
    data = _digits()
    if data is None or peer not in {OURS, "torch"}:
        return None
    return (_our_epoch if peer == OURS else _torch_epoch)(*data)


def _our_epoch(x: Any, y: Any) -> Ready:
    layers = [layer for a, b in pairwise(_WIDTHS) for layer in (dk.nn.Linear(a, b), dk.nn.ReLU())]
    model = dk.nn.Sequential(*layers[:-1])
    model(x[:_BATCH])  # shapes come from data
    opt = dk.optim.AdamW(model.params(), lr=1e-3)

    def epoch() -> float:
        loss = 0.0
        for i in range(0, len(x), _BATCH):
            scores, backprop = model(x[i : i + _BATCH], train=True)
            loss, grad = dk.cross_entropy.value_and_grad(scores, y[i : i + _BATCH])
            model.zero_grad()
            backprop(grad, need_dx=False)
            opt.step(model.grads())
        return float(loss)

    return Ready(epoch, lambda loss: [np.array(loss)])


def _torch_epoch(x: Any, y: Any) -> Ready:
    torch = torch_module()
    layers = [layer for a, b in pairwise(_WIDTHS) for layer in (torch.nn.Linear(a, b), torch.nn.ReLU())]
    model = torch.nn.Sequential(*layers[:-1])
    opt = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images, labels = torch.from_numpy(x), torch.from_numpy(y)

    def epoch() -> float:
        loss = None
        for i in range(0, len(x), _BATCH):
            opt.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(images[i : i + _BATCH]), labels[i : i + _BATCH])
            loss.backward()
            opt.step()
        return float(loss)  # type: ignore[arg-type]

    return Ready(epoch, lambda loss: [np.array(loss)])
