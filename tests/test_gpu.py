"""On a CUDA device: CuPy arrays give the bits that NumPy arrays give on the CPU. Run by bench/gpu.sh; skipped where there is no device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cases import CALLS

import dlkernels as dk

pytestmark = pytest.mark.gpu

DTYPES = ["float32", "float64", "float16", "bfloat16"]
SHAPES = [(1,), (255,), (4097,), (3, 1000), (5, 70_000), (1 << 20,)]


@pytest.fixture(scope="module")
def cp() -> Any:
    return pytest.importorskip("cupy")


def _same_bits(gpu: Any, cpu: Any) -> None:
    got, want = gpu.get(), np.asarray(cpu)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    nan = np.isnan(want.astype(np.float64))
    np.testing.assert_array_equal(np.isnan(got.astype(np.float64)), nan)
    assert got[~nan].tobytes() == want[~nan].tobytes()


def _pair(cp: Any, rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> tuple[Any, Any]:
    import ml_dtypes

    x = (4 * rng.standard_normal(shape)).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    return cp.asarray(x), x


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [n for n, op in dk.ops.registry.items() if op.kind in {"map", "rows"}])
def test_forward_and_backward(cp: Any, rng: np.random.Generator, name: str, dtype: str, shape: tuple[int, ...]) -> None:
    op = dk.ops.registry[name]
    gx, x = _pair(cp, rng, shape, dtype)
    gdy, dy = _pair(cp, rng, shape, dtype)
    gy, y = op(gx), op(x)
    _same_bits(gy, y)
    assert isinstance(gy, cp.ndarray)
    if op.kind == "rows":
        _same_bits(op.backward(gdy, gy), op.backward(dy, y))
    else:
        _same_bits(op.backward(gdy, gx), op.backward(dy, x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_losses(cp: Any, rng: np.random.Generator, dtype: str, reduction: str) -> None:
    gx, x = _pair(cp, rng, (64, 1000), dtype)
    gt, t = _pair(cp, rng, (64, 1000), dtype)
    labels = rng.integers(0, 1000, 64)
    for got, want in (
        (
            dk.mse_loss.value_and_grad(gx, gt, reduction=reduction),
            dk.mse_loss.value_and_grad(x, t, reduction=reduction),
        ),
        (
            dk.cross_entropy.value_and_grad(gx, cp.asarray(labels), reduction=reduction),
            dk.cross_entropy.value_and_grad(x, labels, reduction=reduction),
        ),
    ):
        _same_bits(got[0], want[0])
        _same_bits(got[1], want[1])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", [dk.optim.SGD, dk.optim.AdamW])
def test_steps(cp: Any, rng: np.random.Generator, rule: Any, dtype: str) -> None:
    pairs = [_pair(cp, rng, (n,), dtype) for n in (1, 4096, 100_003)]
    gpu, cpu = rule([g for g, _ in pairs], lr=0.01), rule([x for _, x in pairs], lr=0.01)
    for _ in range(3):
        grads = [_pair(cp, rng, x.shape, dtype) for _, x in pairs]
        gpu.step([g for g, _ in grads])
        cpu.step([x for _, x in grads])
    for g, x in pairs:
        _same_bits(g, x)


def test_numpy_and_cupy_do_not_mix(cp: Any) -> None:
    for call in CALLS:
        names = [name for name in call.arrays if name != call.like]
        for changes in [{name: cp.asarray(call.arrays[name])} for name in names]:
            with pytest.raises(ValueError, match=f"^{call.name}: .*different devices"):
                call(**changes)
        if call.takes_out:
            with pytest.raises(ValueError, match=f"^{call.name}: .*different devices"):
                call(out=cp.asarray(call.arrays[call.like]))


def test_the_current_stream_is_used(cp: Any) -> None:
    x = cp.zeros(1 << 24, dtype=cp.float32)
    with cp.cuda.Stream(non_blocking=True) as stream:
        for _ in range(50):
            x += 1  # queued on this stream: a kernel on another one would read too early
        y = dk.relu(x)
        stream.synchronize()
    assert float(y.min()) == float(y.max()) == 50.0
