"""The rows: every op of the registry in every pass, dtype and size class, then what an issue asked for, and what is no op.

Sizes are those of networks: rows of 10 (digits), 1,000 (ImageNet), 4,096 (a hidden layer), 32,000 and 128,256 (vocabularies).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from typing import Any

import dlkernels as dk

from .asked import ASKED
from .problem import CHANNELS
from .row import BACKWARD, DTYPES, FROM_Y, PLAIN, REST, VALUE, VALUE_AND_GRAD, Row
from .updates import LISTS, OPTIMIZER_ROWS
from .whole import WHOLE_ROWS

DTYPE_NAMES = ("float32", "bfloat16", "float16", "float64")
_TOTAL = 4 << 20  # numbers in the longer row shapes, about

Shapes = dict[str, tuple[int, ...]]
ELEMENTS: Shapes = {"call": (16,), "L2": (1 << 15,), "LLC": (1 << 20,), "memory": (1 << 24,)}
ROWS: Shapes = {
    "call": (1, 16),
    "rows of 10": (_TOTAL // 16, 10),
    "rows of 1,000": (4096, 1000),
    "rows of 4,096": (1024, 4096),
    "rows of 32,000": (128, 32_000),
    "rows of 128,256": (32, 128_256),
}
IMAGES: Shapes = {"small images": (8, 64, 14, 14), "images": (16, 64, 56, 56)}
MASKS: Shapes = {"small images": (4, 3, 64, 64), "images": (4, 8, 512, 512)}
VECTORS: Shapes = {"rows of 128": (8192, 128), "rows of 1,024": (4096, 1024)}
_MIDDLE = {"LLC", "rows of 1,000", "images", "rows of 1,024"}  # where dtypes and variants are compared by default
SIZES = tuple(
    dict.fromkeys([*ELEMENTS, *ROWS, *IMAGES, *VECTORS, *LISTS, "1,000 x 4,096", "process", "package", "digits"])
)

_CALLS = {
    "tanh",
    "silu",
    "dropout",
    "swiglu",
    "mse_loss",
    "softmax",
    "layer_norm",
    "cross_entropy",
}  # call overhead: one a kind
_VARIANTS = {
    "relu",
    "gelu",
    "swiglu",
    "softmax",
    "layer_norm",
    "mse_loss",
    "cross_entropy",
}  # measured cold and allocating by default


def shapes(op: Any) -> Shapes:
    """Size class -> shape, of an op's first array."""
    name = op.__name__
    if name in CHANNELS:
        return IMAGES
    if op.kind == "loss" and getattr(op, "first_axis", None) == 2:
        return MASKS
    if op.kind == "loss" and hasattr(op, "per_row") and not op.label:
        return VECTORS
    by_rows = op.kind in {"rows", "row_value", "norm", "fused"} or hasattr(op, "per_row")
    found = ROWS if by_rows or name in {"kl_div", "js_div"} else ELEMENTS
    return found if name in _CALLS else {size: shape for size, shape in found.items() if size != "call"}


def passes(op: Any) -> list[str]:
    """The calls that an op has."""
    found = [VALUE, *([VALUE_AND_GRAD] if hasattr(op, "value_and_grad") else []), BACKWARD]
    return [*found, FROM_Y] if getattr(op, "from_y", False) else found


def family(op: Any) -> str:
    """Where its definition stands: activations, regression, norms, ..."""
    return str(op.reference.__module__).rpartition(".")[2]


def _tier(op: Any, part: str, dtype: str, size: str, variant: str) -> int:
    name = op.__name__
    needed = part != FROM_Y and not (part == BACKWARD and op.kind == "loss")
    if variant != "warm":
        return DTYPES if dtype == "float32" and size in _MIDDLE and name in _VARIANTS and needed else REST
    if dtype == "float32":
        return PLAIN if needed and size != "call" else DTYPES if size == "call" else REST
    return DTYPES if needed and size in _MIDDLE and part != BACKWARD else REST


def op_rows() -> Iterator[Row]:
    """Every op x pass x dtype x size class, warm, cold and allocating; all ops in one size and pass before the next, so that a run cut
    short has seen every family.
    """
    ops = list(dk.ops.registry.values())
    for place, turn in itertools.product(range(len(ROWS)), range(4)):
        for op in ops:
            for (size, shape), part in itertools.product(
                list(shapes(op).items())[place : place + 1], passes(op)[turn : turn + 1]
            ):
                for dtype, variant in itertools.product(DTYPE_NAMES, ("warm", "cold", "allocating")):
                    tier = _tier(op, part, dtype, size, variant)
                    yield Row(op.__name__, part, dtype, shape, size, family(op), variant, tier=tier)


def all_rows() -> list[Row]:
    """Every row once, the most wanted first."""
    found: dict[str, Row] = {}
    for row in [*WHOLE_ROWS, *ASKED, *OPTIMIZER_ROWS, *op_rows()]:
        found.setdefault(row.name, row)
    return sorted(found.values(), key=lambda row: row.tier)


def chosen(
    rows: Iterable[Row],
    *,
    patterns: Iterable[str] = (),
    dtypes: Iterable[str] = (),
    sizes: Iterable[str] = (),
    tier: int = DTYPES,
) -> list[Row]:
    """The rows up to a tier, or, where a pattern is given, all that it matches; with the rows that they are measured against."""
    rows, patterns, dtypes, sizes = list(rows), list(patterns), set(dtypes), set(sizes)

    def wanted(row: Row) -> bool:
        if patterns and not any(fnmatchcase(text, p) for p in patterns for text in (row.subject, row.name, row.label)):
            return False
        limit = tier if not patterns else max(tier, DTYPES)
        narrowed = bool(dtypes or sizes) and bool(patterns)
        return (
            (not dtypes or row.dtype in dtypes) and (not sizes or row.size in sizes) and (narrowed or row.tier <= limit)
        )

    names = {row.name for row in rows if wanted(row)}
    needed = {row.against for row in rows if row.name in names}
    return [row for row in rows if row.name in names or (row.label and row.label in needed)]
