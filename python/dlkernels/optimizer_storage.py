"""How an optimizer keeps its numbers: state in the compute type or in fewer bits, parameters with a master copy or without.

State in bytes ("uint8") has one float32 scale for each 256 elements; a tensor of fewer than 4,096 elements keeps its state in the compute
type, since nothing is saved there and biases and norm weights are the most sensitive.
"""

from __future__ import annotations

import math
from typing import Any, TypedDict

from ._arrays import copy_into, zeros, zeros_state

__all__ = ["SMALLEST_IN_BYTES", "Storage", "checked", "kept_as", "master_of", "new_state"]

SMALLEST_IN_BYTES = 4096
SCALED = 256  # elements that share a scale
HALVES = {"float16", "bfloat16"}
UPPER_HALVES = {"bfloat16"}  # of a float32
FOR = {"stochastic": UPPER_HALVES, "master": HALVES, "remainder": UPPER_HALVES}  # "plain" is for all
STATE_DTYPES = (None, "bfloat16", "uint8")


class Storage(TypedDict, total=False):
    """Options that every optimizer takes.

    precision: what a parameter's storage holds. "plain": all of its value. "stochastic" (bfloat16): rounded up or down at random, so that
    steps smaller than a unit in the last place add up. "master" (float16, bfloat16): a rounded copy of a float32 master in the state.
    "remainder" (bfloat16): the upper half of a float32 whose lower half is in the state: the master's bits with 2 bytes less. With
    "master", weights that are loaded into the arrays afterwards are unknown to it: make a new optimizer.
    state_dtype: None: float64 for float64 parameters, else float32. "bfloat16": rounded at random. "uint8": bytes and a scale for each 256
    elements, rounded up or down at random: |error| <= 1.5 % of the largest of them, and about 1.5 2^k % of a number 10^k times smaller
    (kernels/quantize.h); an infinity or NaN spoils its 256.
    seed: of what is rounded at random: Philox4x32-10, counted by step and element, so bits depend on nothing else.
    """

    precision: str
    state_dtype: str | None
    seed: int


def dtype_name(array: Any) -> str:
    """ "float32", "bfloat16", ... of an array of any library."""
    return str(array.dtype).removeprefix("torch.")


def checked(op: str, storage: Storage) -> Storage:
    """All options, each of them legal."""
    unknown = set(storage) - set(Storage.__annotations__)
    if unknown:
        raise TypeError(f"{op}: unknown arguments {sorted(unknown)}.")
    full: Storage = {"precision": "plain", "state_dtype": None, "seed": 0, **storage}
    if full["precision"] not in {"plain", *FOR}:
        raise ValueError(f"{op}: precision must be one of plain, {', '.join(FOR)}, got {full['precision']!r}.")
    if full["state_dtype"] not in STATE_DTYPES:
        raise ValueError(f'{op}: state_dtype must be None, "bfloat16" or "uint8", got {full["state_dtype"]!r}.')
    if type(full["seed"]) is not int or not 0 <= full["seed"] < 2**64:
        raise ValueError(f"{op}: seed must be an integer in [0, 2^64), got {full['seed']!r}.")
    return full


def check_parameter(op: str, i: int, parameter: Any, storage: Storage) -> None:
    """Raises unless the storage can hold this parameter."""
    dtype, precision = dtype_name(parameter), storage["precision"]
    wanted = FOR.get(precision, {dtype})
    if dtype not in wanted:
        raise TypeError(
            f'{op}: precision="{precision}" is for {" or ".join(sorted(wanted, reverse=True))} parameters, got params[{i}] of {dtype}.'
        )
    if storage["state_dtype"] is not None and dtype == "float64":
        raise TypeError(
            f"{op}: float64 parameters keep float64 state, got params[{i}] and state_dtype={storage['state_dtype']!r}."
        )


def kept_as(parameter: Any, storage: Storage, nonnegative: bool) -> str:
    """What the engine calls the way in which a tensor of this parameter's state is kept."""
    if storage["state_dtype"] == "bfloat16":
        return "bfloat16"
    if storage["state_dtype"] == "uint8" and math.prod(parameter.shape) >= SMALLEST_IN_BYTES:
        return "positive_bytes" if nonnegative else "bytes"
    return "wide"


def new_state(parameter: Any, kept: str, key: str) -> dict[str, Any]:
    """Zeros: {key: array}, and {key_scale: array} for bytes."""
    shape = tuple(parameter.shape)
    if kept == "wide":
        return {key: zeros_state(parameter)}
    if kept == "bfloat16":
        return {key: zeros(parameter, shape, "bfloat16")}
    size = math.prod(shape)
    return {key: zeros(parameter, shape, "uint8"), f"{key}_scale": zeros(parameter, (-(-size // SCALED),), "float32")}


def master_of(parameter: Any, storage: Storage) -> dict[str, Any]:
    """The master copy, or the lower halves (0: a bfloat16 is the upper half of itself), as a part of the state."""
    if storage["precision"] == "master":
        master = zeros_state(parameter)
        copy_into(master, parameter)
        return {"master": master}
    if storage["precision"] == "remainder":
        return {"remainder": zeros(parameter, (*parameter.shape, 2), "uint8")}
    return {}
