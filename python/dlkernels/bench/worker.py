"""One library in a process of its own: reads requests from standard input, answers on standard output, a line of JSON each.

Two thread pools in one process stall each other, so libraries never share one. `python -m dlkernels.bench.worker torch`.
{"row": ...} makes a row ready and compares its numbers with the definition; {"seconds": s} times it for about s seconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import dlkernels as dk

from .check import TOLERANCE, WrongResultError, error_of
from .copies import run_copy
from .ours import run_ours
from .peers import Ready, flat, run_peer
from .problem import Problem, check_shape, filled, problem
from .row import COPY, EPOCH, OURS, STEP, VALUE, Row, row_from
from .updates import run_step, sizes_of
from .whole import IMPORT, INSTALLED, WHEEL, import_seconds, package_megabytes, run_epoch

_NO_OP = {STEP, COPY, EPOCH}  # rows without an op's arrays
_SAMPLE = 1e-3  # a timed sample lasts at least this long


def ours(row: Row, p: Any) -> Ready:
    """This library's form of a row, as a peer's."""

    def numbers(result: Any) -> list[Any]:
        return [np.asarray(a) for a in flat(result)[: 1 if row.part == VALUE else None]]

    return Ready(run_ours(p, row.part, allocating=row.variant == "allocating"), numbers)


Form = Callable[[str, Row, "Problem | None"], "Ready | None"]


def host_form(peer: str, row: Row, p: Problem | None) -> Ready | None:
    """A library's form of a row on the CPU."""
    if row.part in _NO_OP:
        forms: dict[str, Any] = {STEP: run_step, COPY: run_copy, EPOCH: lambda peer, _: run_epoch(peer)}
        return forms[row.part](peer, row)  # type: ignore[no-any-return]
    assert p
    return ours(row, p) if peer == OURS else run_peer(peer, row, p)


def checked(peer: str, row: Row, form: Form = host_form) -> float | None:
    """The form's error on the small shape; None where there is no form. WrongResultError if it computes something else."""
    p = problem(row, check_shape(row))
    made = form("torch" if peer == "torch-compile" else peer, row, p)  # the compiled form is compared with this one
    if made is None:
        return None
    error = error_of(p, row, made.numbers(made.run()))
    if not error <= TOLERANCE[row.dtype]:
        raise WrongResultError(f"off by {error:.2g} of its size")
    return error


def same_as_eager(form: Ready, row: Row) -> None:
    """A compiled form must give what it gives uncompiled, on the row's own arrays."""
    if form.eager is None or row.options.get("p") or row.subject == "dropout":
        return
    for got, want in zip(form.numbers(form.run()), form.numbers(form.eager()), strict=True):
        size = float(np.max(np.abs(want), initial=0.0)) or 1.0
        if not float(np.max(np.abs(got - want), initial=0.0)) <= TOLERANCE[row.dtype] * size:
            raise WrongResultError("compiled, it gives something else than uncompiled")


def first_step(form: Ready, row: Row) -> list[float]:
    """By how much the first step moves the first numbers of the first tensor."""
    before = filled(sizes_of(row)[0], row.dtype).ravel()[:64].astype(np.float64)
    after = np.asarray(form.numbers(form.run())[0]).ravel()[:64].astype(np.float64)
    return [float(d) for d in after - before]


class Worker:
    """The row in hand, and the clock."""

    form: Form = staticmethod(host_form)

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.row: Row | None = None
        self.run: Callable[[], Any] | None = None
        self.inner = 1
        self.flush: Any = None

    def prepare(self, row: Row) -> dict[str, Any]:
        """{"error": ...} if the row can be timed, {"absent": why} if not, {"values": ...} if it needs no timing."""
        self.row, self.run = row, None
        if row.part == IMPORT:
            seconds = import_seconds(self.peer)
            return {"values": seconds} if seconds else {"absent": "no form"}
        if row.part in {INSTALLED, WHEEL}:
            size = package_megabytes(self.peer, row.part)
            return {"values": [size, size]} if size else {"absent": "no form"}
        of_op = row.part not in _NO_OP
        error = checked(self.peer, row, self.form) if of_op else None
        form = self.form(self.peer, row, problem(row) if of_op else None)
        if form is None:
            return {"absent": "no form"}
        answer: dict[str, Any] = {"error": error}
        if row.part == STEP:
            answer["moved"] = first_step(form, row)
        same_as_eager(form, row)
        self.run = form.run
        self._calibrate()
        return answer

    def _calibrate(self) -> None:
        """Warms up, and finds how many calls a sample of _SAMPLE seconds takes."""
        assert self.run
        self.run()
        self.inner = 1
        while self.row and self.row.variant != "cold":
            seconds = self.sample()
            if seconds * self.inner >= _SAMPLE / 2 or self.inner > 1 << 20:
                self.inner = max(1, round(self.inner * _SAMPLE / max(seconds * self.inner, 1e-9)))
                return
            self.inner *= 4

    def sample(self) -> float:
        """Seconds a call."""
        assert self.run
        run, inner = self.run, self.inner
        if self.row and self.row.variant == "cold":
            self.overwrite_caches()
        start = time.perf_counter()
        for _ in range(inner):
            run()
        return (time.perf_counter() - start) / inner

    def overwrite_caches(self) -> None:
        """Writes to twice as many bytes as the last cache holds."""
        if self.flush is None:
            self.flush = np.zeros(2 * last_level_cache(), np.uint8)
        self.flush += 1

    def seconds(self, budget: float) -> list[float]:
        """At least two samples, more as long as they fit into the budget."""
        found = [self.sample(), self.sample()]
        end = time.perf_counter() + budget - sum(found) * self.inner
        while time.perf_counter() < end and len(found) < 50:
            found.append(self.sample())
        return found


def last_level_cache() -> int:
    """Bytes; 32 MB where the system does not tell."""
    texts = [p.read_text().strip() for p in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")]
    return max([int(t[:-1]) << {"K": 10, "M": 20}[t[-1]] for t in texts if t[-1:] in {"K", "M"}], default=32 << 20)


def serve(worker: Worker) -> None:
    """Answers requests until standard input ends."""
    warnings.simplefilter("ignore")  # the peers' own: what matters of them is an error
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a compiler prints does not mix with the answers
    dk.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer: Any = (
                worker.prepare(row_from(request["row"])) if "row" in request else worker.seconds(request["seconds"])
            )
        except WrongResultError as wrong:
            answer = {"wrong": str(wrong)}
        except (
            Exception
        ) as error:  # a peer that cannot do a dtype or a shape must not end the run; the reason is reported
            answer = {"absent": f"{type(error).__name__}: {error}".strip().split("\n")[0][:200]}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(Worker(sys.argv[1]))
