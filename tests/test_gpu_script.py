"""bench/gpu.sh with programs that only pretend: whatever fails or is cut, the later steps run, and the last lines say how each ended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "bench/gpu.sh"
PRETEND = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$*" in
  *"$FAILS"*) exit 3 ;;
  *"$HANGS"*) exit 124 ;;
  *--html*) for last; do :; done; : >"$last"; : >"$OUT/gpu.json" ;;
esac
"""

pytestmark = pytest.mark.skipif(
    not (SCRIPT.exists() and shutil.which("bash") and shutil.which("timeout")),
    reason="needs bash, timeout and the sources",
)


def run(folder: Path, *, fails: str = "nothing", hangs: str = "nothing", **environment: str) -> tuple[int, str, str]:
    """(exit status, the end of the log, what was called)."""
    tools, out = folder / "tools", folder / "out"
    tools.mkdir()
    for name in ("pretended", "nvidia-smi", "nvcc", "compute-sanitizer"):
        (tools / name).write_text(PRETEND)
        (tools / name).chmod(0o755)
    calls = folder / "calls"
    calls.touch()
    settings = {"PYTHON": "pretended", "OUT": str(out), "CALLS": str(calls), "FAILS": fails, "HANGS": hangs}
    paths = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", SCRIPT],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, **paths, **settings, **environment},
    )
    log = (out / "gpu.log").read_text()
    assert log == done.stdout
    return done.returncode, log[log.rindex("\n===") :] if "\n===" in log else log, calls.read_text()


def test_all_is_well(tmp_path: Path) -> None:
    status, end, calls = run(tmp_path)
    assert status == 0
    assert end.count(": ok") == 9
    assert "DLK_ONLY_TARGETS=avx2" in calls
    assert [line.split()[2] for line in calls.splitlines() if line.startswith("compute-sanitizer")] == [
        "memcheck", "racecheck", "synccheck", "initcheck",
    ]  # fmt: skip


def test_a_step_that_fails_or_hangs_is_told_and_the_others_run(tmp_path: Path) -> None:
    status, end, calls = run(tmp_path, fails="-m pytest", hangs="bench --device")
    assert status == 1
    assert "tests on the device: FAILED with code 3" in end
    assert "benchmark: cut after" in end
    assert end.count("compute-sanitizer") == calls.count("compute-sanitizer") == 4


def test_without_a_build_there_is_nothing_to_run(tmp_path: Path) -> None:
    status, log, calls = run(tmp_path, fails="pip install")
    assert status == 1
    assert "build: FAILED with code 3" in log
    assert "pytest" not in calls


def test_the_budget_bounds_all_steps(tmp_path: Path) -> None:
    status, log, calls = run(tmp_path, BUDGET="5")
    assert status == 1
    assert "build: not run, no time was left" in log
    assert "pip" not in calls


def test_every_file_with_a_test_for_the_device_is_run() -> None:
    tests = Path(__file__).parent
    marked = {path.name for path in tests.glob("test_*.py") if re.search(r"[=( ]pytest\.mark\.gpu", path.read_text())}
    borrowed = {  # the fixture of both devices
        path.name
        for path in tests.glob("test_*.py")
        if re.search(r"^from test_device import .*\bcp\b", path.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"tests/(test_\w+\.py)", SCRIPT.read_text()))
    assert named == marked | borrowed
