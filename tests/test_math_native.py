"""kernels/math.h in C++ alone: tests/cpp/test_math.cpp, compiled for each instruction set of this machine.

The bounds stand in that file. `-m slow` measures float32 over all 2^32 inputs, one to four minutes a function.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import dlkernels as dk

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests/cpp/test_math.cpp"
X86 = platform.machine() in ("x86_64", "AMD64")
# The flags of cmake/DlkTargets.cmake; the results do not depend on the optimization level.
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mprefer-vector-width=512"]
FLAGS = {"avx512": AVX512 + AVX2, "avx2": AVX2, "base": [], "neon": []}
NAMES = re.findall(r"^    CASE\((\w+),", SOURCE.read_text(), re.MULTILINE) if SOURCE.exists() else []

pytestmark = pytest.mark.skipif(
    not (NAMES and shutil.which("g++")), reason="needs g++ and the C++ sources beside the tests"
)


def compiled(output: Path, target: str, *flags: str) -> Path:
    """Compiles the test for one target into `output`; fails with the compiler's words."""
    command = [
        *("g++", "-std=gnu++17", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Wdouble-promotion", "-Werror"),
        # a vector argument changed ABI once; GCC 12 warns of its own AVX-512 header
        *("-Wno-psabi", "-Wno-maybe-uninitialized", "-Wno-uninitialized"),
        *("-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", f"-DDLK_TARGET={target}"),
        *(("-march=x86-64",) if X86 else ()),
        *FLAGS[target],
        *flags,
        *(SOURCE, "-o", output),
        *(("-lquadmath",) if X86 else ()),
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output


def attempt(program: Path, *arguments: str | int) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *map(str, arguments)], check=False, capture_output=True, text=True, timeout=3600)


def run(program: Path, *arguments: str | int) -> str:
    """The program's report; fails on any exit status but 0, with the report."""
    done = attempt(program, *arguments)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert ", 0 failures" in done.stdout, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Maps a target to the compiled test program; each is compiled once."""
    folder = tmp_path_factory.mktemp("math")
    return cache(lambda target: compiled(folder / target, target))


def test_float32_bounds_on_a_million_inputs(program: Callable[[str], Path]) -> None:
    run(program(dk.targets()[0]), "f32", 4093)


def test_float64_bounds_on_random_inputs(program: Callable[[str], Path]) -> None:
    run(program(dk.targets()[0]), "f64", 50_000)


@pytest.mark.parametrize("name", dk.targets())
def test_special_values(program: Callable[[str], Path], name: str) -> None:
    run(program(name), "special")


def test_same_bits_in_every_lane_and_target(program: Callable[[str], Path]) -> None:
    """The program compares vector lanes with scalars; its hashes compare the targets."""
    reports = {name: run(program(name), "bits", 40_000) for name in dk.targets()}
    assert len(set(reports.values())) == 1, reports


def test_contraction_would_be_seen(tmp_path: Path, program: Callable[[str], Path]) -> None:
    """The comparison above means something only where other arithmetic gives other bits."""
    name = dk.targets()[0]
    if name == "base":
        pytest.skip("this target has no fused multiply-add to contract to")
    fused = compiled(tmp_path / "fused", name, "-ffp-contract=fast")
    done = attempt(fused, "bits", 4000)
    assert done.returncode != 0 or done.stdout != run(program(name), "bits", 4000)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_float32_bounds_on_every_input(program: Callable[[str], Path], name: str) -> None:
    print(run(program(dk.targets()[0]), "f32", 1, name))


@pytest.mark.slow
def test_float64_bounds_on_millions_of_inputs(program: Callable[[str], Path]) -> None:
    print(run(program(dk.targets()[0]), "f64", 2_000_000))
