"""Guard pages, threads, forks, exits and references: whatever might touch memory that is not the caller's, hang, or crash.

What might crash runs in a process of its own, with faulthandler and a time limit.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import subprocess
import sys
import threading
from pathlib import Path

import numerics
import numpy as np
import pytest

import dlkernels as dk

TESTS = Path(__file__).parent


def run_python(*arguments: str, timeout: float = 120, **environment: str) -> str:
    """The output of a Python process that must end well."""
    command = [sys.executable, "-X", "faulthandler", "-W", "error", *arguments]
    env = {**os.environ, **environment}
    done = subprocess.run(command, cwd=TESTS, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_guard_pages() -> None:
    assert int(run_python("guard_pages.py").split()[-1]) > 10_000


def test_outputs_that_bypass_the_cache() -> None:
    assert int(run_python("streaming.py", DLKERNELS_STREAM_BYTES="0").split()[-1]) > 50


def test_two_threads_two_arrays(threads: None) -> None:
    dk.set_num_threads(3)
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(200_000).astype(np.float32) for _ in range(4)]
    expected = [dk.gelu(a) for a in arrays]
    wrong: list[int] = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(20) if dk.gelu(arrays[i]).tobytes() != expected[i].tobytes())

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not wrong


def test_two_threads_one_output(threads: None) -> None:
    dk.set_num_threads(2)
    x = np.linspace(-3, 3, 200_000, dtype=np.float32)
    out = np.empty_like(x)
    workers = [threading.Thread(target=lambda: [dk.relu(x, out=out) for _ in range(50)]) for _ in range(2)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    numerics.assert_same_bits(out, np.maximum(x, 0))


def test_an_array_dropped_during_the_call(threads: None) -> None:
    dk.set_num_threads(2)
    for _ in range(5):
        box = [np.full(300_000, 0.5, np.float32)]
        worker = threading.Thread(target=lambda box=box: box.append(dk.silu(box[0])))
        worker.start()
        del box[0]
        gc.collect()
        worker.join()


FORK = """
import os, numpy as np, dlkernels as dk
dk.set_num_threads(3)
x = np.linspace(-3, 3, 400_000, dtype=np.float32)
y = dk.gelu(x)
pid = os.fork()
if pid == 0:
    os._exit(0 if np.array_equal(dk.gelu(x), y) else 1)
assert os.waitpid(pid, 0)[1] == 0
assert np.array_equal(dk.gelu(x), y)
"""

DAEMON = """
import threading, time, numpy as np, dlkernels as dk
dk.set_num_threads(3)
x = np.linspace(-3, 3, 400_000, dtype=np.float32)
def forever():
    while True:
        dk.gelu(x)
for _ in range(2):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.2)
"""


@pytest.mark.filterwarnings("ignore:This process")
@pytest.mark.parametrize("program", [FORK, DAEMON], ids=["fork", "exit-with-daemon-threads"])
def test_process(program: str) -> None:
    if program is FORK:
        program = "import warnings; warnings.simplefilter('ignore', DeprecationWarning)\n" + program
    run_python("-c", program, timeout=60)


def test_no_reference_is_lost() -> None:
    """Neither results nor refused arguments are kept alive."""
    x = np.ones(8, np.float32)
    before = sys.getrefcount(x)
    for _ in range(100):
        dk.relu(x)
        dk.relu(x, out=x)
        with pytest.raises(TypeError):
            dk.relu(x, out=[1])
        with pytest.raises(TypeError):
            dk.relu.backward(x, x, y=x)
        dk.mse_loss.value_and_grad(x, x, out=x.copy())
    assert sys.getrefcount(x) == before


def test_an_error_while_the_gil_is_released() -> None:
    """A label is found to be out of range in the compiled part of a long call."""
    x, y = np.zeros((200_000, 2), np.float32), np.zeros(200_000, np.int64)
    y[-1] = 2
    out = np.full_like(x, 7)
    for _ in range(3):
        with pytest.raises(IndexError, match=r"target\[199999\] is 2, wanted a class id in \[0, 2\)"):
            dk.cross_entropy.value_and_grad(x, y, out=out)
    assert (out == 7).all()


def test_the_callers_rounding_mode_reaches_every_thread(threads: None) -> None:
    """Another rounding mode is the caller's choice; the bits still do not depend on threads."""
    libm = ctypes.CDLL("libm.so.6")
    upward = {"x86_64": 0x800, "aarch64": 0x400000}[platform.machine()]
    x = np.linspace(-3, 3, 300_000, dtype=np.float32)
    results = []
    for n in (1, 3):
        dk.set_num_threads(n)
        assert libm.fesetround(upward) == 0
        try:
            results.append(dk.silu(x))
        finally:
            libm.fesetround(0)
    numerics.assert_same_bits(*results)
    numerics.assert_same_bits(dk.silu(x), dk.silu(x.copy()))
    assert not np.array_equal(results[0], dk.silu(x))  # it did have an effect


# --- more than 2^31 (29) ------------------------------------------------------------------------------------------------

MANY = 2**31 + 77


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(MANY,), (1, MANY), (MANY, 1)], ids=str)
def test_more_than_two_to_the_31(shape: tuple[int, ...], threads: None) -> None:
    """On each axis in turn: the last elements are computed, and nothing before them is lost. Takes 5 GB."""
    dk.set_num_threads(2)
    x = np.zeros(shape, np.float16)
    flat = x.reshape(-1)
    flat[:5], flat[-5:], flat[2**31 - 2 : 2**31 + 2] = [-1, 2, -3, 4, -5], [1, -2, 3, -4, 5], [-7, 7, -8, 8]
    dk.relu(x, out=x)
    assert flat[:5].tolist() == [0, 2, 0, 4, 0]
    assert flat[-5:].tolist() == [1, 0, 3, 0, 5]
    assert flat[2**31 - 2 : 2**31 + 2].tolist() == [0, 7, 0, 8]
    if len(shape) == 2:
        dk.softmax(x, out=x)
        if shape[1] == 1:
            assert (flat[-5:] == 1).all()
            assert (flat[:5] == 1).all()
        else:
            kept = [2, 4, 1, 3, 5, 7, 8]
            total = sum(np.exp(v - 8.0) for v in kept) + (MANY - len(kept)) * np.exp(-8.0)
            for at, v in ((2**31 + 1, 8), (2**31 - 1, 7), (MANY - 1, 5), (1, 2)):
                numerics.assert_within(
                    flat[at], np.array(np.exp(v - 8.0) / total), 1.0, "float16", hint=f"element {at}"
                )
