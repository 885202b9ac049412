"""What nvcc makes of the CUDA loops, for every architecture: no spilled registers, 16-byte accesses for every dtype. Nothing runs here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CUDA = ROOT / "kernels/cuda"
ROWS = ("rows_scores", "rows_losses", "rows_norms", "rows_layers")
LOOPS = ("map", *ROWS, "reduce", "labels", "update", "step", "distance", "rescale")
NO_LOOPS = {"device", "probe", "rows", "target"}  # tables, and calls of the host
# Virtual architecture -> what is made of it: a wheel's machine code for 100 and 120 comes from compute_90 (cmake/DlkCuda.cmake), a build
# for the GPU of the machine from its own, where ptxas finds other registers.
MADE_OF = {"80": ("80",), "90": ("90", "100", "120"), "100": ("100",), "120": ("120",)}
PACKETS = ("map", *ROWS, "reduce", "update", "step", "rescale")  # class ids and lines are read one by one
# What writes numbers per block, row or column, and no array of the storage type.
NUMBERS_ALONE = r"sum_kernel|magnitude_kernel|9logsumexpE|7momentsE|combine_moments|normalize_sums|pair_sums|5widenI|slope_of|sum_over_rows"
# What works on rows of numbers, on what is known of tensors, and on a number for each 4,096 elements.
ROWS_OF_NUMBERS = "step_kernel|table_kernel|trust_kernel"
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
    pytest.mark.slow,  # a quarter of an hour of nvcc; .ci/run has the build itself refuse spilled registers
    pytest.mark.skipif(
        not (CUDA.exists() and shutil.which("nvcc")), reason="needs nvcc and the sources beside the tests"
    ),
]
disassembles = pytest.mark.skipif(
    not (shutil.which("cuobjdump", path=TOOLS) and shutil.which("nvdisasm", path=TOOLS)),
    reason="needs cuobjdump and nvdisasm",
)

Made = tuple[Path, str]  # an object file, and what ptxas said


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


def compiled(source: Path, virtual: str, output: Path) -> Made:
    code = ",".join(f"sm_{real}" for real in MADE_OF[virtual])
    said = command(
        "nvcc", *FLAGS, f"--generate-code=arch=compute_{virtual},code=[{code}]", "-Xptxas", "-v", "-c", source, "-o", output
    )  # fmt: skip
    output.with_suffix(".txt").write_text(said)
    return output, said


@pytest.fixture(scope="module")
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[tuple[str, str], Future[Made]]]:
    """(Loop, virtual architecture) -> what nvcc makes of it, for all that have been asked for, at once."""
    folder = tmp_path_factory.mktemp("sass")
    asked = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    keys = dict.fromkeys((a.params["name"], a.params["virtual"]) for a in asked if a and "virtual" in a.params)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        yield {
            (name, virtual): pool.submit(compiled, CUDA / f"{name}.cu", virtual, folder / f"{name}_{virtual}.o")
            for name, virtual in keys
        }


def kernels_of(said: str) -> dict[tuple[str, str], tuple[str, str]]:
    """(kernel, architecture) -> stack frame and spills, registers; as ptxas -v says them."""
    found = re.findall(
        r"Compiling entry function '(\S+)' for '(sm_\d+)'\n.*\n\s*(\d+ bytes stack frame.*)\n.*Used (\d+) registers",
        said,
    )
    return {(kernel, arch): (memory, registers) for kernel, arch, memory, registers in found}


def spilled(said: str) -> list[str]:
    return [
        f"{kernel} {arch}: {memory}"
        for (kernel, arch), (memory, _) in kernels_of(said).items()
        if re.findall(r"\d+", memory) != ["0", "0", "0"]
    ]


def narrow(sass: str) -> tuple[int, list[str]]:
    """How many kernels there are, and those whose arrays do not move 16 bytes at a time."""
    functions = re.split(r"Function : ", sass)[1:]
    kernels = [(text.split(None, 1)[0], text) for text in functions]
    kernels = [(name, text) for name, text in kernels if not re.search(ROWS_OF_NUMBERS, name)]
    bad = [f"{name} has no 16-byte load" for name, text in kernels if not re.search(r"LDG\.E\.(\w+\.)*128", text)]
    for name, text in kernels:
        if not re.search(NUMBERS_ALONE, name) and not re.search(r"STG\.E\.(\w+\.)*128", text):
            bad.append(f"{name} has no 16-byte store")
    return len(kernels), bad


def test_every_source_is_looked_at() -> None:
    assert {path.stem for path in CUDA.glob("*.cu")} == {*LOOPS, *NO_LOOPS}


@pytest.mark.parametrize("virtual", MADE_OF)
@pytest.mark.parametrize("name", LOOPS)
def test_no_register_is_spilled(made: dict[tuple[str, str], Future[Made]], name: str, virtual: str) -> None:
    said = made[name, virtual].result()[1]
    assert {arch for _, arch in kernels_of(said)} == {f"sm_{real}" for real in MADE_OF[virtual]}
    assert said.count("Compiling entry function") == len(kernels_of(said))
    assert not spilled(said), "\n".join(spilled(said))


@disassembles
@pytest.mark.parametrize("virtual", MADE_OF)
@pytest.mark.parametrize("name", PACKETS)
def test_every_kernel_moves_16_bytes_at_a_time(
    made: dict[tuple[str, str], Future[Made]], name: str, virtual: str
) -> None:
    """Loads of every kernel, and stores of those that write an array."""
    for real in MADE_OF[virtual]:
        found, bad = narrow(command("cuobjdump", "-sass", "-arch", f"sm_{real}", made[name, virtual].result()[0]))
        assert found
        assert not bad, f"sm_{real}\n" + "\n".join(bad)


PLANTED = """
__global__ void __launch_bounds__(1024, 2) crowded(float4* x) {
  float4 v[16];
  for (int k = 0; k < 16; ++k) v[k] = x[threadIdx.x + 1024 * k];
  __syncthreads();
  for (int k = 0; k < 16; ++k) x[threadIdx.x + 1024 * k] = v[15 - k];
}
__global__ void single(float* x) { x[threadIdx.x] += 1; }
__global__ void half_way(const float4* x, float* y) { float4 v = x[threadIdx.x]; y[threadIdx.x] = v.x + v.w + v.y * v.z; }
__global__ void wide(const float4* x, float4* y) { y[threadIdx.x] = x[threadIdx.x]; }
"""


@disassembles
def test_planted_kernels_are_found(tmp_path: Path) -> None:
    source = tmp_path / "planted.cu"
    source.write_text(PLANTED)
    output, said = compiled(source, "90", tmp_path / "planted.o")
    assert len(kernels_of(said)) == 4 * len(MADE_OF["90"])
    assert {words.split()[0] for words in spilled(said)} == {"_Z7crowdedP6float4"}
    assert len(spilled(said)) == len(MADE_OF["90"])
    for real in MADE_OF["90"]:
        found, bad = narrow(command("cuobjdump", "-sass", "-arch", f"sm_{real}", output))
        assert found == 4
        assert sorted(bad) == [
            "_Z6singlePf has no 16-byte load",
            "_Z6singlePf has no 16-byte store",
            "_Z8half_wayPK6float4Pf has no 16-byte store",
        ]
