"""Checkpoints of optimizers: PyTorch's structure and key names, loaded all or nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ._arrays import copy, copy_into, on_gpu

if TYPE_CHECKING:
    from .optimizer import Optimizer

__all__ = ["load", "saved"]

# Options of PyTorch's optimizers that change the update: a state made with them must not be continued without them.
_UNSUPPORTED: dict[str, Any] = {"amsgrad": False, "decoupled_weight_decay": True, "centered": False}


def saved(optimizer: Optimizer) -> dict[str, Any]:
    """{"state": {index: {...}}, "param_groups": [...]}; arrays are copies."""
    optimizer._settle()
    state = {
        i: {"step": float(step), **numbers, **{k: copy(v) for k, v in tensors.items()}}
        for i, (step, numbers, tensors) in enumerate(
            zip(optimizer._steps, optimizer._numbers, optimizer._states, strict=True)
        )
        if step > 0
    }
    groups, first = [], 0
    for g in optimizer.param_groups:
        options = {k: v for k, v in g.items() if k != "params"}
        step = optimizer._steps[first] if g["params"] else 0
        options["lr"] = optimizer.lr(g, step + 1)  # a schedule is a function; what it gives is a number
        groups.append({**options, "params": list(range(first, first + len(g["params"])))})
        first += len(g["params"])
    result: dict[str, Any] = {"state": state, "param_groups": groups}
    if optimizer.storage["precision"] != "plain" or optimizer.storage["state_dtype"] is not None:
        result["storage"] = {**optimizer.storage, "updates": optimizer._updates}
    return result


def load(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Takes over groups and states, or raises with nothing changed."""
    name = optimizer.name
    if not {"state", "param_groups"} <= set(state_dict):
        raise ValueError(f"{name}: a state has the keys 'state' and 'param_groups', got {sorted(state_dict)}.")
    updates = _updates(optimizer, state_dict.get("storage"))
    groups = list(state_dict["param_groups"])
    sizes = [len(g["params"]) for g in optimizer.param_groups]
    if [len(g["params"]) for g in groups] != sizes:
        raise ValueError(
            f"{name}: the state is for groups of {[len(g['params']) for g in groups]} parameters, this optimizer has {sizes}."
        )
    new_groups = [_group(optimizer, mine, theirs) for mine, theirs in zip(optimizer.param_groups, groups, strict=True)]
    group_of = [g for g in new_groups for _ in g["params"]]
    indices = [n for g in groups for n in g["params"]]
    kept = state_dict["state"]
    found = [kept.get(n, kept.get(str(n))) for n in indices]  # JSON knows no integer keys
    steps = [_step(name, theirs) for theirs in found]
    numbers, states = [], []
    for i, (group, theirs) in enumerate(zip(group_of, found, strict=True)):
        fresh = optimizer._first_numbers(group)
        missing = set(fresh) - set(theirs or fresh)
        if missing:
            raise ValueError(f"{name}: the state of parameter {i} has no {sorted(missing)}.")
        numbers.append({key: float((theirs or fresh)[key]) for key in fresh})
        states.append(_state(optimizer, i, group, theirs))
    on_device: list[tuple[float, Any]] = []  # rates, and where they are to be
    for new, mine in zip(new_groups, optimizer.param_groups, strict=True):
        if on_gpu(mine["lr"]):
            on_device.append((float(new["lr"]), mine["lr"]))
            new["lr"] = mine["lr"]
    before = optimizer.__dict__.copy()
    optimizer.param_groups, optimizer._steps = new_groups, steps
    optimizer._numbers, optimizer._states, optimizer._updates = numbers, states, updates
    try:
        optimizer._build()
        for rate, scalar in on_device:  # the scalar that steps and graphs read goes on being the one
            copy_into(scalar, np.asarray(rate, dtype=str(scalar.dtype).removeprefix("torch.")))
    except BaseException:
        optimizer.__dict__.update(before)
        raise


def _updates(optimizer: Optimizer, theirs: Mapping[str, Any] | None) -> int:
    mine = optimizer.storage
    before = {"precision": "plain", "state_dtype": None} if theirs is None else theirs
    for option in ("precision", "state_dtype"):
        if before[option] != mine[option]:
            raise ValueError(
                f"{optimizer.name}: the state was made with {option}={before[option]!r}, this optimizer has {mine[option]!r}."
            )
    if theirs is None:
        return 0
    if theirs["seed"] != mine["seed"]:
        raise ValueError(
            f"{optimizer.name}: the state was made with seed={theirs['seed']}, this optimizer has {mine['seed']}."
        )
    return int(theirs["updates"])


def _group(optimizer: Optimizer, mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    missing = set(optimizer.defaults) - set(theirs) - optimizer.own_options - {"maximize"}
    if missing:
        raise ValueError(f"{optimizer.name}: the state is of another optimizer: its groups have no {sorted(missing)}.")
    for option, neutral in _UNSUPPORTED.items():
        if option not in optimizer.defaults and theirs.get(option, neutral) != neutral:
            raise ValueError(
                f"{optimizer.name}: the state was made with {option}={theirs[option]!r}, which this optimizer has not."
            )
    new = {**mine, "maximize": False, **{k: theirs[k] for k in optimizer.defaults if k in theirs}, **optimizer.forced}
    if hasattr(new["lr"], "item"):  # PyTorch's capturable optimizers have a tensor
        new["lr"] = float(new["lr"])
    if callable(mine["lr"]):
        new["lr"] = mine["lr"]
    optimizer._checked(new)
    return new


def _step(name: str, theirs: Mapping[str, Any] | None) -> int:
    if theirs is None:
        return 0
    if "step" not in theirs:  # PyTorch's SGD and Muon keep none: a buffer that is there has been started
        return int(theirs.get("momentum_buffer") is not None)
    step = float(theirs["step"])
    if not (step >= 0 and step.is_integer()):
        raise ValueError(f"{name}: a step count in the state is {step!r}, wanted a whole number >= 0.")
    return int(step)


def _state(optimizer: Optimizer, i: int, group: Mapping[str, Any], theirs: Mapping[str, Any] | None) -> dict[str, Any]:
    fresh = optimizer._new_state(optimizer._params[i], group)
    if theirs is None:
        return fresh
    for key, state in fresh.items():
        if theirs.get(key) is None:
            if key == "momentum_buffer":
                continue
            raise ValueError(f"{optimizer.name}: the state of parameter {i} has no {key!r}.")
        if tuple(theirs[key].shape) != tuple(state.shape):
            raise ValueError(
                f"{optimizer.name}: {key!r} of parameter {i} has shape {tuple(theirs[key].shape)}, "
                f"wanted {tuple(state.shape)}."
            )
        copy_into(state, theirs[key])
        if key in optimizer.nonnegative_keys and str(state.dtype) != "uint8" and _negative(state):
            raise ValueError(f"{optimizer.name}: {key!r} of parameter {i} has negative elements.")
    return fresh


def _negative(state: Any) -> bool:
    return math.prod(state.shape) > 0 and float((state < 0).max()) != 0
