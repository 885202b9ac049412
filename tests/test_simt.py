"""The CUDA loops on the CPU: tests/simt/ compiles the very .cu files with g++ and runs them on an emulated device.

What they leave in memory must be, bit for bit, what the CPU target leaves there: every op, pass, dtype, alignment and class of length.
While they run, races, reads of uninitialized shared memory, misaligned packets and barriers that some threads miss are looked for;
the planted mistakes of tests/simt/planted.cpp show that they are found.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SIMT, CUDA, CPU = ROOT / "tests/simt", ROOT / "kernels/cuda", ROOT / "cpp/cpu"
CUDA_LOOPS = sorted(path.stem for path in CUDA.glob("*.cu") if path.stem != "probe")
CPU_LOOPS = sorted(path.stem for path in CPU.glob("*.cpp"))
EMULATION = ("simt", "race", "compare")
BITS = ("bits_elementwise", "bits_rows", "bits_reduce")
SECONDS = 900  # a run takes 5 to 30, some minutes in full; only a hang takes longer

# -march=native for a hardware fma; the bits are those of any machine (DESIGN.md 3.1).
ARITHMETIC = ["-std=c++17", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
# The instrumentation of -fsanitize=thread, without ThreadSanitizer's library: tests/simt/race.cpp is its runtime.
KERNEL = [*ARITHMETIC, "-O1", "-fsanitize=thread", "-fno-strict-aliasing", "-x", "c++", "-DDLK_TARGET=simt"]
HOST = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-DDLK_TARGET=test"]

pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and CUDA.exists() and shutil.which("g++")),
    reason="needs Linux, g++ and the sources beside the tests",
)


def compiled(source: Path, output: Path, *flags: str) -> Path:
    """The object file of a source; fails with the compiler's words."""
    return built("-c", "-I", SIMT, *flags, source, "-o", output)  # -x c++ goes before what it names


def built(*arguments: str | Path) -> Path:
    done = subprocess.run(["g++", *arguments], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    return Path(arguments[-1])


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True, timeout=SECONDS)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Everything compiled, two files at a time."""
    folder = tmp_path_factory.mktemp("simt")
    cpu = [*ARITHMETIC, "-O1", "-w", "-DDLK_TARGET=cpu"]
    jobs = [(CUDA / f"{name}.cu", f"simt_{name}", KERNEL) for name in CUDA_LOOPS]
    jobs += [(CPU / f"{name}.cpp", f"cpu_{name}", cpu) for name in CPU_LOOPS]
    jobs += [(SIMT / f"{name}.cpp", name, HOST) for name in (*EMULATION, *BITS)]
    jobs += [(SIMT / "planted.cpp", "planted", [*HOST, "-O1", "-fsanitize=thread", "-fno-strict-aliasing"])]
    with ThreadPoolExecutor(2) as pool:
        paths = pool.map(lambda job: compiled(job[0], folder / f"{job[1]}.o", *job[2]), jobs)
        return dict(zip((job[1] for job in jobs), paths, strict=True))


def linked(name: str, objects: dict[str, Path], output: Path) -> Path:
    """The program `name` with the loops of both sides; planted.cpp brings kernels of its own."""
    others = ("simt", "race") if name == "planted" else [part for part in objects if part not in (*BITS, "planted")]
    return built(objects[name], *(objects[part] for part in others), "-pthread", "-o", output)


@pytest.fixture(scope="module")
def programs(objects: dict[str, Path]) -> dict[str, Path]:
    return {name: linked(name, objects, objects[name].with_suffix("")) for name in (*BITS, "planted")}


@pytest.mark.parametrize("full", [(), pytest.param(("full",), marks=pytest.mark.slow)], ids=["in-turn", "full"])
@pytest.mark.parametrize("name", BITS)
def test_emulated_cuda_loops_give_the_bits_of_the_cpu(programs: dict[str, Path], name: str, full: tuple[str]) -> None:
    """In full: every op with every dtype at every alignment and length, where the fast run takes turns."""
    done = run(programs[name], *full)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = done.stdout.splitlines()[-1]
    assert ", 0 failed;" in summary
    assert " 0 accesses watched" not in summary, "the race check did not run"
    if name == "bits_rows":
        assert "(0 of clusters)" not in summary, "no cluster was ever launched"


def test_planted_mistakes_are_found_and_their_corrections_are_clean(programs: dict[str, Path]) -> None:
    done = run(programs["planted"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("; corrected: clean") == len(done.stdout.splitlines()) > 10


@pytest.mark.parametrize("mistake", ["deadlock", "misaligned"])
def test_a_mistake_that_cannot_be_survived_ends_the_program(programs: dict[str, Path], mistake: str) -> None:
    done = run(programs["planted"], mistake)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "corrected: clean" in done.stdout
    assert mistake in done.stderr


# Barriers that the row loops cannot do without: file, and a line that is there once.
BARRIERS = {
    "row begins": ("row_teams.cuh", "    cluster.meet();\n    if (climbs"),
    "maximum": ("row_teams.cuh", "    __syncthreads();\n    const S lowest"),
    "loaded": ("row_teams.cuh", "void meet() { __syncthreads(); }"),
    "lanes": ("row_teams.cuh", "    __syncthreads();\n    const bool alone"),
    "inbox": ("row_teams.cuh", "    if (alone) return;\n    cluster.meet();"),
    "next turn": ("row_teams.cuh", "    if (!resident) cluster.meet();"),
    "warp loaded": ("row_teams.cuh", "    __syncwarp();\n    return warp_maximum(best);"),
    "warp sums": ("row_teams.cuh", "row.sum[k] = fold<1>(v[k]);\n    __syncwarp();"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BARRIERS)
def test_a_barrier_taken_out_of_the_row_loops_is_missed(objects: dict[str, Path], tmp_path: Path, name: str) -> None:
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels")
    file, where = BARRIERS[name]
    source = tmp_path / "kernels/cuda" / file
    text = source.read_text()
    assert text.count(where) == 1
    source.write_text(text.replace(where, re.sub(r"cluster\.meet\(\)|__sync\w+\(\)", "", where)))
    rows = compiled(tmp_path / "kernels/cuda/rows.cu", tmp_path / "rows.o", *KERNEL)
    done = run(linked("bits_rows", {**objects, "simt_rows": rows}, tmp_path / "bits_rows"))
    assert done.returncode == 1, done.stdout + done.stderr  # by a race, or by wrong bits before one is looked for
