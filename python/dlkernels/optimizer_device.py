"""Steps on a GPU: queued, never waited for. What depends on earlier steps is kept on the device (kernels/cuda/step.cuh).

Parameters of a group that have always been stepped together share a slot there: a step count, what the rule carries on, and the row of
numbers of the step. A slot is split, once, when some of them get no gradient.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import device_array, empty, on_gpu, on_stream_of, to_host
from ._op import core

if TYPE_CHECKING:
    from .optimizer import Optimizer, StepInfo

__all__ = ["DeviceStepInfo", "DeviceSteps"]

CARRIED = 2  # numbers that a rule may hand from step to step


class DeviceStepInfo:
    """What a step on a GPU found out. `report` lies there: the norm of all gradients, and 1 if the step was skipped, else 0. Reading
    grad_norm or skipped, or unpacking both, waits for the step: on the stream that is current then, which is to be the step's. In a CUDA
    graph it is the report of the last replay.
    """

    def __init__(self, report: Any) -> None:
        self.report = report

    def __iter__(self) -> Iterator[Any]:
        return iter(self._read())

    def __repr__(self) -> str:
        return f"DeviceStepInfo(report={self.report!r})"

    def _read(self) -> tuple[float, bool]:
        norm, skipped = to_host(self.report)
        return float(norm), bool(skipped)

    @property
    def grad_norm(self) -> float:
        """Of all gradients together, unscaled and before clipping."""
        return self._read()[0]

    @property
    def skipped(self) -> bool:
        """A gradient was infinite or NaN: nothing was changed, no step was counted."""
        return self._read()[1]


class DeviceSteps:
    """The memory of an optimizer's steps, beside its parameters."""

    directed = False  # the direction of a step is computed by the array library

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer: Optimizer = weakref.proxy(optimizer)  # whose member this is: it goes when the optimizer does
        params, groups = optimizer._params, optimizer.param_groups
        self.group_of = [g for g, group in enumerate(groups) for _ in group["params"]]
        self.rules = [core.step_rule(optimizer._step_rule(group)) for group in groups]
        slots: dict[tuple[Any, ...], int] = {}
        self.slot_of: list[int] = []
        self.begun: list[int] = []  # steps of each slot, skipped ones included
        self.group_of_slot: list[int] = []
        record = np.zeros((len(params), 1 + CARRIED))
        for i, group in enumerate(self.group_of):
            key = (group, optimizer._steps[i], *optimizer._numbers[i].values())
            if key not in slots:
                record[len(slots), : len(key) - 1] = key[1:]
                slots[key] = len(slots)
                self.begun.append(optimizer._steps[i])
                self.group_of_slot.append(group)
            self.slot_of.append(slots[key])
        like = params[0]
        self.record = device_array(like, record)
        self.control = device_array(like, np.array([0.0, 1.0, 0.0, optimizer._updates]))
        self.numbers = device_array(like, np.zeros((len(params), core.row_numbers)))  # of each slot
        engines, members = zip(*optimizer._engines, strict=True)
        trust = self.rules[0] if optimizer.own_rates else -1
        self.steps = core.DeviceStep(
            list(engines), list(members), self.record, self.numbers, self.control, trust, optimizer.second_rule,
            self.directed,
        )  # fmt: skip
        self.pattern = b"\1" * len(params)
        self._assigned(moved=True)

    def _assigned(self, moved: bool) -> None:
        if moved:
            self.steps.assign(self.slot_of)
        self.active = sorted({slot for slot, there in zip(self.slot_of, self.pattern, strict=True) if there})

    def _split(self, pattern: bytes) -> None:
        """Slots of which only some parameters have a gradient now: those move to a slot of their own, which begins as a copy."""
        before, some = list(self.slot_of), dict[int, list[int]]()
        for i, slot in enumerate(self.slot_of):
            some.setdefault(slot, []).append(i)
        for slot, members in some.items():
            moving = [i for i in members if pattern[i]]
            if 0 < len(moving) < len(members):
                new = len(self.begun)
                with on_stream_of(self.record):
                    self.record[new] = self.record[slot]
                self.begun.append(self.begun[slot])
                self.group_of_slot.append(self.group_of_slot[slot])
                for i in moving:
                    self.slot_of[i] = new
        self.pattern = pattern
        self._assigned(self.slot_of != before)

    def _row(self, slot: int) -> tuple[Any, ...]:
        optimizer, group = self.optimizer, self.optimizer.param_groups[self.group_of_slot[slot]]
        rate = group["lr"] if on_gpu(group["lr"]) else optimizer.lr(group, self.begun[slot] + 1)
        options = [float(o) for o in optimizer._options(group)]
        return self.rules[self.group_of_slot[slot]], slot, group["maximize"], options, rate

    def step(self, grads: list[Any], max_norm: Any, grad_scale: Any, zero_grads: bool) -> StepInfo | DeviceStepInfo:
        """`Optimizer.step`, its arguments checked."""
        from .optimizer import StepInfo

        pattern = self.steps.read(grads, zero_grads)
        if pattern != self.pattern:
            self._split(pattern)
        rows = [self._row(slot) for slot in self.active]
        checks = max_norm is not None or grad_scale is not None
        scale = 1.0 if grad_scale is None else grad_scale if on_gpu(grad_scale) else float(grad_scale)
        most = math.inf if max_norm is None else float(max_norm)
        report = empty(self.control, (2,), "float64") if checks else None
        self.steps.begin(rows, checks, scale, most, report)
        self._finish(grads, zero_grads)
        for slot in self.active:
            self.begun[slot] += 1
        return StepInfo(None, skipped=False) if report is None else DeviceStepInfo(report)

    def _finish(self, grads: list[Any], zero_grads: bool) -> None:
        """After the start of a step."""
        del grads  # the engines have them
        self.steps.finish(zero_grads, self.optimizer.storage["seed"])

    def step_alone(self, index: int, engine: Any, grad: Any) -> None:
        """A step of one parameter, by an engine that has the part of it that changes."""
        self._split(bytes(i == index for i in range(len(self.slot_of))))
        slot = self.slot_of[index]
        steps = core.DeviceStep([engine], [[0]], self.record, self.numbers, self.control, -1, "", False)
        steps.assign([slot])
        steps.read([grad], False)
        steps.begin([self._row(slot)], False, 1.0, math.inf, None)
        steps.finish(False, 0)
        self.begun[slot] += 1

    def read_back(self) -> None:
        """Step counts and scalar state, for the optimizer's own lists; waits for the device."""
        optimizer, record = self.optimizer, to_host(self.record)
        optimizer._updates = int(to_host(self.control)[3])
        for i, slot in enumerate(self.slot_of):
            optimizer._steps[i] = int(record[slot, 0])
            optimizer._numbers[i] = dict(zip(optimizer._numbers[i], map(float, record[slot, 1:]), strict=False))
