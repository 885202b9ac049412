"""What only a real GPU can show: streams, graphs, arrays beyond 2^31 elements, other libraries' arrays. What the emulated device can show
too is in test_device.py, whose tests run on the real one as well. Both are run by bench/gpu.sh; NOT YET RUN ON A GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from test_device import same_bits

import dlkernels as dk

pytestmark = pytest.mark.gpu

BEYOND = (1 << 31) + 17


@pytest.fixture(scope="module")
def cp() -> Any:
    return pytest.importorskip("cupy")


@contextlib.contextmanager
def own_stream(cp: Any) -> Iterator[Any]:
    """A stream of its own, behind what has been queued, whose memory comes from a pool of its own: a graph goes on writing to the
    memory that its calls were given, so nobody else may be given it.
    """
    pool = cp.cuda.MemoryPool()
    cp.cuda.Device().synchronize()
    with cp.cuda.using_allocator(pool.malloc), cp.cuda.Stream(non_blocking=True) as stream:
        yield stream
        stream.synchronize()


def test_the_current_stream_is_used(cp: Any) -> None:
    x = cp.zeros(1 << 24, dtype=cp.float32)
    with own_stream(cp) as stream:
        for _ in range(50):
            x += 1  # queued on this stream: a kernel on another one would read too early
        y = dk.relu(x)
        stream.synchronize()
    assert float(y.min()) == float(y.max()) == 50.0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_all_16_bit_numbers(cp: Any, dtype: str) -> None:
    """The device converts by instructions where the CPU has formulas."""
    import ml_dtypes

    x = np.arange(1 << 16, dtype=np.uint16).view(ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float16)
    for op in (dk.relu, dk.sigmoid, dk.tanh, dk.silu, dk.gelu, dk.softplus, dk.mish):
        same_bits(op(cp.asarray(x)), op(x), f"{op.__name__} {dtype}")


def test_large_shapes(cp: Any, rng: np.random.Generator) -> None:
    """Rows that need a cluster, or more than one; grids that loop."""
    for shape in [(3, 70_000), (2, 300_000), (1, 1 << 20), (40_000, 33), (1 << 22,)]:
        x = rng.standard_normal(shape).astype(np.float32)
        dy = rng.standard_normal(shape).astype(np.float32)
        gx, gdy = cp.asarray(x), cp.asarray(dy)
        same_bits(dk.gelu(gx), dk.gelu(x), f"gelu {shape}")
        same_bits(dk.softmax(gx), dk.softmax(x), f"softmax {shape}")
        same_bits(dk.mse_loss.value_and_grad(gx, gdy), dk.mse_loss.value_and_grad(x, dy), f"mse_loss {shape}")
        if len(shape) == 2:
            w = rng.standard_normal(shape[1]).astype(np.float32)
            gw = cp.asarray(w)
            same_bits(dk.layer_norm(gx, gw, gw), dk.layer_norm(x, w, w), f"layer_norm {shape}")
            got, want = dk.layer_norm.backward(gdy, gx, gw), dk.layer_norm.backward(dy, x, w)
            same_bits(got, want, f"layer_norm.backward {shape}")


CAPTURED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "map": lambda x, _t, out: dk.silu(x, out=out),
    "rows": lambda x, _t, out: dk.softmax(x, out=out),
    "loss": lambda x, t, out: dk.cross_entropy.value_and_grad(x, t, out=out)[1],
    "norm": lambda x, _t, out: dk.rms_norm(x, out=out),
}


@pytest.mark.parametrize("name", CAPTURED)
def test_calls_are_captured_in_a_graph(cp: Any, rng: np.random.Generator, name: str) -> None:
    """The graph is replayed on other values: nothing of the first ones has stayed in it."""
    work = CAPTURED[name]
    first, then = (rng.standard_normal((64, 1000)).astype(np.float32) for _ in range(2))
    t = cp.asarray(rng.integers(0, 1000, 64))
    x, out = cp.asarray(first), cp.empty((64, 1000), cp.float32)
    with own_stream(cp) as stream:
        work(x, t, out)  # fills the memory pool
        stream.begin_capture()
        work(x, t, out)
        graph = stream.end_capture()
        x.set(then, stream)
        graph.launch(stream)
        stream.synchronize()
    same_bits(out, work(then, t.get(), np.empty_like(then)), name)


def test_a_step_is_captured_in_a_graph(cp: Any, rng: np.random.Generator) -> None:
    start = [rng.standard_normal(n).astype(np.float32) for n in (5, 4096, 100_003)]
    gradients = [rng.standard_normal(n.size).astype(np.float32) for n in start]
    weights, grads = [cp.asarray(a) for a in start], [cp.asarray(a) for a in gradients]
    on_gpu, on_cpu = dk.optim.AdamW(weights, lr=0.01), dk.optim.AdamW(start, lr=0.01)
    with own_stream(cp) as stream:
        on_gpu.step(grads, max_norm=1.0)
        stream.begin_capture()
        on_gpu.step(grads, max_norm=1.0)
        graph = stream.end_capture()
        for _ in range(3):
            graph.launch(stream)
        stream.synchronize()
    for _ in range(4):
        on_cpu.step(gradients, max_norm=1.0)
    for w, a in zip(weights, start, strict=True):
        same_bits(w, a, "after four steps")


def test_more_than_2_to_the_31_elements(cp: Any) -> None:
    x = cp.zeros(BEYOND, dtype=cp.float16)
    x[-17:] = cp.arange(-8, 9)
    same_bits(dk.silu(x, out=x)[-17:], dk.silu(np.arange(-8, 9).astype(np.float16)), "silu")
    assert float(dk.mse_loss(x, x, reduction="sum")) == 0


@pytest.mark.parametrize("shape", [(BEYOND, 2), (2, BEYOND)], ids=["rows", "columns"])
def test_more_than_2_to_the_31_rows_or_columns(cp: Any, shape: tuple[int, int]) -> None:
    x = cp.zeros(shape, dtype=cp.float16)
    x[-1, -1] = 11
    y = dk.softmax(x, out=x)
    last = y[-1, -2:].get().astype(np.float64)
    rest = shape[1] - 1
    np.testing.assert_allclose(last[1], np.exp(11) / (np.exp(11) + rest), rtol=2e-3)


@pytest.mark.torch
def test_pytorch_on_the_gpu(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((5, 300)).astype(np.float32)
    there = torch.from_numpy(x).cuda()
    y = dk.silu(there)
    assert y.is_cuda
    assert y.cpu().numpy().tobytes() == dk.silu(x).tobytes()
    step = dk.optim.SGD([there], lr=0.5)
    step.step([torch.ones_like(there)])
    assert there.cpu().numpy().tobytes() == (x - np.float32(0.5)).tobytes()


@pytest.mark.jax
def test_jax_on_the_gpu(rng: np.random.Generator) -> None:
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("JAX has no GPU here")
    x = rng.standard_normal((5, 300)).astype(np.float32)
    for dtype in ("float32", "bfloat16"):
        there = jax.numpy.asarray(x, dtype)
        y = dk.silu(there)
        assert isinstance(y, jax.Array)
        assert y.dtype == there.dtype
        assert np.asarray(y).tobytes() == dk.silu(np.asarray(there)).tobytes()


@pytest.mark.jax
def test_what_jax_has_lent_is_not_used_again_too_early(cp: Any) -> None:
    """JAX works on streams of its own; the call waits its turn on CuPy's while the array goes."""
    jax = pytest.importorskip("jax")
    if jax.default_backend() != "gpu":
        pytest.skip("JAX has no GPU here")
    n = 1 << 24
    lent, out, busy = jax.numpy.full(n, 2.0, "float32"), cp.empty(n, cp.float32), cp.zeros(1 << 28, cp.float32)
    for _ in range(100):
        busy += 1
    dk.relu(lent, out=out)
    del lent
    jax.block_until_ready([jax.numpy.full(n, 3.0 + k, "float32") for k in range(8)])
    dk.synchronize()
    assert float(out.min()) == float(out.max()) == 2.0
