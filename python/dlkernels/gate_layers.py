"""Layers whose output is half as wide as their input, and activations with a parameter; nn.py exports them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

import dlkernels as dk
from dlkernels import arguments
from dlkernels.layer import Array, Backprop, Layer


class Gate(Layer):
    """value * act(gate), both from one array: its halves along `axis`."""

    def __init__(self, name: str, axis: int = -1, **options: Any) -> None:
        super().__init__()
        self.op, self.options = getattr(dk, name), {"axis": axis, **options}

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:  # noqa: ARG002
        op, options = self.op, self.options

        def backward(dy: Array, _own: bool, need_dx: bool) -> Array | None:
            return op.backward(dy, x, out=self.buffers("dx", x.shape, x), **options) if need_dx else None

        return op(x, **options), backward

    def predict(self, x: Array) -> Array:
        return self.op(x, **self.options)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{type(self).__name__}({shown})"


class GLU(Gate):
    """value sigmoid(gate); the gate is the second half, as in PyTorch."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__("glu", axis)


class ReGLU(Gate):
    """value relu(gate); the gate is the first half unless gate_first=False."""

    def __init__(self, axis: int = -1, *, gate_first: bool = True) -> None:
        super().__init__("reglu", axis, gate_first=gate_first)


class GEGLU(Gate):
    """value gelu(gate); the gate is the first half unless gate_first=False."""

    def __init__(self, axis: int = -1, *, gate_first: bool = True, approximate: str = "none") -> None:
        super().__init__("geglu", axis, gate_first=gate_first, approximate=approximate)


class SwiGLU(Gate):
    """value silu(gate); the gate is the first half unless gate_first=False."""

    def __init__(self, axis: int = -1, *, gate_first: bool = True) -> None:
        super().__init__("swiglu", axis, gate_first=gate_first)


class LearnedActivation(Layer):
    """An activation with one parameter for all elements, or one for each channel (dimension 1)."""

    parameter: str

    def __init__(self, name: str, num_parameters: int, init: float, dtype: DTypeLike) -> None:
        super().__init__()
        self.op = getattr(dk, name)
        self.num_parameters = arguments.whole(type(self).__name__, "num_parameters", num_parameters)
        self.init = arguments.real(type(self).__name__, "init", init)
        self.number: Array = np.empty(num_parameters, dtype)
        self.reset(0)

    def reset(self, seed: int | np.random.SeedSequence) -> None:  # noqa: ARG002
        self.number[...] = self.init

    def parameters(self) -> dict[str, Array]:
        return {self.parameter: self.number}

    def place(self, name: str, array: Array) -> None:  # noqa: ARG002  it has one
        self.number = array

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:  # noqa: ARG002
        y = self.op(x, self.number, out=self.buffers("y", x.shape, x))

        def backward(dy: Array, own: bool, need_dx: bool) -> Array | None:  # noqa: ARG001
            dx = dy if own else self.buffers("dx", dy.shape, dy)
            _, slope = self.op.backward(dy, x, self.number, out=(dx, None))
            self.accumulate(self.parameter, self.number, lambda out: np.copyto(out, slope, casting="same_kind"))
            return dx

        return y, backward

    def predict(self, x: Array) -> Array:
        return self.op(x, self.number)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_parameters})"


class PReLU(LearnedActivation):
    """x where x > 0, weight x elsewhere. He et al. 2015 do not decay the weight: give it a group of its own."""

    parameter = "weight"

    def __init__(self, num_parameters: int = 1, init: float = 0.25, *, dtype: DTypeLike = "float32") -> None:
        super().__init__("prelu", num_parameters, init, dtype)


class Swish(LearnedActivation):
    """x sigmoid(beta x)."""

    parameter = "beta"

    def __init__(self, num_parameters: int = 1, init: float = 1.0, *, dtype: DTypeLike = "float32") -> None:
        super().__init__("swish", num_parameters, init, dtype)
