"""What `pip install .` gives: a complete source distribution, a small wheel, an import that drags nothing
along, a library that a CMake project finds, and a CPU build wherever CUDA does not work."""

from __future__ import annotations

import importlib.metadata
import io
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import builds
import pytest

import dlkernels as dk

PACKAGE = Path(dk.get_include()).parent
WHEEL_LIMIT = 3_450_000  # bytes, without CUDA: docs/decisions/0011 and 0018

CONSUMER = {
    "CMakeLists.txt": """
        cmake_minimum_required(VERSION 3.24)
        project(consumer LANGUAGES C)
        set(CMAKE_C_STANDARD 99)
        find_package(dlkernels 0.1 CONFIG REQUIRED)
        add_executable(consumer main.c)
        target_link_libraries(consumer PRIVATE dlkernels::dlkernels)
    """,
    "main.c": """
        #include <dlkernels/dlkernels.h>
        #include <stdio.h>
        int main(void) {
          float x[3] = {-1, 0.5f, 2}, y[3];
          int64_t shape[1] = {3};
          dlk_tensor in = {x, DLK_F32, 1, shape, NULL}, out = {y, DLK_F32, 1, shape, NULL};
          if (dlk_map("relu", "", &in, 1, &out, NULL, 0) != DLK_OK) return puts(dlk_last_error());
          return printf("%d: %g %g %g\\n", dlk_abi_version(), y[0], y[1], y[2]) < 0;
        }
    """,
}
SAID = "1: 0 0.5 2\n"


def shared_objects() -> list[Path]:
    """The compiled files of the installed package."""
    found = sorted(PACKAGE.rglob("*.so*"))
    assert {path.name.split(".")[0] for path in found} >= {"_core", "libdlkernels"}
    return found


@pytest.fixture
def broken_nvcc(tmp_path: Path) -> dict[str, str]:
    """An environment in which nvcc is found first and does not work."""
    nvcc = tmp_path / "bin" / "nvcc"
    nvcc.parent.mkdir()
    nvcc.write_text("#!/bin/sh\necho 'nvcc: cannot find its own headers' >&2\nexit 1\n", encoding="utf-8")
    nvcc.chmod(0o755)
    return {"PATH": f"{nvcc.parent}{os.pathsep}{os.environ['PATH']}"}


def configure(folder: Path, env: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """CMake's answer for the C library alone: what check_language decides does not depend on Python."""
    ninja = f"-DCMAKE_MAKE_PROGRAM={builds.tool('ninja')}"
    command = (
        builds.tool("cmake"),
        "-S",
        builds.ROOT,
        "-B",
        folder,
        "-G",
        "Ninja",
        ninja,
        "-DDLK_PYTHON=OFF",
    )
    return builds.attempt(*command, *options, env=env)


# --- source distribution ----------------------------------------------------------------------------------


def test_the_source_distribution_holds_what_a_build_needs(tmp_path: Path) -> None:
    code = "import sys; from scikit_build_core.build import build_sdist; print(build_sdist(sys.argv[1]))"
    builds.run(sys.executable, "-c", code, tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        held = {name.partition("/")[2] for name in tar.getnames()}
    rooms = ("kernels", "cpp", "cmake", "python", "tests")
    files = (path for room in rooms for path in (builds.ROOT / room).rglob("*") if path.is_file())
    names = (path.relative_to(builds.ROOT).as_posix() for path in files)
    wanted = {name for name in names if not re.search(r"(^|/)(__pycache__|\.\w+_cache)/", name)}
    wanted |= {"CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE"}
    assert not wanted - held
    assert not [name for name in held if name.startswith(("build/", ".git/")) or name.endswith((".so", ".o"))]


def test_the_version_is_written_once() -> None:
    text = (builds.ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (version,) = re.findall(r'^version = "([^"]+)"', text, re.MULTILINE)
    assert dk.__version__ == importlib.metadata.version("dlkernels") == dk.build_info()["version"] == version


# --- import -------------------------------------------------------------------------------------------------


def test_import_brings_no_framework_and_starts_no_thread() -> None:
    code = (
        "import os, sys, numpy, ml_dtypes\n"
        "before = set(sys.modules), len(os.listdir('/proc/self/task'))\n"
        "import dlkernels\n"
        "assert len(os.listdir('/proc/self/task')) == before[1], 'a thread was started'\n"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before[0]}))\n"
    )
    brought = set(builds.run(sys.executable, "-c", code).split())
    assert "dlkernels" in brought
    assert brought <= {"dlkernels", *sys.stdlib_module_names}


def test_nothing_is_written_to_the_terminal_by_import() -> None:
    assert builds.run(sys.executable, "-W", "error", "-c", "import dlkernels") == ""


# --- wheel --------------------------------------------------------------------------------------------------


def test_the_cpu_part_is_small() -> None:
    """As a wheel stores it: deflated. The real wheel is weighed by the slow test below."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path in PACKAGE.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("_cuda."):
                wheel.write(path, path.relative_to(PACKAGE))
    assert 20_000 < len(packed.getvalue()) < WHEEL_LIMIT


def test_libraries_need_only_the_c_and_cpp_runtime() -> None:
    """No libcuda, no libcudart, no OpenMP: so the wheel imports on any Linux machine of its architecture."""
    allowed = r"lib(dlkernels|stdc\+\+|gcc_s|m|c|pthread|dl|rt)\.so(\.\d+)?|ld-linux-.*"
    for path in shared_objects():
        needed = re.findall(r"\(NEEDED\).*\[(.+)\]", builds.run(builds.tool("readelf"), "-d", path))
        assert needed
        assert [name for name in needed if not re.fullmatch(allowed, name)] == []


def test_the_library_shows_only_its_own_names() -> None:
    text = builds.run(builds.tool("nm"), "-DC", "--defined-only", PACKAGE / "lib" / "libdlkernels.so")
    names = [line.split(maxsplit=2)[2] for line in text.splitlines()]
    assert any(name.startswith("dlk_") for name in names)
    own = re.compile(r"dlk_\w+$|(typeinfo (name )?for |vtable for )?dlk::|.*\bdlk::\w+.*\(")
    assert [name for name in names if not own.match(name)] == []


def test_typed() -> None:
    assert (Path(dk.__file__).parent / "py.typed").exists()


@pytest.mark.slow  # compiles everything
def test_a_broken_nvcc_gives_a_small_cpu_wheel(tmp_path: Path, broken_nvcc: dict[str, str]) -> None:
    pip = (sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "-w", tmp_path)
    builds.run(*pip, builds.ROOT, env={**broken_nvcc, "DLKERNELS_CUDA": "AUTO"})
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size < WHEEL_LIMIT
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert any(name.startswith("dlkernels/_core.") for name in names)
    assert not any(name.startswith("dlkernels/_cuda.") for name in names)


# --- CUDA or not --------------------------------------------------------------------------------------------


def test_a_broken_nvcc_means_a_cpu_build(tmp_path: Path, broken_nvcc: dict[str, str]) -> None:
    done = configure(tmp_path / "b", broken_nvcc, "-DDLK_CUDA=AUTO")
    assert done.returncode == 0, done.stdout
    assert "CUDA OFF (asked: AUTO)" in done.stdout


def test_cuda_on_with_a_broken_nvcc_is_an_error_with_remedies(tmp_path: Path, broken_nvcc: dict[str, str]) -> None:
    done = configure(tmp_path / "b", broken_nvcc, "-DDLK_CUDA=ON")
    assert done.returncode != 0
    said = " ".join(done.stdout.split())
    assert "DLKERNELS_CUDA=ON, but no working CUDA compiler was found" in said
    assert "CUDACXX" in said
    assert "DLKERNELS_CUDA_WHEELS=13" in said


@pytest.mark.parametrize("option", ["-DDLK_CUDA=yes", "-DCMAKE_CXX_FLAGS=-ffast-math"])
def test_a_wrong_option_is_refused(tmp_path: Path, option: str) -> None:
    done = configure(tmp_path / "b", {}, option)
    assert done.returncode != 0
    assert "DLK_CUDA (DLKERNELS_CUDA) must be" in done.stdout or "remove -ffast-math" in done.stdout


def test_build_info_tells_why_cuda_is_not_usable() -> None:
    cuda = dk.build_info()["cuda"]
    assert cuda["usable"] or cuda["reason"]
    assert cuda["built"] == any(path.name.startswith("_cuda.") for path in shared_objects())


# --- downstream ---------------------------------------------------------------------------------------------


def test_a_cmake_project_finds_and_links_the_library(tmp_path: Path) -> None:
    for name, text in CONSUMER.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    folder = tmp_path / "b"
    builds.run(
        *(builds.tool("cmake"), "-S", tmp_path, "-B", folder, "-G", "Ninja"),
        *(f"-DCMAKE_MAKE_PROGRAM={builds.tool('ninja')}", f"-Ddlkernels_DIR={dk.get_cmake_dir()}"),
    )
    builds.run(builds.tool("cmake"), "--build", folder)
    assert builds.run(folder / "consumer") == SAID


def test_pkg_config_file_is_relocatable(tmp_path: Path) -> None:
    (pc,) = PACKAGE.rglob("dlkernels.pc")
    text = pc.read_text(encoding="utf-8")
    assert "prefix=${pcfiledir}/../..\n" in text
    assert f"Version: {dk.__version__}\n" in text
    assert (pc.parent / ".." / ".." / "include" / "dlkernels" / "dlkernels.h").resolve().exists()
    (tmp_path / "main.c").write_text(CONSUMER["main.c"], encoding="utf-8")
    fields = dict(re.findall(r"^(Cflags|Libs): (.*)$", text, re.MULTILINE))
    root = str(pc.parent.parent.parent)
    flags = {
        k: v.replace("${includedir}", f"{root}/include").replace("${libdir}", f"{root}/lib") for k, v in fields.items()
    }
    program = tmp_path / "a.out"
    command = (
        builds.tool("cc"),
        *flags["Cflags"].split(),
        tmp_path / "main.c",
        "-o",
        program,
        *flags["Libs"].split(),
    )
    builds.run(*command)
    assert builds.run(program) == SAID


def test_other_build_systems_are_told_where_to_look() -> None:
    groups = importlib.metadata.distribution("dlkernels").entry_points
    assert {(e.group, e.value) for e in groups} >= {
        ("cmake.root", "dlkernels"),
        ("pkg_config", "dlkernels.lib.pkgconfig"),
        ("console_scripts", "dlkernels.__main__:main"),
    }
