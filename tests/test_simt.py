"""The CUDA loops on the CPU: tests/simt/ compiles the very .cu files with g++ and runs them on an emulated device.

What they leave in memory must be, bit for bit, what the CPU target leaves there: every op, pass, dtype, alignment and class of length.
While they run, races, reads of uninitialized shared memory, misaligned packets and barriers that some threads miss are looked for;
the planted mistakes of tests/simt/planted.cpp show that they are found.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SIMT, CUDA, CPU = ROOT / "tests/simt", ROOT / "kernels/cuda", ROOT / "cpp/cpu"
LOOPS = ("map", "rows", "reduce", "update", "target")
EMULATION = ("simt", "race", "compare")
BITS = ("bits_elementwise", "bits_rows", "bits_reduce")
SECONDS = 300  # a run takes 5 to 15; only a hang takes longer

# -march=native for a hardware fma; the bits are those of any machine (DESIGN.md 3.1).
ARITHMETIC = ["-std=c++17", "-march=native", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
# The instrumentation of -fsanitize=thread, without ThreadSanitizer's library: tests/simt/race.cpp is its runtime.
KERNEL = [*ARITHMETIC, "-O1", "-fsanitize=thread", "-fno-strict-aliasing", "-x", "c++", "-DDLK_TARGET=simt"]
HOST = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-DDLK_TARGET=test"]

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


def objects(folder: Path) -> dict[str, Path]:
    """Everything compiled, two at a time."""
    jobs = [(CUDA / f"{name}.cu", f"simt_{name}", KERNEL) for name in LOOPS]
    jobs += [(CPU / f"{name}.cpp", f"cpu_{name}", [*ARITHMETIC, "-O1", "-w", "-DDLK_TARGET=cpu"]) for name in LOOPS]
    jobs += [(SIMT / f"{name}.cpp", name, HOST) for name in (*EMULATION, *BITS)]
    jobs += [(SIMT / "planted.cpp", "planted", [*HOST, "-O1", "-fsanitize=thread", "-fno-strict-aliasing"])]
    with ThreadPoolExecutor(2) as pool:
        paths = pool.map(lambda job: compiled(job[0], folder / f"{job[1]}.o", *job[2]), jobs)
        return dict(zip((job[1] for job in jobs), paths, strict=True))


def linked(folder: Path, name: str, *parts: Path) -> Path:
    return built(*parts, "-pthread", "-o", folder / name)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("simt")
    made = objects(folder)
    common = [path for name, path in made.items() if name.startswith(("simt_", "cpu_")) or name in EMULATION]
    linkable = {name: linked(folder, name, made[name], *common) for name in BITS}
    return {**linkable, "planted": linked(folder, "planted", made["planted"], made["simt"], made["race"])}


@pytest.mark.parametrize("name", BITS)
def test_emulated_cuda_loops_give_the_bits_of_the_cpu(programs: dict[str, Path], name: str) -> None:
    done = run(programs[name])
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


def test_every_cuda_source_is_emulated() -> None:
    sources = {path.stem for path in CUDA.glob("*.cu")}
    assert sources == {*LOOPS, "probe"}  # probe.cu only asks the driver


# Barriers of kernels/cuda/rows.cuh that the loops cannot do without: (the line, how often it is there).
BARRIERS = {
    "row begins": "    cluster.meet();\n    if (climbs",
    "maximum": "    __syncthreads();\n    const S lowest",
    "lanes": "    __syncthreads();\n    const bool alone",
    "inbox": "    if (alone) return;\n    cluster.meet();",
    "next turn": "    if (!resident) cluster.meet();",
    "warp sums": "row.sum[k] = fold<1>(v[k]);\n    __syncwarp();",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BARRIERS)
def test_a_barrier_taken_out_of_the_row_loops_is_missed(tmp_path: Path, name: str) -> None:
    tree = tmp_path / "tree"
    for room in ("kernels", "cpp", "tests/simt"):
        shutil.copytree(ROOT / room, tree / room)
    rows = tree / "kernels/cuda/rows.cuh"
    text, where = rows.read_text(), BARRIERS[name]
    assert text.count(where) == 1
    without = where
    for barrier in ("cluster.meet();", "__syncthreads();", "__syncwarp();"):
        without = without.replace(barrier, ";")
    rows.write_text(text.replace(where, without))
    made = objects(tmp_path)
    made["simt_rows"] = compiled(tree / "kernels/cuda/rows.cu", tmp_path / "simt_rows.o", *KERNEL)
    common = [path for part, path in made.items() if part.startswith(("simt_", "cpu_")) or part in EMULATION]
    done = run(linked(tmp_path, "bits_rows", made["bits_rows"], *common))
    assert done.returncode != 0
    assert "race" in done.stdout, done.stdout
