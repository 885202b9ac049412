"""Learning rates as functions of the step: ``lr(t)``, t counted from 0, closed form, no state.

``dk.train.fit(..., lr=schedule)`` asks before every step; so a run that is resumed at step t goes on where it was.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from dlkernels.arguments import real, whole


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
