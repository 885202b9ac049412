"""What every optimizer shares: parameter groups, state, the step in one multi-tensor pass. Checkpoints are in optimizer_state.py.

Whatever depends on the step count is computed once per step in double. A refused step changes no byte and advances no counter.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from . import optimizer_state
from ._arrays import on_device_of, on_gpu, place_of
from ._op import Engine, core
from .optimizer_device import DeviceStepInfo, DeviceSteps
from .optimizer_storage import Storage, check_parameter, checked, dtype_name, kept_as, master_of, new_state

__all__ = ["Optimizer", "StepInfo", "real"]

Params = Iterable[Any]
LearningRate = Any  # a number, a function of the step count t = 0, 1, ..., or a scalar that lies on the GPU
Numbers = dict[str, float]  # scalar state of a parameter


class StepInfo(NamedTuple):
    """What a step found out."""

    grad_norm: float | None  # of all gradients together, unscaled and before clipping; None if nothing asked for it
    skipped: bool  # a gradient was infinite or NaN: nothing was changed, no step was counted


def real(op: str, name: str, value: Any, *, low: float = 0.0, high: float = math.inf) -> float:
    """A hyper-parameter in [low, high), finite: no bool, string or array."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{op}: {name} must be a real number, got {value!r}.")
    number = float(value)
    if not (low <= number < high):
        wanted = "finite and >= 0" if high == math.inf else f"in [{low:g}, {high:g})"
        raise ValueError(f"{op}: {name} must be {wanted}, got {value!r}.")
    return number


def pair(op: str, name: str, value: Any) -> tuple[float, float]:
    """Two numbers in [0, 1)."""
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{op}: {name} must be a pair of numbers, got {value!r}.")
    if len(value) != 2:
        raise ValueError(f"{op}: {name} must be a pair of numbers, got {value!r}.")
    first, second = (real(op, f"{name}[{i}]", v, high=1.0) for i, v in enumerate(value))
    return first, second


class Optimizer(ABC):
    """What every rule shares: parameter groups, state, checkpoints, the step.

    ``params`` is a list of arrays, or a list of groups ``{"params": [...], "lr": ..., ...}`` with hyper-parameters of their own. The
    arrays are updated in place; they must be contiguous, writable and disjoint. ``lr`` is a number, or a schedule: a function of the number
    of steps before this one (dk.schedules). The options of `Storage` say how state and parameters are kept.

    On a GPU a step is queued and nothing is waited for; ``lr`` may be a scalar there (float32 or float64), which each step reads. Step
    counts live there too: a schedule, which the host computes, is asked with the number of steps begun, skipped ones included.
    """

    state_keys: ClassVar[tuple[str, ...]] = ()
    nonnegative_keys: ClassVar[frozenset[str]] = frozenset()
    forced: ClassVar[dict[str, Any]] = {}  # options that a loaded state does not change
    own_options: ClassVar[frozenset[str]] = frozenset()  # that PyTorch's optimizer of the same name has not
    own_rates: ClassVar[bool] = False  # a rate for each tensor, from two sums over it
    second_rule: ClassVar[str] = ""  # that then takes the step, where the first one leaves these sums
    device_steps: ClassVar[type[DeviceSteps]] = DeviceSteps

    def __init__(self, params: Params, defaults: Mapping[str, Any], storage: Storage) -> None:
        self.name = type(self).__name__
        self.defaults = {**defaults, "maximize": defaults.get("maximize", False)}
        self.storage = checked(self.name, storage)
        if hasattr(params, "dtype") or not isinstance(params, Iterable):
            raise TypeError(f"{self.name}: params must be a list of arrays or of groups, got {type(params).__name__}.")
        entries = list(params)
        if not entries:
            raise ValueError(f"{self.name}: params is empty. Pass at least one array.")
        groups = entries if all(isinstance(e, Mapping) for e in entries) else [{"params": entries}]
        self.param_groups: list[dict[str, Any]] = [self._full(group) for group in groups]
        self._params: list[Any] = []
        self._steps: list[int] = []
        self._updates = 0  # of all: what is rounded at random is counted by it
        self._numbers: list[Numbers] = []
        self._states: list[dict[str, Any]] = []
        self._device: DeviceSteps | None = None  # made by the first step
        for group in self.param_groups:
            self._take(group)
        if not self._params:
            raise ValueError(f"{self.name}: params is empty. Pass at least one array.")
        self._build()

    def __repr__(self) -> str:
        return f"{self.name}({len(self._params)} parameters, {len(self.param_groups)} groups)"

    # Copies and pickles: everything but the engines, which point at the arrays and are made anew.

    def __getstate__(self) -> dict[str, Any]:
        self._settle()
        return {k: v for k, v in self.__dict__.items() if k not in {"_engines", "_device", "_good"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._params = [p for g in self.param_groups for p in g["params"]]
        self._build()

    # Groups.

    def _full(self, group: Mapping[str, Any]) -> dict[str, Any]:
        """The group with every option."""
        if "params" not in group:
            raise ValueError(f"{self.name}: a group has no 'params', only {sorted(group)}.")
        unknown = set(group) - set(self.defaults) - {"params"}
        if unknown:
            raise ValueError(
                f"{self.name}: unknown options {sorted(unknown)}. A group takes params and {sorted(self.defaults)}."
            )
        params = group["params"]
        full = {**self.defaults, **group, "params": [params] if hasattr(params, "dtype") else list(params)}
        self._checked(full)
        return full

    def _take(self, group: Mapping[str, Any]) -> None:
        for p in group["params"]:
            i = len(self._params)
            if not hasattr(p, "shape") or not hasattr(p, "dtype"):
                raise TypeError(
                    f"{self.name}: params[{i}] must be a NumPy, CuPy, PyTorch or JAX array, got {type(p).__name__}."
                )
            check_parameter(self.name, i, p, self.storage)
            self._params.append(p)
            self._steps.append(0)
            self._numbers.append(self._first_numbers(group))
            self._states.append(self._new_state(p, group))

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Adds ``{"params": [...], "lr": ..., ...}``; what is refused changes nothing."""
        full = self._full(group)
        self._settle()
        before = self.__dict__.copy()
        lists = ("param_groups", "_params", "_steps", "_numbers", "_states")
        self.__dict__.update({name: [*getattr(self, name)] for name in lists})
        try:
            self.param_groups.append(full)
            self._take(full)
            self._build()
        except BaseException:
            self.__dict__.update(before)
            raise

    # What a rule defines.

    @abstractmethod
    def _check(self, group: Mapping[str, Any]) -> None:
        """Raises unless the group's hyper-parameters are legal; lr and maximize are checked already."""

    def _keys(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """State tensors of a parameter of this group."""
        del group
        return self.state_keys

    @abstractmethod
    def _rule(self, group: Mapping[str, Any]) -> str:
        """Name of the compiled update rule."""

    def _step_rule(self, group: Mapping[str, Any]) -> str:
        """Name of what makes the update rule's numbers at a step (kernels/ops/step_rules.h)."""
        return self._rule(group)

    @abstractmethod
    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        """Its options, after the learning rate."""

    def _step_numbers(self, group: Mapping[str, Any], step: int, numbers: Numbers) -> tuple[list[float], list[float]]:
        """The update rule's numbers at a step, counted from 1, and the scalar state after it."""
        options = [self.lr(group, step), *map(float, self._options(group))]
        found: tuple[list[float], list[float]]
        found = core.step_numbers(self._step_rule(group), options, step, list(numbers.values()))
        return found

    def _first_numbers(self, group: Mapping[str, Any]) -> Numbers:
        """Scalar state before the first step."""
        del group
        return {}

    def _fill(self, group: Mapping[str, Any], key: str) -> float:
        """What a state tensor holds before the first step."""
        del group, key
        return 0.0

    def lr(self, group: Mapping[str, Any], step: int) -> float:
        """The learning rate of a step, counted from 1."""
        rate = group["lr"]
        return real(self.name, "lr", rate(step - 1)) if callable(rate) else float(rate)

    def _checked(self, group: Mapping[str, Any]) -> None:
        """Raises unless the group has every option, and all of them legal."""
        missing = set(self.defaults) - set(group)
        if missing:
            raise ValueError(f"{self.name}: a group has no {sorted(missing)}.")
        for name, default in self.defaults.items():
            if isinstance(default, bool) and not isinstance(group[name], bool):
                raise TypeError(f"{self.name}: {name} must be True or False, got {group[name]!r}.")
        if not callable(group["lr"]) and not on_gpu(group["lr"]):
            real(self.name, "lr", group["lr"])
        self._check(group)

    def _new_state(self, p: Any, group: Mapping[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = {}
        for key in self._keys(group):
            kept = kept_as(p, self.storage, key in self.nonnegative_keys)
            state |= new_state(p, kept, key)
            if fill := self._fill(group, key):
                if kept not in {"wide", "bfloat16"}:
                    raise ValueError(f'{self.name}: {key} begins at {fill}, which state_dtype="uint8" does not allow.')
                with on_device_of(state[key]):
                    state[key][...] = fill
        return state | master_of(p, self.storage)

    # The step.

    def _group_of(self) -> list[dict[str, Any]]:
        return [g for g in self.param_groups for _ in g["params"]]

    def _build(self) -> None:
        """One engine for each (rule, dtype, device, way of keeping state): usually one."""
        self._sizes = [len(g["params"]) for g in self.param_groups]
        self._rules = [self._rule(g) for g in self.param_groups]
        # Of each group, options that have been found legal: their identities, and they themselves so that these stay theirs.
        self._good: dict[int, tuple[tuple[int, ...], tuple[Any, ...]]] = {}
        kinds: dict[tuple[Any, ...], list[int]] = {}
        first, total = [], 0
        for p in self._params:
            first.append(total)
            total += math.prod(p.shape)
        group_of = self._group_of()
        for i, (p, g) in enumerate(zip(self._params, group_of, strict=True)):
            kept = tuple(kept_as(p, self.storage, key in self.nonnegative_keys) for key in self._keys(g))
            kind = (self._rule(g), dtype_name(p), str(getattr(p, "device", "cpu")), kept, self._keys(g))
            kinds.setdefault(kind, []).append(i)
        self._engines = []
        for (rule, _, _, kept, keys), members in kinds.items():
            engine = self._engine(rule, keys, kept, members, [first[i] for i in members])
            self._engines.append((engine, members))
        Engine.refuse_shared_memory([engine for engine, _ in self._engines])
        self._device = None
        self._on_device = on_gpu(self._params[0])
        if any(on_gpu(p) != self._on_device for p in self._params):
            raise ValueError(f"{self.name}: params must all be on a GPU, or none of them.")
        places = {place_of(p) for p in self._params} if self._on_device else set()
        if len(places) > 1:  # one stream takes the step
            raise ValueError(f"{self.name}: params must be on one GPU and of one array library, got {sorted(places)}.")

    def _engine(self, rule: str, keys: Sequence[str], kept: Sequence[str], members: list[int], first: list[int]) -> Any:
        of = [self._states[i] for i in members]
        master = {"master": "master", "remainder": "remainder"}.get(self.storage["precision"])
        return Engine(
            self.name, rule, [self._params[i] for i in members], [[s[key] for s in of] for key in keys], list(kept),
            [[s.get(f"{key}_scale") for s in of] for key in keys], self.storage["precision"],
            [s[master] for s in of] if master else [], first,
        )  # fmt: skip

    def step(
        self,
        grads: Sequence[Any],
        *,
        max_norm: float | None = None,
        grad_scale: Any = None,
        zero_grads: bool = False,
    ) -> StepInfo | DeviceStepInfo:
        """Updates every parameter in place from its gradient, in one pass over memory.

        grads: one array per parameter, in the order of ``params`` (groups one after the other), of its shape and dtype; None leaves that
        parameter, its state and its step count alone.
        grad_scale: what the loss was multiplied by (`GradScaler`): gradients are divided by it on the way. max_norm: they are then scaled
        by min(1, max_norm / (norm + 1e-6)), norm that of all gradients together (torch.nn.utils.clip_grad_norm_). With either, a gradient
        that is infinite or NaN makes this step a skipped one: nothing is changed. The arrays in grads are not: they hold what they held.
        zero_grads: they are 0 afterwards, written in the same pass (also after a skipped step).

        On a GPU the device itself skips: what comes back is a `DeviceStepInfo`, and grad_scale may be a scalar there.

        ValueError or TypeError before anything is written.
        """
        grads = list(grads)
        self._check_step(grads, max_norm, grad_scale, zero_grads)
        if self._on_device:
            self._device = self._device or self.device_steps(self)
            return self._device.step(grads, max_norm, grad_scale, zero_grads)
        engines = [engine for engine, _ in self._engines]
        Engine.read_all(
            engines, [[grads[i] for i in members] for _, members in self._engines], zero_grads
        )  # checks them
        factor, norm = 1.0 if grad_scale is None else 1.0 / float(grad_scale), None
        if max_norm is not None or grad_scale is not None:
            norm = self._norm(grads) * factor
            if not math.isfinite(norm):
                self._zero(grads if zero_grads else [])
                return StepInfo(norm, skipped=True)
            if max_norm is not None:
                factor *= min(1.0, float(max_norm) / (norm + 1e-6))
        after = self._after(grads)
        self._run(grads, factor, zero_grads)
        for engine in engines:
            engine.forget()
        self._updates += 1
        for i, (step, numbers) in after.items():
            self._steps[i], self._numbers[i] = step, numbers
        return StepInfo(norm, skipped=False)

    def _settle(self) -> None:
        """Step counts and scalar state as they are: those of a GPU are asked for, and waited for."""
        if self._device is not None:
            self._device.read_back()

    def _after(self, grads: list[Any]) -> dict[int, tuple[int, Numbers]]:
        """Step count and scalar state after this step. A schedule is asked here, before anything is written: it may be refused."""
        after = {}
        for i, (g, group) in enumerate(zip(grads, self._group_of(), strict=True)):
            if g is None:
                continue
            step = self._steps[i] + 1
            if callable(group["lr"]):
                self.lr(group, step)
            numbers = self._numbers[i]
            if numbers:
                numbers = dict(zip(numbers, self._step_numbers(group, step, numbers)[1], strict=True))
            after[i] = step, numbers
        return after

    def _check_step(self, grads: list[Any], max_norm: Any, grad_scale: Any, zero_grads: Any) -> None:
        if len(grads) != len(self._params):
            raise ValueError(
                f"{self.name}: wanted {len(self._params)} gradients, one per parameter (None to skip one), got {len(grads)}."
            )
        if [len(g["params"]) for g in self.param_groups] != self._sizes:
            raise ValueError(
                f"{self.name}: a group's list of parameters has changed. Use add_param_group, or make a new optimizer."
            )
        if not isinstance(zero_grads, bool):
            raise TypeError(f"{self.name}: zero_grads must be True or False, got {zero_grads!r}.")
        for name, value in (("max_norm", max_norm), ("grad_scale", grad_scale)):
            if value is not None and not (name == "grad_scale" and on_gpu(value)) and real(self.name, name, value) == 0:
                raise ValueError(f"{self.name}: {name} must be > 0, got {value!r}.")
        for k, (group, rule) in enumerate(zip(self.param_groups, self._rules, strict=True)):
            values = tuple(group.values())
            ids = tuple(map(id, values))
            if self._good.get(k, ((),))[0] == ids:
                continue
            self._checked(group)
            if self._rule(group) != rule:
                raise ValueError(
                    f"{self.name}: a group's options ask for the rule {self._rule(group)!r}, but it was made for {rule!r}, "
                    "which keeps other state. Make a new optimizer."
                )
            if not any(isinstance(v, list) for name, v in group.items() if name != "params"):  # which may change inside
                self._good[k] = ids, values

    def _norm(self, grads: list[Any]) -> float:
        """Of all gradients together: the root of the sum of squares, added in float64 in an order that nothing changes."""
        squares = float(sum(e.magnitude("squares") for e, _ in self._engines))
        if squares != math.inf:
            return math.sqrt(squares)
        # Squares of float64 overflow where the numbers do not: then of numbers divided by the largest.
        largest = float(max(e.magnitude("largest") for e, _ in self._engines))
        if not math.isfinite(largest):
            return largest
        scaled = (np.square(np.asarray(g, np.float64) / largest).sum() for g in grads if g is not None)
        return largest * math.sqrt(float(sum(scaled)))

    @staticmethod
    def _zero(grads: list[Any]) -> None:
        for g in grads:
            if g is not None:
                g[...] = 0

    def _rows(self, members: list[int], factor: float) -> tuple[list[int], list[float]]:
        """Which row of numbers applies to each parameter, and the rows."""
        row_of: dict[tuple[Any, ...], int] = {}
        rows: list[int] = []
        values: list[float] = []
        group_of = [g for g, group in enumerate(self.param_groups) for _ in group["params"]]
        for i in members:
            step = self._steps[i] + 1
            key = (group_of[i], step, *self._numbers[i].values())
            if key not in row_of:
                row_of[key] = len(row_of)
                group = self.param_groups[group_of[i]]
                values.append(-factor if group["maximize"] else factor)
                values.extend(self._step_numbers(group, step, self._numbers[i])[0])
            rows.append(row_of[key])
        return rows, values

    def _run(self, grads: list[Any], factor: float, zero_grads: bool) -> None:
        del grads  # the engines have them
        work = [(engine, *self._rows(members, factor)) for engine, members in self._engines]
        for engine, rows, values in work:
            engine.step(rows, values, zero_grads, self.storage["seed"], self._updates)

    # Checkpoints.

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: {...}}, "param_groups": [...]} with PyTorch's key names; arrays are copies."""
        return optimizer_state.saved(self)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the state and the hyper-parameters of ``state_dict()``, or of PyTorch's optimizer of the same name.

        ValueError if it belongs to other parameters or to another rule; then nothing is changed. An optimizer of NumPy parameters keeps
        NumPy state: hand it to PyTorch with torch.from_numpy on each array. A group whose lr is a schedule keeps it; a scalar on a GPU is
        kept too, and given the state's number.
        """
        optimizer_state.load(self, state_dict)
