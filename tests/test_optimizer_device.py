"""Optimizers on a CUDA device: after any steps the bits of the CPU, whatever is clipped, scaled, skipped or missing; nothing waited for.

Run on the emulated device everywhere, and on a real one, with CuPy, where there is one (mark gpu).
"""

from __future__ import annotations

import contextlib
import weakref
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from test_device import cp, stand_in  # noqa: F401  fixtures

import dlkernels as dk
from dlkernels import optim

SIZES = [(33, 7), (), (5000,), (257,), (3, 4099), (0,)]
RULES: dict[str, Any] = {
    "SGD": lambda p, **o: optim.SGD(p, lr=0.1, weight_decay=0.01, **o),
    "SGD momentum": lambda p, **o: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, **o),
    "SGD nesterov": lambda p, **o: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True, **o),
    "Adagrad": lambda p, **o: optim.Adagrad(p, lr=0.1, lr_decay=0.01, **o),
    "Adadelta": lambda p, **o: optim.Adadelta(p, weight_decay=0.1, **o),
    "RMSprop": lambda p, **o: optim.RMSprop(p, momentum=0.9, eps_in_sqrt=True, **o),
    "Adam": lambda p, **o: optim.Adam(p, lr=0.1, amsgrad=True, **o),
    "Adam hat": lambda p, **o: optim.Adam(p, lr=0.1, eps_mode="hat", eps_root=1e-8, **o),
    "AdamW": lambda p, **o: optim.AdamW(p, lr=0.1, **o),
    "NAdam": lambda p, **o: optim.NAdam(p, lr=0.1, **o),
    "RAdam": lambda p, **o: optim.RAdam(p, lr=0.1, betas=(0.9, 0.99), **o),
    "Adamax": lambda p, **o: optim.Adamax(p, lr=0.1, **o),
    "Lion": lambda p, **o: optim.Lion(p, lr=0.01, weight_decay=0.1, **o),
    "Rprop": optim.Rprop,
    "LAMB": lambda p, **o: optim.LAMB(p, lr=0.1, **o),
    "LAMB apex": lambda p, **o: optim.LAMB(p, lr=0.1, always_adapt=False, weight_decay=0.0, **o),
    "LARS": lambda p, **o: optim.LARS(p, lr=0.1, trust_coefficient=0.02, eps=1e-8, maximize=True, **o),
    "ASGD": lambda p, **o: optim.ASGD(p, lr=0.1, t0=2.0, **o),
}
# The array library's sums and products: the stand-in computes them by NumPy, so there the bits are the CPU's.
LIBRARY_RULES: dict[str, Any] = {
    "Adafactor": lambda p, **o: optim.Adafactor(p, lr=0.1, weight_decay=0.1, d=1.5, **o),
    "Muon": lambda p, **o: optim.Muon(p, lr=0.1, maximize=True, **o),
}
DTYPES = ["float32", "float16", "bfloat16", "float64"]


def drawn(rng: np.random.Generator, dtype: str, shapes: list[Any] = SIZES) -> list[np.ndarray]:
    wanted = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    return [np.asarray(rng.normal(size=shape)).astype(wanted) for shape in shapes]


def on_host(x: Any) -> Any:
    return x.get() if hasattr(x, "get") else x


class Pair:
    """The same optimizer on both devices."""

    def __init__(self, cp: Any, make: Any, params: list[np.ndarray]) -> None:  # noqa: F811
        self.cp = cp
        self.arrays = params, [cp.asarray(p) for p in params]
        self.opts = make(self.arrays[0]), make(self.arrays[1])

    def step(self, grads: list[Any], **options: Any) -> tuple[Any, Any]:
        mine = [None if g is None else g.copy() for g in grads]
        theirs = [None if g is None else self.cp.asarray(g) for g in grads]
        infos = self.opts[0].step(mine, **options), self.opts[1].step(theirs, **options)
        for a, b in zip(mine, theirs, strict=True):
            if a is not None:
                assert a.tobytes() == on_host(b).tobytes(), "gradients"
        return infos

    def same(self) -> None:
        for a, b in zip(*self.arrays, strict=True):
            assert a.tobytes() == on_host(b).tobytes(), "parameters"
        a, b = (opt.state_dict() for opt in self.opts)
        assert a["state"].keys() == b["state"].keys()
        for i, state in a["state"].items():
            assert state.keys() == b["state"][i].keys()
            for key, value in state.items():
                got = on_host(b["state"][i][key])
                assert np.asarray(value).tobytes() == np.asarray(got).tobytes(), (i, key, value, got)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_steps_leave_the_bits_of_the_cpu(cp: Any, rng: np.random.Generator, rule: str, dtype: str) -> None:  # noqa: F811
    """Clipped, scaled, one of them skipped, one with gradients missing, one plain."""
    pair = Pair(cp, RULES[rule], drawn(rng, dtype))
    for t in range(6):
        grads: list[Any] = [np.asarray(g * g.dtype.type(8)) for g in drawn(rng, dtype)]
        if t == 2:
            grads[4][1, 77] = np.inf
        if t in (3, 5):
            grads[2] = grads[0] = None
        options: dict[str, Any] = {"max_norm": 1.5, "grad_scale": 8.0, "zero_grads": t % 2 == 0} if t != 4 else {}
        ours, theirs = pair.step(grads, **options)
        assert theirs.skipped == ours.skipped == (t == 2)
        if t != 4:
            np.testing.assert_equal(theirs.grad_norm, ours.grad_norm)
    pair.same()
    assert pair.opts[1].state_dict()["state"][2]["step"] == 3.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", LIBRARY_RULES)
def test_directions_of_the_array_library(cp: Any, rng: np.random.Generator, rule: str, dtype: str) -> None:  # noqa: F811
    shapes = [(33, 7), (3, 40), (8, 8)] if rule == "Muon" else [*SIZES, (2, 5, 4)]
    pair = Pair(cp, LIBRARY_RULES[rule], drawn(rng, dtype, shapes))
    for t in range(5):
        grads: list[Any] = drawn(rng, dtype, shapes)
        if t == 2:
            grads[1].flat[0] = np.nan
        if t == 3:
            grads[0] = None
        options: dict[str, Any] = {"max_norm": 1.5, "grad_scale": 2.0, "zero_grads": t % 2 == 0} if t != 4 else {}
        ours, theirs = pair.step(grads, **options)
        assert theirs.skipped == ours.skipped == (t == 2)
    if rule == "Adafactor" and hasattr(cp.ndarray, "memory"):  # a BLAS minds how its operands lie
        pair.same()
        return
    digits = {"float64": 1e-10, "float32": 1e-4}.get(dtype, 2e-2)
    for a, b in zip(*pair.arrays, strict=True):
        np.testing.assert_allclose(a.astype(np.float64), b.get().astype(np.float64), rtol=digits, atol=digits)


@pytest.mark.parametrize("storage", [
    {"state_dtype": "uint8"}, {"state_dtype": "bfloat16"}, {"precision": "master"}, {"precision": "stochastic"},
    {"precision": "remainder", "state_dtype": "uint8", "seed": 7},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("rule", ["AdamW", "SGD momentum", "Lion"])
def test_every_storage(cp: Any, rng: np.random.Generator, rule: str, storage: dict[str, Any]) -> None:  # noqa: F811
    """Rounded at random alike, a skipped step drawing nothing."""
    pair = Pair(cp, lambda p: RULES[rule](p, **storage), drawn(rng, "bfloat16"))
    for t in range(5):
        grads = drawn(rng, "bfloat16")
        if t == 1:
            grads[0][0, 0] = np.nan
        pair.step(grads, max_norm=2.0)
    pair.same()


def test_several_dtypes_groups_and_schedules(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    params = drawn(rng, "float32") + drawn(rng, "bfloat16") + drawn(rng, "float64", [(40,)])

    def make(p: list[Any]) -> Any:
        groups = [{"params": p[:5], "lr": dk.schedules.cosine(0.1, 20)}, {"params": p[5:], "weight_decay": 0.3}]
        return optim.AdamW(groups, lr=0.01)

    pair = Pair(cp, make, params)
    for _ in range(3):
        ours, theirs = pair.step(
            drawn(rng, "float32") + drawn(rng, "bfloat16") + drawn(rng, "float64", [(40,)]), max_norm=0.5
        )
        assert ours.grad_norm == theirs.grad_norm
    pair.same()


def test_a_gradient_that_comes_back(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    """The same array, after a step without it, and after one with another array in its place."""
    params = drawn(rng, "float32", [(9,), (70,)])
    there = [cp.asarray(p) for p in params]
    ours, theirs = optim.SGD(params, lr=0.5), optim.SGD(there, lr=0.5)
    grads = drawn(rng, "float32", [(9,), (70,), (9,)])
    kept = [cp.asarray(g) for g in grads]
    for first, second in ((0, 1), (None, 1), (0, None), (2, 1), (0, 1)):
        ours.step([None if i is None else grads[i] for i in (first, second)], max_norm=1.0)
        theirs.step([None if i is None else kept[i] for i in (first, second)], max_norm=1.0)
    assert all(a.tobytes() == b.get().tobytes() for a, b in zip(params, there, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_an_embedding(cp: Any, rng: np.random.Generator, dtype: str) -> None:  # noqa: F811
    """Beside a parameter that takes ordinary steps; rows given twice are summed in one order."""
    start = drawn(rng, dtype, [(50, 7), (9,)])
    there = [cp.asarray(p) for p in start]
    ours, theirs = optim.Adagrad(start, lr=0.1, lr_decay=0.1), optim.Adagrad(there, lr=0.1, lr_decay=0.1)
    for n in (12, 0, 700, 5000):
        rows = np.where(rng.random(n) < 0.6, 7, rng.integers(0, 50, n))
        values, full = drawn(rng, dtype, [(n, 7), (9,)])
        ours.step_rows(0, rows, values)
        theirs.step_rows(0, cp.asarray(rows) if n == 12 else rows, cp.asarray(values))
        ours.step([None, full], max_norm=1.0)
        theirs.step([None, cp.asarray(full)], max_norm=1.0)
    for a, b in zip(start, there, strict=True):
        assert a.tobytes() == on_host(b).tobytes()
    for i in range(2):
        mine, other = (opt.state_dict()["state"][i] for opt in (ours, theirs))
        assert mine["step"] == other["step"] == 4.0
        assert mine["sum"].tobytes() == on_host(other["sum"]).tobytes()
    with pytest.raises(ValueError, match=r"values must lie where params\[0\] does"):
        theirs.step_rows(0, [1], start[0][:1])


def test_rate_and_scale_may_lie_on_the_device(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    params = drawn(rng, "float32")
    rate, scale = cp.asarray(np.float32(0.25)), cp.asarray(np.float32(4.0))
    ours, theirs = optim.AdamW(params, lr=0.25), None
    there = [cp.asarray(p) for p in params]
    theirs = optim.AdamW(there, lr=rate)
    for t in range(3):
        grads = drawn(rng, "float32")
        ours.step(grads, grad_scale=4.0 if t < 2 else 2.0)
        if t == 2:
            scale[...] = 2.0  # the next step sees it
        theirs.step([cp.asarray(g) for g in grads], grad_scale=scale)
    for a, b in zip(params, there, strict=True):
        assert a.tobytes() == b.get().tobytes()


def test_a_loaded_state_keeps_the_rate_where_it_lies(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    """A graph that holds a step reads that scalar."""
    rate = cp.asarray(np.float32(0.5))
    opt = optim.SGD([cp.asarray(p) for p in drawn(rng, "float32")], lr=rate)
    for state_of in (0.25, cp.asarray(np.float64(0.125))):
        other = optim.SGD([cp.asarray(p) for p in drawn(rng, "float32")], lr=state_of)
        opt.load_state_dict(other.state_dict())
        assert opt.param_groups[0]["lr"] is rate
        assert float(rate.get()) == float(on_host(state_of))


def test_a_step_without_memory_can_be_taken_again(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    """Wherever memory runs out in the first step."""
    if not hasattr(cp.ndarray, "memory"):
        pytest.skip("the stand-in can be out of memory")
    pair = Pair(cp, lambda p: optim.LAMB(p, lr=0.1), drawn(rng, "float32"))
    grads = drawn(rng, "float32")
    there = [cp.asarray(g) for g in grads]
    make, calls, refused = cp.empty, 0, 0

    def short(*args: Any, **more: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > refused:
            raise MemoryError("out of memory")
        return make(*args, **more)

    while True:
        calls = 0
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cp, "empty", short)
            try:
                pair.opts[1].step(there, max_norm=1.0)
                break
            except MemoryError:
                refused += 1
    assert refused > 3
    pair.opts[0].step(grads, max_norm=1.0)
    pair.same()


def test_a_direction_that_fails_is_no_step(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    def failing(a: Any, b: Any) -> Any:
        if broken:
            raise ArithmeticError("no product today")
        return np.matmul(a, b)

    broken = False
    there = [cp.asarray(p) for p in drawn(rng, "float32", [(8, 4)])]
    opt = optim.Muon(there, lr=0.1, matmul=failing)
    grads = [cp.asarray(g) for g in drawn(rng, "float32", [(8, 4)])]
    opt.step(grads, max_norm=1.0)
    before, broken = there[0].get(), True
    with pytest.raises(ArithmeticError):
        opt.step(grads, max_norm=1.0)
    assert before.tobytes() == there[0].get().tobytes()
    broken = False
    opt.step(grads)
    assert opt.state_dict()["state"][0]["step"] == 2.0


def test_an_optimizer_goes_with_its_memory(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    """Without the garbage collector, which no array on a device makes run."""
    opt = optim.SGD([cp.asarray(p) for p in drawn(rng, "float32")], lr=0.1, momentum=0.9)
    opt.step([cp.asarray(g) for g in drawn(rng, "float32")], max_norm=1.0)
    steps = weakref.ref(opt._device)
    del opt
    assert steps() is None


def test_too_many_small_neighbors_are_refused_for_a_norm(cp: Any) -> None:  # noqa: F811
    raw, other = cp.asarray(np.ones(3000, np.float32)), cp.asarray(np.ones(3000, np.float32))
    there = [raw[i : i + 1] for i in range(3000)]
    opt = optim.SGD(there, lr=0.5)
    grads = [other[i : i + 1] for i in range(3000)]
    with pytest.raises(ValueError, match="more than 2900 neighboring parameters have less than 4096 elements together"):
        opt.step(grads, max_norm=1.0)
    opt.step(grads)
    assert (raw.get() == 0.5).all()


def test_a_copy_goes_on_where_the_optimizer_was(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    """Checkpoints, copies, more groups: step counts come back from the device."""
    pair = Pair(cp, lambda p: optim.NAdam(p, lr=0.1), drawn(rng, "float32"))
    inf = drawn(rng, "float32")
    inf[0][0, 0] = np.inf
    for grads in (drawn(rng, "float32"), inf, drawn(rng, "float32")):
        pair.step(grads, max_norm=1.0)
    state = pair.opts[1].state_dict()
    assert {s["step"] for s in state["state"].values()} == {2.0}
    fresh = optim.NAdam([cp.asarray(p) for p in pair.arrays[0]], lr=0.1)
    fresh.load_state_dict(state)
    pair.opts = pair.opts[0], fresh
    pair.arrays = pair.arrays[0], fresh.param_groups[0]["params"]
    more = drawn(rng, "float32", [(9,)])
    for opt, p in zip(pair.opts, (more, [cp.asarray(more[0])]), strict=True):
        opt.add_param_group({"params": p, "lr": 0.01})
    pair.arrays = [*pair.arrays[0], *more], [*pair.arrays[1], *fresh.param_groups[1]["params"]]
    pair.step(drawn(rng, "float32", [*SIZES, (9,)]))
    pair.same()


@pytest.mark.parametrize(("rule", "launches"), [("Adam", 2), ("LAMB", 4), ("LARS", 5)])
def test_a_thousand_tensors_are_few_launches(
    stand_in: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    rng: np.random.Generator,
    rule: str,
    launches: int,
) -> None:
    """Norm, finite check, clipping and every rule's numbers are one launch; the table is made in the first step alone."""
    with stand_in.used(monkeypatch) as cupy:
        with cupy.ndarray.memory.opened():  # or each array would open it
            there, grads, others = ([cupy.asarray(p) for p in drawn(rng, "float32", [(3,)] * 1000)] for _ in range(3))
            opt = RULES[rule](there)
        opt.step(grads, max_norm=1.0)
        for given in (grads, others):
            before = stand_in.launches()
            opt.step(given, max_norm=1.0)
            assert stand_in.launches() - before == launches


def test_more_tensors_than_a_launch_takes(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    shapes = [(5,)] * 3500
    opened = cp.ndarray.memory.opened if hasattr(cp.ndarray, "memory") else contextlib.nullcontext
    with opened():  # of the stand-in, or each array would open it
        pair = Pair(cp, lambda p: optim.Adam(p, lr=0.1), drawn(rng, "float32", shapes))
        for _ in range(2):
            ours, theirs = pair.step(drawn(rng, "float32", shapes), max_norm=1.0)
            assert ours.grad_norm == theirs.grad_norm
        pair.same()


def test_around_the_step(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    """Norms, clipping, averages of weights, the scale of a loss."""
    for dtype in DTYPES:
        grads = drawn(rng, dtype)
        there = [cp.asarray(g) for g in grads]
        for kind in (1.0, 2.0, np.inf):
            assert optim.global_grad_norm(there, kind) == optim.global_grad_norm(grads, kind)
        assert optim.clip_grad_norm_(there, 0.5) == optim.clip_grad_norm_(grads, 0.5)
        optim.clip_grad_value_(there, 0.01)
        optim.clip_grad_value_(grads, 0.01)
        assert all(a.tobytes() == b.get().tobytes() for a, b in zip(grads, there, strict=True))
    params = drawn(rng, "float32")
    there = [cp.asarray(p) for p in params]
    averages = optim.EMA(params, 0.9), optim.EMA(there, 0.9)
    scalers = optim.GradScaler(init_scale=8.0), optim.GradScaler(init_scale=8.0)
    opts = optim.SGD(params, lr=0.1), optim.SGD(there, lr=0.1)
    for t in range(3):
        grads = drawn(rng, "float32")
        if t == 1:
            grads[0][0, 0] = np.inf
        scalers[0].step(opts[0], grads)
        scalers[1].step(opts[1], [cp.asarray(g) for g in grads])
        for scaler, average in zip(scalers, averages, strict=True):
            scaler.update()
            average.update()
    assert scalers[0].get_scale() == scalers[1].get_scale() == 4.0
    for a, b in zip(averages[0].shadow, averages[1].shadow, strict=True):
        assert a.tobytes() == b.get().tobytes()


def test_what_a_device_refuses(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    there = [cp.asarray(p) for p in drawn(rng, "float32", [(8, 4)])]
    with pytest.raises(ValueError, match="all be on a GPU, or none"):
        optim.SGD([there[0], np.ones(3, np.float32)])
    opt = optim.SGD(there, lr=0.1)
    with pytest.raises(ValueError, match=r"grads\[0\]"):
        opt.step([np.ones((8, 4), np.float32)])
    with pytest.raises(ValueError, match="grad_scale on the device must be one"):
        opt.step([cp.asarray(np.ones((8, 4), np.float32))], grad_scale=cp.asarray(np.ones(2, np.float32)))


def test_nothing_is_waited_for(cp: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """A step that clips and may skip reads nothing from the device, until somebody asks."""
    if not hasattr(cp, "float32") or cp.ndarray.__init__ is None:
        pytest.skip("the stand-in counts what is read")
    there = [cp.asarray(p) for p in drawn(rng, "float32")]
    opt = optim.AdamW(there, lr=0.1)
    grads = [cp.asarray(g) for g in drawn(rng, "float32")]
    opt.step(grads, max_norm=1.0)
    if cp.ndarray.__module__ == "cupy" and hasattr(cp.ndarray, "memory"):
        monkeypatch.setattr(cp.ndarray, "get", lambda self: pytest.fail("an array was read"))
    info = opt.step(grads, max_norm=1.0, grad_scale=2.0)
    monkeypatch.undo()
    assert info.report.get()[1] == 0.0


def test_copies(cp: Any, rng: np.random.Generator) -> None:  # noqa: F811
    """__getstate__ settles; the memory on the device is made anew."""
    opt = optim.Adam([cp.asarray(p) for p in drawn(rng, "float32")], lr=0.1)
    opt.step([cp.asarray(g) for g in drawn(rng, "float32")], max_norm=1.0)
    state = opt.__getstate__()
    assert state["_steps"] == [1] * len(SIZES)
    assert "_device" not in state
    assert "_engines" not in state
