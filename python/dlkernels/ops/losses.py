"""Losses. The bodies are the float64 definitions; calling a loss runs its compiled kernel.

All of them: float16, bfloat16, float32, float64 inputs; the loss itself is float64 for float64 input and float32 otherwise, a 0-d array
for reduction "mean" and "sum". Sums are added in one canonical order, so no result depends on threads, instruction set or strides.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def _reduced(loss: Any, reduction: str, denominator: Any) -> Any:
    if reduction == "none":
        return loss
    total = np.sum(loss)
    return total if reduction == "sum" else total / denominator


def weighted(loss: Any, weight: Any, reduction: str, denominator: str) -> Any:
    """What an elementwise loss is reduced to. Elements of weight 0 count for nothing, whatever their loss."""
    if weight is not None:
        weight = np.broadcast_to(weight, np.shape(loss))
        loss = np.where(weight == 0, 0.0, weight * loss)
    if reduction == "none":
        return loss
    if reduction == "batchmean":
        return np.sum(loss) / np.float64(np.shape(loss)[0] if np.ndim(loss) else 1)
    total = np.sum(weight) if weight is not None and denominator == "weight" else np.float64(np.size(loss))
    return _reduced(loss, reduction, total)
