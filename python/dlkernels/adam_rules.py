"""Optimizers with moving averages of the gradient and of its square, or its sign: Adam, AdamW, NAdam, RAdam, Adamax, Lion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from .optimizer import LearningRate, Numbers, Optimizer, Params, pair, real
from .optimizer_storage import Storage

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Adam", "AdamW", "Adamax", "Lion", "NAdam", "RAdam"]


class Adam(Optimizer):
    """Adam, as torch.optim.Adam.

    ``g += weight_decay p;  m += (1-b1)(g - m);  v += (1-b2)(g^2 - v);  p -= lr/(1-b1^t) m / (sqrt(v)/sqrt(1-b2^t) + eps)``

    - amsgrad: the largest v so far in its place (the raw one, as PyTorch; optax takes the corrected one).
    - decoupled_weight_decay: ``p -= lr weight_decay p`` and not in the gradient: AdamW.
    - eps_mode: "outside" as above; "hat": the paper's second form, lr sqrt(1-b2^t)/(1-b1^t) m / (sqrt(v) + eps), as Keras, whose eps is
      1e-7.
    - eps_root: added to v/(1-b2^t) inside the root (optax).

    Source: Kingma & Ba (2014), arXiv:1412.6980; AMSGrad: Reddi et al. (2018), arXiv:1904.09237.

    >>> import numpy as np, dlkernels as dk
    >>> w = np.array([1.0]); opt = dk.optim.Adam([w], lr=0.1); info = opt.step([np.array([2.0])]); w.round(9)
    array([0.9])
    """

    state_keys = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    nonnegative_keys = frozenset({"exp_avg_sq", "max_exp_avg_sq"})
    own_options = frozenset({"eps_mode", "eps_root", "decoupled_weight_decay"})

    def __init__(
        self, params: Params, lr: LearningRate = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, amsgrad: bool = False, *, decoupled_weight_decay: bool = False,
        eps_mode: str = "outside", eps_root: float = 0.0, maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
            "decoupled_weight_decay": decoupled_weight_decay, "eps_mode": eps_mode, "eps_root": eps_root,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options, storage)

    def _check(self, group: Mapping[str, Any]) -> None:
        pair(self.name, "betas", group["betas"])
        for name in ("eps", "weight_decay", "eps_root"):
            real(self.name, name, group[name])
        if group["eps_mode"] not in ("outside", "hat"):
            raise ValueError(f'{self.name}: eps_mode must be "outside" or "hat", got {group["eps_mode"]!r}.')

    def _keys(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return self.state_keys if group["amsgrad"] else self.state_keys[:2]

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "adam_amsgrad" if group["amsgrad"] else "adam"

    def _step_rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "adam"

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return (
            *group["betas"], group["eps"], group["weight_decay"], group["decoupled_weight_decay"],
            group["eps_mode"] == "hat", group["eps_root"],
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay, as torch.optim.AdamW: ``p -= lr weight_decay p`` first, then Adam's step.

    Options are Adam's. weight_decay is 0.01 as in PyTorch; Keras has 0.004, optax 1e-4. Leave biases and norm weights out of it:
    `decay_groups`.

    Source: Loshchilov & Hutter (2017), arXiv:1711.05101.

    >>> import numpy as np, dlkernels as dk
    >>> w = np.array([1.0]); opt = dk.optim.AdamW([w], lr=0.1); info = opt.step([np.array([2.0])]); w
    array([0.899])
    """

    forced: ClassVar[dict[str, Any]] = {"decoupled_weight_decay": True}

    def __init__(
        self, params: Params, lr: LearningRate = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 1e-2, amsgrad: bool = False, *, eps_mode: str = "outside", eps_root: float = 0.0,
        maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, decoupled_weight_decay=True, eps_mode=eps_mode,
            eps_root=eps_root, maximize=maximize, **storage,
        )  # fmt: skip


class NAdam(Optimizer):
    """Adam with Nesterov's momentum, as torch.optim.NAdam.

    mu_t = b1 (1 - 0.96^(t momentum_decay) / 2), P_t the product of all so far (the state "mu_product"):
    ``p -= lr [(1-mu_t) g / (1-P_t) + mu_{t+1} m / (1-P_t mu_{t+1})] / (sqrt(v/(1-b2^t)) + eps)``. Keras has momentum_decay 1, optax a
    constant mu.

    Source: Dozat (2016).
    """

    state_keys = ("exp_avg", "exp_avg_sq")
    nonnegative_keys = frozenset({"exp_avg_sq"})

    def __init__(
        self, params: Params, lr: LearningRate = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False, *,
        maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options, storage)

    def _check(self, group: Mapping[str, Any]) -> None:
        pair(self.name, "betas", group["betas"])
        for name in ("eps", "weight_decay", "momentum_decay"):
            real(self.name, name, group[name])

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "nadam"

    def _first_numbers(self, group: Mapping[str, Any]) -> Numbers:
        del group
        return {"mu_product": 1.0}

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return (
            *group["betas"], group["eps"], group["weight_decay"], group["momentum_decay"], group["decoupled_weight_decay"],
        )  # fmt: skip


class RAdam(Optimizer):
    """Adam whose rate is rectified while the variance of its second moment is large, as torch.optim.RAdam.

    rho = 2/(1-b2) - 1 - 2 t b2^t/(1-b2^t). Above 5: Adam's step times sqrt((rho-4)(rho-2) R / ((R-4)(R-2) rho)), R = 2/(1-b2) - 1, with eps
    beside the raw root; below: ``p -= lr m/(1-b1^t)``. With b2 = 0.999 the first such step is the sixth.

    Source: Liu et al. (2019), arXiv:1908.03265.
    """

    state_keys = ("exp_avg", "exp_avg_sq")
    nonnegative_keys = frozenset({"exp_avg_sq"})

    def __init__(
        self, params: Params, lr: LearningRate = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, decoupled_weight_decay: bool = False, *, maximize: bool = False,
        **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options, storage)

    def _check(self, group: Mapping[str, Any]) -> None:
        pair(self.name, "betas", group["betas"])
        for name in ("eps", "weight_decay"):
            real(self.name, name, group[name])

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "adam"

    def _step_rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "radam"

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return *group["betas"], group["eps"], group["weight_decay"], group["decoupled_weight_decay"]


class Adamax(Optimizer):
    """Adam with the largest gradient in the place of the second moment, as torch.optim.Adamax.

    ``u = max(b2 u, |g| + eps);  p -= lr/(1-b1^t) m / u``. Keras divides by u + eps, u without it.

    Source: Kingma & Ba (2014), arXiv:1412.6980.
    """

    state_keys = ("exp_avg", "exp_inf")
    nonnegative_keys = frozenset({"exp_inf"})

    def __init__(
        self, params: Params, lr: LearningRate = 2e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
        weight_decay: float = 0.0, *, maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options, storage)

    def _check(self, group: Mapping[str, Any]) -> None:
        pair(self.name, "betas", group["betas"])
        for name in ("eps", "weight_decay"):
            real(self.name, name, group[name])

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "adamax"

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return *group["betas"], group["eps"], group["weight_decay"]


class Lion(Optimizer):
    """The sign of an average of momentum and gradient, with decoupled weight decay.

    ``p -= lr weight_decay p;  p -= lr sign(b1 m + (1-b1) g);  m = b2 m + (1-b2) g``; sign(0) = 0.

    Source: Chen et al. (2023), arXiv:2302.06675; google/automl. optax' weight_decay is 1e-3.
    """

    state_keys = ("exp_avg",)

    def __init__(
        self, params: Params, lr: LearningRate = 1e-4, betas: tuple[float, float] = (0.9, 0.99), weight_decay: float = 0.0,
        *, maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        super().__init__(
            params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}, storage
        )

    def _check(self, group: Mapping[str, Any]) -> None:
        pair(self.name, "betas", group["betas"])
        real(self.name, "weight_decay", group["weight_decay"])

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "lion"

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return *group["betas"], group["weight_decay"]
