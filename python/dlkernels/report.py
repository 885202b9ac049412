"""``dlkernels info``: what is installed and what runs here, to paste into a bug report."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import platform
from typing import Any

import dlkernels as dk

_PACKAGES = (
    "numpy", "ml_dtypes", "torch", "cupy-cuda12x", "cupy-cuda13x", "jax",
    "safetensors", "rich", "matplotlib", "scikit-learn",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Versions of the installed packages that matter to us, from their metadata: nothing is imported."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def collect() -> dict[str, Any]:
    """dk.build_info(), the interpreter, the machine and the installed packages."""
    return {
        **dk.build_info(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": versions(),
    }


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return " ".join(map(str, value)) or "none"
    return str(value)


def run_info(args: argparse.Namespace) -> int:
    """Print it, one fact a line or as JSON."""
    info = collect()
    if args.json:
        print(json.dumps(info, indent=2, default=str))
    else:
        print("\n".join(f"{name:<14} {_shown(value)}" for name, value in info.items()))
    return 0
