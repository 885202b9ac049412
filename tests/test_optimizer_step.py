"""A step that clips, unscales and zeroes in the same pass; what is skipped or refused changes nothing; what stands around a step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numerics
import numpy as np
import pytest

import dlkernels as dk
from dlkernels import optim

EXAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "optimizers.json").read_text())
KINDS = {
    "SGD": lambda p: optim.SGD(p, momentum=0.9), "AdamW": optim.AdamW, "LAMB": optim.LAMB, "LARS": lambda p: optim.LARS(p, lr=0.1),
    "Adafactor": optim.Adafactor, "Lion": optim.Lion, "NAdam": optim.NAdam,
}  # fmt: skip
ALL = pytest.mark.parametrize("name", KINDS)


def everything(optimizer: Any, params: list[np.ndarray]) -> list[Any]:
    """All that a step could change."""
    arrays = [a.copy() for a in params] + [a.copy() for s in optimizer._states for a in s.values()]
    return [*arrays, list(optimizer._steps), [dict(n) for n in optimizer._numbers], optimizer._updates]


def assert_unchanged(optimizer: Any, params: list[np.ndarray], before: list[Any]) -> None:
    for a, b in zip(everything(optimizer, params), before, strict=True):
        if isinstance(b, np.ndarray):
            numerics.assert_same_bits(a, b, "unchanged")
        else:
            assert a == b


# --- clipping and unscaling -------------------------------------------------------------------------------------------------


def test_example_of_clipping(target: str) -> None:
    e = EXAMPLES["clip_grad_norm"]
    grads = [np.array(g) for g in e["grads"]]
    assert optim.global_grad_norm(grads) == e["global_norm"]
    assert optim.clip_grad_norm_(grads, e["max_norm"]) == e["global_norm"]
    for g, expected in zip(grads, e["torch max/(norm+1e-6)"], strict=True):
        np.testing.assert_allclose(g, expected, rtol=1e-12)
    params = [np.zeros(2), np.zeros(1)]
    info = optim.SGD(params, lr=1.0).step([np.array(g) for g in e["grads"]], max_norm=e["max_norm"])
    assert info == (13.0, False)
    for p, expected in zip(params, e["torch max/(norm+1e-6)"], strict=True):
        np.testing.assert_allclose(p, np.negative(expected), rtol=1e-12)


@ALL
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_pass_is_the_parts(name: str, dtype: str, target: str, rng: np.random.Generator) -> None:
    """Scaled gradients, clipped in the step, are gradients that were unscaled and clipped before it. A scale is a power of two."""
    kind = numerics.DTYPES[dtype].type
    start = [rng.standard_normal((40, 30)).astype(kind), rng.standard_normal(50).astype(kind)]
    one, two = [p.copy() for p in start], [p.copy() for p in start]
    a, b = KINDS[name](one), KINDS[name](two)
    for _ in range(3):
        g = [rng.standard_normal(p.shape).astype(kind) for p in start]
        scaled = [x * kind(1024) for x in g]
        kept = [x.copy() for x in scaled]
        info = a.step(scaled, max_norm=1.0, grad_scale=1024.0)
        for x, y in zip(scaled, kept, strict=True):
            numerics.assert_same_bits(x, y, "gradients are read only")
        norm = optim.clip_grad_norm_(g, 1.0)
        assert info.grad_norm == pytest.approx(norm, rel=1e-12)
        b.step(g)
    for p, q in zip(one, two, strict=True):
        np.testing.assert_allclose(
            p, q, rtol=3e-6 if dtype == "float32" else 1e-13, atol=1e-7 if dtype == "float32" else 1e-15
        )


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("dtype", numerics.DTYPES)
def test_norms(dtype: str, norm_type: float, threads: None, rng: np.random.Generator) -> None:
    """Near float64's, and the same bits however the numbers are cut, on every target."""
    x = rng.standard_normal(30_011).astype(numerics.DTYPES[dtype])
    wide = np.abs(x.astype(np.float64))
    exact = {1.0: wide.sum(), 2.0: math.sqrt(np.sum(wide * wide)), math.inf: wide.max()}[norm_type]
    before, seen = dk.get_target(), set()
    try:
        for target in dk.targets():
            dk.set_target(target)
            for count, cuts in ((1, []), (3, [5, 4096, 10_000]), (2, list(range(31, 30_000, 31)))):
                dk.set_num_threads(count)
                parts = np.split(x, cuts)
                seen.add(optim.global_grad_norm([None, *(np.ascontiguousarray(p) for p in parts)], norm_type))
    finally:
        dk.set_target(before)
    assert len(seen) == 1
    assert seen.pop() == pytest.approx(exact, rel=1e-13)


def test_norms_of_extremes(target: str) -> None:
    big, small = np.full(1000, 1e38, np.float32), np.full(1000, 1e-40, np.float32)
    assert optim.global_grad_norm([big]) == pytest.approx(float(np.float32(1e38)) * math.sqrt(1000), rel=1e-12)
    assert optim.global_grad_norm([small]) == pytest.approx(float(small[0]) * math.sqrt(1000), rel=1e-12)
    for bad in (np.inf, np.nan):
        for kind in (1.0, 2.0, math.inf):
            for at in (0, 500, 999):
                g = np.ones(1000, np.float32)
                g[at] = bad
                got = optim.global_grad_norm([np.ones(7, np.float32), g], kind)
                assert math.isnan(got) if math.isnan(bad) else got == np.inf
    assert optim.global_grad_norm([]) == 0
    g = [np.array([1.0, np.inf])]
    assert optim.clip_grad_norm_(g, 1.0) == np.inf
    assert g[0].tolist() == [1.0, np.inf]
    with pytest.raises(ValueError, match="the norm of the gradients is inf"):
        optim.clip_grad_norm_(g, 1.0, error_if_nonfinite=True)
    g = [np.array([-3.0, 0.5, np.nan]), None]
    optim.clip_grad_value_(g, 1.0)
    numerics.assert_same_bits(g[0], np.array([-1.0, 0.5, np.nan]), "clamped")


# --- skipped, refused, zeroed -----------------------------------------------------------------------------------------------


@ALL
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_step_with_a_bad_gradient_is_skipped(name: str, bad: float, target: str, rng: np.random.Generator) -> None:
    params = [rng.standard_normal((6, 4)), rng.standard_normal(5)]
    opt = KINDS[name](params)
    opt.step([rng.standard_normal(p.shape) for p in params])
    before = everything(opt, params)
    grads = [np.ones((6, 4)), np.array([1, 2, bad, 4, 5])]
    info = opt.step(grads, grad_scale=2.0)
    assert info.skipped
    assert not math.isfinite(info.grad_norm)
    assert_unchanged(opt, params, before)
    assert opt.step(grads, max_norm=1.0, zero_grads=True).skipped
    assert not any(g.any() for g in grads)
    assert_unchanged(opt, params, before)
    assert not opt.step([np.ones_like(p) for p in params], max_norm=1.0).skipped
    assert opt._steps == [2, 2]


@ALL
def test_a_refused_step_changes_nothing(name: str, rng: np.random.Generator) -> None:
    params = [rng.standard_normal((6, 4)), rng.standard_normal(5), rng.standard_normal(3).astype(np.float32)]
    opt = KINDS[name](params)
    opt.step([np.ones_like(p) for p in params])
    before = everything(opt, params)
    good = [np.ones_like(p) for p in params]
    for at, wrong in (
        (0, np.ones((4, 6))),
        (1, np.ones(5, np.float32)),
        (2, params[2]),
        (2, np.ones((2, 3), np.float32)[:, 0]),
        (1, "g"),
    ):
        grads: list[Any] = [*good]
        grads[at] = wrong
        with pytest.raises((TypeError, ValueError), match=r"grads\[\d\]"):
            opt.step(grads)
        assert_unchanged(opt, params, before)
    for options in (
        {"max_norm": -1.0},
        {"max_norm": 0.0},
        {"grad_scale": 0.0},
        {"grad_scale": math.inf},
        {"max_norm": "1"},
    ):
        with pytest.raises((TypeError, ValueError), match=next(iter(options))):
            opt.step(good, **options)
        assert_unchanged(opt, params, before)
    frozen = np.ones(5)
    frozen.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        opt.step([good[0], frozen, good[2]], zero_grads=True)
    shared = np.ones(8)
    with pytest.raises(ValueError, match="share memory, so zero_grads"):
        optim.SGD([np.ones(5), np.ones(5)]).step([shared[:5], shared[3:]], zero_grads=True)
    assert_unchanged(opt, params, before)
    assert (shared == 1).all()


@ALL
@pytest.mark.parametrize("dtype", numerics.DTYPES)
def test_gradients_become_zero_in_the_same_pass(name: str, dtype: str, target: str, rng: np.random.Generator) -> None:
    kind = numerics.DTYPES[dtype]
    start = [rng.standard_normal((70, 300)).astype(kind), rng.standard_normal(13).astype(kind)]
    ends = []
    for zero in (False, True):
        params = [p.copy() for p in start]
        grads = [np.ones_like(p) for p in params]
        KINDS[name](params).step(grads, zero_grads=zero)
        assert any(g.astype(np.float32).any() for g in grads) is not zero
        ends.append(params)
    for p, q in zip(*ends, strict=True):
        numerics.assert_same_bits(p, q, "the step is the same")


# --- groups, schedules, functions -------------------------------------------------------------------------------------------


def test_groups_can_be_added(rng: np.random.Generator) -> None:
    first, second = rng.standard_normal(5), rng.standard_normal(4)
    opt = optim.AdamW([first], lr=0.1)
    opt.step([np.ones(5)])
    opt.add_param_group({"params": [second], "lr": 0.01})
    opt.step([np.ones(5), np.ones(4)])
    assert opt._steps == [2, 1]
    for bad, text in (
        ({"params": [first]}, "share memory"),
        ({"lr": 1.0}, "has no 'params'"),
        ({"params": [second.copy()], "x": 1}, "unknown"),
    ):
        before = everything(opt, [first, second])
        with pytest.raises(ValueError, match=text):
            opt.add_param_group(bad)
        assert len(opt.param_groups) == 2
        assert_unchanged(opt, [first, second], before)
    opt.step([np.ones(5), np.ones(4)])


def test_a_schedule_is_a_learning_rate(target: str) -> None:
    rate = dk.schedules.step(0.5, 2, 0.1)
    w, expected = np.zeros(1), 0.0
    opt = optim.SGD([w], lr=rate)
    for t in range(5):
        opt.step([np.ones(1)])
        expected -= rate(t)
        np.testing.assert_allclose(w, expected, rtol=1e-14)
    saved = opt.state_dict()
    assert saved["param_groups"][0]["lr"] == rate(5)
    other = optim.SGD([w], lr=rate)
    other.load_state_dict(saved)
    assert callable(other.param_groups[0]["lr"])
    wrong = optim.SGD([w], lr=lambda t: -1.0)
    with pytest.raises(ValueError, match="lr must be finite and >= 0"):
        wrong.step([np.ones(1)])


def test_functions_are_the_optimizers(target: str, rng: np.random.Generator) -> None:
    f = optim.functional
    forms: dict[str, Any] = {
        "SGD": ({"momentum": 0.9}, ["momentum_buffer"], f.sgd_), "Adagrad": ({}, ["sum"], f.adagrad_),
        "Adadelta": ({}, ["square_avg", "acc_delta"], f.adadelta_), "Adam": ({}, ["exp_avg", "exp_avg_sq"], f.adam_),
        "RMSprop": ({"momentum": 0.9, "centered": True}, ["square_avg", "grad_avg", "momentum_buffer"], f.rmsprop_),
        "AdamW": ({"amsgrad": True}, ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"], f.adamw_),
        "RAdam": ({}, ["exp_avg", "exp_avg_sq"], f.radam_), "Adamax": ({}, ["exp_avg", "exp_inf"], f.adamax_),
        "Lion": ({}, ["exp_avg"], f.lion_), "LAMB": ({}, ["exp_avg", "exp_avg_sq"], f.lamb_),
        "LARS": ({}, ["momentum_buffer"], f.lars_),
    }  # fmt: skip
    for name, (options, keys, function) in forms.items():
        start, grads = rng.standard_normal(33), [rng.standard_normal(33) for _ in range(4)]
        w, v = start.copy(), start.copy()
        opt = getattr(optim, name)([w], lr=0.01, **options)
        state = {key: [np.zeros(33)] for key in keys}
        for t, g in enumerate(grads, 1):
            opt.step([g])
            function([v], [g], *state.values(), step=t, lr=0.01, **options)
        numerics.assert_same_bits(v, w, name)
        for key in keys:
            numerics.assert_same_bits(state[key][0], opt._states[0][key], f"{name} {key}")
    w, v, m, s, product = np.ones(3), np.ones(3), [np.zeros(3)], [np.zeros(3)], 1.0
    opt = optim.NAdam([w])
    for t in range(1, 5):
        opt.step([np.ones(3)])
        _, product = f.nadam_([v], [np.ones(3)], m, s, step=t, mu_product=product)
    numerics.assert_same_bits(v, w, "NAdam")
    for kind, function, keys in (
        (optim.Muon, f.muon_, ["momentum_buffer"]), (optim.Adafactor, f.adafactor_, ["row_var", "col_var", "variance"]),
    ):  # fmt: skip
        mine, theirs = [np.ones((4, 3)), np.eye(3)], [np.ones((4, 3)), np.eye(3)]
        if kind is optim.Adafactor:
            mine.append(np.ones(5))
            theirs.append(np.ones(5))
        opt = kind(mine)
        lists = [[s[key].copy() if key in s else None for s in opt._states] for key in keys]
        for t in range(1, 4):
            grads = [rng.standard_normal(p.shape) for p in mine]
            opt.step(grads)
            function(theirs, grads, *lists, step=t)
        for p, q in zip(mine, theirs, strict=True):
            numerics.assert_same_bits(q, p, kind.__name__)
    with pytest.raises(ValueError, match=r"adamw_: exp_avg\[0\] must be float64 of shape \(3,\)"):
        f.adamw_([w], [w.copy()], [np.zeros(3, np.float32)], [np.zeros(3)], step=1)
    with pytest.raises(ValueError, match="adamw_: exp_avg_sq must be a list of 1 arrays"):
        f.adamw_([w], [w.copy()], [np.zeros(3)], [], step=1)
    with pytest.raises(ValueError, match="adamw_: step must be an integer >= 1"):
        f.adamw_([w], [w.copy()], [np.zeros(3)], [np.zeros(3)], step=0)


def test_rows_of_an_embedding(target: str, rng: np.random.Generator) -> None:
    """A sparse step is the dense one of its rows, with duplicates summed first in canonical order; other rows are not touched."""
    start = rng.standard_normal((50, 8)).astype(np.float32)
    dense, sparse = start.copy(), start.copy()
    a, b = optim.Adagrad([dense], lr=0.1), optim.Adagrad([sparse], lr=0.1)
    for n in (
        12,
        1,
        300,
        0,
        4097,
        20_000,
    ):  # the last ones give a row more values than there are lanes, and than a block has
        rows = np.where(rng.random(n) < 0.6, 7, rng.integers(0, 50, n))
        values = rng.standard_normal((n, 8)).astype(np.float32)
        full = np.zeros((50, 8), np.float32)
        for row in set(rows):
            full[row] = [numerics.canonical_sum(column) for column in values[rows == row].T]
        a.step([full])
        b.step_rows(0, rows, values)
    numerics.assert_same_bits(sparse, dense, "the same step")
    before = sparse.copy()
    for rows, values, error in (
        ([50], np.ones((1, 8), np.float32), IndexError),
        ([0.5], np.ones((1, 8), np.float32), ValueError),
        ([0], np.ones((1, 7), np.float32), ValueError),
    ):
        with pytest.raises(error, match="step_rows"):
            b.step_rows(0, rows, values)
    numerics.assert_same_bits(sparse, before, "refused")


def test_example_of_a_scaler() -> None:
    scaler = optim.GradScaler(growth_interval=3)
    for found, after in EXAMPLES["grad_scaler_growth_interval_3"]["found_inf,scale_after"]:
        scaler.update(bool(found))
        assert scaler.get_scale() == after
    again = optim.GradScaler()
    again.load_state_dict(scaler.state_dict())
    assert again.state_dict() == scaler.state_dict()


def test_a_scaler_around_steps(target: str) -> None:
    w = np.ones(4, np.float16)
    opt, scaler = optim.SGD([w], lr=0.5, precision="master"), optim.GradScaler(init_scale=1024.0)
    info = scaler.step(opt, [scaler.scale(np.full(4, 2.0**-12)).astype(np.float16)])
    scaler.update()
    assert info == (2.0**-11, False)
    assert w.astype(np.float32).tolist() == [float(np.float16(1 - 2.0**-13))] * 4
    info = scaler.step(opt, [np.full(4, np.inf, np.float16)])
    scaler.update()
    assert info.skipped
    assert scaler.get_scale() == 512.0


def test_averages_of_weights(target: str, rng: np.random.Generator) -> None:
    params = [rng.standard_normal(300), rng.standard_normal(7).astype(ml_dtypes.bfloat16)]
    ema = optim.EMA(params, decay=0.9)
    expected = [p.astype(np.float64) for p in params]
    for _ in range(5):
        for p in params:
            p += rng.standard_normal(p.shape).astype(p.dtype)
        ema.update()
        expected = [e + 0.1 * (p.astype(np.float64) - e) for e, p in zip(expected, params, strict=True)]
    for s, e in zip(ema.shadow, expected, strict=True):
        np.testing.assert_allclose(s, e, rtol=1e-6, atol=1e-6)
    kept = [p.copy() for p in params]
    with ema.applied():
        np.testing.assert_allclose(params[0], ema.shadow[0])
    for p, k in zip(params, kept, strict=True):
        numerics.assert_same_bits(p, k, "back again")
    other = optim.EMA(params)
    other.load_state_dict(ema.state_dict())
    numerics.assert_same_bits(other.shadow[0], ema.shadow[0], "loaded")
    assert (other.decay, other.updates) == (0.9, 5)
    with pytest.raises(ValueError, match="the state is for shapes"):
        optim.EMA(params[:1]).load_state_dict(ema.state_dict())


def test_groups_without_decay() -> None:
    model = dk.nn.Sequential(dk.nn.Linear(4, 3), dk.nn.LayerNorm(3), dk.nn.Linear(3, 2))
    groups = optim.decay_groups(model.named_parameters(), 0.1, lr=0.5)
    assert [(len(g["params"]), g["weight_decay"], g["lr"]) for g in groups] == [(2, 0.1, 0.5), (4, 0.0, 0.5)]
    optim.AdamW(groups)


def test_ten_thousand_tensors_and_empty_ones(threads: None) -> None:
    params = [np.ones(i % 7, np.float32) for i in range(10_000)]
    opt = optim.AdamW(params, lr=0.1, weight_decay=0.0)
    info = opt.step([np.ones_like(p) for p in params], max_norm=1e9)
    assert info.grad_norm == pytest.approx(math.sqrt(sum(p.size for p in params)))
    assert all((p == params[1][0]).all() for p in params)


def test_matrices_only_for_muon() -> None:
    with pytest.raises(ValueError, match="Muon: parameters must be matrices"):
        optim.Muon([np.ones(3)])
    calls = []

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        calls.append(a.shape)
        return a @ b

    optim.Muon([np.ones((4, 3))], matmul=product).step([np.ones((4, 3))])
    assert len(calls) == 15


# --- what others found ------------------------------------------------------------------------------------------------------


LATE = {
    "LAMB": optim.LAMB,
    "ASGD": optim.ASGD,
    "AdamW": optim.AdamW,
    "LARS": lambda p, lr: optim.LARS(p, lr=lr),
    "Adafactor": optim.Adafactor,
}


@pytest.mark.parametrize("name", LATE)
def test_a_schedule_that_is_refused_changes_nothing(name: str) -> None:
    params = [np.ones(4), np.ones(3, np.float32)]
    opt = LATE[name](params, lr=lambda t: -1.0 if t else 0.1)
    opt.step([np.ones(4), np.ones(3, np.float32)])
    before = everything(opt, params)
    with pytest.raises(ValueError, match="lr must be finite"):
        opt.step([np.ones(4), np.ones(3, np.float32)])
    assert_unchanged(opt, params, before)


def test_gradients_across_engines() -> None:
    a, b, g = np.ones(3), np.ones(3), np.ones(3)
    opt = optim.SGD([{"params": [a], "momentum": 0.9}, {"params": [b]}], lr=0.1)
    with pytest.raises(ValueError, match="share memory, so zero_grads"):
        opt.step([g, g], zero_grads=True)
    with pytest.raises(ValueError, match=r"a gradient of params\[0\] shares memory with params\[0\]"):
        opt.step([np.ones(3), a])
    assert (a == 1).all()
    assert (b == 1).all()
    opt.step([g, g])  # read only, a gradient may serve twice
    half = np.zeros(6, np.float32)
    opt = optim.SGD([np.ones(3), half], lr=0.1)
    with pytest.raises(ValueError, match="shares memory"):
        opt.step([half.view(np.float64), np.ones(6, np.float32)], zero_grads=True)
    assert not half.any()


def test_functions_refuse_what_only_optimizers_keep() -> None:
    f, w = optim.functional, [np.ones(3, np.float32)]
    state = [np.zeros(3, np.float32)], [np.zeros(3, np.float32)]
    for options in ({"precision": "master"}, {"state_dtype": "uint8"}, {"seed": 1}):
        with pytest.raises(TypeError, match="are for optimizers"):
            f.adamw_(w, w, *state, step=1, **options)
    with pytest.raises(TypeError, match="step"):
        f.sgd_(w, w, [np.zeros(3, np.float32)], momentum=0.9)
    bad = [np.array([1, np.nan, 1], np.float32)]
    assert f.adamw_(w, bad, *state, step=1, grad_scale=2.0).skipped
    info, product = f.nadam_(w, bad, *state, step=1, mu_product=0.5, max_norm=1.0)
    assert info.skipped
    assert product == 0.5
    assert (w[0] == 1).all()


@pytest.mark.torch
def test_memory_that_moves_is_followed() -> None:
    import torch

    w = torch.nn.Parameter(torch.zeros(3))
    opt = optim.SGD([w.detach()], lr=1.0)
    p = opt._params[0]
    p.data = torch.full((3,), 5.0)
    opt.step([torch.ones(3)])
    assert p.tolist() == [4.0] * 3
    p.data = torch.ones(4)
    with pytest.raises(ValueError, match="must have the shape"):
        opt.step([torch.ones(4)])
    grown = np.ones(3)
    opt = optim.SGD([grown], lr=1.0)
    grown.resize(10, refcheck=False)
    with pytest.raises(ValueError, match="must have the shape"):
        opt.step([np.ones(3)])


@pytest.mark.torch
def test_clipping_tensors() -> None:
    import torch

    g = [torch.tensor([3.0, -4.0]), torch.tensor([12.0], dtype=torch.bfloat16)]
    assert optim.clip_grad_norm_(g, 6.5) == 13.0
    np.testing.assert_allclose(g[0].numpy(), [1.5, -2.0], rtol=1e-6)
    assert optim.clip_grad_norm_(g, math.inf) == pytest.approx(6.5, rel=1e-2)
    optim.clip_grad_value_(g, 1.0)
    assert g[0].tolist() == [1.0, -1.0]
    with pytest.raises(TypeError, match=r"Muon: params\[0\] must be a NumPy array"):
        optim.Muon([torch.ones(2, 2)])
    large = [np.full(1000, 60000, np.float16)]
    optim.clip_grad_norm_(large, 0.01)
    np.testing.assert_allclose(large[0].astype(np.float64), 0.01 / math.sqrt(1000), rtol=1e-2)
    fixed, free = np.ones(3), np.ones(3)
    fixed.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        optim.clip_grad_norm_([free, fixed], 0.1)
    assert (free == 1).all()


def test_a_norm_beyond_float64_is_none() -> None:
    w = [np.zeros(2)]
    info = optim.SGD(w, lr=1.0).step([np.array([3e200, 4e200])], max_norm=1.0)
    assert info == (pytest.approx(5e200), False)
    np.testing.assert_allclose(w[0], [-0.6, -0.8], rtol=1e-12)


def test_states_of_others() -> None:
    opt = optim.AdamW([np.ones(3)])
    opt.step([np.ones(3)])
    saved = opt.state_dict()
    text = json.loads(json.dumps(saved, default=lambda a: a.tolist()))
    text["state"] = {
        k: {n: np.array(v) if isinstance(v, list) else v for n, v in s.items()} for k, s in text["state"].items()
    }
    other = optim.AdamW([np.ones(3)])
    other.load_state_dict(text)
    assert other._steps == [1]
    saved["param_groups"][0]["decoupled_weight_decay"] = False  # an Adam's
    del saved["param_groups"][0]["maximize"]
    other.load_state_dict(saved)
    assert other.param_groups[0]["decoupled_weight_decay"] is True
    nadam = optim.NAdam([np.ones(3)])
    nadam.step([np.ones(3)])
    saved = nadam.state_dict()
    del saved["state"][0]["mu_product"]
    with pytest.raises(ValueError, match="mu_product"):
        optim.NAdam([np.ones(3)]).load_state_dict(saved)
    nadam.param_groups[0]["params"].append(np.ones(2))
    with pytest.raises(ValueError, match="a group's list of parameters has changed"):
        nadam.step([np.ones(3)])
    with pytest.raises(TypeError, match="params must be a list of arrays"):
        optim.SGD(np.ones((3, 2)))


def test_a_schedule_in_a_training_run() -> None:
    x, y = np.random.default_rng(0).standard_normal((64, 4)).astype(np.float32), np.zeros(64, np.int64)
    model = dk.nn.Sequential(dk.nn.Linear(4, 2, seed=0))
    rate = dk.schedules.cosine(0.1, 8)
    history = dk.train.fit(
        model, (x, y), loss="cross_entropy", optimizer=lambda p: optim.AdamW(p, lr=rate), epochs=2, batch_size=16
    )
    assert [row["lr"] for row in history.rows] == [rate(3), rate(7)]
