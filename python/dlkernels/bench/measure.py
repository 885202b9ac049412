"""Measuring: a process for each library, rounds interleaved so that drift of the machine cancels, medians with 20 and 80 % quantiles."""

from __future__ import annotations

import contextlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from .cost import minimal_bytes, operations
from .row import COPY, EPOCH, OURS, STEP, Row
from .updates import step_bytes, step_operations
from .whole import SIZES

_PATIENCE = 240  # seconds; a compiler may take its time, a run must end
_STEP_TOLERANCE = 0.05  # of a step that is a thousandth of the numbers that it moves
_SPINNING = {"torch", "torch-compile", "jax"}  # pools whose workers spin for some milliseconds after a call
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "DLKERNELS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",  # XLA's pool
)
# Memory that a library frees is given again without a system call and without page faults: what out= does, for forms that have none.
_KEPT_MEMORY = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=1073741824:glibc.malloc.arena_max=1"


class Peer:
    """A library's process and its pipe. `fresh`: memory comes from the system as in any process, for rows that measure just that."""

    def __init__(self, name: str, threads: int, module: str, *, fresh: bool = False) -> None:
        self.name = name
        numbers = dict.fromkeys(_THREAD_VARIABLES, str(threads))
        flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}".strip()
        tunables = ":".join(filter(None, [os.environ.get("GLIBC_TUNABLES"), "" if fresh else _KEPT_MEMORY]))
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **numbers, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore",
                 "GLIBC_TUNABLES": tunables},
        )  # fmt: skip

    def ask(self, request: dict[str, Any]) -> Any:
        """One question, one answer."""
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            ready, _, _ = select.select([self.process.stdout], [], [], _PATIENCE)
            answer = self.process.stdout.readline() if ready else ""
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.process.kill()
            raise RuntimeError(f"the process of {self.name} ended, or gave no answer for {_PATIENCE} s")
        return json.loads(answer)

    def seconds(self, budget: float) -> list[float]:
        """Timed samples; then a pause in which a spinning pool goes to sleep."""
        found: list[float] = self.ask({"seconds": budget})
        if self.name in _SPINNING:
            time.sleep(0.01)
        return found

    def close(self) -> None:
        """Ends the process."""
        assert self.process.stdin
        assert self.process.stdout
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


class Bench:
    """The processes of a run, started when they are first asked; one that dies is started anew for the next row."""

    def __init__(
        self,
        peers: Iterable[str],
        threads: int,
        *,
        rounds: int = 5,
        budget: float = 0.015,
        module: str = "dlkernels.bench.worker",
    ) -> None:
        self.names, self.threads = list(peers), threads
        self.rounds, self.budget, self.module = rounds, budget, module
        self._running: dict[tuple[str, bool], Peer] = {}

    def _peer(self, name: str, fresh: bool) -> Peer:
        if (name, fresh) not in self._running:
            self._running[name, fresh] = Peer(name, self.threads, self.module, fresh=fresh)
        return self._running[name, fresh]

    def close(self) -> None:
        """Ends the processes."""
        for peer in self._running.values():
            peer.close()
        self._running.clear()

    def _timed(self, name: str, fresh: bool) -> list[float] | str:
        """Samples, or why there are none."""
        try:
            return self._running[name, fresh].seconds(self.budget)
        except RuntimeError as error:
            self._running.pop((name, fresh)).close()
            return str(error)

    def measure(self, row: Row, peers: Iterable[str] | None = None) -> dict[str, Any]:
        """The row with everybody's seconds (20 %, median, 80 %), errors, and why somebody has none."""
        samples: dict[str, list[float]] = {}
        errors: dict[str, float] = {}
        absent: dict[str, str] = {}
        moved: dict[str, list[float]] = {}
        ready = []
        fresh = row.variant == "allocating"
        for name in self.names if peers is None else peers:
            try:
                answer = self._peer(name, fresh).ask({"row": row.as_json()})
            except RuntimeError as error:
                answer = {"absent": str(error)}
                self._running.pop((name, fresh)).close()
            if "values" in answer:
                samples[name] = answer["values"]
            elif "error" in answer:
                ready.append(name)
                errors.update({name: answer["error"]} if answer["error"] is not None else {})
                moved.update({name: answer["moved"]} if "moved" in answer else {})
            else:
                absent[name] = answer.get("absent") or f"not timed: {answer['wrong']}"
        for name, why in refused_steps(steps_differ(row, moved), errors).items():
            ready.remove(name)
            absent[name] = why
        for _ in range(self.rounds):
            for name in list(ready):
                found = self._timed(name, fresh)
                if isinstance(found, list):
                    samples.setdefault(name, []).extend(found)
                else:
                    ready.remove(name)
                    samples.pop(name, None)
                    absent[name] = found
        seconds = {name: quantiles(times) for name, times in samples.items()}
        return {**row.as_json(), "name": row.name, **cost(row), "seconds": seconds, "errors": errors, "absent": absent}


def refused_steps(differ: dict[str, float], errors: dict[str, float]) -> dict[str, str]:
    """Who is not timed for the step that it took. Where nobody's step is ours, it is ours that nobody vouches for."""
    errors.update(differ)
    wrong = {name: off for name, off in differ.items() if not off <= _STEP_TOLERANCE}
    if wrong and len(wrong) == len(differ):
        return {OURS: "not timed: our step differs from that of every peer"}
    return {name: f"not timed: its step differs from ours by {off:.2g} of its size" for name, off in wrong.items()}


def steps_differ(row: Row, moved: dict[str, list[float]]) -> dict[str, float]:
    """How far the peers' first step of an optimizer is from ours, of its size. Only where everybody's arithmetic is float32: numbers of
    fewer bits hide a step.
    """
    mine = moved.get(OURS)
    if mine is None or row.dtype != "float32" or row.options.get("state_dtype"):
        return {}
    size = max(abs(a) for a in mine) or 1.0
    return {
        name: float(np.max(np.abs(np.subtract(mine, theirs)))) / size  # max() would lose a NaN
        for name, theirs in moved.items()
        if name != OURS
    }


def quantiles(times: list[float]) -> tuple[float, float, float]:
    """20 %, median, 80 %."""
    q = statistics.quantiles(times, n=10, method="inclusive")
    return q[1], statistics.median(times), q[7]


def cost(row: Row) -> dict[str, int]:
    """Minimal bytes and operations; 0 for what has none."""
    if row.part in {*SIZES, EPOCH}:
        return {"bytes": 0, "operations": 0}
    if row.part == COPY:
        return {"bytes": 8 * row.shape[0], "operations": 0}
    if row.part == STEP:
        return {"bytes": step_bytes(row), "operations": step_operations(row)}
    return {"bytes": minimal_bytes(row), "operations": operations(row)}


def ours(result: dict[str, Any]) -> float | None:
    """Our median of a measured row."""
    seconds = result["seconds"].get(OURS)
    return seconds[1] if seconds else None
