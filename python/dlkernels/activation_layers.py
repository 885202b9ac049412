"""The elementwise activations as layers, under PyTorch's names; nn.py exports them."""

from __future__ import annotations

import math
from typing import Any

import dlkernels as dk
from dlkernels.layer import Array, Backprop, Layer


class Activation(Layer):
    """An elementwise op as a layer, e.g. ``Activation("gelu", approximate="tanh")``.

    With `from_output` the derivative is taken from y, so y overwrites x in place; otherwise x is kept beside
    y.
    """

    def __init__(self, name: str, from_output: bool, **options: Any) -> None:
        super().__init__()
        self.op, self.options = getattr(dk, name), options
        self.keeps_output = from_output

    def forward(self, x: Array, own: bool) -> tuple[Array, Backprop]:
        op, options = self.op, self.options
        y = op(x, out=x if own and self.keeps_output else self.buffers("y", x.shape, x), **options)
        saved = {"y": y} if self.keeps_output else {"x": x}

        def backward(dy: Array, own: bool, need_dx: bool) -> Array | None:
            if not need_dx:
                return None
            return op.backward(dy, **saved, out=dy if own else self.buffers("dx", dy.shape, dy), **options)

        return y, backward

    def predict(self, x: Array) -> Array:
        return self.op(x, **self.options)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{type(self).__name__}({shown})"


class ReLU(Activation):
    """max(x, 0)."""

    def __init__(self) -> None:
        super().__init__("relu", from_output=True)


class LeakyReLU(Activation):
    """x where x > 0, else negative_slope x. The sign of y gives the branch as long as the slope is
    positive.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__("leaky_relu", from_output=negative_slope > 0, negative_slope=negative_slope)


class Sigmoid(Activation):
    """1 / (1 + e^-x)."""

    def __init__(self) -> None:
        super().__init__("sigmoid", from_output=True)


class Tanh(Activation):
    """tanh x."""

    def __init__(self) -> None:
        super().__init__("tanh", from_output=True)


class SiLU(Activation):
    """x sigmoid(x)."""

    def __init__(self) -> None:
        super().__init__("silu", from_output=False)


class GELU(Activation):
    """x Phi(x); approximate="tanh" for the tanh form."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__("gelu", from_output=False, approximate=approximate)


class QuickGELU(Activation):
    """x sigmoid(1.702 x)."""

    def __init__(self) -> None:
        super().__init__("quick_gelu", from_output=False)


class Mish(Activation):
    """x tanh(log(1 + e^x))."""

    def __init__(self) -> None:
        super().__init__("mish", from_output=False)


class Softplus(Activation):
    """log(1 + e^(beta x)) / beta, and x where beta x > threshold; PyTorch's threshold is 20."""

    def __init__(self, beta: float = 1.0, threshold: float = math.inf) -> None:
        super().__init__("softplus", from_output=True, beta=beta, threshold=threshold)


class LogSigmoid(Activation):
    """-log(1 + e^-x)."""

    def __init__(self) -> None:
        super().__init__("logsigmoid", from_output=False)


class Tanhshrink(Activation):
    """x - tanh x."""

    def __init__(self) -> None:
        super().__init__("tanhshrink", from_output=False)


class Softsign(Activation):
    """x / (1 + |x|)."""

    def __init__(self) -> None:
        super().__init__("softsign", from_output=False)


class Squareplus(Activation):
    """(x + sqrt(x^2 + b)) / 2."""

    def __init__(self, b: float = 4.0) -> None:
        super().__init__("squareplus", from_output=False, b=b)


class ELU(Activation):
    """x where x > 0, else alpha (e^x - 1)."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__("elu", from_output=alpha > 0, alpha=alpha)


class SELU(Activation):
    """ELU with the slope and alpha that keep mean 0 and variance 1."""

    def __init__(self) -> None:
        super().__init__("selu", from_output=True)


class CELU(Activation):
    """x where x > 0, else alpha (e^(x / alpha) - 1)."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__("celu", from_output=True, alpha=alpha)


class Hardtanh(Activation):
    """x held between min_val and max_val."""

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0) -> None:
        super().__init__("hardtanh", from_output=False, min_val=min_val, max_val=max_val)


class ReLU6(Activation):
    """x held between 0 and 6."""

    def __init__(self) -> None:
        super().__init__("relu6", from_output=True)


class Hardsigmoid(Activation):
    """x / 6 + 1/2 held between 0 and 1."""

    def __init__(self) -> None:
        super().__init__("hardsigmoid", from_output=True)


class Hardswish(Activation):
    """x hardsigmoid(x)."""

    def __init__(self) -> None:
        super().__init__("hardswish", from_output=False)


class Hardshrink(Activation):
    """x where |x| > lambd, else 0."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__("hardshrink", from_output=True, lambd=lambd)


class Softshrink(Activation):
    """x brought nearer to 0 by lambd, and 0 where |x| <= lambd."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__("softshrink", from_output=True, lambd=lambd)


class Threshold(Activation):
    """x where x > threshold, else value."""

    def __init__(self, threshold: float, value: float) -> None:
        super().__init__("threshold", from_output=False, threshold=threshold, value=value)
