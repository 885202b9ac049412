"""Optimizers with PyTorch's names, defaults, state keys and definitions. What they share is in optimizer.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .optimizer import Optimizer, Params, real

__all__ = ["SGD", "AdamW", "Optimizer"]


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
            real(self.name, name, group[name])
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
    nonnegative_keys = frozenset({"exp_avg_sq"})

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
            real(self.name, name, group[name])
        betas = group["betas"]
        if not isinstance(betas, (tuple, list)):
            raise TypeError(f"{self.name}: betas must be a pair of numbers, got {betas!r}.")
        if len(betas) != 2:
            raise ValueError(f"{self.name}: betas must be a pair of numbers, got {betas!r}.")
        for i, beta in enumerate(betas):
            real(self.name, f"betas[{i}]", beta, high=1.0)

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
