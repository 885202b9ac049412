"""Optimizers with a rate of its own for each tensor, from the lengths of parameter and step: LAMB and LARS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .optimizer import LearningRate, Optimizer, Params, pair, real
from .optimizer_storage import Storage

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["LAMB", "LARS"]


class LAMB(Optimizer):
    """Adam's step, as long as the parameter itself: for large batches.

    ``u = m/(1-b1^t) / (sqrt(v/(1-b2^t)) + eps) + weight_decay p;  p -= lr r u``, r = |p|/|u| of each tensor, 1 where either is 0.
    always_adapt=False: r = 1 in groups without weight decay, as NVIDIA's apex without use_nvlamb. Apex also clips by global norm first:
    step(max_norm=1.0). Two passes: moments with the sums for the lengths, and the step.

    Source: You et al. (2019), arXiv:1904.00962.
    """

    state_keys = ("exp_avg", "exp_avg_sq")
    nonnegative_keys = frozenset({"exp_avg_sq"})

    def __init__(
        self, params: Params, lr: LearningRate = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6,
        weight_decay: float = 1e-2, *, always_adapt: bool = True, maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "always_adapt": always_adapt,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options, storage)
        if self.storage["state_dtype"] is not None or self.storage["precision"] not in {"plain", "master"}:
            raise ValueError(
                "LAMB: has state in the compute type, and parameters that are plain or have a master copy."
            )

    def _check(self, group: Mapping[str, Any]) -> None:
        pair(self.name, "betas", group["betas"])
        for name in ("eps", "weight_decay"):
            real(self.name, name, group[name])

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "lamb_moments"

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return *group["betas"], group["eps"], group["weight_decay"]

    def _build(self) -> None:
        super()._build()
        firsts = [0]
        for p in self._params:
            firsts.append(firsts[-1] + math.prod(p.shape))
        self._second = [
            self._engine("lamb", self.state_keys, ("wide", "wide"), members, [firsts[i] for i in members])
            for _, members in self._engines
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in super().__getstate__().items() if k != "_second"}

    def _run(self, grads: list[Any], factor: float, zero_grads: bool) -> None:
        group_of = self._group_of()
        for (_, members), second in zip(self._engines, self._second, strict=True):
            second.read([grads[i] for i in members], zero_grads)
        for (engine, members), second in zip(self._engines, self._second, strict=True):
            rows, values = self._rows(members, factor)
            sums = engine.step(rows, values, False, 0, 0)
            wide, each = len(values) // (max(rows) + 1), []
            for k, i in enumerate(members):
                size, step = math.sqrt(sums[2 * k]), math.sqrt(sums[2 * k + 1])
                group = group_of[i]
                adapts = size > 0 and step > 0 and (group["always_adapt"] or group["weight_decay"] > 0)
                rate = self.lr(group, self._steps[i] + 1) * (size / step if adapts else 1.0)
                each += [*values[rows[k] * wide : (rows[k] + 1) * wide], rate]
            second.step(list(range(len(members))), each, zero_grads, 0, 0)
            second.forget()


class LARS(Optimizer):
    """Momentum with a rate of its own for each tensor: for large batches.

    ``local = trust_coefficient |p| / (|g| + weight_decay |p| + eps)``, 1 where a length is 0;
    ``b = momentum b + lr local (g + weight_decay p);  p -= b``. Leave biases and norm weights to another optimizer: `decay_groups`.

    Source: You, Gitman & Ginsburg (2017), arXiv:1708.03888.
    """

    state_keys = ("momentum_buffer",)

    def __init__(
        self, params: Params, lr: LearningRate, momentum: float = 0.9, weight_decay: float = 1e-4,
        trust_coefficient: float = 1e-3, eps: float = 0.0, *, maximize: bool = False, **storage: Unpack[Storage],
    ) -> None:  # fmt: skip
        options = {
            "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust_coefficient": trust_coefficient,
            "eps": eps, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options, storage)
        if self.storage["precision"] == "remainder":
            raise ValueError('LARS: precision must be "plain", "stochastic" or "master", got "remainder".')

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("momentum", "weight_decay", "trust_coefficient", "eps"):
            real(self.name, name, group[name])

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "sgd_momentum"

    def _step_rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "lars"

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return group["momentum"], group["weight_decay"]

    def _run(self, grads: list[Any], factor: float, zero_grads: bool) -> None:
        del grads  # the engines have them
        group_of, work = self._group_of(), []
        for engine, members in self._engines:
            squares_p, squares_g = engine.squares_of_each()
            values: list[float] = []
            for k, i in enumerate(members):
                group = group_of[i]
                size, slope = math.sqrt(squares_p[k]), math.sqrt(squares_g[k]) * factor
                local = 1.0
                if size > 0 and slope > 0:
                    local = group["trust_coefficient"] * size / (slope + group["weight_decay"] * size + group["eps"])
                row = self._step_numbers(group, self._steps[i] + 1, {})[0]
                row[3] *= local
                values += [-factor if group["maximize"] else factor, *row]
            work.append((engine, len(members), values))
        for engine, count, values in work:
            engine.step(list(range(count)), values, zero_grads, self.storage["seed"], self._updates)
