"""The update rules in ``dlkernels selftest``: each against its formula in NumPy, and its bits over targets and threads.

A rule moves parameters of a dtype with a state in the compute type, so the formula rounds what it keeps in the same places
and the two stay within an ULP or so of each other at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import dlkernels as dk

State = dict[str, Any]
Formula = Callable[[np.ndarray, np.ndarray, State, int, dict[str, Any]], Any]  # p, g, state, step, options -> p

STEPS = 3


def sgd(p: np.ndarray, g: np.ndarray, state: State, step: int, o: dict[str, Any]) -> Any:
    """g += wd p;  b = momentum b + (1 - dampening) g, at first g;  p -= lr (nesterov ? g + momentum b : b)."""
    g = g + o.get("weight_decay", 0.0) * p
    if "momentum" not in o:
        return p - o["lr"] * g
    b = g if step == 1 else o["momentum"] * state["b"] + (1 - o.get("dampening", 0.0)) * g
    state["b"] = b
    return p - o["lr"] * (g + o["momentum"] * b if o.get("nesterov") else b)


def adamw(p: np.ndarray, g: np.ndarray, state: State, step: int, o: dict[str, Any]) -> Any:
    """m += (1-b1)(g - m);  v += (1-b2)(g^2 - v);  p -= lr wd p;  p -= lr m / (1-b1^t) / (sqrt(v / (1-b2^t)) + eps)."""
    b1, b2 = 0.9, 0.999
    m, v = state.get("m", 0.0), state.get("v", 0.0)
    state["m"], state["v"] = m + (1 - b1) * (g - m), v + (1 - b2) * (g * g - v)
    p = p - o["lr"] * o["weight_decay"] * p
    return p - o["lr"] / (1 - b1**step) * state["m"] / (np.sqrt(state["v"] / (1 - b2**step)) + 1e-8)


RULES: dict[str, tuple[str, Formula, dict[str, Any]]] = {
    "sgd": ("SGD", sgd, {"lr": 0.1, "weight_decay": 0.01}),
    "sgd momentum": ("SGD", sgd, {"lr": 0.1, "momentum": 0.9, "dampening": 0.25, "weight_decay": 0.01}),
    "sgd nesterov": ("SGD", sgd, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adamw": ("AdamW", adamw, {"lr": 0.01, "weight_decay": 0.1}),
}


def _draw(dtype: str, count: int) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(4)
    return rng.normal(size=count).astype(dtype), [rng.normal(size=count).astype(dtype) for _ in range(STEPS)]


def steps(rule: str, dtype: str, count: int) -> np.ndarray:
    """The parameters after each compiled step, (STEPS, count): two tensors in one update, so that both are planned."""
    name, _, options = RULES[rule]
    p, gradients = _draw(dtype, count)
    halves = [p[: count // 3].copy(), p[count // 3 :].copy()]
    optimizer = getattr(dk.optim, name)(halves, **options)
    seen = []
    for g in gradients:
        optimizer.step([g[: count // 3].copy(), g[count // 3 :].copy()])
        seen.append(np.concatenate(halves))
    return np.stack(seen)


def definition(rule: str, dtype: str, count: int) -> np.ndarray:
    """The same in float64, the parameters rounded to their dtype between steps."""
    _, formula, options = RULES[rule]
    p, gradients = _draw(dtype, count)
    state: State = {}
    seen = []
    for step, g in enumerate(gradients, 1):
        exact = formula(p.astype(np.float64), g.astype(np.float64), state, step, options)
        seen.append(exact)
        p = exact.astype(dtype)
    return np.stack(seen)
