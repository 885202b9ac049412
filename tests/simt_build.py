"""Compiles the CUDA loops, the CPU loops and the emulator of tests/simt/ with g++: once for all processes of a test run."""

from __future__ import annotations

import fcntl
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import dlkernels as dk

ROOT = Path(__file__).resolve().parents[1]
SIMT, CUDA, CPU = ROOT / "tests/simt", ROOT / "kernels/cuda", ROOT / "cpp/cpu"
CUDA_LOOPS = sorted(path.stem for path in CUDA.glob("*.cu") if path.stem != "probe")
CPU_LOOPS = sorted(path.stem for path in CPU.glob("*.cpp"))
EMULATION = ("simt", "runtime", "race")

# -march=native for a hardware fma; the bits are those of any machine (DESIGN.md 3.1). -fPIC: the emulated device is also a library.
ARITHMETIC = ["-std=c++17", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fPIC"]
# The instrumentation of -fsanitize=thread, without ThreadSanitizer's library: tests/simt/race.cpp is its runtime.
KERNEL = [*ARITHMETIC, "-O1", "-fsanitize=thread", "-fno-strict-aliasing", "-x", "c++", "-DDLK_TARGET=simt"]
LOOP = [*ARITHMETIC, "-O1", "-w", "-DDLK_TARGET=plain"]
HOST = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-DDLK_TARGET=test"]

Job = tuple[Path, str, list[str]]  # source, name of the object, flags


def built(*arguments: str | Path) -> Path:
    """What g++ makes of the arguments, the last of which names it; fails with the compiler's words."""
    done = subprocess.run(["g++", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    return Path(arguments[-1])


def compiled(source: Path, output: Path, *flags: str) -> Path:
    """The object file of a source."""
    return built("-c", "-I", SIMT, *flags, source, "-o", output)  # -x c++ goes before what it names


def jobs_of(*names: str) -> list[Job]:
    """The jobs of sources in tests/simt/."""
    return [(SIMT / f"{name}.cpp", name, HOST) for name in names]


DEVICE = [(CUDA / f"{name}.cu", f"simt_{name}", KERNEL) for name in CUDA_LOOPS] + jobs_of(*EMULATION)
PLAIN = [(CPU / f"{name}.cpp", f"cpu_{name}", LOOP) for name in CPU_LOOPS]


def cpu_target() -> tuple[str, list[Path]]:
    """The CPU target to compare with, and its objects where the library's own build has left them (DLK_OBJECTS, as .ci/run says)."""
    build = os.environ.get("DLK_OBJECTS")
    manifest = Path(build) / "objects.txt" if build else None
    if manifest and manifest.exists():
        built_ones = {name: paths for name, *paths in (line.split(";") for line in manifest.read_text().splitlines())}
        for name in dk.targets():
            if name in built_ones:
                return name, [Path(path) for path in built_ones[name]]
    return "plain", []


def folder_of_run(factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run share."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "simt"
    folder.mkdir(exist_ok=True)
    return folder


def objects(folder: Path, jobs: list[Job]) -> dict[str, Path]:
    """The object files by name: two compilers at a time; what another process has made is taken, what it makes is waited for."""

    def one(job: Job) -> Path:
        source, name, flags = job
        output = folder / f"{name}.o"
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not output.exists():
                compiled(source, folder / f"{name}.new", *flags).rename(output)
        return output

    with ThreadPoolExecutor(2) as pool:
        return dict(zip((job[1] for job in jobs), pool.map(one, jobs), strict=True))


def device_library(folder: Path) -> Path:
    """The emulated device as a shared library."""
    parts = objects(folder, [*DEVICE, *jobs_of("python_device")])
    library = folder / "libdevice.so"
    with (folder / "library.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not library.exists():
            built("-shared", *parts.values(), "-pthread", "-o", folder / "libdevice.new").rename(library)
    return library
