"""Every update rule: the worked examples, PyTorch's trajectories with every option alone and in pairs, the same bits wherever it runs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numerics
import numpy as np
import pytest

import dlkernels as dk
from dlkernels import optim

EXAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "optimizers.json").read_text())
DIGITS = {"rtol": 1e-12, "atol": 1e-16}

# example -> optimizer and options
WORKED: dict[str, tuple[Any, dict[str, Any]]] = {
    "sgd": (optim.SGD, {"lr": 0.1}),
    "sgd_momentum": (optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "sgd_nesterov": (optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adagrad": (optim.Adagrad, {"lr": 0.1}),
    "adadelta": (optim.Adadelta, {}),
    "rmsprop": (optim.RMSprop, {}),
    "rmsprop_centered_momentum": (optim.RMSprop, {"momentum": 0.9, "centered": True}),
    "adam": (optim.Adam, {}),
    "adam_l2": (optim.Adam, {"weight_decay": 0.01}),
    "adamw": (optim.AdamW, {}),
    "adam_amsgrad": (optim.Adam, {"amsgrad": True}),
    "adamax": (optim.Adamax, {}),
    "nadam": (optim.NAdam, {}),
    "radam": (optim.RAdam, {}),
    "lion": (optim.Lion, {"weight_decay": 0.1}),
    "lamb": (optim.LAMB, {}),
    "lars": (optim.LARS, {"lr": 0.1}),
}


@pytest.mark.parametrize("name", WORKED)
def test_worked_examples(name: str, target: str) -> None:
    kind, options = WORKED[name]
    example = EXAMPLES[name]
    w = np.array(EXAMPLES["w0"])
    optimizer = kind([w], **options)
    for gradient, expected in zip(EXAMPLES["grads"], example["w_after_step"], strict=True):
        optimizer.step([np.array(gradient)])
        np.testing.assert_allclose(w, expected, **DIGITS)
    state = optimizer.state_dict()["state"][0] if name != "sgd" else {}
    known = {"local_lr", "trust_ratio", "velocity", "rho_t"}  # what an example tells beside the state
    for key, expected in example["state_final"].items():
        if key not in known:
            np.testing.assert_allclose(
                state[{"buf": "momentum_buffer"}.get(key, key)], expected, rtol=1e-12, atol=1e-18
            )


def test_worked_examples_of_matrices(target: str) -> None:
    for name, kind in (("adafactor_matrix", optim.Adafactor), ("muon_matrix_exact_arithmetic", optim.Muon)):
        example = EXAMPLES[name]
        w = np.array(example["w0"])
        optimizer = kind([w])
        for gradient, expected in zip(example["grads"], example["w_after_step"], strict=True):
            optimizer.step([np.array(gradient)])
            np.testing.assert_allclose(w, expected, rtol=1e-11)


# What Keras and optax compute with their definitions is reached with an option; the numbers are theirs.
OTHERS: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {
    ("adagrad", "keras(acc0=0.1, eps=1e-7 inside sqrt)"): (
        optim.Adagrad, {"lr": 0.1, "initial_accumulator_value": 0.1, "eps": 1e-7, "eps_in_sqrt": True},
    ),
    ("adadelta", "keras defaults (lr=0.001, rho=0.95, eps=1e-7)"): (optim.Adadelta, {"lr": 1e-3, "rho": 0.95, "eps": 1e-7}),
    ("rmsprop", "keras defaults (lr=0.001, rho=0.9, eps=1e-7 inside sqrt)"): (
        optim.RMSprop, {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "eps_in_sqrt": True},
    ),
    ("rmsprop", "same hyper, eps inside sqrt (keras/optax/TF form)"): (optim.RMSprop, {"eps_in_sqrt": True}),
    ("adam", "keras (epsilon-hat form, eps=1e-7)"): (optim.Adam, {"eps_mode": "hat", "eps": 1e-7}),
    ("adam", "epsilon-hat form, eps=1e-8"): (optim.Adam, {"eps_mode": "hat"}),
    ("adamw", "optax adamw same wd (u + wd*w, then lr)"): (optim.AdamW, {}),
    ("adamw", "keras AdamW same wd, eps-hat 1e-7"): (optim.AdamW, {"eps_mode": "hat", "eps": 1e-7}),
    ("nadam", "keras (momentum_decay effectively 1: 0.96^t; eps=1e-7)"): (optim.NAdam, {"momentum_decay": 1.0, "eps": 1e-7}),
}  # fmt: skip


@pytest.mark.parametrize(("name", "form"), OTHERS)
def test_worked_examples_of_keras_and_optax(name: str, form: str, target: str) -> None:
    kind, options = OTHERS[name, form]
    w = np.array(EXAMPLES["w0"])
    optimizer = kind([w], **options)
    for gradient in EXAMPLES["grads"]:
        optimizer.step([np.array(gradient)])
    np.testing.assert_allclose(w, EXAMPLES[name]["variants_final_w"][form], rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "kind"), [("radam_9_steps_cycling_grads", optim.RAdam), ("adam_9_steps_cycling_grads", optim.Adam)]
)
def test_longer_worked_examples(name: str, kind: Any, target: str) -> None:
    w = np.array(EXAMPLES["w0"])
    optimizer = kind([w])
    for t, expected in enumerate(EXAMPLES[name]["w_after_step"]):
        optimizer.step([np.array(EXAMPLES["grads"][t % 3])])
        np.testing.assert_allclose(w, expected, **DIGITS)


# Options that are not the defaults; others' mistakes hid behind weight_decay=0. Steps are small, or trajectories would part by themselves.
OPTIONS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.8, "dampening": 0.3, "weight_decay": 0.1, "maximize": True},
    "Adagrad": {"lr_decay": 0.05, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3, "maximize": True},
    "Adadelta": {"rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
    "RMSprop": {"alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1, "momentum": 0.7, "centered": True, "maximize": True},
    "Rprop": {"etas": (0.4, 1.3), "step_sizes": (1e-4, 0.05), "maximize": True},
    "ASGD": {"lambd": 1e-2, "alpha": 0.6, "t0": 20.0, "weight_decay": 0.1, "maximize": True},
    "Adam": {
        "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True, "decoupled_weight_decay": True, "maximize": True,
    },
    "AdamW": {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "amsgrad": True, "maximize": True},
    "NAdam": {
        "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "momentum_decay": 0.02, "decoupled_weight_decay": True,
        "maximize": True,
    },
    "RAdam": {
        "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "decoupled_weight_decay": True, "maximize": True,
    },
    "Adamax": {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
    "Adafactor": {"beta2_decay": -0.6, "eps": (1e-8, 1e-2), "d": 1.5, "weight_decay": 0.1, "maximize": True},
}  # fmt: skip


def choices(name: str) -> list[dict[str, Any]]:
    """No option, each, and each pair."""
    options = OPTIONS[name]
    pairs = [dict(chosen) for size in (0, 1, 2) for chosen in itertools.combinations(options.items(), size)]
    if name == "SGD":
        pairs = [o for o in pairs if "dampening" not in o or "momentum" in o]
        pairs.append({"momentum": 0.8, "nesterov": True, "weight_decay": 0.1})
    return [*pairs, dict(options)]


@pytest.mark.torch
@pytest.mark.parametrize("name", OPTIONS)
def test_trajectories_are_pytorchs(name: str, target: str) -> None:
    """200 steps in float64. PyTorch keeps some scalars in float32: the product of NAdam's mu, ASGD's eta."""
    import torch

    near = {"NAdam": 1e-6, "ASGD": 1e-6}.get(name, 1e-10)
    for options in choices(name):
        rng = np.random.default_rng(len(options))
        mine = [rng.standard_normal((4, 5)), rng.standard_normal(7)]
        theirs = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in mine]
        lr = {"Adadelta": 0.5}.get(name, 1e-2)
        ours, reference = (
            getattr(optim, name)(mine, lr=lr, **options),
            getattr(torch.optim, name)(theirs, lr=lr, **options),
        )
        for _ in range(200):
            grads = [0.1 * p + rng.standard_normal(p.shape) for p in mine]
            for p, g in zip(theirs, grads, strict=True):
                p.grad = torch.from_numpy(g.copy())
            ours.step(grads)
            reference.step()
        for p, q in zip(mine, theirs, strict=True):
            np.testing.assert_allclose(p, q.detach().numpy(), rtol=near, atol=near, err_msg=f"{name} {options}")


def test_definitions_that_pytorch_has_not(target: str, rng: np.random.Generator) -> None:
    """eps inside the root, Keras' epsilon hat, optax' eps_root, AMSGrad beside them: the formulas of the docstrings."""
    for options in (
        {"eps_mode": "hat", "eps": 1e-2}, {"eps_root": 1e-2}, {"eps_mode": "hat", "eps": 1e-2, "amsgrad": True, "eps_root": 1e-3},
    ):  # fmt: skip
        w = rng.standard_normal(9)
        m = v = most = np.zeros(9)
        expected, opt = w.copy(), optim.Adam([w], lr=0.1, weight_decay=0.1, **options)
        for t in range(1, 30):
            g = rng.standard_normal(9)
            opt.step([g])
            g = g + 0.1 * expected
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            most = np.maximum(most, v)
            left = 1 - 0.999**t
            raw = (most if options.get("amsgrad") else v) / left + options.get("eps_root", 0.0)
            eps = options.get("eps", 1e-8) / (np.sqrt(left) if options.get("eps_mode") == "hat" else 1)
            expected = expected - 0.1 / (1 - 0.9**t) * m / (np.sqrt(raw) + eps)
        np.testing.assert_allclose(w, expected, rtol=1e-12)
    w, g = np.array([1.0, 2.0]), np.array([0.5, 0.0])
    optim.Adagrad([w], lr=0.1, eps=0.0).step([g])
    np.testing.assert_allclose(w, [0.9, 2.0], rtol=1e-15)  # 0/0 moves nothing
    w = np.array([1.0])
    optim.Adagrad([w], lr=0.1, eps=0.75, eps_in_sqrt=True).step([np.array([0.5])])
    np.testing.assert_allclose(w, [1 - 0.1 * 0.5 / 1.0], rtol=1e-15)
    w, centered = np.array([0.0]), None
    centered = optim.RMSprop([w], lr=1e-2, centered=True, eps=1e-6, eps_in_sqrt=True)
    for _ in range(2000):
        centered.step([np.ones(1)])
    assert -8000 < w[0] < 0  # PyTorch's goes to -5400 with eps outside
    w = np.zeros(3)
    optim.Lion([w], lr=0.5).step([np.array([2.0, -3.0, 0.0])])
    assert w.tolist() == [-0.5, 0.5, 0.0]


def lion(p: np.ndarray, g: np.ndarray, state: dict[str, Any], t: int) -> Any:
    del t
    m = state.setdefault("m", np.zeros_like(p))
    state["m"] = 0.95 * m + 0.05 * g
    return p - 0.01 * 0.2 * p - 0.01 * np.sign(0.8 * m + 0.2 * g)


def lamb(p: np.ndarray, g: np.ndarray, state: dict[str, Any], t: int) -> Any:
    m, v = state.get("m", 0.0), state.get("v", 0.0)
    state["m"], state["v"] = 0.8 * m + 0.2 * g, 0.95 * v + 0.05 * g * g
    u = state["m"] / (1 - 0.8**t) / (np.sqrt(state["v"] / (1 - 0.95**t)) + 1e-3) + 0.1 * p
    return p - 0.01 * np.linalg.norm(p) / np.linalg.norm(u) * u


def lars(p: np.ndarray, g: np.ndarray, state: dict[str, Any], t: int) -> Any:
    del t
    local = 0.05 * np.linalg.norm(p) / (np.linalg.norm(g) + 0.1 * np.linalg.norm(p) + 1e-3)
    state["v"] = 0.8 * state.get("v", 0.0) + 0.3 * local * (g + 0.1 * p)
    return p - state["v"]


DEFINED: dict[str, tuple[Any, Any]] = {
    "Lion": (lion, lambda p: optim.Lion(p, lr=0.01, betas=(0.8, 0.95), weight_decay=0.2)),
    "LAMB": (lamb, lambda p: optim.LAMB(p, lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)),
    "LARS": (lars, lambda p: optim.LARS(p, lr=0.3, momentum=0.8, weight_decay=0.1, trust_coefficient=0.05, eps=1e-3)),
}


@pytest.mark.parametrize("name", DEFINED)
def test_trajectories_are_the_definitions(name: str, target: str, rng: np.random.Generator) -> None:
    """200 steps of rules that PyTorch has not, two tensors at a time."""
    formula, make = DEFINED[name]
    mine = [rng.standard_normal((4, 5)), rng.standard_normal(7)]
    exact, states, opt = [p.copy() for p in mine], [{}, {}], make(mine)
    for t in range(1, 201):
        grads = [0.1 * p + rng.standard_normal(p.shape) for p in exact]
        opt.step(grads)
        exact = [formula(p, g, s, t) for p, g, s in zip(exact, grads, states, strict=True)]
    for p, e in zip(mine, exact, strict=True):
        np.testing.assert_allclose(p, e, rtol=1e-10, atol=1e-12)


@pytest.mark.torch
@pytest.mark.parametrize(
    "options", [{}, {"nesterov": False, "momentum": 0.5}, {"adjust_lr_fn": "match_rms_adamw", "ns_steps": 3}], ids=str
)
def test_muon_is_near_pytorchs(options: dict[str, Any], rng: np.random.Generator) -> None:
    """Which iterates in bfloat16: the directions agree to a percent or two."""
    import torch

    for shape in ((6, 9), (9, 6)):
        start, g = rng.standard_normal(shape), rng.standard_normal(shape)
        mine, theirs = [start.copy()], [torch.nn.Parameter(torch.from_numpy(start.copy()))]
        theirs[0].grad = torch.from_numpy(g.copy())
        optim.Muon(mine, lr=1.0, weight_decay=0.1, **options).step([g])
        torch.optim.Muon(theirs, lr=1.0, weight_decay=0.1, **options).step()
        assert np.abs(mine[0] - theirs[0].detach().numpy()).max() < 0.03 * np.abs(mine[0] - start).max()


EVERY: dict[str, Any] = {
    **{name: (lambda p, name=name: getattr(optim, name)(p, lr=1e-2)) for name in OPTIONS if name != "Adafactor"},
    "SGD momentum": lambda p: optim.SGD(p, lr=1e-2, momentum=0.9),
    "RMSprop all": lambda p: optim.RMSprop(p, momentum=0.9, centered=True),
    "AMSGrad": lambda p: optim.AdamW(p, amsgrad=True),
    "Lion": lambda p: optim.Lion(p, weight_decay=0.1),
}
LAYERWISE = {"LAMB": optim.LAMB, "LARS": lambda p: optim.LARS(p, lr=0.1)}


def steps(make: Any, dtype: Any, cuts: list[int], offset: int, *, clip: bool, count: int = 3) -> np.ndarray:
    """The parameters after some steps, as one array, cut into tensors that begin `offset` elements after a cache line."""
    n = cuts[-1]
    rng = np.random.default_rng(3)
    start = rng.standard_normal(n).astype(dtype)
    memory = numerics.aligned(n + len(cuts) * 64 + offset, np.dtype(dtype))
    params, at = [], offset
    for first, last in itertools.pairwise([0, *cuts]):
        part = memory[at : at + last - first]
        part[...] = start[first:last]
        params.append(part)
        at += last - first + 3
    optimizer = make(params)
    for _ in range(count):
        g = rng.standard_normal(n).astype(dtype)
        grads = [g[first:last] for first, last in itertools.pairwise([0, *cuts])]
        optimizer.step(grads, **({"max_norm": 0.5, "grad_scale": 2.0} if clip else {}))
    return np.concatenate(params)


@pytest.mark.parametrize("dtype", numerics.DTYPES)
@pytest.mark.parametrize("name", EVERY)
def test_the_same_bits_however_it_is_cut(name: str, dtype: str, threads: None) -> None:
    kind, n = numerics.DTYPES[dtype], 30_011
    before = dk.get_target()
    try:
        expected = steps(EVERY[name], kind, [n], 0, clip=True)
        for t, target in enumerate(dk.targets()):
            dk.set_target(target)
            for count, cuts, offset in (
                (1, [n], 1 + t),
                (3, [7, 4096, 4097, 20_000, n], 5 * t),
                (2, [*range(97, n, 97), n], 0),
            ):
                dk.set_num_threads(count)
                numerics.assert_same_bits(
                    steps(EVERY[name], kind, cuts, offset, clip=True), expected, f"{target} {count} {len(cuts)}"
                )
    finally:
        dk.set_target(before)


@pytest.mark.parametrize("name", LAYERWISE)
def test_layerwise_rules_give_the_same_bits(name: str, threads: None) -> None:
    before = dk.get_target()
    try:
        expected = steps(LAYERWISE[name], np.float32, [20_000, 30_011], 0, clip=False)
        for target in dk.targets():
            dk.set_target(target)
            for count in (1, 3):
                dk.set_num_threads(count)
                numerics.assert_same_bits(
                    steps(LAYERWISE[name], np.float32, [20_000, 30_011], 3, clip=False), expected, target
                )
    finally:
        dk.set_target(before)


@pytest.mark.parametrize("kind", [optim.LAMB, optim.LARS])
def test_layerwise_rules_of_a_length_of_zero(kind: Any, target: str) -> None:
    """The rate is the plain one then."""
    w = np.zeros(5)
    kind([w], lr=0.1).step([np.ones(5)])
    assert np.isfinite(w).all()
    assert (w < 0).all()
    w = np.ones(5)
    kind([w], lr=0.1, weight_decay=0.0).step([np.zeros(5)])
    assert (w == 1).all()
