"""What the library does with arrays on a CUDA device: the bits of the CPU for every op, layout and dtype; errors; nothing read on the host.

Run on the emulated device (tests/emulated.py) everywhere, and on a real one, with CuPy, where there is one (mark gpu).
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import dlpack
import emulated
import numpy as np
import pytest
from cases import CALLS, Call, calls
from numerics import DTYPES
from simt_build import CUDA, folder_of_run

import dlkernels as dk

SHAPES = [(1, 1), (3, 7), (2, 33), (5, 257), (2, 4099), (70, 13)]
NEED_MORE = {"batch_norm"}  # refuses a single number: one value a channel has no deviation


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> emulated.Device:
    if sys.platform != "linux" or not CUDA.exists():
        pytest.skip("needs Linux and the sources beside the tests")
    return emulated.Device(folder_of_run(tmp_path_factory))


@pytest.fixture(params=["emulated", pytest.param("cuda", marks=pytest.mark.gpu)])
def cp(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module `cupy`, real or not."""
    if request.param == "cuda":
        yield pytest.importorskip("cupy")
    else:
        with request.getfixturevalue("stand_in").used(monkeypatch) as cupy:
            yield cupy


def same_bits(got: Any, want: Any, what: str) -> None:
    if isinstance(want, tuple):
        assert isinstance(got, tuple), what
        assert len(got) == len(want), what
        for one, other in zip(got, want, strict=True):
            same_bits(one, other, what)
        return
    on_host, want = got.get(), np.asarray(want)
    assert on_host.dtype == want.dtype, what
    assert on_host.shape == want.shape, what
    nan = np.isnan(want.astype(np.float64))
    np.testing.assert_array_equal(np.isnan(on_host.astype(np.float64)), nan, err_msg=what)
    assert on_host[~nan].tobytes() == want[~nan].tobytes(), what


def moved(call: Call, move: Callable[[np.ndarray], Any]) -> dict[str, Any]:
    """The arguments of a call with every array on the device."""
    options = {k: move(v) if isinstance(v, np.ndarray) else v for k, v in call.options.items()}
    return {**{k: move(a) for k, a in call.arrays.items()}, **options}


def accepted(dtype: str, shape: tuple[int, ...]) -> list[Call]:
    found = calls(DTYPES[dtype], shape)
    return found if shape != (1, 1) else [c for c in found if c.name.partition(".")[0] not in NEED_MORE]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_the_bits_of_the_cpu(cp: Any, dtype: str, shape: tuple[int, ...]) -> None:
    """Every call, on arrays that begin anywhere."""
    at = emulated.offsets()

    def place(a: np.ndarray) -> Any:
        room = cp.empty(a.size + 3, dtype=a.dtype)
        offset = next(at)
        there = room[offset : offset + a.size].reshape(a.shape)
        there[...] = cp.asarray(a)
        return there

    for call in accepted(dtype, shape):
        want = call()
        got = call.function(**moved(call, place))
        same_bits(got, want, f"{call} {shape} {dtype}")


def test_the_result_is_of_the_array_library(cp: Any) -> None:
    for call in CALLS:
        result = call.function(**moved(call, cp.asarray))
        for part in result if isinstance(result, tuple) else (result,):
            for array in part if isinstance(part, tuple) else (part,):
                assert type(array) is cp.ndarray, call


LAYOUTS: dict[str, Callable[[Any, np.ndarray], Any]] = {
    "transposed": lambda cp, a: cp.asarray(np.ascontiguousarray(a.T)).T,
    "every other": lambda cp, a: cp.asarray(np.repeat(a, 2, axis=-1))[..., ::2],
    "backwards": lambda cp, a: cp.asarray(np.ascontiguousarray(a[..., ::-1]))[..., ::-1],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_views_give_the_same_bits(cp: Any, dtype: str, layout: str) -> None:
    """Arrays that are no contiguous run are walked where they lie."""
    for call in calls(DTYPES[dtype], (6, 9)):
        on_device = moved(call, lambda a: LAYOUTS[layout](cp, a) if a.ndim else cp.asarray(a))
        same_bits(call.function(**on_device), call(), f"{call} {layout} {dtype}")


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_any_axis(cp: Any, rng: np.random.Generator, name: str, axis: int) -> None:
    x = rng.standard_normal((5, 40, 6)).astype(np.float32)
    op = getattr(dk, name)
    same_bits(op(cp.asarray(x), axis=axis), op(x, axis=axis), name)


def test_out_and_in_place(cp: Any) -> None:
    for call in CALLS:
        if not call.takes_out:
            continue
        want = call.outputs(call())
        on_device = moved(call, cp.asarray)
        out = cp.empty(want.shape, dtype=want.dtype)
        got = call.outputs(call.function(**on_device, out=out if call.out_at == -1 and not _several(call) else None))
        same_bits(got, want, str(call))


def _several(call: Call) -> bool:
    return isinstance(call(), tuple)


def trained(move: Callable[[np.ndarray], Any], library: Any) -> list[Any]:
    """Losses and parameters of a small network after three steps."""
    rng = np.random.default_rng(0)
    model = dk.nn.Sequential(
        dk.nn.Linear(8, 16), dk.nn.LayerNorm(16), dk.nn.GELU(), dk.nn.Dropout(0.2), dk.nn.Linear(16, 12),
        dk.nn.BatchNorm1d(12), dk.nn.PReLU(), dk.nn.Linear(12, 4), seed=0,
    ).to(library)  # fmt: skip
    optimizer = dk.optim.AdamW(model.params(), lr=1e-2)
    seen = []
    for _ in range(3):
        x, target = move(rng.standard_normal((32, 8)).astype(np.float32)), move(rng.integers(0, 4, 32))
        logits, backprop = model(x, train=True)
        loss, dlogits = dk.cross_entropy.value_and_grad(logits, target)
        backprop(dlogits, need_dx=False)
        optimizer.step(model.grads())
        model.zero_grad()
        seen.append(loss)
    return [*seen, *model.params(), *model.named_statistics().values()]


def test_a_network_trains_to_the_same_bits(stand_in: emulated.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products are NumPy's on both sides here; on a GPU they are cuBLAS'."""
    want = trained(np.asarray, np)
    with stand_in.used(monkeypatch) as cp:
        for got, expected in zip(trained(cp.asarray, cp), want, strict=True):
            same_bits(got, expected, "trained")


def test_fit(stand_in: emulated.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training loop on CuPy arrays takes the steps that it takes on NumPy arrays."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 6)).astype(np.float32), rng.integers(0, 3, 60)

    def fitted(library: Any) -> Any:
        model = dk.nn.Sequential(dk.nn.Linear(6, 8), dk.nn.SiLU(), dk.nn.Linear(8, 3), seed=0).to(library)
        data = (library.asarray(x), library.asarray(y))
        history = dk.train.fit(model, data, epochs=2, batch_size=16, validation_split=0.2, verbose=False)
        return history["loss"], history["val_accuracy"], model.params()

    want = fitted(np)
    with stand_in.used(monkeypatch) as cp:
        got = fitted(cp)
        assert got[:2] == want[:2]
        for one, other in zip(got[2], want[2], strict=True):
            same_bits(one, other, "weights")


@pytest.mark.parametrize("versioned", [True, False])
def test_dlpack(stand_in: emulated.Device, monkeypatch: pytest.MonkeyPatch, versioned: bool) -> None:
    """An array that speaks nothing but DLPack is read where it lies; the result is CuPy's."""
    with stand_in.used(monkeypatch) as cp:
        x = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)
        there = cp.asarray(x)
        lent = dlpack.Producer(x, versioned=versioned, data=there.data.ptr, device_type=dlpack.CUDA)
        y = dk.silu(lent)
        assert type(y) is cp.ndarray
        same_bits(y, dk.silu(x), "silu")
        assert lent.deleted == lent.asked == 1
        assert lent.stream == 1  # CuPy's current one, which is the legacy one
        out = cp.empty(x.shape, dtype=x.dtype)
        assert dk.silu(lent, out=out) is out
        same_bits(out, dk.silu(x), "out")


def test_parameters_of_two_devices(stand_in: emulated.Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step has one stream."""

    class OnAnother(emulated.ndarray):
        device = types.SimpleNamespace(id=1)
        data = property(lambda self: types.SimpleNamespace(ptr=emulated.ndarray.data.fget(self).ptr, device_id=1))

    with stand_in.used(monkeypatch) as cp:
        here = cp.asarray(np.ones(3, np.float32))
        with pytest.raises(ValueError, match=r"^SGD: params must be on one GPU|different devices"):
            dk.optim.SGD([here, OnAnother(here.copy()._view)], lr=0.1)


def test_devices_do_not_mix(cp: Any) -> None:
    for call in CALLS:
        for name in [name for name in call.arrays if name != call.like]:
            with pytest.raises(ValueError, match=f"^{call.name}: .*different devices"):
                call(**{name: cp.asarray(call.arrays[name])})
        if call.takes_out:
            with pytest.raises(ValueError, match=f"^{call.name}: .*different devices"):
                call(out=cp.asarray(call.arrays[call.like]))


def test_empty_arrays(cp: Any) -> None:
    x = cp.empty((0, 4), dtype=np.float32)
    assert dk.silu(x).shape == dk.softmax(x).shape == dk.layer_norm(x).shape == (0, 4)
    assert float(dk.mse_loss(x, x, reduction="sum")) == 0


def test_a_class_id_out_of_range_is_told_later(cp: Any, rng: np.random.Generator) -> None:
    x = cp.asarray(rng.standard_normal((5, 4)).astype(np.float32))
    good, bad = cp.asarray(np.array([0, 1, 2, 3, -100])), cp.asarray(np.array([0, 1, 9, 3, -7]))
    want = float(dk.cross_entropy(x, good))
    for tell in (dk.synchronize, lambda: dk.cross_entropy(x, good)):
        assert np.isnan(float(dk.cross_entropy(x, bad)))
        with pytest.raises(IndexError, match=r"target\[2\] is 9, wanted a class id in \[0, 4\)"):
            tell()
        dk.synchronize()  # told once
        assert float(dk.cross_entropy(x, good)) == want


def test_a_failed_launch_says_which_and_the_library_goes_on(stand_in: emulated.Device, monkeypatch: Any) -> None:
    with stand_in.used(monkeypatch) as cp:
        x = cp.asarray(np.ones(1000, np.float32))
        stand_in.next_launch_fails(719)
        with pytest.raises(
            RuntimeError, match=r"^silu: kernel .* on a grid of \d+ blocks of \d+ threads.*CUDA error 719"
        ):
            dk.silu(x)
        stand_in.next_launch_fails(2)
        with pytest.raises(MemoryError, match=r"^silu: .*out of memory"):
            dk.silu(x)
        same_bits(dk.silu(x), dk.silu(x.get()), "afterwards")


def test_a_full_device_is_a_memory_error(stand_in: emulated.Device, monkeypatch: Any) -> None:
    with stand_in.used(monkeypatch) as cp:
        x = cp.asarray(np.ones(1000, np.float32))
        monkeypatch.setattr(cp.ndarray.memory, "next", cp.ndarray.memory.end)
        monkeypatch.setattr(cp.ndarray.memory, "free", {})
        with pytest.raises(MemoryError):
            dk.silu(x)


def test_the_emulated_host_cannot_read_device_memory(stand_in: emulated.Device, monkeypatch: Any) -> None:
    """What would be a wrong read on a GPU ends the process here."""
    import os

    with stand_in.used(monkeypatch) as cp:
        x = cp.asarray(np.ones(4, np.float32))
        child = os.fork()
        if child == 0:
            import ctypes

            ctypes.string_at(x.data.ptr, 4)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)


@pytest.mark.parametrize("shape", [(7,), (33, 40), (4, 9, 21)], ids=str)
def test_distances(cp: Any, rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    mask = rng.random(shape) < 0.9
    for array in (cp.asarray(mask), LAYOUTS["every other"](cp, mask), LAYOUTS["backwards"](cp, mask.view(np.uint8))):
        same_bits(dk.distance_transform_edt(array, 1.5), dk.distance_transform_edt(mask, 1.5), "all axes")
        one = dk.distance_transform_edt(mask, axes=(-1,))
        same_bits(dk.distance_transform_edt(array, axes=(-1,)), one, "the last axis")
        out = cp.empty((*shape[:-1], 2 * shape[-1]), dtype=np.float32)[..., ::2]
        dk.distance_transform_edt(array, out=out)
        same_bits(out, dk.distance_transform_edt(mask, out=np.empty(shape, np.float32)), "a float32 view")


@pytest.mark.parametrize("dtype", [np.uint8, *DTYPES.values()], ids=lambda d: np.dtype(d).name)
def test_rescale(cp: Any, rng: np.random.Generator, dtype: Any) -> None:
    x = (rng.random((6, 5, 36)) * 200).astype(dtype)
    columns, channels = rng.standard_normal(36), rng.standard_normal((5, 1))
    for name, to in DTYPES.items():
        for numbers in ((127.5, 0.25, 1.0), (columns, 0.5, columns), (channels, columns, 2.0)):
            want = dk.rescale(x, *numbers, low=-3, high=9, dtype=to)
            there = [cp.asarray(a) if isinstance(a, np.ndarray) else a for a in numbers]
            for array in (cp.asarray(x), LAYOUTS["every other"](cp, x)):
                same_bits(dk.rescale(array, *there, low=-3, high=9, dtype=to), want, name)
