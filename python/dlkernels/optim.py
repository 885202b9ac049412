"""Optimizers: PyTorch's names, defaults, state keys and definitions; every tensor of a step updated in one multi-tensor pass.

State is kept in the compute type (float64 for float64 parameters, float32 for all others). Whatever depends on the step count is computed
once per step in double. A refused step changes no byte and advances no counter.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ._arrays import copy, copy_into, zeros_state
from ._op import Engine

__all__ = ["SGD", "AdamW", "Optimizer"]

Params = Iterable[Any]


def _real(op: str, name: str, value: Any, *, low: float = 0.0, high: float = math.inf) -> float:
    """A hyper-parameter in [low, high), finite: no bool, string or array."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.floating, np.integer)):
        raise TypeError(f"{op}: {name} must be a real number, got {value!r}.")
    number = float(value)
    if not (low <= number < high):
        wanted = "finite and >= 0" if high == math.inf else f"in [{low:g}, {high:g})"
        raise ValueError(f"{op}: {name} must be {wanted}, got {value!r}.")
    return number


class Optimizer:
    """What every rule shares: parameter groups, state, checkpoints, the step.

    ``params`` is a list of arrays, or a list of groups ``{"params": [...], "lr": ..., ...}`` with hyper-parameters of their own. The
    arrays are updated in place; they must be contiguous, writable and disjoint.
    """

    state_keys: ClassVar[tuple[str, ...]] = ()

    def __init__(self, params: Params, defaults: Mapping[str, Any]) -> None:
        self.name = type(self).__name__
        self.defaults = dict(defaults)
        entries = list(params)
        if not entries:
            raise ValueError(f"{self.name}: params is empty. Pass at least one array.")
        groups = entries if all(isinstance(e, Mapping) for e in entries) else [{"params": entries}]
        self.param_groups: list[dict[str, Any]] = []
        for group in groups:
            unknown = set(group) - set(defaults) - {"params"}
            if unknown:
                raise ValueError(
                    f"{self.name}: unknown options {sorted(unknown)}. A group takes params and {sorted(defaults)}."
                )
            full = {**defaults, **group, "params": list(group["params"])}
            self._check(full)
            self.param_groups.append(full)
        self._params = [p for g in self.param_groups for p in g["params"]]
        for i, p in enumerate(self._params):
            if not hasattr(p, "shape") or not hasattr(p, "dtype"):
                raise TypeError(f"{self.name}: params[{i}] must be a NumPy, CuPy, PyTorch or JAX array, got {type(p).__name__}.")
        self._steps = [0] * len(self._params)
        self._states: list[dict[str, Any]] = [
            {key: zeros_state(p) for key in self._keys(g)} for g in self.param_groups for p in g["params"]
        ]
        self._build()

    # What a rule defines.

    def _check(self, group: Mapping[str, Any]) -> None:
        """Raises unless the group's hyper-parameters are legal."""
        raise NotImplementedError

    def _keys(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        """State tensors of a parameter of this group."""
        del group
        return self.state_keys

    def _rule(self, group: Mapping[str, Any]) -> str:
        """Name of the compiled update rule."""
        raise NotImplementedError

    def _values(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        """The rule's hyper-parameters at a step, counted from 1."""
        raise NotImplementedError

    # The step.

    def _build(self) -> None:
        """One engine for each (rule, dtype, device): usually one."""
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
        for group in self.param_groups:
            self._check(group)
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

        ValueError if it belongs to other parameters; then nothing is changed.
        """
        groups = list(state_dict["param_groups"])
        sizes = [len(g["params"]) for g in self.param_groups]
        if [len(g["params"]) for g in groups] != sizes:
            raise ValueError(
                f"{self.name}: the state is for groups of {[len(g['params']) for g in groups]} parameters, this optimizer has {sizes}."
            )
        new_groups = []
        for mine, theirs in zip(self.param_groups, groups, strict=True):
            options = {k: theirs[k] for k in self.defaults if k in theirs}
            new = {**mine, **options}
            self._check(new)
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
        # PyTorch's SGD keeps no step count: a buffer that is there has been started.
        return int(theirs["step"]) if "step" in theirs else int(theirs.get("momentum_buffer") is not None)

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
        return fresh


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD.

    ``g += weight_decay p;  b = momentum b + (1 - dampening) g;  p -= lr (nesterov ? g + momentum b : b)``; b starts at g, undamped.

    >>> import numpy as np, dlkernels as dk
    >>> w = np.array([1.0]); opt = dk.optim.SGD([w], lr=0.1); opt.step([np.array([2.0])]); w
    array([0.8])
    """

    state_keys = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr", "momentum", "dampening", "weight_decay"):
            _real(self.name, name, group[name])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"{self.name}: nesterov needs momentum > 0 and dampening 0, got {group['momentum']} and {group['dampening']}."
            )

    def _keys(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return self.state_keys if group["momentum"] > 0 else ()

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "sgd_momentum" if group["momentum"] > 0 else "sgd"

    def _values(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        sign = -1.0 if group["maximize"] else 1.0
        momentum = float(group["momentum"])
        if momentum == 0:
            return sign, float(group["lr"]), float(group["weight_decay"])
        keep, take = (0.0, 1.0) if step == 1 else (momentum, 1.0 - group["dampening"])
        direct, through = (1.0, momentum) if group["nesterov"] else (0.0, 1.0)
        return sign, float(group["lr"]), float(group["weight_decay"]), keep, take, direct, through


class AdamW(Optimizer):
    """Adam with decoupled weight decay, as torch.optim.AdamW (Loshchilov & Hutter 2017, arXiv:1711.05101).

    ``m += (1-b1)(g - m);  v += (1-b2)(g^2 - v);  p -= lr weight_decay p;  p -= lr/(1-b1^t) m / (sqrt(v)/sqrt(1-b2^t) + eps)``

    >>> import numpy as np, dlkernels as dk
    >>> w = np.array([1.0]); opt = dk.optim.AdamW([w], lr=0.1); opt.step([np.array([2.0])]); w
    array([0.899])
    """

    state_keys = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr", "eps", "weight_decay"):
            _real(self.name, name, group[name])
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)):
            raise TypeError(f"{self.name}: betas must be a pair of numbers, got {betas!r}.")
        if len(betas) != 2:
            raise ValueError(f"{self.name}: betas must be a pair of numbers, got {betas!r}.")
        for i, beta in enumerate(betas):
            _real(self.name, f"betas[{i}]", beta, high=1.0)

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "adamw"

    def _values(self, group: Mapping[str, Any], step: int) -> tuple[float, ...]:
        beta1, beta2 = (float(b) for b in group["betas"])
        lr, decay, eps = float(group["lr"]), float(group["weight_decay"]), float(group["eps"])
        return (
            -1.0 if group["maximize"] else 1.0,
            1.0 - beta1,
            1.0 - beta2,
            lr * decay,
            lr / (1.0 - beta1**step),
            1.0 / math.sqrt(1.0 - beta2**step),
            eps,
        )
