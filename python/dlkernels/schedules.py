"""Learning rates as functions of the step: ``lr(t)``, t counted from 0, closed form, no state (but for ReduceOnPlateau).

``dk.optim.AdamW(params, lr=schedule)`` and ``dk.train.fit(..., lr=schedule)`` ask before every step; so a run that is resumed at step t
goes on where it was. Where libraries differ, the text says how.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from dlkernels.arguments import real, whole

__all__ = [
    "ReduceOnPlateau", "constant", "cosine", "cosine_warm_restarts", "exponential", "inverse_sqrt", "inverse_time", "linear", "multi_step",
    "noam", "one_cycle", "polynomial", "rebalance", "step", "warmup", "warmup_cosine",
]  # fmt: skip

Schedule = Callable[[int], float]


def constant(base: float) -> Schedule:
    """base."""
    real("constant", "base", base)
    return lambda t: base  # noqa: ARG005


def step(base: float, step_size: int, gamma: float = 0.1) -> Schedule:
    """base gamma^floor(t / step_size), as torch.optim.lr_scheduler.StepLR.

    >>> lr = step(0.1, 3, 0.5)
    >>> [lr(t) for t in (0, 2, 3, 6)]
    [0.1, 0.1, 0.05, 0.025]
    """
    real("step", "base", base)
    real("step", "gamma", gamma)
    whole("step", "step_size", step_size)
    return lambda t: base * gamma ** (t // step_size)


def multi_step(base: float, milestones: Sequence[int], gamma: float = 0.1) -> Schedule:
    """base gamma^(how many milestones <= t), as PyTorch; Keras' PiecewiseConstantDecay switches one step later, after its boundary."""
    real("multi_step", "base", base)
    real("multi_step", "gamma", gamma)
    places = sorted(whole("multi_step", "milestones", m, least=0) for m in milestones)
    return lambda t: base * gamma ** sum(m <= t for m in places)


def exponential(base: float, gamma: float) -> Schedule:
    """base gamma^t. Keras: gamma = decay_rate^(1 / decay_steps)."""
    real("exponential", "base", base)
    real("exponential", "gamma", gamma)
    return lambda t: base * gamma**t


def inverse_time(base: float, decay_rate: float, decay_steps: int = 1) -> Schedule:
    """base / (1 + decay_rate t / decay_steps)."""
    real("inverse_time", "base", base)
    real("inverse_time", "decay_rate", decay_rate, 0)
    whole("inverse_time", "decay_steps", decay_steps)
    return lambda t: base / (1 + decay_rate * t / decay_steps)


def linear(base: float, total: int, start_factor: float = 1 / 3, end_factor: float = 1.0) -> Schedule:
    """base times a factor that goes from start_factor to end_factor in `total` steps and stays, as PyTorch's LinearLR."""
    real("linear", "base", base)
    real("linear", "start_factor", start_factor, 0)
    real("linear", "end_factor", end_factor, 0)
    whole("linear", "total", total)
    return lambda t: base * (start_factor + (end_factor - start_factor) * min(t, total) / total)


def polynomial(base: float, total: int, power: float = 1.0, end: float = 0.0) -> Schedule:
    """(base - end) (1 - min(t, total)/total)^power + end. PyTorch's PolynomialLR ends at 0; Keras' default end is 1e-4."""
    real("polynomial", "base", base)
    real("polynomial", "end", end)
    real("polynomial", "power", power, 0)
    whole("polynomial", "total", total)
    return lambda t: (base - end) * (1 - min(t, total) / total) ** power + end


def cosine(base: float, T_max: int, eta_min: float = 0.0) -> Schedule:
    """eta_min + (base - eta_min)(1 + cos(pi min(t, T_max)/T_max))/2.

    PyTorch's CosineAnnealingLR rises again after T_max; this stays, as Keras and optax do. Keras' alpha is a fraction of base, eta_min is
    absolute.
    """
    real("cosine", "base", base)
    real("cosine", "eta_min", eta_min)
    whole("cosine", "T_max", T_max)
    return lambda t: eta_min + (base - eta_min) * (1 + math.cos(math.pi * min(t, T_max) / T_max)) / 2


def warmup(inner: Schedule | float, steps: int, offset: int = 0) -> Schedule:
    """Linear from 0 to inner(0) in `steps` steps, then inner(t - steps). The first update does nothing then (as in Transformers and optax);
    offset=1 begins with inner(0) / steps.

    >>> lr = warmup(cosine(0.1, 7), 3)
    >>> [round(lr(t), 4) for t in (0, 1, 3, 10)]
    [0.0, 0.0333, 0.1, 0.0]
    """
    whole("warmup", "steps", steps, least=0)
    after = inner if callable(inner) else constant(inner)
    peak = after(0)
    return lambda t: peak * (t + offset) / steps if t < steps else after(t - steps)


def cosine_warm_restarts(base: float, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> Schedule:
    """Cosines one after the other, the first over T_0 steps, each T_mult times as long as the one before: SGDR, as PyTorch.

    Source: Loshchilov & Hutter (2016), arXiv:1608.03983.
    """
    real("cosine_warm_restarts", "base", base)
    real("cosine_warm_restarts", "eta_min", eta_min)
    whole("cosine_warm_restarts", "T_0", T_0)
    whole("cosine_warm_restarts", "T_mult", T_mult)

    def lr(t: int) -> float:
        length = T_0
        if T_mult == 1:
            t %= T_0
        while t >= length:
            t -= length
            length *= T_mult
        return eta_min + (base - eta_min) * (1 + math.cos(math.pi * t / length)) / 2

    return lr


def one_cycle(
    max_lr: float, total: int, pct_start: float = 0.3, div_factor: float = 25.0, final_div_factor: float = 1e4
) -> Schedule:
    """Cosines up from max_lr/div_factor to max_lr at pct_start total - 1, and down to max_lr/div_factor/final_div_factor at total - 1, as
    PyTorch's OneCycleLR. optax has its knots at pct_start total and total. Source: Smith & Topin (2017), arXiv:1708.07120.
    """
    real("one_cycle", "max_lr", max_lr)
    whole("one_cycle", "total", total, least=2)
    real("one_cycle", "pct_start", pct_start, 0, 1)
    first, last = max_lr / div_factor, max_lr / div_factor / final_div_factor
    top = pct_start * total - 1

    def between(a: float, b: float, share: float) -> float:
        return b + (a - b) / 2 * (1 + math.cos(math.pi * share))

    def lr(t: int) -> float:
        t = min(t, total - 1)
        if t <= top:
            return between(first, max_lr, t / top if top > 0 else 1.0)
        return between(max_lr, last, (t - top) / (total - 1 - top))

    return lr


def inverse_sqrt(peak: float, warmup_steps: int) -> Schedule:
    """peak t / warmup_steps, then peak sqrt(warmup_steps / t)."""
    real("inverse_sqrt", "peak", peak)
    whole("inverse_sqrt", "warmup_steps", warmup_steps)
    return lambda t: peak * t / warmup_steps if t < warmup_steps else peak * math.sqrt(warmup_steps / t)


def noam(width: int, warmup_steps: int, factor: float = 1.0) -> Schedule:
    """factor width^-1/2 min(s^-1/2, s warmup_steps^-3/2) with s = t + 1. Source: Vaswani et al. (2017), arXiv:1706.03762."""
    whole("noam", "width", width)
    whole("noam", "warmup_steps", warmup_steps)
    return lambda t: factor * width**-0.5 * min((t + 1) ** -0.5, (t + 1) * warmup_steps**-1.5)


class ReduceOnPlateau:
    """base, times `factor` whenever a metric has not improved for more than `patience` calls of `observe`; as PyTorch's ReduceLROnPlateau.

    mode "min" or "max"; an improvement is one by more than `threshold`, relative, or absolute with threshold_mode="abs"; after a reduction
    `cooldown` calls count for nothing; never below min_lr. Keras counts patience with >= and its min_delta is absolute.

    >>> lr = ReduceOnPlateau(0.1, patience=1)
    >>> [round(lr.observe(loss), 3) for loss in (1.0, 1.0, 1.0, 1.0)]
    [0.1, 0.1, 0.01, 0.01]
    """

    def __init__(
        self, base: float, mode: str = "min", factor: float = 0.1, patience: int = 10, threshold: float = 1e-4,
        threshold_mode: str = "rel", cooldown: int = 0, min_lr: float = 0.0,
    ) -> None:  # fmt: skip
        where = "ReduceOnPlateau"
        if mode not in {"min", "max"}:
            raise ValueError(f'{where}: mode must be "min" or "max", got {mode!r}.')
        if threshold_mode not in {"rel", "abs"}:
            raise ValueError(f'{where}: threshold_mode must be "rel" or "abs", got {threshold_mode!r}.')
        self.mode, self.threshold_mode = mode, threshold_mode
        self.lr = real(where, "base", base, 0)
        self.factor = real(where, "factor", factor, 0, 1)
        self.threshold = real(where, "threshold", threshold, 0)
        self.min_lr = real(where, "min_lr", min_lr, 0)
        self.patience, self.cooldown = whole(where, "patience", patience, 0), whole(where, "cooldown", cooldown, 0)
        self.best = math.inf if mode == "min" else -math.inf
        self.bad, self.waiting = 0, 0

    def __call__(self, t: int) -> float:
        """The rate of now."""
        del t
        return self.lr

    def _better(self, metric: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        if self.threshold_mode == "abs" or not math.isfinite(self.best):
            return metric > self.best + self.threshold if sign > 0 else metric < self.best - self.threshold
        return metric > self.best * (1 + self.threshold) if sign > 0 else metric < self.best * (1 - self.threshold)

    def observe(self, metric: float) -> float:
        """Takes note of the metric, and returns the rate from now on."""
        if self._better(metric):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.waiting > 0:
            self.waiting, self.bad = self.waiting - 1, 0
        if self.bad > self.patience:
            self.lr, self.waiting, self.bad = max(self.lr * self.factor, self.min_lr), self.cooldown, 0
        return self.lr

    def state_dict(self) -> dict[str, Any]:
        """Everything that changes."""
        return {"lr": self.lr, "best": self.best, "bad": self.bad, "waiting": self.waiting}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes it back."""
        self.lr, self.best = float(state["lr"]), float(state["best"])
        self.bad, self.waiting = int(state["bad"]), int(state["waiting"])


def warmup_cosine(peak: float, total: int, warmup: int = 0) -> Callable[[int], float]:
    """peak (t + 1) / warmup while t < warmup, then peak (1 + cos(pi (t - warmup) / (total - warmup))) / 2; 0 from `total` on.

    >>> lr = warmup_cosine(0.1, total=10, warmup=2)
    >>> [round(lr(t), 4) for t in (0, 1, 2, 6, 10, 11)]
    [0.05, 0.1, 0.1, 0.05, 0.0, 0.0]
    """
    real("warmup_cosine", "peak", peak)
    whole("warmup_cosine", "warmup", warmup, least=0)
    whole("warmup_cosine", "total", total, least=max(1, warmup))

    def lr(t: int) -> float:
        if t < warmup:
            return peak * (t + 1) / warmup
        if t >= total:
            return 0.0
        return peak * (1 + math.cos(math.pi * (t - warmup) / (total - warmup))) / 2

    return lr


def rebalance(start: float = 1.0, step: float = 0.01, least: float = 0.01) -> Callable[[int], float]:
    """The share alpha of a regional loss beside a boundary loss: start - step t after t epochs, but at least `least`.

    Kervadec et al. 2019 lower it by 0.01 an epoch, from 1 to 0.01; what is left, 1 - alpha, is the boundary loss's.

    >>> alpha = rebalance()
    >>> [round(alpha(t), 2) for t in (0, 1, 50, 99, 200)]
    [1.0, 0.99, 0.5, 0.01, 0.01]
    """
    real("rebalance", "start", start, 0, 1)
    real("rebalance", "step", step, 0, 1)
    real("rebalance", "least", least, 0, start)
    return lambda t: max(start - step * t, least)
