"""What a result must carry to be believed: machine, commit, versions, settings; and which peers are here."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

import dlkernels as dk

from .row import OURS, PACKAGES, PEERS

_IMPORTED_AS = {"sklearn": "sklearn", "torch-compile": "torch", "liger": "liger_kernel"}


def installed(peer: str) -> bool:
    """Can it be imported here? Nothing is imported to find out."""
    return importlib.util.find_spec(_IMPORTED_AS.get(peer, peer)) is not None


def _version(package: str) -> str:
    names = ("cupy-cuda13x", "cupy-cuda12x", "cupy") if package == "cupy" else (package,)
    found = (d.version for name in names for d in importlib.metadata.distributions(name=name))
    return next(found, "")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def _git(*arguments: str) -> str:
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def machine(threads: int) -> dict[str, Any]:
    """Plain data for the results."""
    build = dk.build_info()
    tracked = bool(
        _git("ls-files", "machine.py")
    )  # installed somewhere inside another repository, its commit says nothing
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "commit": _git("rev-parse", "--short", "HEAD") if tracked else "",
        "changed": bool(tracked and _git("status", "--porcelain", "--untracked-files=no")),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "python": platform.python_version(),
        "target": build["target"],
        "compiler": build["compiler"],
        "flags": build["flags"],
        "versions": {
            OURS: build["version"],
            **{peer: v for peer in PEERS if peer != "torch-compile" and (v := _version(PACKAGES.get(peer, peer)))},
        },
    }
