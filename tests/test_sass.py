"""What nvcc makes of the CUDA loops for sm_90: no spilled registers, and 16-byte accesses for every dtype. Nothing runs here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CUDA = ROOT / "kernels/cuda"
ROWS = ("rows_scores", "rows_losses", "rows_norms", "rows_layers")
LOOPS = ("map", *ROWS, "reduce", "labels", "update", "step", "distance", "rescale")
PACKETS = ("map", *ROWS, "reduce", "update", "step", "rescale")  # class ids and lines are read one by one
# What writes numbers per block, row or column, and no array of the storage type.
NUMBERS_ALONE = r"sum_kernel|magnitude_kernel|9logsumexpE|7momentsE|combine_moments|normalize_sums|pair_sums|5widenI|slope_of|sum_over_rows"
# The arithmetic of cmake/DlkCuda.cmake.
FLAGS = [
    "-std=c++17",
    "-O3",
    "-fmad=false",
    "-prec-div=true",
    "-prec-sqrt=true",
    "-ftz=false",
    "--expt-relaxed-constexpr",
]
WHEEL = (
    Path(sysconfig.get_path("purelib")) / "nvidia/cu13/bin"
)  # pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm
TOOLS = f"{os.environ.get('PATH', '')}{os.pathsep}{WHEEL}"

pytestmark = [
    pytest.mark.slow,  # minutes of nvcc; .ci/run has the build itself refuse spilled registers
    pytest.mark.skipif(
        not (CUDA.exists() and shutil.which("nvcc")), reason="needs nvcc and the sources beside the tests"
    ),
]


def command(*arguments: str | Path) -> str:
    done = subprocess.run(
        arguments,
        check=False,
        text=True,
        env={**os.environ, "PATH": TOOLS},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Name of a loop -> its object file for sm_90, and what ptxas said."""
    folder = tmp_path_factory.mktemp("sass")

    def one(name: str) -> tuple[Path, str]:
        output = folder / f"{name}.o"
        source = CUDA / f"{name}.cu"
        return output, command("nvcc", *FLAGS, "-arch=sm_90", "-Xptxas", "-v", "-c", source, "-o", output)

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(LOOPS, pool.map(one, LOOPS), strict=True))


@pytest.mark.parametrize("name", LOOPS)
def test_no_register_is_spilled(compiled: dict[str, tuple[Path, str]], name: str) -> None:
    kernels = re.findall(r"Function properties for (\S+)\n\s*(\d+ bytes stack frame.*)", compiled[name][1])
    assert kernels
    bad = [f"{kernel}: {words}" for kernel, words in kernels if re.findall(r"\d+", words) != ["0", "0", "0"]]
    assert not bad, "\n".join(bad)


@pytest.mark.skipif(
    not (shutil.which("cuobjdump", path=TOOLS) and shutil.which("nvdisasm", path=TOOLS)),
    reason="needs cuobjdump and nvdisasm",
)
@pytest.mark.parametrize("name", PACKETS)
def test_every_kernel_moves_16_bytes_at_a_time(compiled: dict[str, tuple[Path, str]], name: str) -> None:
    """Loads of every kernel, and stores of those that write an array."""
    functions = re.split(r"Function : ", command("cuobjdump", "-sass", compiled[name][0]))[1:]
    kernels = {text.split(None, 1)[0]: text for text in functions}
    kernels = {kernel: text for kernel, text in kernels.items() if "step_kernel" not in kernel}  # rows of numbers
    assert kernels
    for kernel, text in kernels.items():
        assert re.search(r"LDG\.E\.(\w+\.)*128", text), f"{kernel} has no 16-byte load"
        if not re.search(NUMBERS_ALONE, kernel):
            assert re.search(r"STG\.E\.(\w+\.)*128", text), f"{kernel} has no 16-byte store"
