"""SGD and AdamW: worked examples, PyTorch's results with every option, the definition in float64, groups and resuming.

Refusals: test_optim_errors.py. The same bits on every target and with any number of threads: test_bits.py.
"""

from __future__ import annotations

import copy
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numerics
import numpy as np
import pytest
from numerics import DTYPES

import dlkernels as dk
from dlkernels.optim import SGD, AdamW

EXAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "optimizers.json").read_text())
BOTH = pytest.mark.parametrize("kind", [SGD, AdamW])
MAKERS = {
    "SGD": SGD, "SGD-momentum": lambda p, **o: SGD(p, momentum=0.9, **o), "AdamW": AdamW,
}  # fmt: skip
ALL = pytest.mark.parametrize("name", MAKERS)


# --- what it computes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["sgd", "sgd_weight_decay_l2", "sgd_momentum", "sgd_momentum_dampening", "sgd_nesterov", "adamw"]
)
def test_worked_examples(name: str, target: str) -> None:
    example = EXAMPLES[name]
    hyper = {k: float(v) for k, v in example["hyper"].items()}
    if name == "adamw":
        hyper["betas"] = hyper.pop("beta1"), hyper.pop("beta2")
    if name == "sgd_nesterov":
        hyper["nesterov"] = True
    w = np.array(EXAMPLES["w0"])
    optimizer = (AdamW if name == "adamw" else SGD)([w], **hyper)
    for gradient, expected in zip(EXAMPLES["grads"], example["w_after_step"], strict=True):
        optimizer.step([np.array(gradient)])
        np.testing.assert_allclose(w, expected, rtol=1e-12, atol=0)
    state = optimizer.state_dict()["state"].get(0, {})
    for key, expected in example["state_final"].items():
        np.testing.assert_allclose(state[key], expected, rtol=1e-12, atol=1e-18)


def reference(name: str, w: np.ndarray, grads: list[np.ndarray], **o: Any) -> np.ndarray:
    """The definitions in the docstrings, in the precision of w."""
    b = m = v = np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        g = g * (-1 if o.get("maximize") else 1)
        if name == "AdamW":
            b1, b2 = o.get("betas", (0.9, 0.999))
            m, v = m + (1 - b1) * (g - m), v + (1 - b2) * (g * g - v)
            w = w - o["lr"] * o.get("weight_decay", 1e-2) * w
            w = w - o["lr"] / (1 - b1**t) * m / (np.sqrt(v) / math.sqrt(1 - b2**t) + o.get("eps", 1e-8))
        else:
            g = g + o.get("weight_decay", 0.0) * w
            mu = o.get("momentum", 0.0)
            b = g if t == 1 or mu == 0 else mu * b + (1 - o.get("dampening", 0.0)) * g
            w = w - o["lr"] * (g + mu * b if o.get("nesterov") else b)
    return w


SGD_OPTIONS = {
    "momentum": [0.0, 0.9],
    "dampening": [0.0, 0.3],
    "weight_decay": [0.0, 0.05],
    "nesterov": [False, True],
    "maximize": [False, True],
}
ADAMW_OPTIONS = {
    "betas": [(0.9, 0.999), (0.7, 0.95)],
    "eps": [1e-8, 1e-2],
    "weight_decay": [0.0, 0.01, 0.1],
    "maximize": [False, True],
}
COMBINATIONS = [("SGD", dict(zip(SGD_OPTIONS, c, strict=True))) for c in itertools.product(*SGD_OPTIONS.values())]
COMBINATIONS = [(n, o) for n, o in COMBINATIONS if not (o["nesterov"] and (o["momentum"] == 0 or o["dampening"]))]
COMBINATIONS += [
    ("AdamW", dict(zip(ADAMW_OPTIONS, c, strict=True))) for c in itertools.product(*ADAMW_OPTIONS.values())
]


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_every_combination_of_options(dtype: str, target: str, rng: np.random.Generator) -> None:
    """Against the definition in float64, from the same rounded numbers: state in the compute type, parameters rounded each step."""
    eps = {"float64": 1e-13, "float32": 3e-6, "float16": 3e-3, "bfloat16": 2.5e-2}[dtype]
    for name, options in COMBINATIONS:
        start = rng.uniform(0.5, 2, 50).astype(DTYPES[dtype])
        grads = [rng.standard_normal(50).astype(DTYPES[dtype]) for _ in range(4)]
        w = start.copy()
        optimizer = getattr(dk.optim, name)([w], lr=0.01, **options)
        for g in grads:
            optimizer.step([g])
        exact = reference(name, start.astype(np.float64), [g.astype(np.float64) for g in grads], lr=0.01, **options)
        np.testing.assert_allclose(w.astype(np.float64), exact, rtol=eps, atol=eps, err_msg=f"{name} {options}")


@pytest.mark.torch
def test_against_pytorch(target: str, rng: np.random.Generator) -> None:
    """Parameters and state after five steps with a changing rate, in float64, for every combination of options."""
    import torch

    for name, options in COMBINATIONS:
        parts = [rng.standard_normal(n) for n in (3, 50)]
        mine, theirs = [p.copy() for p in parts], [torch.from_numpy(p.copy()) for p in parts]
        a, b = getattr(dk.optim, name)(mine, lr=0.1, **options), getattr(torch.optim, name)(theirs, lr=0.1, **options)
        for step in range(5):
            a.param_groups[0]["lr"] = b.param_groups[0]["lr"] = 0.1 / (step + 1)
            grads = [rng.standard_normal(p.shape) for p in parts]
            if step == 2:
                grads[0] = None
            for p, g in zip(theirs, grads, strict=True):
                p.grad = None if g is None else torch.from_numpy(g.copy())
            a.step(grads)
            b.step()
        for p, q in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(p, q.numpy(), rtol=1e-12, atol=1e-14, err_msg=f"{name} {options}")
        ours, other = a.state_dict(), b.state_dict()
        for i, state in other["state"].items():
            for key, value in state.items():
                if value is not None:
                    np.testing.assert_allclose(
                        ours["state"][i][key], np.asarray(value), rtol=1e-12, atol=1e-16, err_msg=f"{name} {key}"
                    )


@ALL
def test_a_large_second_moment_is_no_nan(name: str, target: str) -> None:
    """g^2 overflows float32; PyTorch's fused AdamW then gives 0 / inf at best and NaN at worst."""
    w = np.ones(20, np.float32)
    optimizer = MAKERS[name]([w], lr=1e-3)
    for _ in range(3):
        optimizer.step([np.full(20, 1e30, np.float32)])
    assert np.isfinite(w).all()


@ALL
def test_a_nan_gradient_spoils_its_element_only(name: str) -> None:
    w, clean = np.ones(40, np.float32), np.ones(40, np.float32)
    g = np.full(40, 0.5, np.float32)
    a, b = MAKERS[name]([w]), MAKERS[name]([clean])
    b.step([g])
    g[7] = np.nan
    a.step([g])
    assert np.isnan(w[7])
    numerics.assert_same_bits(np.delete(w, 7), np.delete(clean, 7))


@ALL
def test_many_steps(name: str) -> None:
    """beta^t goes to 0 and nothing overflows."""
    w = np.ones(3)
    optimizer = MAKERS[name]([w], lr=1e-6)
    state = optimizer.state_dict()
    optimizer.step([np.ones(3)])
    state = optimizer.state_dict()
    if state["state"].get(0, {}).get("step"):
        state["state"][0]["step"] = float(2**53)
    optimizer.load_state_dict(state)
    optimizer.step([np.ones(3)])
    assert np.isfinite(w).all()


# --- groups, state ------------------------------------------------------------------------------------------------------


@ALL
def test_groups(name: str) -> None:
    a, b = np.ones(5), np.ones(5)
    optimizer = MAKERS[name]([{"params": [a], "lr": 0.0}, {"params": [b], "lr": 0.1, "weight_decay": 0.0}])
    optimizer.step([np.ones(5), np.ones(5)])
    assert (a == 1).all()
    assert (b < 1).all()
    single = np.ones(5)
    MAKERS[name]([single], lr=0.1, weight_decay=0.0).step([np.ones(5)])
    numerics.assert_same_bits(b, single)


@ALL
def test_mixed_dtypes_in_one_optimizer(name: str, rng: np.random.Generator) -> None:
    starts = [rng.standard_normal(30).astype(d) for d in DTYPES.values()]
    grads = [rng.standard_normal(30).astype(d) for d in DTYPES.values()]
    together = [s.copy() for s in starts]
    optimizer = MAKERS[name](together, lr=0.1)
    optimizer.step(grads)
    for start, g, w in zip(starts, grads, together, strict=True):
        alone = start.copy()
        MAKERS[name]([alone], lr=0.1).step([g])
        numerics.assert_same_bits(w, alone)


@ALL
@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_resuming_is_exact(name: str, after: int, rng: np.random.Generator) -> None:
    start = [rng.standard_normal(n).astype(np.float32) for n in (7, 300)]
    grads = [[rng.standard_normal(p.shape).astype(np.float32) for p in start] for _ in range(8)]
    straight, resumed = [p.copy() for p in start], [p.copy() for p in start]
    a, b = MAKERS[name](straight, lr=0.1), MAKERS[name](resumed, lr=0.1)
    for g in grads:
        a.step(g)
    for g in grads[:after]:
        b.step(g)
    saved = copy.deepcopy(b.state_dict())
    again = [p.copy() for p in resumed]
    c = MAKERS[name](again, lr=123.0)
    c.load_state_dict(saved)
    for g in grads[after:]:
        c.step(g)
    for p, q in zip(straight, again, strict=True):
        numerics.assert_same_bits(p, q, name)


@ALL
def test_none_leaves_a_parameter_alone(name: str) -> None:
    a, b = np.ones(5), np.ones(5)
    optimizer = MAKERS[name]([a, b], lr=0.1)
    optimizer.step([None, np.ones(5)])
    assert (a == 1).all()
    assert 0 not in optimizer.state_dict()["state"] or not optimizer.state_dict()["state"][0].get("step")
    optimizer.step([np.ones(5), None])
    fresh = np.ones(5)
    MAKERS[name]([fresh], lr=0.1).step([np.ones(5)])
    numerics.assert_same_bits(a, fresh, "its first step, whatever the others did")


@ALL
def test_empty_parameters(name: str) -> None:
    empty, w = np.empty((0, 3)), np.ones(2)
    optimizer = MAKERS[name]([empty, w], lr=0.1)
    optimizer.step([np.empty((0, 3)), np.ones(2)])
    assert (w < 1).all()


@pytest.mark.torch
@ALL
def test_pytorch_parameters(name: str, rng: np.random.Generator) -> None:
    import torch

    start, g = rng.standard_normal((2, 40)).astype(np.float32)
    mine, theirs = start.copy(), torch.from_numpy(start.copy())
    a, b = MAKERS[name]([mine], lr=0.1), MAKERS[name]([theirs], lr=0.1)
    for _ in range(2):
        a.step([g])
        b.step([torch.from_numpy(g)])
    numerics.assert_same_bits(theirs.numpy(), mine)
