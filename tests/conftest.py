"""For every test: a generator seeded by the test's name, each CPU target in turn, skips that say why."""

from __future__ import annotations

import importlib.util
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# mark -> the module it needs
NEEDS = {"torch": "torch", "jax": "jax", "mpi": "mpi4py"}


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


def no_gpu() -> str | None:
    """Why the CUDA target cannot be used here; None if it can."""
    import dlkernels as dk

    cuda = dk.build_info()["cuda"]
    return None if cuda["usable"] else f"no CUDA: {cuda['reason']}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `target` runs once for each CPU target of this machine, best first."""
    parametrized = any("target" in str(mark.args[0]) for mark in metafunc.definition.iter_markers("parametrize"))
    if "target" in metafunc.fixturenames and not parametrized:
        import dlkernels as dk

        metafunc.parametrize("target", dk.targets(), indirect=True)


@pytest.fixture
def target(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the CPU target in force; the former one is restored."""
    import dlkernels as dk

    before = dk.get_target()
    dk.set_target(request.param)
    yield request.param
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
