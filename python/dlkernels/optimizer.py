"""What every optimizer shares: parameter groups, state, the step in one multi-tensor pass, checkpoints.

State is kept in the compute type (float64 for float64 parameters, float32 for all others). Whatever depends on the step count is computed
once per step in double. A refused step changes no byte and advances no counter.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ._arrays import copy, copy_into, zeros_state
from ._op import Engine

__all__ = ["Optimizer", "real"]

Params = Iterable[Any]

# Options of PyTorch's optimizers that change the update: a state made with them must not be continued without them.
_UNSUPPORTED: dict[str, Any] = {"amsgrad": False, "decoupled_weight_decay": True}


def real(op: str, name: str, value: Any, *, low: float = 0.0, high: float = math.inf) -> float:
    """A hyper-parameter in [low, high), finite: no bool, string or array."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{op}: {name} must be a real number, got {value!r}.")
    number = float(value)
    if not (low <= number < high):
        wanted = "finite and >= 0" if high == math.inf else f"in [{low:g}, {high:g})"
        raise ValueError(f"{op}: {name} must be {wanted}, got {value!r}.")
    return number


class Optimizer(ABC):
    """What every rule shares: parameter groups, state, checkpoints, the step.

    ``params`` is a list of arrays, or a list of groups ``{"params": [...], "lr": ..., ...}`` with hyper-parameters of their own. The
    arrays are updated in place; they must be contiguous, writable and disjoint.
    """

    state_keys: ClassVar[tuple[str, ...]] = ()
    nonnegative_keys: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, params: Params, defaults: Mapping[str, Any]) -> None:
        self.name = type(self).__name__
        self.defaults = dict(defaults)
        if not isinstance(params, Iterable):
            raise TypeError(f"{self.name}: params must be a list of arrays or of groups, got {type(params).__name__}.")
        entries = list(params)
        if not entries:
            raise ValueError(f"{self.name}: params is empty. Pass at least one array.")
        groups = entries if all(isinstance(e, Mapping) for e in entries) else [{"params": entries}]
        self.param_groups: list[dict[str, Any]] = []
        for group in groups:
            if "params" not in group:
                raise ValueError(f"{self.name}: a group has no 'params', only {sorted(group)}.")
            unknown = set(group) - set(defaults) - {"params"}
            if unknown:
                raise ValueError(
                    f"{self.name}: unknown options {sorted(unknown)}. A group takes params and {sorted(defaults)}."
                )
            full = {**defaults, **group, "params": list(group["params"])}
            self._checked(full)
            self.param_groups.append(full)
        self._params = [p for g in self.param_groups for p in g["params"]]
        for i, p in enumerate(self._params):
            if not hasattr(p, "shape") or not hasattr(p, "dtype"):
                raise TypeError(
                    f"{self.name}: params[{i}] must be a NumPy, CuPy, PyTorch or JAX array, got {type(p).__name__}."
                )
        self._steps = [0] * len(self._params)
        self._states: list[dict[str, Any]] = [
            {key: zeros_state(p) for key in self._keys(g)} for g in self.param_groups for p in g["params"]
        ]
        self._build()

    def __repr__(self) -> str:
        return f"{self.name}({len(self._params)} parameters, {len(self.param_groups)} groups)"

    # Copies and pickles: everything but the engines, which point at the arrays and are made anew.

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_engines"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._params = [p for g in self.param_groups for p in g["params"]]
        self._build()

    # What a rule defines.

    @abstractmethod
    def _check(self, group: Mapping[str, Any]) -> None:
        """Raises unless the group's hyper-parameters are legal."""

    def _keys(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """State tensors of a parameter of this group."""
        del group
        return self.state_keys

    @abstractmethod
    def _rule(self, group: Mapping[str, Any]) -> str:
        """Name of the compiled update rule."""

    @abstractmethod
    def _values(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """The rule's hyper-parameters at a step, counted from 1."""

    def _checked(self, group: Mapping[str, Any]) -> None:
        """Raises unless the group has every option, and all of them legal."""
        missing = set(self.defaults) - set(group)
        if missing:
            raise ValueError(f"{self.name}: a group has no {sorted(missing)}.")
        for name, default in self.defaults.items():
            if isinstance(default, bool) and not isinstance(group[name], bool):
                raise TypeError(f"{self.name}: {name} must be True or False, got {group[name]!r}.")
        self._check(group)

    # The step.

    def _build(self) -> None:
        """One engine for each (rule, dtype, device): usually one."""
        self._rules = [self._rule(g) for g in self.param_groups]
        kinds: dict[tuple[str, str, str], list[int]] = {}
        group_of = [g for g in self.param_groups for _ in g["params"]]
        for i, (p, g) in enumerate(zip(self._params, group_of, strict=True)):
            kinds.setdefault(
                (self._rule(g), str(getattr(p, "dtype", "")), str(getattr(p, "device", "cpu"))), []
            ).append(i)
        self._engines = []
        for (rule, _, _), members in kinds.items():
            keys = self._keys(group_of[members[0]])
            states = [[self._states[i][key] for i in members] for key in keys]
            self._engines.append((Engine(self.name, rule, [self._params[i] for i in members], states), members))
        Engine.refuse_shared_memory([engine for engine, _ in self._engines])

    def step(self, grads: Sequence[Any]) -> None:
        """Updates every parameter in place from its gradient.

        grads: one array per parameter, in the order of ``params`` (groups one after the other), of its shape and dtype; None leaves that
        parameter, its state and its step count alone. ValueError or TypeError before anything is written.
        """
        grads = list(grads)
        if len(grads) != len(self._params):
            raise ValueError(
                f"{self.name}: wanted {len(self._params)} gradients, one per parameter (None to skip one), got {len(grads)}."
            )
        for group, rule in zip(self.param_groups, self._rules, strict=True):
            self._checked(group)
            if self._rule(group) != rule:
                raise ValueError(
                    f"{self.name}: a group's options ask for the rule {self._rule(group)!r}, but it was made for {rule!r}, "
                    "which keeps other state. Make a new optimizer."
                )
        if len(self._engines) > 1:  # all or nothing across engines too
            for engine, members in self._engines:
                engine.check([grads[i] for i in members])
        group_of = [g for g, group in enumerate(self.param_groups) for _ in group["params"]]
        work = []
        for engine, members in self._engines:
            row_of: dict[tuple[int, int], int] = {}
            rows: list[int] = []
            values: list[float] = []
            for i in members:
                key = (group_of[i], self._steps[i] + 1)
                if key not in row_of:
                    row_of[key] = len(row_of)
                    values.extend(self._values(self.param_groups[key[0]], key[1]))
                rows.append(row_of[key])
            work.append((engine, [grads[i] for i in members], rows, values))
        for engine, mine, rows, values in work:
            engine.step(mine, rows, values)
        for i, g in enumerate(grads):
            self._steps[i] += g is not None

    # Checkpoints.

    def state_dict(self) -> dict[str, Any]:
        """{"state": {index: {...}}, "param_groups": [...]} with PyTorch's key names; arrays are copies."""
        state = {
            i: {"step": float(self._steps[i]), **{k: copy(v) for k, v in s.items()}}
            for i, s in enumerate(self._states)
            if self._steps[i] > 0
        }
        groups, first = [], 0
        for g in self.param_groups:
            options = {k: v for k, v in g.items() if k != "params"}
            groups.append({**options, "params": list(range(first, first + len(g["params"])))})
            first += len(g["params"])
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over the state and the hyper-parameters of ``state_dict()``, or of PyTorch's optimizer of the same name.

        ValueError if it belongs to other parameters or to another rule; then nothing is changed. An optimizer of NumPy parameters keeps
        NumPy state: hand it to PyTorch with torch.from_numpy on each array.
        """
        if not {"state", "param_groups"} <= set(state_dict):
            raise ValueError(f"{self.name}: a state has the keys 'state' and 'param_groups', got {sorted(state_dict)}.")
        groups = list(state_dict["param_groups"])
        sizes = [len(g["params"]) for g in self.param_groups]
        if [len(g["params"]) for g in groups] != sizes:
            raise ValueError(
                f"{self.name}: the state is for groups of {[len(g['params']) for g in groups]} parameters, this optimizer has {sizes}."
            )
        new_groups = []
        for mine, theirs in zip(self.param_groups, groups, strict=True):
            missing = set(self.defaults) - set(theirs)
            if missing:
                raise ValueError(
                    f"{self.name}: the state is of another optimizer: its groups have no {sorted(missing)}."
                )
            for option, neutral in _UNSUPPORTED.items():
                if option not in self.defaults and theirs.get(option, neutral) != neutral:
                    raise ValueError(
                        f"{self.name}: the state was made with {option}={theirs[option]!r}, which this optimizer has not."
                    )
            new = {**mine, **{k: theirs[k] for k in self.defaults}}
            self._checked(new)
            new_groups.append(new)
        group_of = [g for g in new_groups for _ in g["params"]]
        numbers = [n for g in groups for n in g["params"]]
        steps, states = [], []
        for i, (number, group) in enumerate(zip(numbers, group_of, strict=True)):
            steps.append(self._loaded_step(state_dict["state"].get(number)))
            states.append(self._loaded(i, group, state_dict["state"].get(number)))
        self.param_groups, self._steps, self._states = new_groups, steps, states
        self._build()

    def _loaded_step(self, theirs: Mapping[str, Any] | None) -> int:
        if theirs is None:
            return 0
        if "step" not in theirs:  # PyTorch's SGD keeps none: a buffer that is there has been started
            return int(theirs.get("momentum_buffer") is not None)
        step = float(theirs["step"])
        if not (step >= 0 and step.is_integer()):
            raise ValueError(f"{self.name}: a step count in the state is {step!r}, wanted a whole number >= 0.")
        return int(step)

    def _loaded(self, i: int, group: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> dict[str, Any]:
        fresh = {key: zeros_state(self._params[i]) for key in self._keys(group)}
        if theirs is None:
            return fresh
        for key, state in fresh.items():
            if theirs.get(key) is None:
                if key == "momentum_buffer":
                    continue
                raise ValueError(f"{self.name}: the state of parameter {i} has no {key!r}.")
            if tuple(theirs[key].shape) != tuple(state.shape):
                raise ValueError(
                    f"{self.name}: {key!r} of parameter {i} has shape {tuple(theirs[key].shape)}, "
                    f"the parameter {tuple(state.shape)}."
                )
            copy_into(state, theirs[key])
            if key in self.nonnegative_keys and bool((state < 0).any()):
                raise ValueError(f"{self.name}: {key!r} of parameter {i} has negative elements.")
        return fresh
