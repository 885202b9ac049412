"""For every test: a generator seeded by the test's name, the CPU targets in turn, skips that say why; and what runs beside what.

The suite grows with the registry, its time must not: a test that is parametrized takes *turns* (one target for each dtype and case, see
`turn`), the whole suite runs in one worker for each core, a file at a time, and the files that compile something begin.
"""

from __future__ import annotations

import importlib.util
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numerics import DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterator

# mark -> the module it needs
NEEDS = {"torch": "torch", "jax": "jax", "mpi": "mpi4py"}
# The files that take longest, longest first; a worker that takes one of them up last would be waited for.
FIRST = [
    "test_simt.py",
    "test_objects.py",
    "test_parallel_native.py",
    "test_bits.py",
    "test_cli.py",
    "test_packaging.py",
    "test_bench_peers.py",
    "test_device.py",  # takes the emulated device that test_simt.py has compiled meanwhile
    "test_optimizer_device.py",
    "test_loans.py",
]
MOST_WORKERS = 8

os.environ.setdefault("OMP_NUM_THREADS", "1")  # PyTorch's threads spin, and workers and ours would wait for them


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """For `-n auto` of pyproject.toml: a worker for each core where folders are asked for; none where files or tests are."""
    if any(not Path(argument).is_dir() for argument in config.args):
        return 0
    cores = min(MOST_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    return cores if cores > 1 else 0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked for something that is not here are skipped, with the reason in the summary (-ra)."""
    absent = {mark: module for mark, module in NEEDS.items() if importlib.util.find_spec(module) is None}
    reason = no_gpu() if any(item.get_closest_marker("gpu") for item in items) else None
    for item in items:
        for mark, module in absent.items():
            if item.get_closest_marker(mark):
                item.add_marker(pytest.mark.skip(reason=f"{module} is not installed"))
        if reason and item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason=reason))
    rank = {name: i for i, name in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(FIRST)))  # stable


def no_gpu() -> str | None:
    """Why the CUDA target cannot be used here; None if it can."""
    import dlkernels as dk

    cuda = dk.build_info()["cuda"]
    return None if cuda["usable"] else f"no CUDA: {cuda['reason']}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `target` runs once for each CPU target of this machine, best first.

    With other parameters beside it, it meets one target a turn, and all of them when slow tests are run too: that results do not
    depend on the target is what test_bits.py shows, for every op, dtype and length.
    """
    marks = list(metafunc.definition.iter_markers("parametrize"))
    if "target" not in metafunc.fixturenames or any("target" in str(mark.args[0]) for mark in marks):
        return
    import dlkernels as dk

    if not marks or "not slow" not in metafunc.config.getoption("markexpr"):
        metafunc.parametrize("target", dk.targets(), indirect=True)


def turn(request: pytest.FixtureRequest) -> int:
    """A number that counts up with a test's dtype, from a start that depends on all else in its name: four dtypes meet every target."""
    callspec = getattr(request.node, "callspec", None)
    dtype = callspec.params.get("dtype") if callspec else None
    start = zlib.crc32(request.node.nodeid.replace(str(dtype), "").encode())
    return start + (list(DTYPES).index(dtype) if dtype in DTYPES else 0)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the CPU target in force; the former one is restored."""
    import dlkernels as dk

    before = dk.get_target()
    name = getattr(request, "param", None) or dk.targets()[turn(request) % len(dk.targets())]
    dk.set_target(name)
    request.node.add_report_section("setup", "target", name)
    yield name
    dk.set_target(before)


@pytest.fixture
def threads() -> Iterator[None]:
    """For tests that call dk.set_num_threads: the former number is restored."""
    import dlkernels as dk

    before = dk.get_num_threads()
    yield
    dk.set_num_threads(before)


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers that depend on the test's name alone, not on what ran before."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))
