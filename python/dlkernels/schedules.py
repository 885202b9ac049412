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
