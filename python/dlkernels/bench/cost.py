"""What a row must at least cost: the bytes that any implementation moves, and the operations of the definition."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from .forms import PLAIN
from .problem import Problem, check_shape, dtype_of, problem
from .row import BACKWARD, FROM_Y, THERE_AND_BACK, VALUE, VALUE_AND_GRAD, Row

# Operations of a pass in multiples of the value's: reverse mode does two of its own for each of the value's.
_OF_VALUE = {VALUE: 1, BACKWARD: 2, FROM_Y: 2, VALUE_AND_GRAD: 3, THERE_AND_BACK: 3}


def minimal_bytes(row: Row) -> int:
    """Each input read once, each output written once. A pass that is two calls reads its input twice: y must exist between them."""
    small = problem(row, check_shape(row))
    scale = float(np.prod(row.shape)) / float(np.prod(check_shape(row)))
    return round(scale * _bytes(small, row))


def _bytes(p: Problem, row: Row) -> float:
    given = sum(a.nbytes for a in p.arrays.values())
    grads = sum(p.arrays[name].nbytes for name in p.wrt)
    y = 0 if p.dy is None else p.dy.nbytes
    of_rows = {"rows": y, "random": 0}.get(p.op.kind, given)  # what the way back reads beside dy
    return {
        VALUE: given + y,
        BACKWARD: of_rows + y + grads,
        FROM_Y: 2 * y + grads,
        VALUE_AND_GRAD: given + grads,
        THERE_AND_BACK: given + y + of_rows + y + grads,
    }[row.part]


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


@functools.lru_cache(maxsize=None)
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


def itemsize(dtype: str) -> int:
    """Bytes of a number."""
    return int(dtype_of(dtype).itemsize)
