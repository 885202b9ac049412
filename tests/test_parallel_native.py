"""The thread pool in C++ alone: tests/cpp/test_parallel.cpp, compiled plainly and under sanitizers.

Cases that could hang or take the process down (fork, exit, overload) also get a process and a time limit of
their own. See cpp/parallel.h for what is promised.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[1]
POOL, CPUS, CASES = ROOT / "cpp/parallel.cpp", ROOT / "cpp/cpus.cpp", ROOT / "tests/cpp/test_parallel.cpp"
BUILDS = {
    "plain": ["-O2"],
    "condvar": ["-O2", "-DDLK_NO_FUTEX"],  # what a system other than Linux gets
    "thread": ["-O1", "-fsanitize=thread"],
    "address": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
}
RISKY = [
    "forks",
    "exceptions",
    "callers",
    "oversubscribed",
    "wakeups",
    "absent_workers",
    "exit_with_workers",
    "exit_static",
    "exit_while_busy",
]
SECONDS = 120  # a run takes 1 to 15; only a hang takes longer

pytestmark = pytest.mark.skipif(
    not (POOL.exists() and shutil.which("g++")), reason="needs g++ and the C++ sources beside the tests"
)


def compiled(output: Path, *arguments: str | Path) -> Path:
    """Compiles the pool and what `arguments` name into `output`; fails with the compiler's words."""
    flags = ["-std=c++17", "-g", "-Wall", "-Wextra", "-Werror", "-pthread"]
    command = ["g++", *flags, POOL, CPUS, *arguments, "-o", output]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Maps a name in BUILDS to the compiled test program; each is compiled once."""
    folder = tmp_path_factory.mktemp("parallel")
    return cache(lambda name: compiled(folder / name, *BUILDS[name], CASES))


def run(program: Path, *cases: str) -> str:
    """Runs the named cases (all when none is named) and fails on any exit status but 0, with the output."""
    environment = {
        **{key: value for key, value in os.environ.items() if key != "DLKERNELS_NUM_THREADS"},
        # ThreadSanitizer ends a child that starts threads after fork() unless told that we mean it.
        "TSAN_OPTIONS": "exitcode=66:halt_on_error=0:die_after_fork=0",
        "ASAN_OPTIONS": "detect_leaks=1:halt_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
    # ThreadSanitizer's address map does not fit kernels that randomize more than 28 bits; -R turns that off.
    setarch = shutil.which("setarch")
    prefix = [setarch, "-R"] if setarch and program.name == "thread" else []
    command = [*prefix, str(program), *cases]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SECONDS, env=environment)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert ", 0 failed" in done.stdout, done.stdout
    return done.stdout


@pytest.mark.parametrize("build", BUILDS)
def test_every_case_in_one_process(program: Callable[[str], Path], build: str) -> None:
    run(program(build))


@pytest.mark.parametrize("case", RISKY)
@pytest.mark.parametrize("build", BUILDS)
def test_risky_case_in_a_process_of_its_own(program: Callable[[str], Path], build: str, case: str) -> None:
    run(program(build), case)


@pytest.mark.parametrize("build", ["plain", "condvar"])
def test_threads_that_the_system_refuses_are_done_without(program: Callable[[str], Path], build: str) -> None:
    """The case limits the address space, which the sanitizers need whole."""
    run(program(build), "refused_threads")


def test_thread_sanitizer_sees_a_race(tmp_path: Path) -> None:
    """The pass above means something only where a race is reported: one unguarded counter, two ranges."""
    source = tmp_path / "race.cpp"
    source.write_text(
        f'#include "{ROOT}/cpp/parallel.h"\n'
        "int main() { dlk::set_num_threads(2); long sum = 0;\n"
        "  for (int k = 0; k < 1000; ++k)\n"
        "    dlk::parallel_for(1000, 1, [&](std::int64_t b, std::int64_t) { sum += b; });\n"
        "  return sum == 1; }\n"
    )
    racing = compiled(tmp_path / "thread", *BUILDS["thread"], source)
    with pytest.raises(AssertionError, match="data race"):
        run(racing)
