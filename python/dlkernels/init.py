"""Initial weights: draws whose variance keeps a signal's size through a layer.

A layer computes y = x W^T with W of shape (out, in). For independent entries Var(y) = fan_in * Var(W) *
E[x^2], so a weight of standard deviation gain / sqrt(fan) neither shrinks nor blows up what passes through
it; `gain` repairs what the activation does to the variance. Every draw is taken in float64 from NumPy's
Philox stream and rounded once to the requested dtype: the same seed gives the same weights.

All functions share one signature, ``f(shape, *, seed, dtype="float32", ...) -> array``, so that each can be a
layer's ``init=``; ``functools.partial(kaiming_uniform, a=5**0.5)`` gives a variant (this one is PyTorch's
default for Linear).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import DTypeLike

Seed = int | Sequence[int] | np.random.SeedSequence | np.random.Generator
Initializer = Callable[..., np.ndarray]

# 1 / sqrt(E[f(z)^2]), z ~ N(0, 1): what keeps the second moment of a unit Gaussian. PyTorch has no entry for
# these.
_VARIANCE_PRESERVING = {
    "silu": 1.6765324703310912,
    "gelu": 1.5335304411955352,
    "elu": 1.2451983007007066,
    "mish": 1.4868475812732081,
}


def generator(seed: Seed) -> np.random.Generator:
    """A Philox generator for `seed`; a Generator passes through. Equal seeds give equal streams on every
    machine.
    """
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.Generator(np.random.Philox(seed))


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight (out, in, k...): in * prod(k), out * prod(k). Needs two axes or more."""
    if len(shape) < 2:
        raise ValueError(
            f"fans: shape must have at least 2 axes (out, in, ...), got {tuple(shape)}. Use uniform or zeros."
        )
    receptive = math.prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def gain(nonlinearity: str, param: float | None = None) -> float:
    """What to multiply a standard deviation by, given the activation that follows.

    As PyTorch's ``calculate_gain`` (tanh 5/3, relu sqrt 2, leaky_relu sqrt(2 / (1 + slope^2)), selu 3/4; 1
    for linear, conv and sigmoid), and 1 / sqrt(E f(z)^2) for silu, gelu, elu and mish. `param` is
    leaky_relu's slope (0.01).

    >>> round(gain("leaky_relu", 0.2), 4)
    1.3868
    """
    if nonlinearity in {"linear", "sigmoid"} or nonlinearity.startswith("conv"):
        return 1.0
    if nonlinearity == "tanh":
        return 5.0 / 3.0
    if nonlinearity == "relu":
        return math.sqrt(2.0)
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        return math.sqrt(2.0 / (1.0 + slope * slope))
    if nonlinearity == "selu":
        return 0.75
    if nonlinearity in _VARIANCE_PRESERVING:
        return _VARIANCE_PRESERVING[nonlinearity]
    known = ["linear", "conv", "sigmoid", "tanh", "relu", "leaky_relu", "selu", *_VARIANCE_PRESERVING]
    raise ValueError(f"gain: nonlinearity must be one of {', '.join(known)}, got {nonlinearity!r}.")


def zeros(
    shape: Sequence[int],
    *,
    seed: Seed | None = None,  # noqa: ARG001  (one signature for all)
    dtype: DTypeLike = "float32",
) -> np.ndarray:
    """All zeros: for biases. A network whose weights all start at zero never breaks its symmetry."""
    return np.zeros(tuple(shape), dtype)


def ones(
    shape: Sequence[int],
    *,
    seed: Seed | None = None,  # noqa: ARG001  (one signature for all)
    dtype: DTypeLike = "float32",
) -> np.ndarray:
    """All ones. For the scale of a normalization."""
    return np.ones(tuple(shape), dtype)


def uniform(
    shape: Sequence[int], *, seed: Seed, dtype: DTypeLike = "float32", low: float = 0.0, high: float = 1.0
) -> np.ndarray:
    """U(low, high)."""
    return generator(seed).uniform(low, high, tuple(shape)).astype(dtype)


def normal(
    shape: Sequence[int], *, seed: Seed, dtype: DTypeLike = "float32", mean: float = 0.0, std: float = 1.0
) -> np.ndarray:
    """N(mean, std^2)."""
    return generator(seed).normal(mean, std, tuple(shape)).astype(dtype)


def xavier_uniform(shape: Sequence[int], *, seed: Seed, dtype: DTypeLike = "float32", gain: float = 1.0) -> np.ndarray:
    """U(-b, b), b = gain sqrt(6 / (fan_in + fan_out)). Glorot & Bengio 2010."""
    bound = gain * math.sqrt(6.0 / sum(fans(shape)))
    return uniform(shape, seed=seed, dtype=dtype, low=-bound, high=bound)


def xavier_normal(shape: Sequence[int], *, seed: Seed, dtype: DTypeLike = "float32", gain: float = 1.0) -> np.ndarray:
    """N(0, 2 gain^2 / (fan_in + fan_out)). Glorot & Bengio 2010."""
    return normal(shape, seed=seed, dtype=dtype, std=gain * math.sqrt(2.0 / sum(fans(shape))))


def _kaiming_std(shape: Sequence[int], a: float, mode: str, nonlinearity: str) -> float:
    if mode not in {"fan_in", "fan_out"}:
        raise ValueError(f'kaiming: mode must be "fan_in" or "fan_out", got {mode!r}.')
    fan = fans(shape)[mode == "fan_out"]
    return gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_uniform(
    shape: Sequence[int],
    *,
    seed: Seed,
    dtype: DTypeLike = "float32",
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> np.ndarray:
    """U(-b, b), b = gain(nonlinearity, a) sqrt(3 / fan); the defaults suit ReLU. He et al. 2015,
    arXiv:1502.01852.
    """
    bound = math.sqrt(3.0) * _kaiming_std(shape, a, mode, nonlinearity)
    return uniform(shape, seed=seed, dtype=dtype, low=-bound, high=bound)


def kaiming_normal(
    shape: Sequence[int],
    *,
    seed: Seed,
    dtype: DTypeLike = "float32",
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
) -> np.ndarray:
    """N(0, gain(nonlinearity, a)^2 / fan); the defaults suit ReLU. He et al. 2015, arXiv:1502.01852."""
    return normal(shape, seed=seed, dtype=dtype, std=_kaiming_std(shape, a, mode, nonlinearity))


def constant(
    shape: Sequence[int],
    *,
    seed: Seed | None = None,  # noqa: ARG001  (one signature for all)
    dtype: DTypeLike = "float32",
    value: float = 0.0,
) -> np.ndarray:
    """`value` everywhere."""
    return np.full(tuple(shape), value, dtype)


def eye(
    shape: Sequence[int],
    *,
    seed: Seed | None = None,  # noqa: ARG001  (one signature for all)
    dtype: DTypeLike = "float32",
) -> np.ndarray:
    """The identity: a linear layer passes on what it can. Two dimensions."""
    if len(shape) != 2:
        raise ValueError(f"eye: shape must have 2 dimensions, got {tuple(shape)}.")
    return np.eye(shape[0], shape[1]).astype(dtype)


def dirac(
    shape: Sequence[int],
    *,
    seed: Seed | None = None,  # noqa: ARG001  (one signature for all)
    dtype: DTypeLike = "float32",
    groups: int = 1,
) -> np.ndarray:
    """The identity of a convolution (out, in, k...): 1 in the middle of each kernel whose output is its input's channel."""
    if not 3 <= len(shape) <= 5:
        raise ValueError(f"dirac: shape must have 3, 4 or 5 dimensions (out, in, k...), got {tuple(shape)}.")
    if groups < 1 or shape[0] % groups != 0:
        raise ValueError(f"dirac: groups must divide the number of outputs, {shape[0]}, got {groups}.")
    weight = np.zeros(tuple(shape), dtype)
    each = shape[0] // groups
    middle = tuple(k // 2 for k in shape[2:])
    for group in range(groups):
        for i in range(min(each, shape[1])):
            weight[(group * each + i, i, *middle)] = 1
    return weight


def trunc_normal(
    shape: Sequence[int],
    *,
    seed: Seed,
    dtype: DTypeLike = "float32",
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
) -> np.ndarray:
    """N(mean, std^2) within [a, b], which are absolute values as in PyTorch (JAX and Keras count them in std); drawn again where outside.

    With std = 1 and +-2 the result has the standard deviation 0.8796; Keras and JAX divide by it, PyTorch and this do not.
    """
    if not (std > 0 and a < b):
        raise ValueError(f"trunc_normal: wanted std > 0 and a < b, got std={std}, a={a}, b={b}.")
    low, high = (a - mean) / std, (b - mean) / std
    if low > 5 or high < -5:
        raise ValueError(
            f"trunc_normal: [{a}, {b}] is more than 5 standard deviations from the mean {mean}: nothing falls there."
        )
    draw = generator(seed)
    z = draw.standard_normal(math.prod(shape))
    while (outside := np.flatnonzero((z < low) | (z > high))).size:
        z[outside] = draw.standard_normal(outside.size)
    return np.clip(mean + std * z, a, b).reshape(tuple(shape)).astype(dtype)


def lecun_uniform(shape: Sequence[int], *, seed: Seed, dtype: DTypeLike = "float32") -> np.ndarray:
    """U(-b, b), b = sqrt(3 / fan_in). LeCun et al. 1998; for selu."""
    bound = math.sqrt(3.0 / fans(shape)[0])
    return uniform(shape, seed=seed, dtype=dtype, low=-bound, high=bound)


def lecun_normal(shape: Sequence[int], *, seed: Seed, dtype: DTypeLike = "float32") -> np.ndarray:
    """N(0, 1 / fan_in). LeCun et al. 1998; for selu."""
    return normal(shape, seed=seed, dtype=dtype, std=math.sqrt(1.0 / fans(shape)[0]))


def orthogonal(shape: Sequence[int], *, seed: Seed, dtype: DTypeLike = "float32", gain: float = 1.0) -> np.ndarray:
    """A matrix (out, in * k...) with orthonormal rows, or columns if it is tall, times `gain`. Saxe et al. 2013, arXiv:1312.6120.

    The QR decomposition of a Gaussian matrix, with the signs that make it uniform over all such matrices (Mezzadri 2006).
    """
    if len(shape) < 2:
        raise ValueError(f"orthogonal: shape must have at least 2 dimensions, got {tuple(shape)}.")
    rows, cols = shape[0], math.prod(shape[1:])
    gaussian = generator(seed).standard_normal((max(rows, cols), min(rows, cols)))
    q, r = np.linalg.qr(gaussian)
    q = q * np.sign(np.diag(r))
    return (gain * (q if rows >= cols else q.T)).reshape(tuple(shape)).astype(dtype)


_BY_NAME: dict[str, Initializer] = {
    f.__name__: f
    for f in (
        zeros,
        ones,
        constant,
        eye,
        dirac,
        uniform,
        normal,
        trunc_normal,
        xavier_uniform,
        xavier_normal,
        kaiming_uniform,
        kaiming_normal,
        lecun_uniform,
        lecun_normal,
        orthogonal,
    )
}


def get(init: str | Initializer) -> Initializer:
    """The initializer called `init`, or `init` itself when it is callable: (shape, *, seed, dtype) ->
    array.
    """
    if callable(init):
        return init
    if init not in _BY_NAME:
        raise ValueError(f"init must be callable or one of {', '.join(_BY_NAME)}, got {init!r}.")
    return _BY_NAME[init]


def spawn(seed: int | np.random.SeedSequence, index: int) -> np.random.SeedSequence:
    """Independent stream number `index` of `seed`: what a container hands to its layers."""
    base = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return np.random.SeedSequence(base.entropy, spawn_key=(*base.spawn_key, index))
