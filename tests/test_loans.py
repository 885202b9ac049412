"""Arrays of other libraries on a GPU: what they lend is kept until the kernels that read it are done, and streams follow each other.

On the emulated device, which can be told to be behind with its work.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlpack
import emulated
import numpy as np
import pytest
from simt_build import CUDA, folder_of_run
from test_device import same_bits

import dlkernels as dk

MOST = 512  # cpp/bindings/loan.cpp: kMostInUse
X = np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4)


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> emulated.Device:
    if sys.platform != "linux" or not CUDA.exists():
        pytest.skip("needs Linux and the sources beside the tests")
    return emulated.Device(folder_of_run(tmp_path_factory))


@pytest.fixture
def cp(device: emulated.Device, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with device.used(monkeypatch) as cupy:
        dk.synchronize()
        assert device.events() == 0
        yield cupy
        dk.synchronize()
        assert device.events() == 0


def lender(there: Any, kind: type = dlpack.Producer) -> Any:
    lent = kind(X, data=there.data.ptr, device_type=dlpack.CUDA)
    lent.there = there
    return lent


class OnlyInterface:
    """A GPU array of a library that has nothing but __cuda_array_interface__."""

    def __init__(self, there: Any, **changes: Any) -> None:
        self.__cuda_array_interface__ = {**there.__cuda_array_interface__, **changes}
        self.kept = there


class JaxArray(dlpack.Producer):
    """Bfloat16 has no __cuda_array_interface__ in JAX: asking for it is an error."""

    __module__ = "jaxlib._jax"

    @property
    def __cuda_array_interface__(self) -> Any:
        raise RuntimeError("not supported")


@pytest.fixture
def jax(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.SimpleNamespace(dlpack=types.SimpleNamespace(from_dlpack=lambda array: ("of JAX", array)))
    monkeypatch.setitem(sys.modules, "jax", module)


def test_a_tensor_is_kept_until_it_has_been_read(cp: Any, device: emulated.Device) -> None:
    there = cp.asarray(X)
    first, then = lender(there), lender(there)
    with device.behind():
        same_bits(dk.silu(first), dk.silu(X), "silu")
        dk.silu(then)
        dk.silu(there)
        assert (first.deleted, then.deleted, device.events()) == (0, 0, 2)
    dk.silu(there)  # an array of CuPy: nobody looks
    assert (first.deleted, then.deleted) == (0, 0)
    last = lender(there)
    dk.silu(last)
    assert (first.deleted, then.deleted, last.deleted, device.events()) == (1, 1, 1, 0)
    assert device.waits() == 0


def test_synchronize_gives_back(cp: Any, device: emulated.Device) -> None:
    lent = lender(cp.asarray(X))
    with device.behind():
        dk.silu(lent)
        assert lent.deleted == 0
    dk.synchronize()
    assert (lent.deleted, lent.asked) == (1, 1)


def test_a_call_that_is_refused_gives_back(cp: Any, device: emulated.Device) -> None:
    lent = lender(cp.asarray(X))
    with pytest.raises(ValueError, match="different devices"):
        dk.silu(lent, out=np.empty_like(X))
    assert lent.deleted == 1


def test_an_object_is_kept_until_it_has_been_read(cp: Any, device: emulated.Device) -> None:
    lent = OnlyInterface(cp.asarray(X))
    alive = weakref.ref(lent)
    with device.behind():
        y = dk.silu(lent)
        del lent
        assert alive() is not None
    assert type(y) is cp.ndarray
    same_bits(y, dk.silu(X), "silu")
    dk.synchronize()
    assert alive() is None


def test_gradients_are_kept_until_they_have_been_read(cp: Any, device: emulated.Device) -> None:
    weights, grads = cp.asarray(X), lender(cp.asarray(X))
    optimizer = dk.optim.SGD([weights], lr=0.5)
    with device.behind():
        optimizer.step([grads])
        assert grads.deleted == 0
    dk.synchronize()
    assert grads.deleted == 1
    same_bits(weights, X - np.float32(0.5) * X, "weights")


def test_what_is_kept_is_bounded(cp: Any, device: emulated.Device) -> None:
    there, before = cp.asarray(X), device.waits()
    lent = [lender(there) for _ in range(MOST + 20)]
    with device.behind():
        for x in lent:
            dk.silu(x)
        assert [x.deleted for x in lent] == [1] * 20 + [0] * MOST  # the oldest ones were waited for
    assert device.waits() == before + 20
    dk.synchronize()
    assert all(x.deleted == 1 for x in lent)


def test_threads_lend_at_once(cp: Any, device: emulated.Device) -> None:
    there = cp.asarray(X)
    lent = [[lender(there) for _ in range(MOST // 2)] for _ in range(4)]

    def work(mine: list[Any]) -> None:
        for x in mine:
            dk.silu(x)

    with device.behind():
        threads = [threading.Thread(target=work, args=(mine,)) for mine in lent]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert sum(x.deleted for mine in lent for x in mine) == MOST
    dk.synchronize()
    assert all(x.deleted == 1 for mine in lent for x in mine)


def test_what_a_graph_reads_is_kept(cp: Any, device: emulated.Device) -> None:
    lent = lender(cp.asarray(X))
    with device.captured():
        dk.silu(lent)
    dk.synchronize()
    assert (lent.deleted, device.events()) == (0, 0)


AT_EXIT = """
import atexit, sys
from pathlib import Path
import pytest
from test_loans import X, dk, emulated, lender
device, patch = emulated.Device(Path(sys.argv[1])), pytest.MonkeyPatch()
with device.used(patch) as cp:
    lent, late = lender(cp.asarray(X)), lender(cp.asarray(X))
    atexit.register(lambda: print(lent.deleted, late.deleted))  # registered before the library's, so it runs after it
    with device.behind():
        dk.silu(lent)
        if sys.argv[2] == "behind":
            atexit.register(device.library.dlk_device_behind, True)
"""


@pytest.mark.parametrize(("device_is", "given_back"), [("done", 1), ("behind", 0)])
def test_the_end_of_the_process_gives_back_what_has_been_read(
    device: emulated.Device, tmp_path_factory: pytest.TempPathFactory, device_is: str, given_back: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT, folder_of_run(tmp_path_factory), device_is],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert done.stdout == f"{given_back} 0\n"


@pytest.mark.usefixtures("jax")
def test_jax(cp: Any, device: emulated.Device) -> None:
    lent = lender(cp.asarray(X), JaxArray)
    with device.behind():
        library, y = dk.silu(lent)
        assert (lent.deleted, lent.stream, library) == (0, 1, "of JAX")
    same_bits(y, dk.silu(X), "silu")
    with pytest.raises(ValueError, match=r"^silu: out is read-only"):
        dk.silu(cp.asarray(X), out=lent)


class Streams:
    """CuPy's streams and events, as far as one follows another."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cupy: Any, current: int) -> None:
        self.followed: list[int] = []
        stream = types.SimpleNamespace(ptr=current, wait_event=lambda event: self.followed.append(event.ptr.stream))
        monkeypatch.setattr(cupy.cuda, "get_current_stream", lambda _device=0: stream)
        # an event's `ptr` remembers the stream that it was recorded on
        event = lambda **_: types.SimpleNamespace(ptr=types.SimpleNamespace(stream=None))  # noqa: E731
        monkeypatch.setattr(cupy.cuda, "Event", event, raising=False)
        record = lambda ptr, stream: setattr(ptr, "stream", stream)  # noqa: E731
        monkeypatch.setattr(cupy.cuda.runtime, "eventRecord", record, raising=False)


def test_dlpack_is_told_the_stream(cp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    streams, lent = Streams(monkeypatch, cp, 0x70), lender(cp.asarray(X))
    dk.silu(lent)
    assert lent.stream == 0x70
    assert streams.followed == []  # the producer sees to it


@pytest.mark.parametrize(
    ("interface", "followed"),
    [
        ({"stream": 5}, [5]),
        ({"stream": 0x70}, []),
        ({"stream": None}, []),  # nothing to wait for
        ({"version": 2}, [1]),  # could not say
    ],
    ids=str,
)
def test_the_stream_of_an_interface_is_followed(
    cp: Any, monkeypatch: pytest.MonkeyPatch, interface: dict[str, Any], followed: list[int]
) -> None:
    streams = Streams(monkeypatch, cp, 0x70)
    same_bits(dk.silu(OnlyInterface(cp.asarray(X), **interface)), dk.silu(X), "silu")
    assert streams.followed == followed


def test_interfaces_that_say_more(cp: Any) -> None:
    assert dk.silu(OnlyInterface(cp.empty((0, 4), np.float32))).shape == (0, 4)
    with pytest.raises(TypeError, match="its mask would be lost"):
        dk.silu(OnlyInterface(cp.asarray(X), mask=cp.asarray(X > 0)))
    there = cp.asarray(X)
    with pytest.raises(ValueError, match=r"^silu: out is read-only"):
        dk.silu(there, out=OnlyInterface(there, data=(there.data.ptr, True)))


def test_two_streams_do_not_mix(cp: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array of CuPy is worked on in the stream that CuPy had when the library first saw one: here another one."""
    there = cp.asarray(X)
    dk.silu(there)
    Streams(monkeypatch, cp, 0x70)
    lent = lender(there)
    with pytest.raises(
        ValueError, match=r"^mse_loss: target is worked on in CUDA stream 112 but input in stream 0: .*from_external"
    ):
        dk.mse_loss(there, lent)
    with pytest.raises(ValueError, match=r"^silu: out is worked on in CUDA stream 112 but x in stream 0"):
        dk.silu(there, out=lent)
    Streams(monkeypatch, cp, 1)  # another name of the legacy one
    assert float(dk.mse_loss(there, lent)) == 0


def test_a_scale_that_was_lent_is_kept_until_the_step_has_read_it(cp: Any, device: emulated.Device) -> None:
    """The caller of a step has no use for it afterwards, and the event stands behind the kernel."""
    params, grads = [cp.asarray(X)], [cp.asarray(X)]
    opt = dk.optim.SGD(params, lr=0.5)
    opt.step(grads, grad_scale=2.0)
    scale = cp.asarray(np.ones(1, np.float32))
    lent = dlpack.Producer(np.ones(1, np.float32), data=scale.data.ptr, device_type=dlpack.CUDA)
    launches = device.launches()
    with device.behind():
        opt.step(grads, grad_scale=lent)
        assert device.events() == 1
        assert device.launches_at_event() > launches
    dk.synchronize()
