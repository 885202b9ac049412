"""Parameters with and without master copies, state in fewer bits: what is kept, how well, and that a resumed run goes on bit for bit."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numerics
import numpy as np
import optimizer_resume
import pytest

import dlkernels as dk
from dlkernels import optim

BF16 = np.dtype(ml_dtypes.bfloat16)
RULES = {
    "SGD": lambda p, **o: optim.SGD(p, lr=0.01, momentum=0.9, **o), "Adagrad": optim.Adagrad, "Adadelta": optim.Adadelta,
    "RMSprop": lambda p, **o: optim.RMSprop(p, momentum=0.9, centered=not o.get("state_dtype"), **o),
    "ASGD": optim.ASGD, "Adam": optim.Adam,
    "AMSGrad": lambda p, **o: optim.AdamW(p, amsgrad=True, **o), "NAdam": optim.NAdam, "RAdam": optim.RAdam, "Adamax": optim.Adamax,
    "Lion": optim.Lion,
}  # fmt: skip


def gradients(count: int, n: int, dtype: Any) -> list[np.ndarray]:
    rng = np.random.default_rng(8)
    return [rng.standard_normal(n).astype(dtype) for _ in range(count)]


@pytest.mark.parametrize("name", RULES)
def test_masters(name: str, target: str) -> None:
    """A float32 master, whole or its lower half, is what float32 parameters would be; the parameter is that, rounded."""
    start = np.random.default_rng(0).standard_normal(5001).astype(BF16)
    params = {p: start.copy() for p in ("master", "remainder")}
    opts = {p: RULES[name]([a], precision=p) for p, a in params.items()}
    plain = start.astype(np.float32)
    reference = RULES[name]([plain])
    for g in gradients(20, 5001, BF16):
        reference.step([g.astype(np.float32)])
        for opt in opts.values():
            opt.step([g])
    numerics.assert_same_bits(opts["master"].state_dict()["state"][0]["master"], plain, "master")
    numerics.assert_same_bits(params["master"], plain.astype(BF16), "to nearest even")
    low = opts["remainder"].state_dict()["state"][0]["remainder"].view(np.uint16).ravel()
    upper = params["remainder"].view(np.uint16) - (low >> 15)
    numerics.assert_same_bits((upper.astype(np.uint32) << 16 | low).view(np.float32), plain, "both halves")


def test_a_master_of_float16(target: str) -> None:
    w = np.ones(100, np.float16)
    opt = optim.SGD([w], lr=1.0, precision="master")
    for _ in range(64):
        opt.step([np.full(100, 2.0**-14, np.float16)])  # a quarter of a unit in the last place
    assert (w == np.float16(1 - 2.0**-8)).all()
    plain = np.ones(100, np.float16)
    opt = optim.SGD([plain], lr=1.0)
    for _ in range(64):
        opt.step([np.full(100, 2.0**-14, np.float16)])
    assert (plain == 1).all()


def test_rounding_at_random_is_right_in_the_mean(target: str) -> None:
    n = 20_000
    w = np.ones(n, BF16)
    opt = optim.SGD([w], lr=1e-3, precision="stochastic", seed=5)
    for _ in range(20):
        opt.step([np.ones(n, BF16)])
    mean = w.astype(np.float64).mean()
    assert abs(mean - 0.98) < 5 * 2.0**-8 * np.sqrt(20 / 4 / n)  # five standard deviations
    assert len(np.unique(w.astype(np.float32))) > 1
    again = np.ones(n, BF16)
    opt = optim.SGD([again], lr=1e-3, precision="stochastic", seed=6)
    for _ in range(20):
        opt.step([np.ones(n, BF16)])
    assert (again != w).any()
    nothing = np.full(64, 1.5, BF16)
    optim.SGD([nothing], lr=1.0, precision="stochastic").step([np.zeros(64, BF16)])
    assert (nothing == 1.5).all()  # what is representable stays
    inf = np.array([np.inf, -np.inf, np.nan] * 4, BF16)
    optim.SGD([inf], lr=1.0, precision="stochastic").step([np.zeros(12, BF16)])
    numerics.assert_same_bits(inf, np.array([np.inf, -np.inf, np.nan] * 4, BF16), "no finite number")


def magnitudes(positive: bool) -> list[float]:
    """0, the middles of all parts, 1: kernels/quantize.h, in float64."""
    levels = [0.0]
    for k in range(7):
        parts = 2 ** (k + positive)
        levels += [10.0 ** (k - 6) * (0.1 + 0.9 * (j + 0.5) / parts) for j in range(parts)]
    return [*levels, 1.0]


def decoded(state: dict[str, Any], key: str, positive: bool) -> np.ndarray:
    """What bytes stand for."""
    sizes = magnitudes(positive)
    levels = sizes if positive else [*sizes, *(-v for v in sizes[1:-1])]
    code = state[key]
    scale = np.repeat(state[f"{key}_scale"].astype(np.float64), 256)[: code.size]
    return np.array(levels)[code] * scale


@pytest.mark.parametrize("positive", [False, True])
def test_the_error_of_bytes(positive: bool, target: str, rng: np.random.Generator) -> None:
    """A step from zero state leaves 0.1 g, or 0.001 g^2: each within the next levels, the largest of a block exactly, signs as they are."""
    n = 10_000
    g = (rng.standard_normal(n) * 10.0 ** rng.uniform(-4, 1, n)).astype(np.float32)
    g[256:512] = 0
    g[512:768] = np.where(np.arange(256) % 2, 1, -1)
    opt = optim.Adam([np.zeros(n, np.float32)], state_dtype="uint8")
    exact_opt = optim.Adam([np.zeros(n, np.float32)])
    opt.step([g])
    exact_opt.step([g])
    key = "exp_avg_sq" if positive else "exp_avg"
    exact = exact_opt._states[0][key].astype(np.float64)
    got = decoded(opt._states[0], key, positive)
    levels = np.array(magnitudes(positive))
    blocks = [slice(i, min(i + 256, n)) for i in range(0, n, 256)]
    for block in blocks:
        e, q = exact[block], got[block]
        largest = np.abs(e).max()
        if largest == 0:
            assert not q.any()
            continue
        assert q[e.argmax()] == e[e.argmax()] or e.max() < largest
        r = np.abs(e) / largest
        between = np.searchsorted(levels, r, side="left").clip(1, len(levels) - 1)
        allowed = (levels[between] - levels[between - 1]) * 1.0001  # the two levels that it lies between
        if positive:
            assert (q[e > 0] > 0).all()
        assert (q * e >= 0).all()
        assert (np.abs(e - q) / largest <= allowed).all()


def test_what_is_kept(target: str) -> None:
    small, large = np.zeros(4095, np.float32), np.zeros((64, 100), np.float32)
    state = optim.AdamW([small, large], state_dtype="uint8")._states
    assert state[0]["exp_avg"].dtype == np.float32
    assert {k: (a.dtype.name, a.shape) for k, a in state[1].items()} == {
        "exp_avg": ("uint8", (64, 100)), "exp_avg_scale": ("float32", (25,)),
        "exp_avg_sq": ("uint8", (64, 100)), "exp_avg_sq_scale": ("float32", (25,)),
    }  # fmt: skip
    bytes_each = sum(a.nbytes for a in state[1].values()) / large.size
    assert bytes_each == pytest.approx(2 * (1 + 4 / 256))  # 8 in float32
    assert optim.AdamW([small], state_dtype="bfloat16")._states[0]["exp_avg"].dtype == BF16


@pytest.mark.parametrize("state_dtype", ["bfloat16", "uint8"])
def test_averages_in_fewer_bits_decay(state_dtype: str, target: str) -> None:
    """An average that shrinks by 10 % a step goes to 0, although levels are further apart than that; in the mean over elements."""
    n = 8192
    w = {kept: np.zeros(n, np.float32) for kept in (None, state_dtype)}
    for kept, p in w.items():
        opt = optim.SGD([p], lr=0.1, momentum=0.9, state_dtype=kept)
        for t in range(300):
            g = np.full(n, 0.3 if t == 0 else 0.0, np.float32)
            g[::256] = 1.0
            opt.step([g])
    others = np.arange(n) % 256 != 0
    np.testing.assert_allclose(w[state_dtype][others].mean(), w[None][others].mean(), rtol=0.03)


@pytest.mark.parametrize("state_dtype", ["bfloat16", "uint8"])
def test_fewer_bits_learn_as_well(state_dtype: str, target: str) -> None:
    """A least-squares problem ends where float32 state ends it."""
    rng = np.random.default_rng(1)
    a = rng.standard_normal((400, 64)).astype(np.float32)
    wanted = rng.standard_normal((64, 80)).astype(np.float32)

    def loss(w: np.ndarray) -> float:
        return float(np.mean((a @ w - a @ wanted) ** 2))

    ends = []
    for kept in (None, state_dtype):
        w = np.zeros((64, 80), np.float32)
        opt = optim.AdamW([w], lr=dk.schedules.cosine(0.05, 300), weight_decay=0.0, state_dtype=kept)
        for _ in range(300):
            opt.step([(a.T @ (a @ w - a @ wanted) / 200).astype(np.float32)])
        ends.append(loss(w))
    assert ends[1] < max(10 * ends[0], 1e-3), ends


def test_resuming_in_a_new_process_is_exact(tmp_path: Path, threads: None) -> None:
    """Every rule and storage, left after 0, 1, 2 and 5 steps and taken up by another process with other threads."""
    left, straight = {}, {}
    for case in optimizer_resume.cases():
        w = optimizer_resume.start()
        left[case] = w, optimizer_resume.run(case, w, None, 0, case[2])
        whole = optimizer_resume.start()
        straight[case] = whole, optimizer_resume.run(case, whole, None, 0, optimizer_resume.STEPS)
    (tmp_path / "left").write_bytes(pickle.dumps(left))
    program = Path(optimizer_resume.__file__)
    done = subprocess.run(
        [sys.executable, program, tmp_path / "left", tmp_path / "right"], check=False, capture_output=True, text=True, cwd=program.parent,
        env={**os.environ, "DLKERNELS_NUM_THREADS": "3"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for case, (w, state) in pickle.loads((tmp_path / "right").read_bytes()).items():
        numerics.assert_same_bits(w, straight[case][0], f"{case}")
        for key, value in straight[case][1]["state"][0].items():
            numerics.assert_same_bits(np.asarray(state["state"][0][key]), np.asarray(value), f"{case} {key}")


def test_the_same_bits_on_every_target(threads: None) -> None:
    n = 20_003
    before = dk.get_target()
    try:
        for storage in (
            {"precision": "stochastic", "state_dtype": "bfloat16"},
            {"precision": "remainder", "state_dtype": "uint8"},
            {"precision": "master"},
        ):
            seen = []
            for target in dk.targets():
                dk.set_target(target)
                for count in (1, 3):
                    dk.set_num_threads(count)
                    w = np.random.default_rng(2).standard_normal(n).astype(BF16)
                    opt = optim.AdamW([w], **storage)
                    for g in gradients(4, n, BF16):
                        opt.step([g])
                    seen.append([w, *opt._states[0].values()])
            for other in seen[1:]:
                for got, want in zip(other, seen[0], strict=True):
                    numerics.assert_same_bits(got, want, str(storage))
    finally:
        dk.set_target(before)


def test_errors() -> None:
    f32, bf = np.ones(5, np.float32), np.ones(5, BF16)
    for call, error, text in (
        (lambda: optim.SGD([f32], precision="half"), ValueError, "precision must be one of plain"),
        (
            lambda: optim.SGD([f32], precision="master"),
            TypeError,
            'precision="master" is for float16 or bfloat16 parameters, got params',
        ),
        (lambda: optim.SGD([np.ones(5, np.float16)], precision="remainder"), TypeError, "is for bfloat16 parameters"),
        (lambda: optim.SGD([f32], state_dtype="int8"), ValueError, "state_dtype must be None"),
        (lambda: optim.Adam([np.ones(5)], state_dtype="uint8"), TypeError, "float64 parameters keep float64 state"),
        (lambda: optim.Adam([f32], seed=-1), ValueError, "seed must be an integer in"),
        (lambda: optim.Adam([f32], master=True), TypeError, "unknown arguments"),
        (
            lambda: optim.RMSprop([f32], centered=True, state_dtype="uint8"),
            ValueError,
            "centered takes the difference of two states",
        ),
        (lambda: optim.LAMB([f32], state_dtype="uint8"), ValueError, "LAMB: has state in the compute type"),
    ):
        with pytest.raises(error, match=text):
            call()
    opt = optim.Adam([bf], state_dtype="bfloat16")
    opt.step([bf.copy()])
    with pytest.raises(ValueError, match="the state was made with state_dtype='bfloat16', this optimizer has None"):
        optim.Adam([bf]).load_state_dict(opt.state_dict())
