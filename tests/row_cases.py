"""Ways of calling the losses over rows, read from the registry: every value of every option, and every pair of them."""

from __future__ import annotations

import inspect
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Further values of hyper-parameters; others get three quarters of their default and a bit.
OTHER: dict[tuple[str, str], tuple[Any, ...]] = {
    ("bi_tempered_logistic_loss", "t1"): (0.8, 0.25),
    ("bi_tempered_logistic_loss", "t2"): (1.25, 4.0, 0.9),
    ("triplet_margin_loss", "p"): (1.0, 3.5),
    ("softmax_focal_loss", "gamma"): (0.0, 0.5),
    ("dice_loss", "smooth"): (0.25,),
    ("tversky_loss", "gamma"): (0.75, 2.0),
}


@dataclass(frozen=True, eq=False)  # hashed by identity
class RowCase:
    """A loss over rows with its options; arrays(rng, shape, dtype) makes its arrays and the options that are arrays.

    target is what the labels are: "ids", "int32", "ignored" (ids, of which some are ignored) or "soft" (a distribution for each row).
    """

    op: Any
    options: dict[str, Any] = field(default_factory=dict)
    target: str = ""
    weight: bool = False

    by_rows = True

    def __str__(self) -> str:
        texts = [f"{k}={v}" for k, v in self.options.items()]
        return "-".join([self.op.__name__, *filter(None, [self.target, "weight" if self.weight else ""]), *texts])

    @property
    def name(self) -> str:
        """The reduction, if there is nothing else to tell the case from the defaults."""
        plain = len(self.options) == 1 and self.target in {"", "ids"} and not self.weight
        return str(self.options["reduction"]) if plain else str(self)

    @property
    def ids(self) -> bool:
        return self.target in {"ids", "int32", "ignored"}

    @property
    def differentiable(self) -> list[int]:
        """Which of the arrays have a gradient."""
        return [self.op.arrays.index(g) for g in self.op.grads]

    def gradients(self, result: Any) -> tuple[np.ndarray, ...]:
        """The gradients that value_and_grad (with its value) or backward returned, as a tuple."""
        return result if isinstance(result, tuple) else (result,)

    def row_axes(self, ndim: int) -> list[int]:
        """The dimensions of a row, from the signature."""
        parameters = inspect.signature(self.op).parameters
        if "axis" in parameters:
            axis = self.options.get("axis", parameters["axis"].default)
            return [axis % ndim if "axis" in self.options else min(axis, ndim - 1) % ndim]
        axes = self.options.get("axes")
        if axes is None:
            return list(range(min(self.op.first_axis, ndim - 1), ndim))
        return [a % ndim for a in (axes if isinstance(axes, tuple) else (axes,))]

    def of_rows(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of what there is one of for each row."""
        return tuple(n for d, n in enumerate(shape) if d not in self.row_axes(len(shape)))

    def arrays(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any
    ) -> tuple[tuple[np.ndarray, ...], dict[str, Any]]:
        """(arrays, options)."""
        if self.op.first_axis == 1 and len(shape) == 1:  # its first dimension counts examples
            shape = (1, *shape)
        options = dict(self.options)
        classes = int(np.prod([shape[d] for d in self.row_axes(len(shape))]))
        if self.weight:
            options["weight"] = rng.uniform(0.25, 2, classes).astype(dtype)
        if self.target == "ignored":
            options["ignore_index"] = 1
        return tuple(self.drawn(name, rng, shape, classes, dtype) for name in self.op.arrays), options

    def drawn(
        self, name: str, rng: np.random.Generator, shape: tuple[int, ...], classes: int, dtype: Any
    ) -> np.ndarray:
        rows = self.of_rows(shape)
        if name == self.op.per_row:
            return rng.choice([1.0, -1.0], rows).astype(np.float64 if dtype == np.float64 else np.float32)
        if name == self.op.label and self.target == "soft":
            return rng.uniform(0, 2 / max(1, classes), shape).astype(dtype)
        if name == self.op.label:
            ids = rng.integers(0, max(1, classes), rows)
            if self.target == "ignored":
                ids = np.where(rng.uniform(size=rows) < 0.25, 1, ids)
            return ids.astype(np.int32 if self.target == "int32" else np.int64)
        low, high = self.op.domain.get(name, (-6.0, 6.0))
        return rng.uniform(low, high, shape).astype(dtype)


# The largest term of a loss whose terms cancel: what its error is to be measured against. Others: the loss itself.
TERMS: dict[str, Any] = {
    "triplet_margin_loss": lambda loss, anchor, near, _, **options: loss(
        anchor, near, anchor - options.get("eps", 1e-6), **options
    ),
}


def settings(op: Any) -> dict[str, list[Any]]:
    """Every option with its values, the default first. Those in brackets are the case's own."""
    parameters = inspect.signature(op).parameters
    found: dict[str, list[Any]] = {"reduction": ["mean", "sum", "none"]}
    if op.label:
        found["<target>"] = ["ids", "int32", "ignored"] + (["soft"] if op.soft else [])
    if "weight" in parameters:
        found["<weight>"] = [False, True]
    if "denominator" in parameters:
        default = parameters["denominator"].default
        found["denominator"] = [default, "count" if default == "weight" else "weight"]
    for name, of in op.variants.items():
        found[name] = sorted(of, key=lambda value, name=name: value != parameters[name].default)
    for name, p in parameters.items():
        if type(p.default) is bool and name not in found:
            found[name] = [p.default, not p.default]
        if isinstance(p.default, float):
            found[name] = [p.default, *OTHER.get((op.__name__, name), (0.75 * p.default + 0.1,))]
    if "num_iters" in parameters:
        found["num_iters"] = [None, 5]
    return found


def pairwise(options: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Few choices of a value for each option, so that every pair of values is in one of them; the first are all defaults."""
    names, draw = list(options), random.Random(1)
    chosen = [{name: values[0] for name, values in options.items()}]

    def pairs(case: dict[str, Any]) -> set[tuple[Any, ...]]:
        return {
            (a, options[a].index(case[a]), b, options[b].index(case[b])) for a, b in itertools.combinations(names, 2)
        }

    missing = {
        (a, i, b, j)
        for a, b in itertools.combinations(names, 2)
        for i in range(len(options[a]))
        for j in range(len(options[b]))
    } - pairs(chosen[0])
    while missing:
        a, i, b, j = min(missing)
        tries = []
        for _ in range(20):
            case = {name: draw.choice(values) for name, values in options.items()}
            tries.append({**case, a: options[a][i], b: options[b][j]})
        chosen.append(max(tries, key=lambda case: len(pairs(case) & missing)))
        missing -= pairs(chosen[-1])
    return chosen


def row_cases(op: Any) -> Iterator[RowCase]:
    """Each value of each option beside the defaults, and pairs of values."""
    options = settings(op)
    default = {name: values[0] for name, values in options.items()}
    alone = [{**default, name: value} for name, values in options.items() for value in values[1:]]
    for case in [*alone, *pairwise(options)]:
        target, weight = case.pop("<target>", ""), case.pop("<weight>", False)
        parameters = inspect.signature(op).parameters
        kept = {k: v for k, v in case.items() if k == "reduction" or v != parameters[k].default}
        yield RowCase(op, kept, target, weight)
