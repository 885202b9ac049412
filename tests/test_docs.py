"""The documentation of ops is complete, and its examples are true."""

from __future__ import annotations

import doctest
import importlib.util
from pathlib import Path
from typing import Any

import pytest

import dlkernels as dk

MAKE_OPS = Path(__file__).parents[1] / "docs/make_ops.py"


def _calls() -> list[Any]:
    calls = []
    for op in dk.ops.registry.values():
        calls += [op, op.backward]
        if hasattr(op, "value_and_grad"):
            calls.append(op.value_and_grad)
    beside = [getattr(dk, name) for name in dk.__all__ if name not in dk.ops.registry]
    return calls + [f for f in beside if hasattr(f, "__qualname__") and ">>>" in (f.__doc__ or "")]


@pytest.mark.parametrize("op", dk.ops.registry.values(), ids=lambda op: op.__name__)
def test_an_op_says_what_it_is(op: Any) -> None:
    for part in ("float16, bfloat16", "Errors:", "Error bound:", ">>>", "Source:"):
        assert part in op.__doc__, f"{op.__name__}: no {part!r} in its docstring"
    assert op.source
    assert op.ulp > 0
    assert callable(op.reference)


@pytest.mark.parametrize("call", _calls(), ids=lambda call: call.__qualname__)
def test_the_examples_are_true(call: Any) -> None:
    runner = doctest.DocTestRunner(verbose=False)
    for test in doctest.DocTestFinder(recurse=False).find(call, call.__qualname__, globs={}):
        runner.run(test)
    assert runner.failures == 0
    assert call.__doc__.count(">>>") == runner.tries


@pytest.mark.parametrize("name", dk.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    assert getattr(dk, name).__doc__


@pytest.mark.skipif(not MAKE_OPS.exists(), reason="needs docs/ beside the tests")
def test_the_page_about_all_ops_is_up_to_date() -> None:
    spec = importlib.util.spec_from_file_location("make_ops", MAKE_OPS)
    make_ops = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_ops)
    assert make_ops.PAGE.read_text(encoding="utf-8") == make_ops.page(), "run: python docs/make_ops.py"
    assert all(f"### {name}\n" in make_ops.page() for name in dk.ops.registry)
