"""What there is to test, read from `dk.ops.registry`: a new op is covered by every test that is driven from here.

A Case is an elementwise op with chosen hyper-parameters; its passes are the calls that it offers. A LossCase is a way of calling a loss.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numerics import EXTENDED, Dual, compute_dtype
from row_cases import RowCase, row_cases
from scipy import special

import dlkernels as dk


@dataclass(frozen=True, eq=False)  # hashed by identity
class Case:
    """An elementwise op and its hyper-parameters; `kernel` tells variants apart."""

    op: Any
    kernel: str
    params: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join(
            [self.op.__name__, *(f"{v:g}" if isinstance(v, float) else str(v) for v in self.params.values())]
        )

    def passes(self) -> dict[str, Callable[..., Any]]:
        """name -> f(dy, x, out=None); in the pass from y, x stands for y."""
        backward = self.op.backward
        found = {
            "value": lambda dy, x, out=None: self.op(x, **self.params, out=out),
            "grad": lambda dy, x, out=None: backward(dy, x, **self.params, out=out),
        }
        if self.op.from_y:
            found["grad_y"] = lambda dy, x, out=None: backward(dy, y=x, **self.params, out=out)
        return found

    def rounded_params(self, dtype: str) -> dict[str, Any]:
        """Hyper-parameters as the kernel sees them: rounded to the type it computes in."""
        full = {
            p.name: p.default
            for p in inspect.signature(self.op).parameters.values()
            if p.default not in {None, p.empty}
        }
        kind = compute_dtype(dtype).type
        return {k: float(kind(v)) if isinstance(v, float) else v for k, v in {**full, **self.params}.items()}

    def away_from_kinks(self, x: np.ndarray) -> np.ndarray:
        """x without what is close to a point where the slope jumps."""
        params = self.rounded_params("float64")
        at = [0.0, *KINKS_BESIDE_ZERO.get(self.kernel, lambda **_: ())(**params)]
        return x[np.all([np.abs(x - kink) > 0.01 for kink in at], axis=0)]

    def exact(self, x: np.ndarray, dtype: str) -> np.ndarray:
        """The definition, in the precision of x."""
        with np.errstate(all="ignore"):
            return np.asarray(self.op.reference(x, **self.rounded_params(dtype)), dtype=x.dtype)

    def slope(self, x: np.ndarray, dtype: str) -> np.ndarray:
        """The derivative of the definition, in the precision of x."""
        params = self.rounded_params(dtype)
        with np.errstate(all="ignore"):
            if self.kernel in DERIVATIVE:
                return np.asarray(DERIVATIVE[self.kernel](x, **params), dtype=x.dtype)
            return self.op.reference(Dual(x, 1.0), **params).slope


def _gelu_slope(x: np.ndarray, approximate: str) -> np.ndarray:
    assert x.dtype != EXTENDED, "scipy's erfc is float64"
    density = np.exp(-0.5 * np.minimum(x * x, 1e4)) / math.sqrt(2 * math.pi)
    return 0.5 * special.erfc(-x / math.sqrt(2)) + np.clip(x, -100, 100) * density


def _gelu_tanh_slope(x: np.ndarray, approximate: str) -> np.ndarray:
    k, c, x = math.sqrt(2 / math.pi), 0.044715, np.clip(x, -20, 20)
    s, rest = (special.expit(sign * 2 * k * (x + c * x**3)) for sign in (1, -1))
    return s + x * s * rest * 2 * k * (1 + 3 * c * x * x)


# Where dual numbers cannot follow the definition (erfc is no ufunc of NumPy), overflow or cancel, or where a slope at a kink is agreed on.
DERIVATIVE: dict[str, Callable[..., Any]] = {
    "relu": lambda x: np.where(x <= 0, 0.0, 1.0),
    "gelu": _gelu_slope,
    "gelu_tanh": _gelu_tanh_slope,
    "softsign": lambda x: 1 / (1 + np.abs(x)) ** 2,
}

KINKS_BESIDE_ZERO: dict[str, Callable[..., tuple[float, ...]]] = {
    "hardtanh": lambda min_val, max_val: (min_val, max_val),
    "relu6": lambda: (6.0,),
    "hardsigmoid": lambda: (-3.0, 3.0),
    "hardswish": lambda: (-3.0, 3.0),
    "hardshrink": lambda lambd: (-lambd, lambd),
    "softshrink": lambda lambd: (-lambd, lambd),
    "threshold": lambda threshold, value: (threshold,),
}

# The derivative written in the output.
DERIVATIVE_FROM_Y: dict[str, Callable[..., Any]] = {
    "relu": lambda y: np.where(y <= 0, 0.0, 1.0),
    "leaky_relu": lambda y, negative_slope: np.where(y > 0, 1.0, negative_slope),
    "sigmoid": lambda y: y * (1 - y),
    "tanh": lambda y: (1 - y) * (1 + y),
    "elu": lambda y, alpha: np.where(y > 0, 1.0, y + alpha),
    "selu": lambda y: np.where(
        y > 0, 1.0507009873554805, y + np.multiply(1.0507009873554805, 1.6732632423543772, dtype=y.dtype)
    ),
    "celu": lambda y, alpha: np.where(y > 0, 1.0, (y + alpha) / alpha),
    "relu6": lambda y: np.where((y <= 0) | (y >= 6), 0.0, 1.0),
    "hardsigmoid": lambda y: np.where((y <= 0) | (y >= 1), 0.0, np.divide(1, 6, dtype=y.dtype)),
    "hardshrink": lambda y, lambd: np.where(y == 0, 0.0, 1.0),
    "softshrink": lambda y, lambd: np.where(y == 0, 0.0, 1.0),
    "softplus": lambda y, beta, threshold: np.where(beta * y > threshold, 1.0, -np.expm1(-beta * y)),
}


def ops(kind: str) -> list[Any]:
    """The registered ops of a kind that need nothing but their arrays."""
    if kind == "loss":
        return [op for op in dk.ops.registry.values() if op.kind == kind]
    arrays = {"map": ["x"], "rows": ["x"], "random": ["x", "seed"]}[kind]
    return [op for op in dk.ops.registry.values() if op.kind == kind and _required(op) == arrays]


def elementwise(op: Any) -> bool:
    """Is this loss one of elements, not of rows?"""
    return not hasattr(op, "per_row") and "axis" not in inspect.signature(op).parameters


def _required(op: Any) -> list[str]:
    return [p.name for p in inspect.signature(op).parameters.values() if p.default is p.empty]


def map_cases() -> Iterator[Case]:
    """Each elementwise op with its defaults, with each variant, and with another value for each number."""
    for op in ops("map"):
        variants = next(iter(op.variants.items()), None)
        for value, suffix in variants[1].items() if variants else [("", "")]:
            yield Case(op, op.__name__ + suffix, {variants[0]: value} if variants else {})
        numbers = {p.name: p.default for p in inspect.signature(op).parameters.values() if isinstance(p.default, float)}
        for name, default in numbers.items():
            yield Case(op, op.__name__, {name: 1.75 * default + 0.1 if math.isfinite(default) else 20.0})


MAP_CASES = list(map_cases())
MAP_PASSES = [(case, name) for case in MAP_CASES for name in case.passes()]
ROW_OPS = ops("rows")
RANDOM_OPS = ops("random")


# What an option makes of the arrays that a loss is drawn from its domain.
DRAWN: dict[tuple[str, Any], Callable[[str, np.ndarray], np.ndarray]] = {
    ("labels", "01"): lambda name, a: (a + 1) / 2 if name == "target" else a,
    ("log_target", True): lambda name, a: np.log(a) if name == "target" else a,
    ("log", True): lambda name, a: np.log(a),
}


@dataclass(frozen=True, eq=False)  # hashed by identity
class LossCase:
    """A loss with its options; arrays(rng, shape, dtype) makes its arrays and the options that are arrays.

    An elementwise loss draws each array from its domain, and those of `extra` too, as options: weight of the whole shape, some of them 0,
    others one per column.
    """

    op: Any
    name: str
    options: dict[str, Any] = field(default_factory=dict)
    extra: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.op.__name__}-{self.name}"

    by_rows = False

    @property
    def differentiable(self) -> list[int]:
        """Which of the arrays have a gradient."""
        names = _required(self.op)
        return [names.index(g) for g in self.op.grads]

    def gradients(self, result: Any) -> tuple[np.ndarray, ...]:
        """The gradients that value_and_grad (with its value) or backward returned, as a tuple."""
        return result if isinstance(result, tuple) else (result,)

    def arrays(
        self, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any
    ) -> tuple[tuple[np.ndarray, ...], dict[str, Any]]:
        """(arrays, options)."""
        options = dict(self.options)
        for name in self.extra:
            weights = rng.uniform(0.25, 2, shape if name == "weight" else shape[-1:]).astype(dtype)
            options[name] = np.where(rng.uniform(size=shape) < 0.1, 0, weights) if name == "weight" else weights
        return tuple(self.drawn(name, rng, shape).astype(dtype) for name in _required(self.op)), options

    def drawn(self, name: str, rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers from the domain that the loss states for this array: an interval, or a set to choose from."""
        domain = self.op.domain[name]
        a = rng.choice(sorted(domain), shape) if isinstance(domain, set) else rng.uniform(*domain, shape)
        for option, value in self.options.items():
            a = DRAWN.get((option, value), lambda name, a: a)(name, a)
        return a


def elementwise_cases(op: Any) -> Iterator[LossCase]:
    """Its reductions, its weights with each reduction and denominator, each choice, another value for each number, each further array."""
    parameters = inspect.signature(op).parameters
    none = {"reduction": "none"}
    for reduction in op.reductions:
        yield LossCase(op, reduction, {"reduction": reduction})
        yield LossCase(op, f"weight-{reduction}", {"reduction": reduction}, extra=("weight",))
    if "mean" in op.reductions:
        for denominator in ("weight", "count"):
            yield LossCase(
                op, f"over-{denominator}", {"reduction": "mean", "denominator": denominator}, extra=("weight",)
            )
    for choice in itertools.product(*([(name, value) for value in of] for name, of in op.variants.items())):
        if any(value != parameters[name].default for name, value in choice):
            yield LossCase(op, "-".join(f"{name}={value}" for name, value in choice), {**none, **dict(choice)})
    for p in parameters.values():
        if isinstance(p.default, float) or p.name in op.none:
            value = op.none.get(p.name, p.default)
            other = 0.75 * value + 0.1 if math.isfinite(value) else 0.5
            yield LossCase(op, f"{p.name}={other:g}", {**none, p.name: other})
        if p.default is None and p.name in op.domain:
            yield LossCase(op, p.name, none, extra=(p.name,))


def loss_cases() -> Iterator[LossCase | RowCase]:
    """Each loss with its options."""
    for op in ops("loss"):
        yield from elementwise_cases(op) if elementwise(op) else row_cases(op)


LOSS_CASES = list(loss_cases())


def plain_case(op: Any) -> LossCase | RowCase:
    """A loss with its defaults; class ids, where it takes any."""
    return RowCase(op, target="ids") if hasattr(op, "first_axis") else LossCase(op, "")


# --- calls: every callable of every op, with legal arrays -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Call:
    """A callable, the name it has in error texts, and arguments that it accepts."""

    function: Any
    name: str
    arrays: dict[str, np.ndarray]
    options: dict[str, Any] = field(default_factory=dict)
    takes_out: bool = True
    out_at: int = -1  # place of the result that `out=` receives, where there are several

    def __str__(self) -> str:
        return self.name

    def __call__(self, **changes: Any) -> Any:
        return self.function(**{**self.arrays, **self.options, **changes})

    @property
    def like(self) -> str:
        """The argument that decides dtype and shape of the result."""
        return next((name for name in self.arrays if name != "dy"), "dy")

    @property
    def float_arrays(self) -> list[str]:
        return [name for name, a in self.arrays.items() if a.dtype.kind != "i"]

    def outputs(self, result: Any) -> Any:
        """The array result that `out=` receives: the gradient, where a loss is returned beside it; the last of several
        gradients of a loss, dx among those of a norm.
        """
        while isinstance(result, tuple):
            result = result[self.out_at]
        return result


def calls(dtype: Any = np.float32, shape: tuple[int, ...] = (4, 5)) -> list[Call]:
    """Each callable of each op, on arrays of one dtype and (but for class ids) one shape."""
    rng = np.random.default_rng(0)

    def array() -> np.ndarray:
        return rng.uniform(0.1, 0.9, shape).astype(dtype)

    found = []
    for op in dk.ops.registry.values():
        name, back = op.__name__, f"{op.__name__}.backward"
        if op.kind == "map":
            found += [Call(op, name, {"x": array()}), Call(op.backward, back, {"dy": array(), "x": array()})]
            if op.from_y:
                found.append(Call(op.backward, back, {"dy": array(), "y": array()}))
        elif op.kind == "rows":
            found += [Call(op, name, {"x": array()}), Call(op.backward, back, {"dy": array(), "y": array()})]
        elif op.kind == "row_value":
            dy = rng.uniform(0.1, 0.9, shape[:-1]).astype(compute_dtype(np.dtype(dtype).name))
            found += [
                Call(op, name, {"x": array()}, takes_out=False),
                Call(op.backward, back, {"dy": dy, "x": array()}),
            ]
        elif op.kind == "random":
            found += [
                Call(op, name, {"x": array()}, {"seed": 1}),
                Call(op.backward, back, {"dy": array()}, {"seed": 1}),
            ]
        elif op.kind == "gate":
            both = {argument: array() for argument in op.arrays}
            found += [
                Call(op, name, both),
                Call(op.backward, back, {"dy": array(), **both}, takes_out=False),  # a tuple: test_gates.py
            ]
        elif op.kind == "slope":  # with a number in an array: test_slopes.py
            found += [Call(op, name, {"x": array()}), Call(op.backward, back, {"dy": array(), "x": array()})]
        elif op.kind == "loss":
            case = plain_case(op)
            arrays = dict(zip(_required(op), case.arrays(rng, shape, dtype)[0], strict=True))
            dy = np.array(1, dtype=compute_dtype(np.dtype(dtype).name))
            one = len(case.differentiable) == 1  # several gradients take a tuple of outputs: test_losses.py
            found += [
                Call(op, name, arrays, takes_out=False),
                Call(op.value_and_grad, f"{name}.value_and_grad", arrays, takes_out=one),
                Call(op.backward, back, {"dy": dy, **arrays}, takes_out=one),
            ]
        elif op.kind in {"fused", "norm"} and (len(shape) < 2 or 0 in shape):
            continue  # they need rows, and channels: test_norms.py and test_fused.py have their empty arrays
        elif op.kind == "fused":
            drop = {"p": 0.25, "seed": 1}
            found += [
                Call(op, name, {"x": array()}, drop),
                Call(op.backward, back, {"dy": array(), "x": array()}, drop),
            ]
        elif op.kind == "norm":
            options = {"num_groups": 1} if op is dk.group_norm else {"training": True} if op is dk.batch_norm else {}
            of = (*shape, 3) if op is dk.instance_norm else shape
            options["weight"] = rng.uniform(0.5, 1.5, of[1 if op.channels else -1]).astype(dtype)
            dy, x = (rng.uniform(0.1, 0.9, of).astype(dtype) for _ in range(2))
            found += [
                Call(op, name, {"x": x}, options),
                Call(op.backward, back, {"dy": dy, "x": x}, options, out_at=0),
            ]
        else:
            raise AssertionError(f"cases.calls knows no op of kind {op.kind!r}: add how it is called")
    return found


CALLS = calls()
