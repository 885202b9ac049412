"""Optimizers that look at a whole matrix: Adafactor and Muon.

The direction is computed by the array library (sums and matrix products), then applied in one multi-tensor pass. Everything is computed
before anything is written.

A matrix product's bits depend on the BLAS behind the array library, and so do Muon's.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from ._arrays import copy_into, zeros_state
from .optimizer import LearningRate, Optimizer, Params, real
from .optimizer_storage import Storage

__all__ = ["Adafactor", "Muon"]


class _Directed(Optimizer):
    """Computes new state and direction of each tensor, then writes both."""

    def __init__(self, params: Params, options: Mapping[str, Any]) -> None:
        super().__init__(params, options, Storage())
        for i, p in enumerate(self._params):
            if not isinstance(p, np.ndarray):
                raise TypeError(
                    f"{self.name}: params[{i}] must be a NumPy array, got {type(p).__module__}.{type(p).__name__}."
                )

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "direction"

    def _keys(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        del group
        return ()  # none that the compiled rule reads

    @abstractmethod
    def _directed(
        self, group: Mapping[str, Any], p: Any, g: Any, state: Mapping[str, Any], step: int
    ) -> tuple[Any, float, dict[str, Any]]:
        """(direction, its rate, new state)"""

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        raise NotImplementedError  # each tensor has a rate of its own

    def _run(self, grads: list[Any], factor: float, zero_grads: bool) -> None:
        group_of = self._group_of()
        found: dict[int, tuple[Any, float, dict[str, Any]]] = {}
        for i, g in enumerate(grads):
            if g is None or g.size == 0:
                continue
            group, wide = group_of[i], zeros_state(self._params[i]).dtype
            scaled = np.asarray(g).astype(wide) * wide.type(-factor if group["maximize"] else factor)
            p = np.asarray(self._params[i]).astype(wide)
            own = {"eps": float(ml_dtypes.finfo(self._params[i].dtype).eps)}  # type: ignore[no-untyped-call]
            found[i] = self._directed(group, p, scaled, self._states[i] | own, self._steps[i] + 1)
        for engine, members in self._engines:
            directions: list[Any] = []
            values: list[float] = []
            for i in members:
                if i not in found:
                    directions.append(None)
                    values += [1.0, 0.0, 0.0]
                    continue
                u, rate, _ = found[i]
                direction = np.empty_like(self._params[i])
                direction[...] = u
                directions.append(direction)
                decay = self.lr(group_of[i], self._steps[i] + 1) * group_of[i]["weight_decay"]
                values += [1.0, decay, rate]
            engine.read(directions, False)
            engine.step(list(range(len(members))), values, False, 0, 0)
        for i, (_, _, state) in found.items():
            for key, value in state.items():
                copy_into(self._states[i][key], value)
        self._zero(grads if zero_grads else [])


class Adafactor(_Directed):
    """Adam's second moment of a matrix from the means of its rows and columns alone, as torch.optim.Adafactor.

    b = t^beta2_decay, a = max(eps[1], rms(p)) min(lr, 1/sqrt(t)); for matrices (the last two dimensions)
    ``R += b (mean_row(g^2) - R);  C += b (mean_col(g^2) - C);  V = R C / max(mean R, eps[0])``, for vectors ``V += b (g^2 - V)``;
    ``U = g / sqrt(max(V, eps[0]^2));  p -= lr weight_decay p;  p -= a / max(1, rms(U)/d) U``. eps[0] None is the dtype's epsilon. The
    paper, Keras and optax add 1e-30 to g^2 instead; optax factors only dimensions from 128 on. Arrays of NumPy only.

    Source: Shazeer & Stern (2018), arXiv:1804.04235.
    """

    def __init__(
        self, params: Params, lr: LearningRate = 1e-2, beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3), d: float = 1.0, weight_decay: float = 0.0, *,
        maximize: bool = False,
    ) -> None:  # fmt: skip
        options = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options)

    def _check(self, group: Mapping[str, Any]) -> None:
        real(self.name, "beta2_decay", -group["beta2_decay"])
        real(self.name, "weight_decay", group["weight_decay"])
        if real(self.name, "d", group["d"]) < 1:
            raise ValueError(f"{self.name}: d must be >= 1, got {group['d']!r}.")
        if not isinstance(group["eps"], (tuple, list)) or len(group["eps"]) != 2:
            raise TypeError(f"{self.name}: eps must be a pair, got {group['eps']!r}.")
        for i, eps in enumerate(group["eps"]):
            if eps is not None or i == 1:
                real(self.name, f"eps[{i}]", eps)

    def _new_state(self, p: Any, group: Mapping[str, Any]) -> dict[str, Any]:
        del group
        wide = zeros_state(p)
        if p.ndim < 2:
            return {"variance": wide}
        return {"row_var": np.zeros_like(wide[..., :1]), "col_var": np.zeros_like(wide[..., :1, :])}

    def _directed(
        self, group: Mapping[str, Any], p: Any, g: Any, state: Mapping[str, Any], step: int
    ) -> tuple[Any, float, dict[str, Any]]:
        share, lr = step ** group["beta2_decay"], self.lr(group, step)
        tiny = state["eps"] if group["eps"][0] is None else float(group["eps"][0])
        rate = max(float(group["eps"][1]), math.sqrt(float(np.mean(np.square(p)))) if p.size else 0.0)
        rate *= min(lr, 1.0 / math.sqrt(step))
        square = np.square(g)
        new: dict[str, Any] = {}
        if p.ndim < 2:
            variance = new["variance"] = state["variance"] + share * (square - state["variance"])
        else:
            new["row_var"] = state["row_var"] + share * (square.mean(axis=-1, keepdims=True) - state["row_var"])
            new["col_var"] = state["col_var"] + share * (square.mean(axis=-2, keepdims=True) - state["col_var"])
            mean = np.maximum(new["row_var"].mean(axis=-2, keepdims=True), tiny)
            variance = np.matmul(new["row_var"], new["col_var"]) / mean
        u = g / np.sqrt(np.maximum(variance, tiny * tiny))
        rms = math.sqrt(float(np.mean(np.square(u)))) if u.size else 0.0
        return u, rate / max(1.0, rms / group["d"]), new


class Muon(_Directed):
    """Momentum whose direction is made orthogonal: for the weight matrices of hidden layers, as torch.optim.Muon.

    ``b += (1-momentum)(g - b);  u = nesterov ? (1-momentum) g + momentum b : b``; X = u / max(|u|, eps), transposed if tall; ns_steps times
    ``X = a X + (b A + c A^2) X``, A = X X^T, with ns_coefficients (a, b, c); ``p -= lr weight_decay p;  p -= lr adjust X``, with adjust
    sqrt(max(1, rows/columns)), or 0.2 sqrt(max(rows, columns)) with adjust_lr_fn="match_rms_adamw" (Moonlight). PyTorch iterates in
    bfloat16, this in the compute type: they agree to about 1e-2 of an element. `matmul` is the product to use. Arrays of NumPy, of two
    dimensions: give the others to AdamW.

    Source: Jordan et al. (2024).
    """

    def __init__(
        self, params: Params, lr: LearningRate = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
        nesterov: bool = True, ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315), eps: float = 1e-7,
        ns_steps: int = 5, adjust_lr_fn: str | None = None, *, matmul: Any = np.matmul, maximize: bool = False,
    ) -> None:  # fmt: skip
        self.matmul = matmul
        options = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn,
            "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, options)

    def _check(self, group: Mapping[str, Any]) -> None:
        for name in ("weight_decay", "momentum", "eps"):
            real(self.name, name, group[name])
        if type(group["ns_steps"]) is not int or not 1 <= group["ns_steps"] < 100:
            raise ValueError(f"{self.name}: ns_steps must be an integer in [1, 100), got {group['ns_steps']!r}.")
        if not isinstance(group["ns_coefficients"], (tuple, list)) or len(group["ns_coefficients"]) != 3:
            raise TypeError(f"{self.name}: ns_coefficients must be three numbers, got {group['ns_coefficients']!r}.")
        if group["adjust_lr_fn"] not in (None, "original", "match_rms_adamw"):
            raise ValueError(
                f'{self.name}: adjust_lr_fn must be None, "original" or "match_rms_adamw", got {group["adjust_lr_fn"]!r}.'
            )

    def _new_state(self, p: Any, group: Mapping[str, Any]) -> dict[str, Any]:
        del group
        if p.ndim != 2:
            raise ValueError(
                f"{self.name}: parameters must be matrices, got shape {tuple(p.shape)}. Give the others to AdamW."
            )
        return {"momentum_buffer": zeros_state(p)}

    def _directed(
        self, group: Mapping[str, Any], p: Any, g: Any, state: Mapping[str, Any], step: int
    ) -> tuple[Any, float, dict[str, Any]]:
        momentum = group["momentum"]
        buffer = state["momentum_buffer"] + (1 - momentum) * (g - state["momentum_buffer"])
        u = g + momentum * (buffer - g) if group["nesterov"] else buffer
        rows, cols = p.shape
        x = u.T if rows > cols else u
        x = x / max(math.sqrt(float(np.sum(np.square(x)))), group["eps"])
        a, b, c = group["ns_coefficients"]
        for _ in range(group["ns_steps"]):
            gram = self.matmul(x, x.T)
            x = a * x + self.matmul(b * gram + c * self.matmul(gram, gram), x)
        adjust = math.sqrt(max(1.0, rows / cols))
        if group["adjust_lr_fn"] == "match_rms_adamw":
            adjust = 0.2 * math.sqrt(max(rows, cols))
        return x.T if rows > cols else x, self.lr(group, step) * adjust, {"momentum_buffer": buffer}
