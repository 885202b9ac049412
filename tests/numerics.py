"""What the tests mean by "right" and by "the same bits".

Right: an error in ULP, units in the last place of the storage type at the exact result, against the float64 definition (for float64:
against the same definition in extended precision, or mpmath). The same bits: equal bytes, any NaN equal to any other. Also the inputs:
specials, one value out of every equal run of bit patterns, uniform values; and derivatives of the definitions by dual numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
HALF = ("float16", "bfloat16")
EXTENDED = np.longdouble
MANTISSA = {"float16": 10, "bfloat16": 7, "float32": 23, "float64": 52}
LOWEST_EXPONENT = {"float16": -14, "bfloat16": -126, "float32": -126, "float64": -1022}
HIGHEST_EXPONENT = {"float16": 15, "bfloat16": 127, "float32": 127, "float64": 1023}


def compute_dtype(dtype: str) -> np.dtype[Any]:
    """The type a kernel computes in, and the type of a loss."""
    return DTYPES["float64" if dtype == "float64" else "float32"]


# --- bits ---------------------------------------------------------------------------------------------------------------


def bits(a: Any) -> np.ndarray:
    """The bytes of an array as unsigned integers."""
    a = np.asarray(a)
    return np.ascontiguousarray(a).view(f"u{a.dtype.itemsize}")


def assert_same_bits(actual: Any, expected: Any, hint: str = "") -> None:
    """Same dtype, shape and bytes; a NaN equals every NaN."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype, f"{hint}: dtype {actual.dtype} instead of {expected.dtype}"
    assert actual.shape == expected.shape, f"{hint}: shape {actual.shape} instead of {expected.shape}"
    if np.array_equal(bits(actual), bits(expected)):
        return
    with np.errstate(invalid="ignore"):  # ml_dtypes' isnan trips over signaling NaN
        differs = (bits(actual) != bits(expected)).reshape(actual.shape) & ~(np.isnan(actual) & np.isnan(expected))
    if not differs.any():
        return
    at = tuple(int(i) for i in np.argwhere(differs)[0])
    raise AssertionError(
        f"{hint}: {np.count_nonzero(differs)} of {actual.size} differ in their bits, first at {at}: "
        f"{actual[at]!r} instead of {expected[at]!r}"
    )


# --- errors -------------------------------------------------------------------------------------------------------------


def spacing(exact: np.ndarray, dtype: str) -> np.ndarray:
    """The ULP of a storage type at exact values: the distance of its neighbors in that binade, subnormals included."""
    _, exponent = np.frexp(exact)
    exponent = np.clip(exponent - 1, LOWEST_EXPONENT[dtype], HIGHEST_EXPONENT[dtype])
    return np.ldexp(
        np.ones((), np.asarray(exact).dtype), np.where(exact == 0, LOWEST_EXPONENT[dtype], exponent) - MANTISSA[dtype]
    )


def ulp_error(actual: Any, exact: np.ndarray, dtype: str, scale: np.ndarray | None = None) -> np.ndarray:
    """|actual - exact| in ULP of `dtype` at `exact` (or at `scale`).

    Infinity counts as the number after the largest finite one, so that an overflow is as wrong as it is early. NaN against a number is
    infinitely wrong, NaN against NaN not at all.
    """
    exact = exact.astype(EXTENDED) if dtype == "float64" else exact
    wide = exact.dtype
    top = np.ldexp(np.ones((), wide), HIGHEST_EXPONENT[dtype] + 1)
    a = np.clip(np.asarray(actual).astype(wide), -top, top)
    e = np.clip(exact, -top, top)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(a - e) / spacing(e if scale is None else np.broadcast_to(scale, e.shape), dtype)
        error = np.where(np.isnan(a) & np.isnan(e), 0.0, error)
        return np.where(np.isnan(a) != np.isnan(e), np.inf, error).astype(np.float64)


def assert_within(
    actual: Any,
    exact: np.ndarray,
    ulp: float,
    dtype: str,
    *,
    x: Any = None,
    hint: str = "",
    scale: np.ndarray | None = None,
) -> float:
    """Every element within `ulp`; the text names the worst. Returns the largest error."""
    exact = np.asarray(exact)
    assert np.shape(actual) == exact.shape, f"{hint}: shape {np.shape(actual)} instead of {exact.shape}"
    if exact.size == 0:
        return 0.0
    error = ulp_error(actual, exact, dtype, scale)
    at = np.unravel_index(int(np.argmax(error)), exact.shape)
    worst = float(error[at])
    where = "" if x is None else f" at x = {np.broadcast_to(x, exact.shape)[at]!r}"
    assert worst <= ulp, (
        f"{hint} [{dtype}]: {worst:.4g} ULP > {ulp:g}{where}: got {np.asarray(actual)[at]!r}, exact {exact[at]!r}"
    )
    return worst


def half_bound(ulp: float, dtype: str) -> float:
    """The bound that follows for a 16-bit type from one of `ulp` in float32: computed there, rounded once."""
    return 0.5 + ulp * 2.0 ** (MANTISSA[dtype] - MANTISSA["float32"])


def bound(ulp: float, dtype: str) -> float:
    """The bound to hold a result of storage type `dtype` to, from the op's stated one."""
    return half_bound(ulp, dtype) if dtype in HALF else ulp


def rounded(exact: Any, dtype: str) -> np.ndarray:
    """float64 rounded once, to nearest even. (ml_dtypes rounds float64 to bfloat16 twice, by way of float32.)"""
    exact = np.asarray(exact, dtype=np.float64)
    if dtype != "bfloat16":
        with np.errstate(over="ignore"):
            return exact.astype(DTYPES[dtype])
    with np.errstate(over="ignore", invalid="ignore"):
        f = exact.astype(np.float32)
        f = np.where(np.abs(f.astype(np.float64)) > np.abs(exact), np.nextafter(f, np.float32(0)), f)  # towards zero
        odd = (f.view(np.uint32) | np.uint32(1)).view(np.float32)  # to odd: the second rounding then sees what was lost
        return np.where(np.isfinite(f) & (f.astype(np.float64) != exact), odd, f).astype(DTYPES[dtype])


# --- inputs -------------------------------------------------------------------------------------------------------------


def all_values(dtype: str, *, finite: bool = False) -> np.ndarray:
    """All 65,536 values of a 16-bit type, or without infinities and NaN."""
    x = np.arange(1 << 16, dtype=np.uint16).view(DTYPES[dtype])
    with np.errstate(invalid="ignore"):  # ml_dtypes' isfinite trips over signaling NaN
        return x[np.isfinite(x)] if finite else x


def specials(dtype: str, *, finite: bool = False) -> np.ndarray:
    """Zeros, ends of the subnormals and of the normals, neighbors of 1, and unless `finite` the infinities and NaN."""
    info = ml_dtypes.finfo(DTYPES[dtype])
    tiny, least, eps, most = (float(v) for v in (info.tiny, info.smallest_subnormal, info.eps, info.max))
    positive = [
        0.0,
        least,
        3 * least,
        tiny - least,
        tiny,
        tiny + least,
        eps,
        0.5,
        1 - eps / 2,
        1.0,
        1 + eps,
        2.0,
        most / 2,
        most,
    ]
    values = [s * v for v in positive for s in (1.0, -1.0)] + ([] if finite else [np.inf, -np.inf, np.nan])
    return np.array(values).astype(DTYPES[dtype])


def stratified(dtype: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """One value from each of n equal runs of bit patterns: every binade, both signs. Infinities and NaN are left out."""
    width = 8 * DTYPES[dtype].itemsize
    n = min(n, 1 << width)
    run = (1 << width) // n
    pattern = np.arange(n, dtype=np.uint64) * np.uint64(run) + rng.integers(0, run, n, dtype=np.uint64)
    x = pattern.astype(f"u{width // 8}").view(DTYPES[dtype])
    with np.errstate(invalid="ignore"):  # as above
        return x[np.isfinite(x)]


def samples(dtype: str, n: int, domain: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Finite specials, n / 2 stratified and n / 2 uniform values of the domain."""
    uniform = rounded(rng.uniform(*domain, n // 2), dtype)
    return np.concatenate([specials(dtype, finite=True), stratified(dtype, n // 2, rng), uniform])


def aligned(shape: int | tuple[int, ...], dtype: Any, alignment: int = 64) -> np.ndarray:
    """An array whose first byte is aligned: offsets into it are then known misalignments."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape)) * dtype.itemsize
    raw = np.full(size + alignment, 0xA5, dtype=np.uint8)
    first = -raw.ctypes.data % alignment
    return raw[first : first + size].view(dtype).reshape(shape)


# --- derivatives of definitions -----------------------------------------------------------------------------------------


class Dual(np.lib.mixins.NDArrayOperatorsMixin):
    """Values and slopes: a definition called with one returns its derivative to full precision (forward-mode differentiation).

    At a kink the slope is that of the branch which the definition takes there.
    """

    def __init__(self, value: np.ndarray, slope: Any) -> None:
        self.value, self.slope = value, np.broadcast_to(np.asarray(slope, dtype=value.dtype), value.shape)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method != "__call__" or kwargs:
            return NotImplemented
        values = [i.value if isinstance(i, Dual) else i for i in inputs]
        y = ufunc(*values)
        if y.dtype == bool:
            return y
        if ufunc not in SLOPE:
            raise TypeError(f"numerics.SLOPE has no rule for numpy.{ufunc.__name__}: add one")
        slopes = [i.slope if isinstance(i, Dual) else np.zeros((), y.dtype) for i in inputs]
        return Dual(y, SLOPE[ufunc](y, *values, *slopes))

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if func in {np.isneginf, np.isposinf}:
            return func(*(a.value for a in args))
        if func is not np.where or kwargs:
            return NotImplemented
        condition, *branches = args
        value, slope = ([getattr(b, part, other) for b, other in zip(branches, others, strict=True)]
                        for part, others in (("value", branches), ("slope", (0.0, 0.0))))  # fmt: skip
        wide = self.value.dtype.type
        return Dual(
            np.where(condition, *map(np.asarray, value)).astype(wide), np.where(condition, *map(np.asarray, slope))
        )


SLOPE: dict[np.ufunc, Callable[..., Any]] = {
    np.add: lambda y, a, b, da, db: da + db,
    np.subtract: lambda y, a, b, da, db: da - db,
    np.multiply: lambda y, a, b, da, db: da * b + a * db,
    np.divide: lambda y, a, b, da, db: (da - y * db) / b,
    np.power: lambda y, a, b, da, db: b * a ** (b - 1) * da,
    np.negative: lambda y, a, da: -da,
    np.absolute: lambda y, a, da: np.where(a >= 0, da, -da),
    np.minimum: lambda y, a, b, da, db: np.where(a <= b, da, db),
    np.maximum: lambda y, a, b, da, db: np.where(a >= b, da, db),
    np.exp: lambda y, a, da: y * da,
    np.expm1: lambda y, a, da: np.exp(a) * da,
    np.log: lambda y, a, da: da / a,
    np.log1p: lambda y, a, da: da / (1 + a),
    np.sqrt: lambda y, a, da: da / (2 * y),
    np.square: lambda y, a, da: 2 * a * da,
    np.tanh: lambda y, a, da: da / np.cosh(a) ** 2,
    np.hypot: lambda y, a, b, da, db: (a * da + b * db) / y,
}


def central_difference(f: Callable[[np.ndarray], Any], x: np.ndarray, h: float = 1e-3) -> np.ndarray:
    """The derivative of an elementwise f, or the gradient of a scalar f with one step for each element; error O(h^6) and eps / h."""
    weights = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    if np.ndim(f(x)) == np.ndim(x) and np.ndim(x) > 0:
        return sum(w * (f(x + k * h) - f(x - k * h)) for k, w in weights.items()) / h
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[i] = h
        gradient[i] = sum(w * (f(x + k * step) - f(x - k * step)) for k, w in weights.items()) / h
    return gradient


# --- canonical sums -----------------------------------------------------------------------------------------------------


def canonical_sum(x: np.ndarray) -> Any:
    """DESIGN.md 3.2 in NumPy, written from its text: blocks of 4,096, lanes of 256, halving; then the same rule on the block results."""
    while True:
        full = x[: x.size // 4096 * 4096].reshape(-1, 16, 256)
        lanes = full[:, 0]
        for chunk in range(1, 16):
            lanes = lanes + full[:, chunk]
        for width in (128, 64, 32, 16, 8, 4, 2, 1):
            lanes = lanes[:, :width] + lanes[:, width : 2 * width]
        x = np.append(lanes[:, 0], _partial_block(x[full.size :]))
        if x.size <= 1:
            return x[0] if x.size else x.dtype.type(0)


def _partial_block(x: np.ndarray) -> np.ndarray:
    lane = list(x[:256])
    for i in range(256, x.size):
        lane[i % 256] = lane[i % 256] + x[i]
    for width in (128, 64, 32, 16, 8, 4, 2, 1):
        lane = [lane[j] + lane[j + width] if j + width < len(lane) else lane[j] for j in range(min(width, len(lane)))]
    return np.array(lane, dtype=x.dtype)
