"""The CUDA loops on the CPU: tests/simt/ compiles the very .cu files with g++ and runs them on an emulated device.

What they leave in memory must be, bit for bit, what the CPU target leaves there: every op, pass, dtype, alignment and class of length.
While they run, races, reads of uninitialized shared memory, misaligned packets and barriers that some threads miss are looked for;
the planted mistakes of tests/simt/planted.cpp show that they are found.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from simt_build import (
    CUDA,
    DEVICE,
    EMULATION,
    HOST,
    KERNEL,
    PLAIN,
    ROOT,
    SIMT,
    built,
    compiled,
    cpu_target,
    folder_of_run,
    jobs_of,
    objects,
)

BITS = ("bits_elementwise", "bits_rows", "bits_reduce", "bits_lines", "bits_update", "bits_step")
SECONDS = 900  # a run takes 5 to 30, some minutes in full; only a hang takes longer

pytestmark = pytest.mark.skipif(
    not (sys.platform == "linux" and CUDA.exists() and shutil.which("g++")),
    reason="needs Linux, g++ and the sources beside the tests",
)


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True, timeout=SECONDS)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Everything compiled."""
    planted = (SIMT / "planted.cpp", "planted", [*HOST, "-O1", "-fsanitize=thread", "-fno-strict-aliasing"])
    target, compiled_already = cpu_target()
    comparing = [
        (source, name, [*flags, f"-DDLK_CPU_TARGET={target}"]) for source, name, flags in jobs_of("compare", *BITS)
    ]
    made = objects(
        folder_of_run(tmp_path_factory), [*DEVICE, *([] if compiled_already else PLAIN), *comparing, planted]
    )
    return made | {f"cpu_{path.stem}": path for path in compiled_already}


def linked(name: str, parts: dict[str, Path], output: Path) -> Path:
    """The program `name` with the loops of both sides; planted.cpp brings kernels of its own."""
    others = EMULATION if name == "planted" else [part for part in parts if part not in (*BITS, "planted")]
    return built(parts[name], *(parts[part] for part in others), "-pthread", "-o", output)


@pytest.fixture(scope="module")
def programs(parts: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("programs")
    return {name: linked(name, parts, folder / name) for name in (*BITS, "planted")}


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


# Barriers that the row loops cannot do without: a part of the ops that misses it, the file, and lines that are there once.
BARRIERS = {
    "row begins, of a warp": ("scores", "row_teams.cuh", "if (is_warp() && !c.sums_columns) {\n      __syncwarp();"),
    "row begins, of groups": ("scores", "row_teams.cuh", "      cluster.meet();\n    }\n    return &place;"),
    "maximum": ("scores", "row_teams.cuh", "    __syncthreads();\n    const V lowest"),
    "maximum of a cluster": ("scores", "row_teams.cuh", "    cluster.meet();\n    return warp_maximum"),
    "label is read": ("scores", "rows.cuh", "team.meet_all();  // all have read the label's element"),
    "loaded": ("norms", "rows.cuh", "            team.meet();\n          }"),
    "loaded again": ("norms", "rows.cuh", "if (pass != loading || i > 0 || part > 0) team.meet();"),
    "lanes": (
        "norms",
        "row_teams.cuh",
        "    meet();\n#pragma unroll\n    for (int k = 0; k < Op::sums; ++k) {\n      S v",
    ),
    "lanes are read": ("norms", "row_teams.cuh", "meet();  // before the lanes"),
    "inbox": ("norms", "row_teams.cuh", "      __syncthreads();\n    } else {\n      cluster.meet();\n    }\n#pragma"),
    "total": ("norms", "row_teams.cuh", "    __syncthreads();\n    for (int k = 0; k < Op::sums"),
    "outputs": ("norms", "rows.cuh", "        team.meet();\n        tile.store();"),
    "columns": (
        "norms",
        "row_teams.cuh",
        "      cluster.meet();\n    } else {\n      __syncthreads();\n    }\n    const int columns",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BARRIERS)
def test_a_barrier_taken_out_of_the_row_loops_is_missed(parts: dict[str, Path], tmp_path: Path, name: str) -> None:
    shutil.copytree(ROOT / "kernels", tmp_path / "kernels")
    part, file, where = BARRIERS[name]
    source = tmp_path / "kernels/cuda" / file
    text = source.read_text()
    assert text.count(where) == 1
    source.write_text(text.replace(where, re.sub(r"\b(team\.|cluster\.)?meet(_all)?\(\)|__sync\w+\(\)", "", where)))
    loop = f"rows_{part}"
    rows = compiled(tmp_path / f"kernels/cuda/{loop}.cu", tmp_path / "rows.o", *KERNEL)
    done = run(linked("bits_rows", {**parts, f"simt_{loop}": rows}, tmp_path / "bits_rows"), "races")
    # By a race, by wrong bits before one is looked for, or by an offset that nobody has written yet.
    assert done.returncode in (1, -signal.SIGSEGV), done.stdout + done.stderr
