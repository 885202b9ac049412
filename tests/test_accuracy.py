"""The committed error table (bench/accuracy.py, docs/accuracy.md): within the stated bounds, and its hashes are those of today's bits.

A hash that differs means that a result has changed: say so in CHANGELOG.md and measure again, `python -m bench.accuracy --only NAME`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numerics
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
if (ROOT / "bench/results").exists():
    sys.path.insert(0, str(ROOT))
    from bench import accuracy

    TABLE: dict[str, Any] = accuracy.newest()
else:
    pytest.skip("needs bench/ and its results beside the tests", allow_module_level=True)

ROWS = {(r["op"], r["pass"], r["dtype"]): r for r in TABLE["rows"]}
COMPLETE = {(r["op"], r["pass"]): r for r in TABLE["exhaustive"]}


def test_the_page_says_what_was_measured() -> None:
    assert accuracy.PAGE.read_text() == accuracy.page(TABLE), "run: python -m bench.accuracy --page"


def test_measured_errors_are_within_the_bounds() -> None:
    for key, row in ROWS.items():
        case = accuracy.CASES[key[0]]
        stated = case.op.ulp if key[1] == "value" else case.op.backward.ulp
        assert row["ulp"] <= numerics.bound(stated, key[2]), f"{key}: {row['ulp']} ULP at {row['at']}"
    for (name, which), row in COMPLETE.items():
        if which != "math.h":
            op = accuracy.CASES[name].op
            assert row["ulp"] <= (op.ulp if which == "value" else op.backward.ulp), row


@pytest.mark.parametrize(
    "dtype", [*numerics.HALF, *(pytest.param(d, marks=pytest.mark.slow) for d in ("float32", "float64"))]
)
@pytest.mark.parametrize("name", accuracy.CASES)
def test_the_bits_are_those_of_the_table(name: str, dtype: str, target: str) -> None:
    case = accuracy.CASES[name]
    for which, f in case.passes().items():
        x = accuracy.arguments(case, which, dtype)
        if row := ROWS.get((name, which, dtype)):
            assert accuracy.digest(f(np.ones_like(x), x)).hex() == row["sha256"], f"{name} {which} {dtype}: other bits"


@pytest.mark.slow
def test_every_op_is_in_the_table() -> None:
    missing = {(str(c), p, d) for c in accuracy.CASES.values() for p in c.passes() for d in numerics.DTYPES} - set(ROWS)
    assert not missing, f"run: python -m bench.accuracy --only {' '.join(sorted({m[0] for m in missing}))}"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "which"), list(accuracy.every_exhaustive()))
def test_every_float32(name: str, which: str) -> None:
    """All 2^32 inputs; minutes each. The hash is the committed one, whatever machine measured that."""
    found = accuracy.exhaustive(name, which)
    print(found)
    assert (name, which) in COMPLETE, f"run: python -m bench.accuracy --exhaustive {name}"
    row = COMPLETE[name, which]
    assert (found["ulp"], found["at"], found["hash"]) == (row["ulp"], row["at"], row["hash"])
