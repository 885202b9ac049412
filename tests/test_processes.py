"""Guard pages, threads, forks, exits and references: whatever might touch memory that is not the caller's, hang, or crash.

What might crash runs in a process of its own, with faulthandler and a time limit.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from pathlib import Path

import numerics
import numpy as np
import pytest

import dlkernels as dk

TESTS = Path(__file__).parent


def run_python(*arguments: str, timeout: float = 120) -> str:
    """The output of a Python process that must end well."""
    command = [sys.executable, "-X", "faulthandler", "-W", "error", *arguments]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_guard_pages() -> None:
    assert int(run_python("guard_pages.py").split()[-1]) > 10_000


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
    for _ in range(20):
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
