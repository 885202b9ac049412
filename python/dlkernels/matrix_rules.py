"""Optimizers that look at a whole matrix: Adafactor and Muon.

The direction is computed by the array library (sums and matrix products; NumPy, on a GPU CuPy), then applied in one multi-tensor pass.
Everything is computed before anything is written.

Sums and products of whole matrices are the array library's, and so are their bits: of Muon they depend on the BLAS.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from ._arrays import copy_into, cupy_view, empty, on_gpu, on_stream_of, zeros, zeros_state
from ._op import core
from .optimizer import LearningRate, Optimizer, Params, real
from .optimizer_device import DeviceSteps
from .optimizer_storage import Storage, dtype_name

__all__ = ["Adafactor", "Muon"]

Found = tuple[Any, Any, dict[str, Any]]  # direction, its rate in float64, new state


class _DirectedSteps(DeviceSteps):
    """The numbers of a step are the device's; NumPy's functions hand its arrays on to CuPy."""

    directed = True
    optimizer: _Directed

    def step(self, grads: list[Any], max_norm: Any, grad_scale: Any, zero_grads: bool) -> Any:
        """A direction may be refused, by the `matmul` given or for want of memory: then nothing has been counted."""
        with on_stream_of(self.control):
            counted = [(cupy_view(x), cupy_view(x).copy()) for x in (self.record, self.control)]
        try:
            return super().step(grads, max_norm, grad_scale, zero_grads)
        except BaseException:
            with on_stream_of(self.control):
                for now, before in counted:
                    now[...] = before
            raise

    def _finish(self, grads: list[Any], zero_grads: bool) -> None:
        optimizer = self.optimizer
        with on_stream_of(self.control):
            numbers, skipped = cupy_view(self.numbers), cupy_view(self.control)[2] != 0
            found: dict[int, Found] = {}
            for i, g in enumerate(grads):
                if g is None or math.prod(g.shape) == 0:
                    continue
                row = numbers[self.slot_of[i]]
                state = {key: cupy_view(value) for key, value in optimizer._states[i].items()}
                found[i] = optimizer.direction(i, cupy_view(optimizer._params[i]), cupy_view(g), row[0], row[1:], state)
            directions: list[list[Any]] = []
            rows: list[Any] = []
            for _, members in optimizer._engines:
                directions.append([])
                rows.append(zeros(self.control, (len(members), core.row_numbers), "float64"))
                there = cupy_view(rows[-1])
                for k, i in enumerate(members):
                    direction = None
                    if i in found:
                        direction = empty(optimizer._params[i], grads[i].shape, dtype_name(optimizer._params[i]))
                        cupy_view(direction)[...] = found[i][0]
                        there[k, 0] = 1.0
                        there[k, 1] = numbers[self.slot_of[i], 1]
                        there[k, 2] = found[i][1]
                    directions[-1].append(direction)
            self.steps.apply(directions, rows)
            for i, (_, _, new) in found.items():
                for key, value in new.items():
                    state = cupy_view(optimizer._states[i][key])
                    state[...] = np.where(skipped, state, value)
            if zero_grads:
                for g in grads:
                    if g is not None:
                        cupy_view(g)[...] = 0


class _Directed(Optimizer):
    """Computes new state and direction of each tensor, then writes both."""

    device_steps = _DirectedSteps
    step_rule: ClassVar[str]

    def __init__(self, params: Params, options: Mapping[str, Any]) -> None:
        super().__init__(params, options, Storage())
        for i, p in enumerate(self._params):
            if not isinstance(p, np.ndarray) and not on_gpu(p):
                raise TypeError(
                    f"{self.name}: params[{i}] must be a NumPy array or lie on a GPU, got "
                    f"{type(p).__module__}.{type(p).__name__}."
                )

    def _rule(self, group: Mapping[str, Any]) -> str:
        del group
        return "direction"

    def _step_rule(self, group: Mapping[str, Any]) -> str:
        del group
        return self.step_rule

    def _keys(self, group: Mapping[str, Any]) -> tuple[str, ...]:
        del group
        return ()  # none that the compiled rule reads

    @abstractmethod
    def _directed(
        self, group: Mapping[str, Any], p: Any, g: Any, state: Mapping[str, Any], eps: float, numbers: Any
    ) -> Found:
        """From p and g in the compute type, eps of p's dtype, and the step rule's numbers in float64."""

    def direction(self, i: int, p: Any, g: Any, factor: Any, numbers: Any, state: Mapping[str, Any]) -> Found:
        """Of parameter i, whose gradient is multiplied by factor."""
        eps = float(ml_dtypes.finfo(dtype_name(p)).eps)  # type: ignore[no-untyped-call]
        wide = np.dtype("float64" if p.dtype == np.float64 else "float32")
        scaled = g.astype(wide) * factor.astype(wide)
        return self._directed(self._group_of()[i], p.astype(wide), scaled, state, eps, numbers)

    def _run(self, grads: list[Any], factor: float, zero_grads: bool) -> None:
        group_of = self._group_of()
        found: dict[int, Found] = {}
        numbers: dict[int, Any] = {}
        for i, g in enumerate(grads):
            if g is None or g.size == 0:
                continue
            group = group_of[i]
            numbers[i] = np.array(self._step_numbers(group, self._steps[i] + 1, {})[0])
            signed = np.float64(-factor if group["maximize"] else factor)
            found[i] = self.direction(
                i, np.asarray(self._params[i]), np.asarray(g), signed, numbers[i], self._states[i]
            )
        for engine, members in self._engines:
            directions: list[Any] = []
            values: list[float] = []
            for i in members:
                if i not in found:
                    directions.append(None)
                    values += [1.0, 0.0, 0.0]
                    continue
                direction = np.empty_like(self._params[i])
                direction[...] = found[i][0]
                directions.append(direction)
                values += [1.0, numbers[i][0], found[i][1]]
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
    paper, Keras and optax add 1e-30 to g^2 instead; optax factors only dimensions from 128 on. Arrays of NumPy, or on a GPU.

    Source: Shazeer & Stern (2018), arXiv:1804.04235.
    """

    step_rule = "adafactor"

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
        shape, dtype = tuple(p.shape), dtype_name(wide)
        return {
            "row_var": zeros(p, (*shape[:-1], 1), dtype),
            "col_var": zeros(p, (*shape[:-2], 1, shape[-1]), dtype),
        }

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return group["beta2_decay"], group["weight_decay"]

    def _directed(
        self, group: Mapping[str, Any], p: Any, g: Any, state: Mapping[str, Any], eps: float, numbers: Any
    ) -> Found:
        tiny = eps if group["eps"][0] is None else float(group["eps"][0])
        share = numbers[2].astype(g.dtype)
        rate = np.maximum(np.sqrt(np.mean(np.square(p)).astype(np.float64)), float(group["eps"][1])) * numbers[1]
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
        rms = np.sqrt(np.mean(np.square(u)).astype(np.float64))
        return u, rate / np.maximum(rms / group["d"], 1.0), new


class Muon(_Directed):
    """Momentum whose direction is made orthogonal: for the weight matrices of hidden layers, as torch.optim.Muon.

    ``b += (1-momentum)(g - b);  u = nesterov ? (1-momentum) g + momentum b : b``; X = u / max(|u|, eps), transposed if tall; ns_steps times
    ``X = a X + (b A + c A^2) X``, A = X X^T, with ns_coefficients (a, b, c); ``p -= lr weight_decay p;  p -= lr adjust X``, with adjust
    sqrt(max(1, rows/columns)), or 0.2 sqrt(max(rows, columns)) with adjust_lr_fn="match_rms_adamw" (Moonlight). PyTorch iterates in
    bfloat16, this in the compute type: they agree to about 1e-2 of an element. `matmul` is the product to use. Arrays of NumPy or on a GPU,
    of two dimensions: give the others to AdamW.

    Source: Jordan et al. (2024).
    """

    step_rule = "muon"

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

    def _options(self, group: Mapping[str, Any]) -> tuple[float, ...]:
        return (group["weight_decay"],)

    def _directed(
        self, group: Mapping[str, Any], p: Any, g: Any, state: Mapping[str, Any], eps: float, numbers: Any
    ) -> Found:
        del eps
        momentum = group["momentum"]
        buffer = state["momentum_buffer"] + (1 - momentum) * (g - state["momentum_buffer"])
        u = g + momentum * (buffer - g) if group["nesterov"] else buffer
        rows, cols = p.shape
        x = u.T if rows > cols else u
        length = np.sqrt(np.sum(np.square(x)).astype(np.float64))
        x = x / np.maximum(length, float(group["eps"])).astype(g.dtype)
        a, b, c = group["ns_coefficients"]
        for _ in range(group["ns_steps"]):
            gram = self.matmul(x, x.T)
            x = a * x + self.matmul(b * gram + c * self.matmul(gram, gram), x)
        adjust = math.sqrt(max(1.0, rows / cols))
        if group["adjust_lr_fn"] == "match_rms_adamw":
            adjust = 0.2 * math.sqrt(max(rows, cols))
        return x.T if rows > cols else x, numbers[1] * adjust, {"momentum_buffer": buffer}
