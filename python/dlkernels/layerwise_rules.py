"""Optimizers with a rate of its own for each tensor, from the lengths of parameter and step: LAMB and LARS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ._op import core
from .optimizer import LearningRate, Optimizer, Params, pair, real
from .optimizer_storage import Storage

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["LAMB", "LARS"]


class _OwnRates(Optimizer):
    """A rule that looks at whole tensors."""

    own_rates = True

    def _full_rows(self, members: list[int], factor: float) -> tuple[list[int], list[float]]:
        """As `_rows`, core.row_numbers to a row."""
        rows, values = self._rows(members, factor)
        width = len(values) // (max(rows) + 1)
        padding = [0.0] * (core.row_numbers - width)
        return rows, [n for k in range(0, len(values), width) for n in (*values[k : k + width], *padding)]


class LAMB(_OwnRates):
    """Adam's step, as long as the parameter itself: for large batches.

    ``u = m/(1-b1^t) / (sqrt(v/(1-b2^t)) + eps) + weight_decay p;  p -= lr r u``, r = |p|/|u| of each tensor, 1 where either is 0.
    always_adapt=False: r = 1 in groups without weight decay, as NVIDIA's apex without use_nvlamb. Apex also clips by global norm first:
    step(max_norm=1.0). Two passes: moments with the sums for the lengths, and the step.

    Source: You et al. (2019), arXiv:1904.00962.
    """

    state_keys = ("exp_avg", "exp_avg_sq")
    nonnegative_keys = frozenset({"exp_avg_sq"})
    second_rule = "lamb"

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
        adapts = group["always_adapt"] or group["weight_decay"] > 0
        return *group["betas"], group["eps"], group["weight_decay"], adapts

    def _build(self) -> None:
        super()._build()
        self._second: list[Any] = []
        if self._on_device:
            return
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
        for (_, members), second in zip(self._engines, self._second, strict=True):
            second.read([grads[i] for i in members], zero_grads)
        for (engine, members), second in zip(self._engines, self._second, strict=True):
            rows, values = self._full_rows(members, factor)
            sums = engine.step(rows, _first(values, 7), False, 0, 0)
            each = core.trusted_rows(core.step_rule("lamb_moments"), rows, values, sums[::2], sums[1::2])
            second.step(list(range(len(members))), _first(each, 8), zero_grads, 0, 0)
            second.forget()


class LARS(_OwnRates):
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
        return group["momentum"], group["weight_decay"], group["trust_coefficient"], group["eps"]

    def _run(self, grads: list[Any], factor: float, zero_grads: bool) -> None:
        del grads  # the engines have them
        work = []  # all of it is known before anything is written
        for engine, members in self._engines:
            rows, values = self._full_rows(members, factor)
            each = core.trusted_rows(core.step_rule("lars"), rows, values, *engine.squares_of_each())
            work.append((engine, list(range(len(members))), _first(each, 7)))
        for engine, rows, values in work:
            engine.step(rows, values, zero_grads, self.storage["seed"], self._updates)


def _first(rows: list[float], count: int) -> list[float]:
    """The first `count` numbers of each row of core.row_numbers."""
    return [number for k in range(0, len(rows), core.row_numbers) for number in rows[k : k + count]]
