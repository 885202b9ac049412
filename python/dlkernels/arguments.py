"""Checks of plain arguments, so that a slip is named where it was made and not three calls further down."""

from __future__ import annotations

import math
import operator
from numbers import Real
from typing import Any


def whole(where: str, name: str, value: Any, least: int = 1) -> int:
    """`value` as an int of at least `least`; True and 2.0 are no counts."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise TypeError(f"{where}: {name} must be a whole number, got {value!r}.")
    if number < least:
        raise ValueError(f"{where}: {name} must be at least {least}, got {number}.")
    return number


def real(where: str, name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as a float between low and high, both allowed; NaN and True are none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{where}: {name} must be a number, got {value!r}.")
    number = float(value)
    if not low <= number <= high:
        raise ValueError(f"{where}: {name} must be in [{low:g}, {high:g}], got {value}.")
    return number


def array(where: str, name: str, value: Any) -> Any:
    """`value`, which must be an array: lists are not converted behind the caller's back."""
    if not (hasattr(value, "dtype") and hasattr(value, "shape")):
        raise TypeError(
            f"{where}: {name} must be an array, got {type(value).__name__}. Convert it: np.asarray({name})."
        )
    return value
