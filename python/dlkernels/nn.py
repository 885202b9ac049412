"""Layers without a tape: a layer is a function forward -> (y, backprop), and a model is their composition.

    y, backprop = model(x, train=True)      # y, and the closure that knows how to go back
    dx = backprop(dy)                       # adds to model.grads(), returns the gradient of x
    y = model.predict(x)                    # inference; model(x) is the same

The arithmetic is dlkernels' ops and the array library's matmul (NumPy or CuPy). layer.py says what a layer
owes.
"""

from __future__ import annotations

from collections.abc import Mapping

import ml_dtypes
import numpy as np
from numpy.typing import DTypeLike

import dlkernels as dk
from dlkernels import arguments
from dlkernels import init as initializers
from dlkernels.activation_layers import (
    CELU,
    ELU,
    GELU,
    SELU,
    Activation,
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    LogSigmoid,
    Mish,
    QuickGELU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softplus,
    Softshrink,
    Softsign,
    Squareplus,
    Tanh,
    Tanhshrink,
    Threshold,
)
from dlkernels.gate_layers import GEGLU, GLU, Gate, LearnedActivation, PReLU, ReGLU, SwiGLU, Swish
from dlkernels.layer import Array, Backprop, Layer
from dlkernels.norm_layers import BatchNorm1d, BatchNorm2d, GroupNorm, InstanceNorm2d, LayerNorm, RMSNorm
from dlkernels.sequential import Sequential

__all__ = [
    "CELU",
    "ELU",
    "GEGLU",
    "GELU",
    "GLU",
    "SELU",
    "Activation",
    "BatchNorm1d",
    "BatchNorm2d",
    "Dropout",
    "Flatten",
    "Gate",
    "GroupNorm",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "InstanceNorm2d",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "LearnedActivation",
    "Linear",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "QuickGELU",
    "RMSNorm",
    "ReGLU",
    "ReLU",
    "ReLU6",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Squareplus",
    "SwiGLU",
    "Swish",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


def _sum_of_rows(a: Array) -> Array:
    """Added in float32 where a is of 16 bits: 256 + 1 is 256 in bfloat16."""
    return a.sum(axis=0, dtype=np.float32 if a.dtype.itemsize == 2 else a.dtype)


class Linear(Layer):
    """y = x W^T + b.  x (n, ..., in), weight (out, in), bias (out,), y (n, ..., out); x has the weight's dtype.

    dx = dy W, dW = dy^T x, db = sum of dy over the rows. `init` names a function of dk.init or is one,
    (shape, *, seed, dtype) -> array; biases start at zero. The default is He et al. 2015 for ReLU; PyTorch's
    own default is ``functools.partial(dk.init.kaiming_uniform, a=5**0.5)``. Without a seed the weights differ
    from run to run.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        init: str | initializers.Initializer = "kaiming_uniform",
        *,
        seed: int | None = None,
        dtype: DTypeLike = "float32",
    ) -> None:
        super().__init__()
        self.in_features = arguments.whole("Linear", "in_features", in_features)
        self.out_features = arguments.whole("Linear", "out_features", out_features)
        try:
            ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
        except ValueError:
            raise TypeError(f"Linear: dtype must be a floating-point type, got {np.dtype(dtype)}.") from None
        self._init = initializers.get(init)
        self.weight: Array = np.empty((out_features, in_features), dtype)
        self.bias: Array | None = np.empty(out_features, dtype) if bias else None
        self.reset(np.random.SeedSequence(seed))

    def reset(self, seed: int | np.random.SeedSequence) -> None:
        drawn = self._init(self.weight.shape, seed=seed, dtype=self.weight.dtype)
        if drawn.shape != self.weight.shape:
            raise ValueError(f"Linear: init must return shape {self.weight.shape}, got {drawn.shape}.")
        self.weight[...] = drawn
        if self.bias is not None:
            self.bias[...] = 0

    def parameters(self) -> dict[str, Array]:
        return {"weight": self.weight} if self.bias is None else {"weight": self.weight, "bias": self.bias}

    def _rows(self, x: Array) -> Array:
        """x as (rows, in)."""
        arguments.array("Linear", "x", x)
        if x.ndim < 2 or x.shape[-1] != self.in_features:
            raise ValueError(f"Linear: x must have shape (n, {self.in_features}), got {x.shape}.")
        if x.dtype != self.weight.dtype:
            raise TypeError(
                f"Linear: x must be {self.weight.dtype} like the weight, got {x.dtype}. "
                f'Cast it: x.astype("{self.weight.dtype}").'
            )
        return x if x.ndim == 2 else x.reshape(-1, self.in_features)

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:  # noqa: ARG002
        rows = self._rows(x)
        y = np.matmul(rows, self.weight.T, out=self.buffers("y", (rows.shape[0], self.out_features), self.weight))
        if self.bias is not None:
            np.add(y, self.bias, out=y)

        def backward(dy: Array, _own: bool, need_dx: bool) -> Array | None:
            dy = dy.reshape(-1, self.out_features)
            self.accumulate("weight", self.weight, lambda out: np.matmul(dy.T, rows, out=out))
            if self.bias is not None:
                self.accumulate("bias", self.bias, lambda out: np.copyto(out, _sum_of_rows(dy), casting="same_kind"))
            if not need_dx:
                return None
            dx = np.matmul(dy, self.weight, out=self.buffers("dx", rows.shape, self.weight))
            return dx.reshape(x.shape)

        return y.reshape(*x.shape[:-1], self.out_features), backward

    def predict(self, x: Array) -> Array:
        rows = self._rows(x)
        out = np.empty_like(self.weight, shape=(rows.shape[0], self.out_features))  # or bfloat16 would become float32
        y = np.matmul(rows, self.weight.T, out=out)
        if self.bias is not None:
            np.add(y, self.bias, out=y)
        return y.reshape(*x.shape[:-1], self.out_features)

    def __repr__(self) -> str:
        bias = "" if self.bias is not None else ", bias=False"
        return f"Linear({self.in_features}, {self.out_features}{bias})"


class Flatten(Layer):
    """(n, a, b, ...) seen as (n, a * b * ...)."""

    is_view = True

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:  # noqa: ARG002
        return self.predict(x), lambda dy, _own, need_dx: dy.reshape(x.shape) if need_dx else None

    def predict(self, x: Array) -> Array:
        return arguments.array("Flatten", "x", x).reshape(x.shape[0], -1)


class Dropout(Layer):
    """Zero an element with probability p, divide the others by 1 - p; nothing in inference (dk.dropout).

    The mask is a function of (seed, number of training passes so far, element): it is recomputed in backward,
    never stored, and a run that resumes with the same `random_state` draws the same masks.
    """

    def __init__(self, p: float = 0.5, *, seed: int | None = None) -> None:
        super().__init__()
        self.p = arguments.real("Dropout", "p", p, 0, 1)
        self.reset(np.random.SeedSequence(seed))

    def reset(self, seed: int | np.random.SeedSequence) -> None:
        # 63 bits: a key that fits every integer type on the way down.
        self.seed = int(initializers.generator(seed).integers(2**63))
        self.offset = 0

    @property
    def is_view(self) -> bool:  # type: ignore[override]
        return self.frozen or self.p == 0

    def random_state(self) -> dict[str, int]:
        return {"seed": self.seed, "offset": self.offset}

    def load_random_state(self, state: Mapping[str, int]) -> None:
        self.check_random_state(state)
        self.seed, self.offset = state["seed"], state["offset"]

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:
        if self.is_view:
            return x, lambda dy, _own, need_dx: dy if need_dx else None
        stream = {"seed": self.seed, "offset": self.offset}
        self.offset += 1
        y = dk.dropout(x, self.p, **stream, out=x if own else self.buffers("y", x.shape, x))

        def backward(dy: Array, own: bool, need_dx: bool) -> Array | None:
            if not need_dx:
                return None
            return dk.dropout.backward(dy, self.p, **stream, out=dy if own else self.buffers("dx", dy.shape, dy))

        return y, backward

    def predict(self, x: Array) -> Array:
        return x

    def __repr__(self) -> str:
        return f"Dropout({self.p})"
