"""Runs the project's own CMake from a checkout, for the tests that look at what the build makes.

Everything goes into build/tests/ of the checkout (ignored by git): a second run has nothing to compile.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent


def tool(name: str) -> str:
    """A program from beside this Python (the extra `test` brings cmake and ninja), else from PATH."""
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    path = shutil.which(name, path=search)
    if path is None:
        raise FileNotFoundError(f'{name} is needed to test the build: pip install ".[test]"')
    return path


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path = ROOT) -> str:
    """stdout and stderr of a command that must succeed."""
    done = attempt(*command, env=env, cwd=cwd)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-6000:]}"
    return done.stdout


def attempt(
    *command: str | Path, env: dict[str, str] | None = None, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """A command that may fail; `env` is added to the environment."""
    merged = {**os.environ, **(env or {})}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=merged,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


@contextmanager
def locked(folder: Path) -> Iterator[Path]:
    """One process at a time in a build folder, under pytest-xdist too."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield folder


def objects() -> dict[str, list[Path]]:
    """The object files of each CPU target, compiled with the flags of CMakeLists.txt.

    DLK_OBJECTS names a build folder that holds them already (.ci/run sets it); else they are compiled here.
    """
    if ready := os.environ.get("DLK_OBJECTS"):
        return manifest(Path(ready))
    with locked(ROOT / "build" / "tests" / "objects") as folder:
        run(
            *(
                tool("cmake"),
                "-S",
                ROOT,
                "-B",
                folder,
                "-G",
                "Ninja",
                f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}",
            ),
            *("-DCMAKE_BUILD_TYPE=Release", "-DDLK_PYTHON=OFF", "-DDLK_CUDA=OFF"),
        )
        run(tool("cmake"), "--build", folder, "--target", "dlk_objects", "--parallel", str(os.cpu_count()))
        return manifest(folder)


def manifest(folder: Path) -> dict[str, list[Path]]:
    """What cmake/DlkTargets.cmake wrote: a line "target;object;object;..." for each target."""
    lines = [line.split(";") for line in (folder / "objects.txt").read_text(encoding="utf-8").splitlines()]
    return {target: [Path(path) for path in paths] for target, *paths in lines}
