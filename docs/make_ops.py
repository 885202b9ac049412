"""Writes docs/ops.md, a page about every op, from the registry: `python docs/make_ops.py`. tests/test_docs.py compares the two.

Everything is read from the op (signature, definition, bounds, source) or found by calling it (special values, gradients at kinks), so a
new op, also one of a new kind, is on the page without a line here.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dlkernels as dk

PAGE = Path(__file__).with_name("ops.md")
NAN, INF = float("nan"), float("inf")

INTRODUCTION = """# Operations

Written by `python docs/make_ops.py` from the ops themselves: do not edit.

Every op takes and gives float16, bfloat16, float32 and float64 arrays. *ULP*: the stated bound of the error of the value and of the
gradient, in units in the last place of the result's dtype (16-bit results are computed in float32 and rounded once, so theirs is 0.5
and a little; a row or a sum counts in units of its largest term). Measured errors: [accuracy.md](accuracy.md). The columns with special
values show what the compiled op returns in float64 for them, with default arguments. *Kinks*: where the derivative jumps,
as `x: value taken (from the left, from the right)`.
"""


def number(value: Any) -> str:
    """As short as it can be told: -0, NaN, 0.01."""
    return f"{float(value):.4g}".replace("nan", "NaN")


def numbers(values: Any) -> str:
    return ", ".join(number(v) for v in np.ravel(values))


def signature(call: Any) -> str:
    """Without annotations."""
    parameters = inspect.signature(call).parameters.values()
    return f"{call.__qualname__}{inspect.Signature([p.replace(annotation=p.empty) for p in parameters])}"


def required(call: Any) -> list[str]:
    return [p.name for p in inspect.signature(call).parameters.values() if p.default is p.empty]


# --- what an op does with special values: heading -> text, found by calling it -------------------------------------------------

Probe = dict[str, Callable[[Any], str]]


def kinks(op: Any) -> str:
    """Places where the derivative from the left is another than from the right, among those that ops have."""
    defaults = [p.default for p in inspect.signature(op).parameters.values() if isinstance(p.default, float)]
    places = sorted({s * v for v in [0.0, 0.5, 1.0, 2.0, 3.0, 6.0, *defaults] if np.isfinite(v) for s in (1, -1)})
    found = []
    for place in places:
        x = np.array([place - 1e-8, place, place + 1e-8])
        left, at, right = op.backward(np.ones(3), x)
        if abs(left - right) > 1e-5:
            found.append(f"{number(place)}: {number(at)} ({number(left)}, {number(right)})")
    return "; ".join(found) or "none"


def slope(op: Any, *x: float) -> str:
    return numbers(op.backward(np.ones(len(x)), np.array(x)))


def loss_at(op: Any, value: float) -> str:
    """Loss and gradient of one element or row, the other arrays in the middle of what is drawn for them."""
    arrays = required(op)
    domain = op.domain if isinstance(op.domain, dict) else {}
    options = {"reduction": "none"} if "none" in getattr(op, "reductions", ("none",)) else {}
    if set(arrays) <= set(domain):
        given = [np.array([sum(domain[name]) / 2]) for name in arrays]
        given[0][:] = value
    elif len(arrays) == 2:  # scores of two classes, the first of them right
        given = [np.array([[value, 0.0]]), np.array([0])]
    else:
        return "—"
    try:
        loss, grads = op.value_and_grad(*given, **options)
    except (TypeError, ValueError, IndexError) as error:
        return type(error).__name__
    return f"{numbers(loss)} ({numbers(grads[0] if isinstance(grads, tuple) else grads)})"


PROBES: dict[str, Probe] = {
    "map": {
        "value at -inf, -0, 0, inf, NaN": lambda op: numbers(op(np.array([-INF, -0.0, 0.0, INF, NAN]))),
        "slope at -inf, 0, inf, NaN": lambda op: slope(op, -INF, 0.0, INF, NAN),
        "kinks": kinks,
    },
    "rows": {
        f"of [{numbers(row)}]": lambda op, row=row: numbers(op(np.array(row)))
        for row in ([0, -INF], [-INF, -INF], [0, INF], [0, NAN])
    },
    "loss": {f"at {number(v)}: loss (gradient)": lambda op, v=v: loss_at(op, v) for v in (-INF, INF, NAN)},
}


def special_values(op: Any) -> dict[str, str]:
    """Of ops that need nothing but the arrays of their kind; others have no such columns."""
    if op.kind == "map" and required(op) != ["x"]:
        return {}
    return {heading: probe(op) for heading, probe in PROBES.get(op.kind, {}).items()}


# --- the page -------------------------------------------------------------------------------------------------------------------


def cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def table(rows: list[dict[str, str]]) -> list[str]:
    """Markdown; a column for each heading that a row has."""
    headings = list(dict.fromkeys(h for row in rows for h in row))
    lines = [headings, ["---"] * len(headings), *([cell(row.get(h, "—")) for h in headings] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def definition(op: Any) -> str:
    """The words of the definition, without its example."""
    return inspect.cleandoc(op.reference.__doc__ or "").partition(">>>")[0].strip()


def summary(op: Any) -> dict[str, str]:
    bounds = [op.ulp, *(getattr(op, name).ulp for name in ("backward",) if hasattr(op, name))]
    return {
        "op": f"[{op.__name__}](#{op.__name__})",
        "formula": definition(op).partition("\n")[0].rstrip("."),
        "ULP": " / ".join(number(b) for b in bounds),
        "source": op.source,
    }


def section(op: Any) -> list[str]:
    calls = [getattr(op, name) for name in ("value_and_grad", "backward") if hasattr(op, name)]
    lines = [f"### {op.__name__}", "", "```python", *(signature(call) for call in (op, *calls)), "```", ""]
    return [*lines, definition(op), "", f"Source: {op.source}.", ""]


def page() -> str:
    """The whole of docs/ops.md."""
    families: dict[str, list[Any]] = {}
    for op in dk.ops.registry.values():
        families.setdefault(op.reference.__module__, []).append(op)
    lines = [INTRODUCTION]
    for module, ops in families.items():
        title, _, rest = inspect.cleandoc(sys.modules[module].__doc__ or module).partition("\n\n")
        title, _, more = title.partition(". ")
        lines += [f"## {title.rstrip('.')}", "", *(text for text in (more, rest) if text), ""]
        lines += [*table([summary(op) for op in ops]), ""]
        values = [{"op": op.__name__, **found} for op in ops if (found := special_values(op))]
        lines += [*table(values), ""] if values else []
        for op in ops:
            lines += section(op)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(dk.ops.registry)} ops")
