"""Around the step: norms and clipping of gradients, the scale of a loss in float16, groups without weight decay, averages of weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ._arrays import copy, copy_into, to_host, zeros_state
from ._op import Engine, core
from .optimizer import Optimizer, StepInfo, real
from .optimizer_device import DeviceStepInfo
from .optimizer_storage import HALVES, dtype_name

__all__ = ["EMA", "GradScaler", "clip_grad_norm_", "clip_grad_value_", "decay_groups", "global_grad_norm"]

_HOW = {1.0: "sum", 2.0: "squares", math.inf: "largest"}


def _by_dtype(grads: Iterable[Any]) -> list[list[Any]]:
    """Lists of one dtype and device each, None left out."""
    kinds: dict[tuple[str, str], list[Any]] = {}
    for g in grads:
        if g is not None:
            kinds.setdefault((dtype_name(g), str(getattr(g, "device", "cpu"))), []).append(g)
    return list(kinds.values())


def _size(grads: list[Any], how: str) -> float:
    found = core.magnitude(grads, how)
    return found if isinstance(found, float) else float(to_host(found[-1:])[0])  # a GPU's


def global_grad_norm(grads: Iterable[Any], norm_type: float = 2.0) -> float:
    """The norm of all gradients together, None left out: root of the sum of squares (2), sum of magnitudes (1) or the largest (inf).

    Added in float64, in an order that depends neither on threads, instruction set nor on how the numbers are cut into tensors. inf if a
    gradient is infinite, NaN if one is. Arrays on a GPU are waited for.

    >>> import numpy as np, dlkernels as dk
    >>> dk.optim.global_grad_norm([np.array([3.0, -4.0]), np.array([12.0])])
    13.0
    """
    if norm_type not in _HOW:
        raise ValueError(f"global_grad_norm: norm_type must be 1, 2 or inf, got {norm_type!r}.")
    found = [_size(kind, _HOW[norm_type]) for kind in _by_dtype(grads)]
    if norm_type == math.inf:
        return math.nan if any(map(math.isnan, found)) else max(found, default=0.0)
    return math.sqrt(sum(found)) if norm_type == 2.0 else float(sum(found))


def clip_grad_norm_(
    grads: Iterable[Any], max_norm: float, norm_type: float = 2.0, *, error_if_nonfinite: bool = False
) -> float:
    """Multiplies all gradients in place by min(1, max_norm / (norm + 1e-6)) and returns the norm before, as torch.nn.utils.clip_grad_norm_.

    A norm that is infinite or NaN leaves the gradients alone (PyTorch makes them 0 and NaN), or is an error. A step that clips needs no
    pass of its own: ``optimizer.step(grads, max_norm=1.0)``.
    """
    limit = math.inf if max_norm == math.inf else real("clip_grad_norm_", "max_norm", max_norm)
    some = [g for g in grads if g is not None]
    norm = global_grad_norm(some, norm_type)
    if not math.isfinite(norm):
        if error_if_nonfinite:
            raise ValueError(f"clip_grad_norm_: the norm of the gradients is {norm}.")
        return norm
    factor = limit / (norm + 1e-6)
    if factor < 1:
        for kind in _by_dtype(some):
            core.apply_to("clip_grad_norm_", "scaled_by", kind, [factor])
    return norm


def clip_grad_value_(grads: Iterable[Any], clip_value: float) -> None:
    """Holds every element in [-clip_value, clip_value], in place; NaN stays."""
    limit = real("clip_grad_value_", "clip_value", clip_value)
    for kind in _by_dtype(grads):
        core.apply_to("clip_grad_value_", "clamped_to", kind, [-limit, limit])


def decay_groups(named: Mapping[str, Any], weight_decay: float, **options: Any) -> list[dict[str, Any]]:
    """Two parameter groups: matrices and higher with `weight_decay`, biases and norm weights (one dimension or none) without.

    ``dk.optim.AdamW(dk.optim.decay_groups(model.named_parameters(), 0.01), lr=1e-3)``
    """
    decayed = [p for p in named.values() if len(p.shape) > 1]
    others = [p for p in named.values() if len(p.shape) <= 1]
    groups = ({"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0})
    return [{**group, **options} for group in groups if group["params"]]


class GradScaler:
    """The factor of a loss in float16, as torch.amp.GradScaler: as large as gradients allow.

    ``scaler.scale(loss or dloss)`` before backward; ``info = scaler.step(optimizer, grads)`` divides the gradients by it in the step itself
    and leaves everything alone where one is infinite or NaN; ``scaler.update()`` then halves the scale, or doubles it after
    growth_interval good steps. The first factor, 65536, is beyond float16: keep the loss itself in float32.
    """

    def __init__(
        self,
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
    ) -> None:
        self._scale = real("GradScaler", "init_scale", init_scale)
        if self._scale == 0:
            raise ValueError("GradScaler: init_scale must be > 0, got 0.")
        self.growth_factor = real("GradScaler", "growth_factor", growth_factor, low=1.0)
        self.backoff_factor = real("GradScaler", "backoff_factor", backoff_factor, high=1.0)
        if type(growth_interval) is not int or growth_interval < 1:
            raise ValueError(f"GradScaler: growth_interval must be an integer >= 1, got {growth_interval!r}.")
        self.growth_interval = growth_interval
        self._tracker = 0
        self._infos: list[StepInfo | DeviceStepInfo] = []  # of the steps since the last update

    def get_scale(self) -> float:
        """The factor of now."""
        return self._scale

    def scale(self, loss: Any) -> Any:
        """loss times the factor."""
        return loss * self._scale

    def step(self, optimizer: Optimizer, grads: Sequence[Any], **options: Any) -> StepInfo | DeviceStepInfo:
        """``optimizer.step(grads, grad_scale=..., **options)``."""
        self._infos.append(optimizer.step(grads, grad_scale=self._scale, **options))
        return self._infos[-1]

    def update(self, found_inf: bool | None = None) -> None:
        """Once after the steps of an iteration; on a GPU it waits for them. found_inf: in the place of what they found."""
        if any(info.skipped for info in self._infos) if found_inf is None else found_inf:
            self._scale, self._tracker = self._scale * self.backoff_factor, 0
        else:
            self._tracker += 1
            if self._tracker == self.growth_interval:
                self._scale, self._tracker = self._scale * self.growth_factor, 0
        self._infos = []

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's keys."""
        return {
            "scale": self._scale, "growth_factor": self.growth_factor, "backoff_factor": self.backoff_factor,
            "growth_interval": self.growth_interval, "_growth_tracker": self._tracker,
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes it back."""
        made = GradScaler(*(state[k] for k in ("scale", "growth_factor", "backoff_factor", "growth_interval")))
        made._tracker = int(state["_growth_tracker"])
        self.__dict__.update(made.__dict__)


class EMA:
    """The exponential moving average of weights: ``shadow += (1 - decay)(p - shadow)`` at each update, in float32 for 16-bit weights.

    >>> import numpy as np, dlkernels as dk
    >>> w = np.array([1.0]); ema = dk.optim.EMA([w], decay=0.9); w[0] = 2.0; ema.update(); ema.shadow[0]
    array([1.1])
    """

    def __init__(self, params: Iterable[Any], decay: float = 0.999) -> None:
        self.decay = real("EMA", "decay", decay, high=1.0)
        self.params = list(params)
        self.shadow = []
        for p in self.params:
            shadow = zeros_state(p) if dtype_name(p) in HALVES else copy(p)
            copy_into(shadow, p)
            self.shadow.append(shadow)
        kinds: dict[tuple[str, str], list[int]] = {}
        for i, s in enumerate(self.shadow):
            kinds.setdefault((dtype_name(s), str(getattr(s, "device", "cpu"))), []).append(i)
        self._engines = [
            (
                Engine(
                    "EMA", "average", [self.shadow[i] for i in members], [], [], [], "plain", [], [0] * len(members)
                ),
                members,
            )
            for members in kinds.values()
        ]
        self.updates = 0

    def update(self) -> None:
        """Once after a step."""
        for engine, members in self._engines:
            now = []
            for i in members:
                if dtype_name(self.params[i]) in HALVES:
                    now.append(zeros_state(self.params[i]))
                    copy_into(now[-1], self.params[i])
                else:
                    now.append(self.params[i])
            engine.read(now, False)
            engine.step([0] * len(members), [1.0, 1.0 - self.decay], False, 0, 0)
            engine.forget()
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters are the averages inside, and themselves again afterwards."""
        before = [copy(p) for p in self.params]
        try:
            for p, s in zip(self.params, self.shadow, strict=True):
                copy_into(p, s)
            yield
        finally:
            for p, b in zip(self.params, before, strict=True):
                copy_into(p, b)

    def state_dict(self) -> dict[str, Any]:
        """{"decay", "updates", "shadow": [...]}; arrays are copies."""
        return {"decay": self.decay, "updates": self.updates, "shadow": [copy(s) for s in self.shadow]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes it back; ValueError if it is for other parameters, and then nothing is changed."""
        shapes = [tuple(s.shape) for s in state["shadow"]]
        if shapes != [tuple(s.shape) for s in self.shadow]:
            raise ValueError(f"EMA: the state is for shapes {shapes}, wanted {[tuple(s.shape) for s in self.shadow]}.")
        self.decay, self.updates = real("EMA", "decay", state["decay"], high=1.0), int(state["updates"])
        for mine, theirs in zip(self.shadow, state["shadow"], strict=True):
            copy_into(mine, theirs)
