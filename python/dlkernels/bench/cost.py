"""What a row must at least cost: the bytes that any implementation moves, and the operations of the definition."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .forms import PLAIN
from .problem import CHANNELS, check_shape, problem
from .row import BACKWARD, FROM_Y, THERE_AND_BACK, VALUE, VALUE_AND_GRAD, Row

# Operations of a pass in multiples of the value's: reverse mode does two of its own for each of the value's.
_OF_VALUE = {VALUE: 1, BACKWARD: 2, FROM_Y: 2, VALUE_AND_GRAD: 3, THERE_AND_BACK: 3}


def minimal_bytes(row: Row) -> int:
    """Each input read once, each output written once. A pass that is two calls reads its input twice: y must exist between them."""
    small = problem(row, check_shape(row))

    def size(a: Any) -> int:
        """Of the array that stands where `a` stands, in the row's own shape."""
        if a.shape == check_shape(row):
            shape = row.shape
        elif a.shape == check_shape(row)[:-1]:
            shape = row.shape[:-1]
        else:  # one number for each channel or column
            shape = row.shape[1:2] if row.subject in CHANNELS else row.shape[-1:]
        return math.prod(shape) * int(a.itemsize)

    given = sum(size(a) for a in small.arrays.values())
    grads = sum(size(small.arrays[name]) for name in small.wrt)
    y = 0 if small.dy is None else size(small.dy)
    of_rows = {"rows": y, "random": 0}.get(small.op.kind, given)  # what the way back reads beside dy
    found: dict[str, int] = {
        VALUE: given + y,
        BACKWARD: of_rows + y + grads,
        FROM_Y: 2 * y + grads,
        VALUE_AND_GRAD: given + grads,
        THERE_AND_BACK: given + y + of_rows + y + grads,
    }
    return found[row.part]


class _Counted(np.ndarray):
    """An array whose arithmetic is counted: one for each number that a NumPy function makes or reduces."""

    operations = 0

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        bare = [np.asarray(x) if isinstance(x, _Counted) else x for x in inputs]
        kwargs.pop("out", None)
        result = getattr(ufunc, method)(*bare, **kwargs)
        made = np.size(bare[0]) if method == "reduce" else np.size(result[0] if isinstance(result, tuple) else result)
        _Counted.operations += made
        return _counted(result)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        result = super().__array_function__(func, [np.ndarray], args, kwargs)
        if func.__name__ in {"where", "clip"}:
            _Counted.operations += np.size(result)
        return _counted(result)


def _counted(result: Any) -> Any:
    if isinstance(result, tuple):
        return tuple(_counted(r) for r in result)
    return result.view(_Counted) if isinstance(result, np.ndarray) and result.dtype.kind == "f" else result


@functools.cache
def _operations_per_number(subject: str, shape: tuple[int, ...], options: tuple[tuple[str, Any], ...]) -> float:
    small = problem(Row(subject, VALUE, "float64", shape, options=dict(options)))
    _Counted.operations = 0
    arrays = {name: _counted(a) for name, a in small.arrays.items()}
    small.op.reference(**arrays, **small.options)
    if not _Counted.operations:  # a definition that makes plain arrays of what it gets: the peers' formula is the same
        PLAIN[subject](np, *arrays.values())
    return _Counted.operations / float(np.prod(shape))


def operations(row: Row) -> int:
    """Of the definition, an exp or a division counting one, times what the pass makes of it."""
    each = _operations_per_number(row.subject, check_shape(row), tuple(sorted(row.options.items())))
    return round(each * float(np.prod(row.shape)) * _OF_VALUE[row.part])
