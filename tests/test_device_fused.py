"""Calls that a CUDA device does in other launches than one per step: the bits of the CPU, in as few as promised, with nothing waited for.

Run on the emulated device everywhere, and on a real one, with CuPy, where there is one (mark gpu).
"""

from __future__ import annotations

from typing import Any

import emulated
import numpy as np
import pytest
from numerics import DTYPES
from test_device import LAYOUTS, cp, same_bits, stand_in  # noqa: F401  fixtures

import dlkernels as dk

NORMS = [dk.layer_norm, dk.rms_norm]


def placed(cp: Any, values: np.ndarray, offset: int) -> Any:  # noqa: F811
    """A copy on the device that begins `offset` elements after its boundary."""
    there = cp.empty(values.size + offset, dtype=values.dtype)[offset:].reshape(values.shape)
    there[...] = cp.asarray(values)
    return there


def launches_of(device: emulated.Device, call: Any) -> int:
    before = device.launches()
    call()
    return device.launches() - before


@pytest.mark.parametrize("op", NORMS, ids=lambda op: op.__name__)
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_residual_and_norm(cp: Any, dtype: str, op: Any, rng: np.random.Generator) -> None:  # noqa: F811
    """Rows of a warp, of groups, of a cluster and beyond; arrays that begin anywhere, and views."""
    at = emulated.offsets()
    for shape in [(0, 3), (1, 1), (9, 33), (2, 3, 257), (3, 1000), (2, 5000), (2, 20000), (1, 140000)]:
        x, r = (rng.standard_normal(shape).astype(DTYPES[dtype]) for _ in range(2))
        w = rng.standard_normal(shape[-1]).astype(DTYPES[dtype])
        want = op(x, w, residual=r, return_stats=True)
        there = [placed(cp, a, next(at)) for a in (x, r, w)]
        same_bits(op(there[0], there[2], residual=there[1], return_stats=True), want, f"{shape}")
        same_bits(op(there[0], there[2], residual=there[1], out=there[0]), want[:2], f"{shape} in place")
        for name, lay in LAYOUTS.items() if 1 < x.size < 10000 else ():
            mixed = op(lay(cp, x), cp.asarray(w), residual=cp.asarray(r))
            same_bits(mixed, want[:2], f"{shape} {name}")
            same_bits(op(lay(cp, x), cp.asarray(w), residual=lay(cp, r)), want[:2], f"{shape} both {name}")


@pytest.mark.parametrize("op", NORMS, ids=lambda op: op.__name__)
def test_residual_and_norm_are_one_launch(stand_in: emulated.Device, monkeypatch: Any, op: Any) -> None:  # noqa: F811
    with stand_in.used(monkeypatch) as cp:  # noqa: F811
        x, r = cp.asarray(np.ones((4, 300), np.float32)), cp.asarray(np.ones((4, 300), np.float32))
        assert launches_of(stand_in, lambda: op(x, residual=r, return_stats=True)) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rmse_of_any_size(cp: Any, dtype: str, rng: np.random.Generator) -> None:  # noqa: F811
    """Errors whose squares overflow or vanish are summed again, scaled, where the device finds that out itself."""
    for n in (1, 700, 5000):
        e, weight = rng.uniform(0.5, 1, n).astype(dtype), rng.uniform(0.5, 2, n).astype(dtype)
        zero = np.zeros_like(e)
        for options in ({}, {"weight": weight}):
            there = {name: cp.asarray(a) for name, a in options.items()}
            for k in (0, -500, 900, -1000) if dtype == "float64" else (0, -70, 110, -120):
                x = e * np.dtype(dtype).type(2.0**k)
                want = dk.rmse_loss.value_and_grad(x, zero, **options)
                assert np.isfinite(want[0])
                assert want[0] > 0
                same_bits(dk.rmse_loss.value_and_grad(cp.asarray(x), cp.asarray(zero), **there), want, f"2^{k} n={n}")
                same_bits(dk.rmse_loss(cp.asarray(x), cp.asarray(zero), **there), want[0], f"2^{k} n={n}")
                dy = np.array(0.75, dtype)
                slope = dk.rmse_loss.backward(cp.asarray(dy), cp.asarray(x), cp.asarray(zero), **there)
                same_bits(slope, dk.rmse_loss.backward(dy, x, zero, **options), f"2^{k} n={n} backward")
        for special in (np.inf, np.nan, 0.0):
            x = np.where(np.arange(n) == n // 2, np.dtype(dtype).type(special), zero)
            want = dk.rmse_loss.value_and_grad(x, zero)
            same_bits(dk.rmse_loss.value_and_grad(cp.asarray(x), cp.asarray(zero)), want, f"{special} n={n}")


def test_a_device_is_asked_for_its_numbers_once(stand_in: emulated.Device, monkeypatch: Any) -> None:  # noqa: F811
    with stand_in.used(monkeypatch) as cp:  # noqa: F811
        x = cp.asarray(np.ones((4, 300), np.float32))
        dk.silu(x)
        before, launched = stand_in.questions(), stand_in.launches()
        for call in (dk.silu, dk.softmax, lambda x: dk.mse_loss(x, x), dk.layer_norm):
            call(x)
        assert stand_in.launches() > launched
        assert stand_in.questions() == before


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("idc", [1, (0, 2), np.array([3])], ids=str)
def test_chosen_classes(cp: Any, idc: Any, dtype: str, rng: np.random.Generator) -> None:  # noqa: F811
    prob, phi = (rng.uniform(-1, 1, (3, 4, 5, 6)).astype(DTYPES[dtype]) for _ in range(2))
    loss, there = dk.boundary_loss, (cp.asarray(prob), cp.asarray(phi))
    for reduction in ("mean", "sum", "none"):
        same_bits(loss(*there, idc=idc, reduction=reduction), loss(prob, phi, idc=idc, reduction=reduction), reduction)
    same_bits(loss.value_and_grad(*there, idc=idc), loss.value_and_grad(prob, phi, idc=idc), "value_and_grad")
    with pytest.raises(ValueError, match=r"^boundary_loss: idc must be in \[0, 4\)"):
        loss(*there, idc=4)
