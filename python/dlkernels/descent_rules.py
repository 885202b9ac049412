"""Optimizers that follow the gradient, or divide it by what it has been: SGD, Adagrad, Adadelta, RMSprop, Rprop, ASGD."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import sparse_rows
from .optimizer import LearningRate, Numbers, Optimizer, Params, real
from .optimizer_storage import Storage

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["ASGD", "SGD", "Adadelta", "Adagrad", "RMSprop", "Rprop"]


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as torch.optim.SGD.

    ``g += weight_decay p;  b = momentum b + (1 - dampening) g;  p -= lr (nesterov ? g + momentum b : b)``; b starts at g, undamped.
    Keras has the learning rate inside the buffer: the same while it is constant.

    Source: Robbins & Monro (1951); Polyak (1964); Nesterov (1983).

    >>> import numpy as np, dlkernels as dk
    >>> w = np.array([1.0]); opt = dk.optim.SGD([w], lr=0.1); info = opt.step([np.array([2.0])]); w
    array([0.8])
    """

    state_keys = ("momentum_buffer",)

    def __init__(
        self, params: Params, lr: LearningRate = 1e-3, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, *, maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay, "nesterov": nesterov,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options, storage)

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("momentum", "dampening", "weight_decay"):
            real(self.name, name, group[name])
        if group["nesterov"] and (group["momentum"] <= 0 or group["dampening"] != 0):
            raise ValueError(
                f"{self.name}: nesterov needs momentum > 0 and dampening 0, got {group['momentum']} and {group['dampening']}."
            )

    def _keys(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        return self.state_keys if group["momentum"] > 0 else ()

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "sgd_momentum" if group["momentum"] > 0 else "sgd"

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return group["momentum"], group["dampening"], group["weight_decay"], group["nesterov"]


class Adagrad(Optimizer):
    """Divides by the root of the sum of all squared gradients, as torch.optim.Adagrad.

    ``s += g^2;  p -= lr/(1 + (t-1) lr_decay) g / (sqrt(s) + eps)``; an element whose s and eps are 0 stays (NaN in PyTorch).
    eps_in_sqrt: ``sqrt(s + eps)``. Keras and optax: initial_accumulator_value=0.1, eps=1e-7, eps_in_sqrt=True.

    Source: Duchi, Hazan & Singer (2011).

    >>> import numpy as np, dlkernels as dk
    >>> w = np.array([1.0]); opt = dk.optim.Adagrad([w], lr=0.1); info = opt.step([np.array([2.0])]); w.round(9)
    array([0.9])
    """

    state_keys = ("sum",)
    nonnegative_keys = frozenset({"sum"})
    own_options = frozenset({"eps_in_sqrt"})

    def __init__(
        self, params: Params, lr: LearningRate = 1e-2, lr_decay: float = 0.0, weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0, eps: float = 1e-10, *, eps_in_sqrt: bool = False,
        maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {
            "lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "eps": eps, "eps_in_sqrt": eps_in_sqrt,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options, storage)

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            real(self.name, name, group[name])

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "adagrad"

    def _fill(self, group: Mapping[str, Any], key: str) -> float:
        del key
        return float(group["initial_accumulator_value"])

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return group["lr_decay"], group["weight_decay"], group["eps"], group["eps_in_sqrt"]

    def step_rows(self, index: int, rows: Any, values: Any) -> None:
        """A step of parameter `index` whose gradient is 0 but in some rows: values[i] is that of row rows[i]. Rows given twice are summed
        first; only the rows given are read and written. Embeddings. No weight decay, which would touch all rows. On a GPU, rows that lie
        there are waited for: pass a NumPy array of them.
        """
        sparse_rows.step_rows(self, index, rows, values)


class Adadelta(Optimizer):
    """A step as long as the steps before, as torch.optim.Adadelta.

    ``v += (1-rho)(g^2 - v);  d = sqrt(x + eps)/sqrt(v + eps) g;  x += (1-rho)(d^2 - x);  p -= lr d``

    Source: Zeiler (2012), arXiv:1212.5701.
    """

    state_keys = ("square_avg", "acc_delta")
    nonnegative_keys = frozenset(state_keys)

    def __init__(
        self, params: Params, lr: LearningRate = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0, *,
        maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, options, storage)

    def _check(self, group: Mapping[str, Any]) -> None:
        real(self.name, "rho", group["rho"], high=float(np.nextafter(1, 2)))
        for name in ("eps", "weight_decay"):
            real(self.name, name, group[name])

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "adadelta"

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return group["rho"], group["eps"], group["weight_decay"]


class RMSprop(Optimizer):
    """Divides by the root of a moving average of the squared gradient, as torch.optim.RMSprop.

    ``v += (1-alpha)(g^2 - v);  u = g / (sqrt(v) + eps);  p -= lr u``, with momentum ``b = momentum b + u;  p -= lr b``. centered: v less
    the squared average of g, held at 0 (below which PyTorch's may be rounded, and is NaN). eps_in_sqrt: ``sqrt(v + eps)``. A constant
    gradient has no variance: with centered=True it is divided by little more than eps, here as in PyTorch. Keras: lr=1e-3, alpha=0.9,
    eps=1e-7 inside, and lr inside the momentum buffer.

    Source: Tieleman & Hinton (2012); centered: Graves (2013), arXiv:1308.0850.
    """

    state_keys = ("square_avg", "grad_avg", "momentum_buffer")
    nonnegative_keys = frozenset({"square_avg"})
    own_options = frozenset({"eps_in_sqrt"})

    def __init__(
        self, params: Params, lr: LearningRate = 1e-2, alpha: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0,
        momentum: float = 0.0, centered: bool = False, *, eps_in_sqrt: bool = False, maximize: bool = False,
        **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {
            "lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
            "centered": centered, "eps_in_sqrt": eps_in_sqrt, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options, storage)
        if self.storage["state_dtype"] is not None and any(g["centered"] for g in self.param_groups):
            raise ValueError(
                "RMSprop: centered takes the difference of two states, so they need the compute type: state_dtype=None."
            )

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("alpha", "eps", "weight_decay", "momentum"):
            real(self.name, name, group[name])

    def _keys(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        wanted = (True, group["centered"], group["momentum"] > 0)
        return tuple(key for key, is_there in zip(self.state_keys, wanted, strict=True) if is_there)

    def _rule(self, group: Mapping[str, Any]) -> str:
        return "rmsprop" + ("_centered" if group["centered"] else "") + ("_momentum" if group["momentum"] > 0 else "")

    def _step_rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "rmsprop"

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return group["alpha"], group["eps"], group["weight_decay"], group["momentum"], group["eps_in_sqrt"]


class Rprop(Optimizer):
    """Resilient backpropagation, as torch.optim.Rprop: the sign of the gradient alone, for full batches.

    A step size of its own for each element: times etas[1] while the gradient keeps its sign, times etas[0] where it changed, and no step
    there; within step_sizes. It begins at lr.

    Source: Riedmiller & Braun (1993).
    """

    state_keys = ("prev", "step_size")
    nonnegative_keys = frozenset({"step_size"})

    def __init__(
        self, params: Params, lr: LearningRate = 1e-2, etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50.0), *, maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        super().__init__(params, {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}, storage)

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("etas", "step_sizes"):
            if not isinstance(group[name], (tuple, list)) or len(group[name]) != 2:
                raise TypeError(f"{self.name}: {name} must be a pair of numbers, got {group[name]!r}.")
        down, up = (real(self.name, f"etas[{i}]", v) for i, v in enumerate(group["etas"]))
        if not 0 < down < 1 < up:
            raise ValueError(f"{self.name}: etas must be 0 < down < 1 < up, got {group['etas']!r}.")
        least, most = (real(self.name, f"step_sizes[{i}]", v) for i, v in enumerate(group["step_sizes"]))
        if least > most:
            raise ValueError(f"{self.name}: step_sizes must be (least, most), got {group['step_sizes']!r}.")

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "rprop"

    def _fill(self, group: Mapping[str, Any], key: str) -> float:
        return self.lr(group, 1) if key == "step_size" else 0.0

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return *group["etas"], *group["step_sizes"]


class ASGD(Optimizer):
    """Averaged stochastic gradient descent, as torch.optim.ASGD: the average of the parameters is the state "ax".

    ``g += weight_decay p;  p -= lambd eta p;  p -= eta g;  ax += mu (p - ax)``, eta = lr / (1 + lambd lr t)^alpha and mu = 1/max(1, t - t0)
    of the step before.

    Source: Polyak & Juditsky (1992).
    """

    state_keys = ("ax",)

    def __init__(
        self, params: Params, lr: LearningRate = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
        weight_decay: float = 0.0, *, maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options, storage)

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("lambd", "alpha", "t0", "weight_decay"):
            real(self.name, name, group[name])

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "asgd"

    def _first_numbers(self, group: Mapping[str, Any]) -> Numbers:
        return {"eta": self.lr(group, 1), "mu": 1.0}

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return group["lambd"], group["alpha"], group["t0"], group["weight_decay"]
