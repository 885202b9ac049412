"""``dlkernels selftest``: does this machine compute what the definitions say?

Every op's body in Python is its float64 definition; here the compiled op is held against it in each of its forms, on
every target that this machine can run: values within the documented ULP bound on special and log-spaced inputs of every
dtype, gradients against central differences of the definition, and the same bits from every target and any number of
threads. The update rules, which are no functions, are in selftest_updates.py.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np

import dlkernels as dk
from dlkernels import selftest_updates as updates
from dlkernels.ops import registry

DTYPES = ("float64", "float32", "float16", "bfloat16")
THREADS = (1, 2, 3)
# The definitions are themselves evaluated in float64, a few roundings deep: against them float64 results get
# this much.
REFERENCE_ULP = 8.0
# Central differences with a step h of 6e-6 err by h^2 / 6 = 6e-12 times the third derivative, and by what the
# definition is rounded by over 2 h, 2e-11.
GRADIENT_ERROR = 1e-9
# A step is a dozen roundings of numbers near 1, three steps deep where the compute type is the dtype itself.
UPDATE_ULP = 4.0

ELEMENTWISE = {"map", "slope"}  # kinds of ops of one array that take any number

Arrays = list[np.ndarray]


def _limits(dtype: Any) -> Any:
    """finfo, which for bfloat16 is ml_dtypes' own."""
    return ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]


def samples(dtype: str, domain: tuple[float, float], count: int = 256) -> np.ndarray:
    """Both signs of log-spaced magnitudes over the whole dtype, a dense middle, and the special values."""
    limits = _limits(dtype)
    tiny, largest = np.log2(float(limits.smallest_subnormal)), np.log2(float(limits.max))
    spread = np.exp2(np.linspace(tiny, largest, count, endpoint=False))
    middle = np.linspace(max(domain[0], -20.0), min(domain[1], 20.0), count)
    special = [0.0, 1.0, 0.5, float(limits.smallest_normal), float(limits.max), np.inf]
    values = np.concatenate([spread, -spread, middle, special, np.negative(special), [np.nan]])
    return values.astype(dtype)


def ulp_error(got: np.ndarray, wanted: np.ndarray, least: float = 0.0) -> np.ndarray:
    """|got - wanted| in units of the last place at `wanted`, or at `least` if that is larger.

    inf where only one of them is NaN.
    """
    limits = _limits(got.dtype)
    largest, precision = float(limits.max), int(limits.nmant)
    g, w = got.astype(np.float64), np.asarray(wanted, np.float64)
    with np.errstate(all="ignore"):
        exponent = np.frexp(np.clip(np.abs(w), max(least, float(limits.smallest_normal)), largest))[1] - 1
        unit = np.ldexp(1.0, np.maximum(exponent - precision, -1074))
        # A definition just beyond the largest number may round to it or to infinity: count infinity as one
        # step further (float64 has no number there, and infinity must meet infinity).
        bounded = np.clip(w, -largest - unit, largest + unit)
        error = np.abs(np.where(np.isinf(g), np.copysign(largest + unit, g), g) - bounded) / unit
    error = np.where((g == w) | (np.isnan(g) & np.isnan(w)), 0.0, error)
    return np.where(np.isnan(error), np.inf, error)  # a NaN compares as nothing and would pass for right


Form = tuple[str, dict[str, Any]]  # what the table calls it, and the options that make it


def knows(op: Any) -> bool:
    """Can Case call it? Elementwise ops, rows, and losses of an input of any sign and a target; the other families have the test suite."""
    if op.kind != "loss":
        return op.kind in {"map", "gate", "rows", "random"}
    if "none" not in getattr(op, "reductions", ("none",)) or op.__name__ == "hinge_embedding_loss":
        return False  # its targets are exactly 1 and -1
    names = inspect.signature(op.reference).parameters
    arrays = [p.name for p in names.values() if p.default is p.empty]
    rows = "ignore_index" in names and "label_smoothing" in names
    return arrays == ["input", "target"] and (rows or "axis" not in names) and op.domain.get("input", (-1, 1))[0] <= -1


def forms(name: str, op: Any) -> Iterator[Form]:
    """An op in each of the ways that have a formula of their own."""
    yield name, {}
    for option, values in getattr(op, "variants", {}).items():
        default = inspect.signature(op.reference).parameters[option].default
        yield from ((f"{name} {value}", {option: value}) for value in values if value != default)
    if op.kind == "loss" and "ignore_index" in inspect.signature(op.reference).parameters:
        yield f"{name} soft", {"soft": True}
        yield f"{name} weighted", {"weighted": True, "label_smoothing": 0.125, "ignore_index": 3}


class Case:
    """How to call one op on arrays of one dtype: its differentiable input, the other arguments, its definition."""

    def __init__(self, op: Any, x: np.ndarray, form: dict[str, Any]) -> None:
        names = inspect.signature(op.reference).parameters
        self.op, self.x = op, x
        self.rest: Arrays = []
        # Hyper-parameters that every dtype holds exactly: rounding 0.01 is not the kernel's error.
        self.options: dict[str, Any] = {
            name: float(np.float16(p.default)) for name, p in names.items() if type(p.default) is float
        }
        self.options.update({name: value for name, value in form.items() if name in names})
        if "seed" in names:
            self.options["seed"] = 7
        rng = np.random.default_rng(0)
        if op.kind == "gate":
            self.rest = [rng.normal(0, 2, x.shape).astype(x.dtype)]
        if op.kind == "loss":
            self.options["reduction"] = "none"
            ids = "ignore_index" in names and not form.get("soft")
            shares = rng.random(x.shape)
            shares /= shares.sum(axis=1, keepdims=True)
            self.rest = [rng.integers(0, x.shape[1], len(x)) if ids else shares.astype(x.dtype)]
            if form.get("weighted"):
                self.options["weight"] = (1 + np.arange(x.shape[1]) / 4).astype(x.dtype)

    def value(self) -> np.ndarray:
        return np.asarray(self.op(self.x, *self.rest, **self.options))

    def reference(self, x: np.ndarray) -> np.ndarray:
        """The float64 definition at x."""

        def wide(value: Any) -> Any:
            return value.astype(np.float64) if isinstance(value, np.ndarray) and value.dtype == self.x.dtype else value

        options = {name: wide(value) for name, value in self.options.items()}
        with np.errstate(all="ignore"):
            return np.asarray(self.op.reference(wide(x), *map(wide, self.rest), **options))

    def backward(self, dy: np.ndarray) -> np.ndarray:
        """The compiled gradient of sum(dy * value)."""
        if self.op.kind == "loss":
            return np.asarray(self.op.backward(dy, self.x, *self.rest, **self.options))
        if "seed" in self.options:
            return np.asarray(self.op.backward(dy, **self.options))
        saved = self.value() if self.op.kind == "rows" else self.x
        gradient = self.op.backward(dy, saved, *self.rest, **self.options)
        return np.asarray(gradient[0] if isinstance(gradient, tuple) else gradient)

    def differences(self, dy: np.ndarray, step: float = 6e-6) -> np.ndarray:
        """The same gradient by central differences of the definition; the error is about step^2."""
        x, gradient = self.x.astype(np.float64), np.empty(self.x.shape)
        for index in np.ndindex(x.shape):
            high, low = x.copy(), x.copy()
            high[index] += step
            low[index] -= step
            change = (self.reference(high) - self.reference(low)) / (high[index] - low[index])
            gradient[index] = np.sum(change * dy.astype(np.float64))
        return gradient


def value_case(op: Any, form: dict[str, Any], dtype: str) -> Case:
    """Inputs for the value check: everything a dtype can hold for an elementwise op, ordinary logits for a
    row op.
    """
    if op.kind in ELEMENTWISE:
        return Case(op, samples(dtype, op.domain), form)
    rows = np.random.default_rng(1).normal(0, 4, (48, 11))
    rows[0, 3] = -np.inf if op.kind == "rows" else -40
    return Case(op, rows.astype(dtype), form)


def worst_ulp(op: Any, form: dict[str, Any], dtype: str) -> float:
    """The largest error of the compiled value, in ULP of the result's dtype."""
    case = value_case(op, form, dtype)
    # What is computed from a whole row is a difference of numbers near 1 or larger, whatever is left of it.
    least = 0.0 if op.kind in ELEMENTWISE else 1.0
    got, wanted = case.value(), case.reference(case.x)
    error = ulp_error(got, wanted, least)
    if op.kind in ELEMENTWISE and got.dtype == wanted.dtype:
        # The definition, evaluated in the very precision it judges, rounds x on its way (x / sqrt 2 in gelu): it is
        # known to no more than what one step of x changes.
        with np.errstate(all="ignore"):
            steps = [np.nextafter(case.x, side) for side in (-np.inf, np.inf)]
        unsure = np.fmax(*(ulp_error(case.reference(step), wanted) for step in steps))
        error = np.where(np.isfinite(unsure) & np.isfinite(error), np.fmax(error - unsure, 0.0), error)
    return float(np.max(error))


def gradient_error(op: Any, form: dict[str, Any]) -> float:
    """The largest relative difference between the compiled float64 gradient and the definition's slope."""
    rng = np.random.default_rng(2)
    x = rng.uniform(0.05, 3, (5, 7)) * rng.choice([-1, 1], (5, 7))  # away from the kink at zero
    case = Case(op, x, form)
    dy = rng.standard_normal(case.value().shape)
    got, wanted = case.backward(dy), case.differences(dy)
    return float(np.max(np.abs(got - wanted) / np.maximum(1.0, np.abs(wanted))))


def bits(op: Any, form: dict[str, Any], dtype: str) -> bytes:
    """The exact result, value and gradient, on enough elements to occupy several threads."""
    rng = np.random.default_rng(3)
    shape = (150_001,) if op.kind in ELEMENTWISE else (1501, 101)
    case = Case(op, rng.normal(0, 3, shape).astype(dtype), form)
    value = case.value()
    dy = rng.standard_normal(value.shape).astype(value.dtype)
    return value.tobytes() + case.backward(dy).tobytes()


Cell = tuple[str, bool]  # what was found, and whether it is right


def on_every_target(function: Callable[..., Any], *args: Any) -> Iterator[Any]:
    """``function(*args)`` with each target in force."""
    for target in dk.targets():
        dk.set_target(target)
        yield function(*args)


def same_bits(function: Callable[..., Any], *args: Any) -> Cell:
    """Whether ``function(*args, dtype)`` is one and the same over targets and threads, for every dtype."""
    found: dict[str, set[bytes]] = {dtype: set() for dtype in DTYPES}
    for count in THREADS:
        dk.set_num_threads(count)
        for dtype in DTYPES:
            found[dtype].update(on_every_target(function, *args, dtype))
    same = all(len(results) == 1 for results in found.values())
    return ("same" if same else "differ"), same


def check(op: Any, form: dict[str, Any]) -> Iterator[Cell]:
    """One cell a dtype, then the gradient, then the bits."""
    for dtype in DTYPES:
        worst = max(on_every_target(worst_ulp, op, form, dtype))
        yield f"{worst:.3g}", worst <= op.ulp + (REFERENCE_ULP if dtype == "float64" else 0)
    error = np.max(list(on_every_target(gradient_error, op, form)))  # a NaN stays one
    yield f"{error:.0e}", bool(error < GRADIENT_ERROR)
    yield same_bits(bits, op, form)


def check_update(rule: str) -> Iterator[Cell]:
    """The same cells for an update rule; it has no gradient."""

    def worst_step(dtype: str) -> float:
        got, wanted = updates.steps(rule, dtype, 300), updates.definition(rule, dtype, 300)
        return float(np.max(ulp_error(got, wanted, least=1.0)))

    for dtype in DTYPES:
        worst = max(on_every_target(worst_step, dtype))
        yield f"{worst:.3g}", worst <= UPDATE_ULP
    yield "", True
    yield same_bits(lambda dtype: updates.steps(rule, dtype, 150_001).tobytes())


def table() -> Iterator[tuple[str, float, Iterator[Cell]]]:
    """(name, bound, cells) of every row."""
    for name, op in registry.items():
        if not knows(op):
            continue
        yield from ((label, op.ulp, check(op, form)) for label, form in forms(name, op))
    yield from ((rule, UPDATE_ULP, check_update(rule)) for rule in updates.RULES)


def run_selftest(_args: argparse.Namespace) -> int:
    """Print the table; 1 if anything is wrong."""
    print(f"dlkernels {dk.__version__}: targets {', '.join(dk.targets())}; threads {THREADS}")
    print("Largest error in ULP by dtype; gradients against central differences; bits over targets and threads.")
    print(f"\n{'op':<23}{'bound':>6}", *(f"{name:>9}" for name in (*DTYPES, "gradient", "bits")))
    home, threads = dk.get_target(), dk.get_num_threads()
    rows = failures = 0
    try:
        for name, bound, cells in table():
            found = list(cells)
            rows, failures = rows + 1, failures + sum(not right for _, right in found)
            shown = (text if right else f"!{text}" for text, right in found)
            print(f"{name:<23}{bound:>6g}", *(f"{text:>9}" for text in shown), flush=True)
    finally:
        dk.set_target(home)
        dk.set_num_threads(threads)
    print(f"\n{rows} rows: " + (f"{failures} checks FAILED (marked !)" if failures else "all right"))
    return 1 if failures else 0
