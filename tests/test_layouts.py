"""The layout of an array never changes a bit: fifteen of them against the contiguous call, for inputs and outputs; in place; prefixes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numerics
import numpy as np
import pytest
from cases import LOSS_CASES, MAP_PASSES, RANDOM_OPS, ROW_OPS, Case, LossCase
from numerics import DTYPES
from row_cases import RowCase

import dlkernels as dk

SHAPE = (4, 6, 10)


def _empty(shape: tuple[int, ...], like: np.ndarray) -> np.ndarray:
    return np.full(shape, 7, dtype=like.dtype)


def _misaligned(a: np.ndarray, by: int) -> np.ndarray:
    raw = np.empty(a.nbytes + 64, dtype=np.uint8)
    first = -raw.ctypes.data % 64 + by
    return raw[first : first + a.nbytes].view(a.dtype).reshape(a.shape)


# name -> a view of a's shape into new memory, to be filled with a. Each can also be an output, because no two elements share an address.
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "C": lambda a: _empty(a.shape, a),
    "F": lambda a: np.asfortranarray(_empty(a.shape, a)),
    "transposed": lambda a: _empty((a.shape[1], a.shape[0], a.shape[2]), a).transpose(1, 0, 2),
    "axes-permuted": lambda a: _empty((a.shape[1], a.shape[2], a.shape[0]), a).transpose(2, 0, 1),
    "last-axes-swapped": lambda a: _empty((a.shape[0], a.shape[2], a.shape[1]), a).swapaxes(1, 2),
    "step-2": lambda a: _empty((*a.shape[:-1], 2 * a.shape[-1]), a)[..., ::2],
    "step-3-first": lambda a: _empty((3 * a.shape[0], *a.shape[1:]), a)[1::3],
    "step-2-everywhere": lambda a: _empty(tuple(2 * n for n in a.shape), a)[::2, 1::2, ::2],
    "negative": lambda a: _empty(a.shape, a)[..., ::-1],
    "negative-everywhere": lambda a: _empty(a.shape, a)[::-1, ::-1, ::-1],
    "negative-step": lambda a: _empty((*a.shape[:-1], 3 * a.shape[-1]), a)[:, ::-1, ::-3],
    "sliced-rows": lambda a: _empty((*a.shape[:-1], a.shape[-1] + 5), a)[..., 2:-3],
    "sliced-middle": lambda a: _empty((a.shape[0], a.shape[1] + 3, a.shape[2]), a)[:, 1:-2],
    "misaligned-1": lambda a: _misaligned(a, 1),
    "misaligned-3": lambda a: _misaligned(a, 3),
}


def laid_out(name: str, a: np.ndarray) -> np.ndarray:
    view = LAYOUTS[name](a)
    assert view.shape == a.shape
    view[...] = a
    return view


def operands(dtype: str, domain: tuple[float, float], count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(11)
    size = int(np.prod(SHAPE))
    pool = np.append(numerics.samples(dtype, size, domain, rng), numerics.specials(dtype))
    return [rng.permutation(pool)[:size].reshape(SHAPE) for _ in range(count)]


def test_there_are_fifteen() -> None:
    assert len(LAYOUTS) == 15
    a = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    assert len({(laid_out(name, a).strides, laid_out(name, a).ctypes.data % 8) for name in LAYOUTS}) == 15


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize(("case", "name"), MAP_PASSES, ids=str)
def test_map(case: Case, name: str, dtype: str) -> None:
    f = case.passes()[name]
    dy, x = operands(dtype, case.op.domain, 2)
    expected = f(dy, x)
    for layout, empty in LAYOUTS.items():
        placed = laid_out(layout, x)
        numerics.assert_same_bits(f(dy, placed), expected, f"{case} {name}, x {layout}")
        numerics.assert_same_bits(f(laid_out(layout, dy), placed), expected, f"{case} {name}, both {layout}")
        out = empty(x)
        around = out.base.copy() if out.base is not None and out.base.dtype == x.dtype else None
        assert f(dy, x, out) is out
        numerics.assert_same_bits(out, expected, f"{case} {name}, out {layout}")
        if around is not None:  # nothing beside the view was written
            out[...] = around.dtype.type(7)
            numerics.assert_same_bits(out.base, around, f"{case} {name}, around {layout}")
        assert f(dy, placed, placed) is placed
        numerics.assert_same_bits(placed, expected, f"{case} {name}, in place {layout}")
        other = laid_out(layout, dy)
        if name != "value":
            f(other, x, other)
            numerics.assert_same_bits(other, expected, f"{case} {name}, in place of dy {layout}")


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize(("case", "name"), MAP_PASSES, ids=str)
def test_broadcast_input(case: Case, name: str, dtype: str) -> None:
    """A stride of 0 is fine to read."""
    f = case.passes()[name]
    dy, x = operands(dtype, case.op.domain, 2)
    for axis in range(3):
        wide = np.broadcast_to(np.take(x, [0], axis=axis), SHAPE)
        numerics.assert_same_bits(f(dy, wide), f(dy, wide.copy()), f"{case} {name}, stride 0 on axis {axis}")
    scalar = np.broadcast_to(x[0, 0, 0], SHAPE)
    numerics.assert_same_bits(f(scalar, scalar), f(scalar.copy(), scalar.copy()), f"{case} {name}, one element")


@pytest.mark.parametrize(("case", "name"), MAP_PASSES, ids=str)
def test_large_strided(case: Case, name: str) -> None:
    """Longer than a tile and than a thread's share."""
    f = case.passes()[name]
    rng = np.random.default_rng(12)
    dy, x = (rng.uniform(*case.op.domain, (300, 401)).astype(np.float32) for _ in range(2))
    expected = f(dy, x)
    for placed in (x.copy(order="F"), np.repeat(x, 2, axis=1)[:, ::2], np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1]):
        numerics.assert_same_bits(f(dy, placed), expected, f"{case} {name}, strides {placed.strides}")


@pytest.mark.parametrize(("case", "name"), MAP_PASSES, ids=str)
def test_prefix(case: Case, name: str) -> None:
    f = case.passes()[name]
    rng = np.random.default_rng(13)
    dy, x = (rng.uniform(*case.op.domain, 300).astype(np.float32) for _ in range(2))
    expected = f(dy, x)
    for k in range(300):
        numerics.assert_same_bits(f(dy[:k], x[:k]), expected[:k], f"{case} {name}, {k}")


def test_result_keeps_the_order_of_memory() -> None:
    x = np.zeros(SHAPE, np.float32)
    assert dk.relu(np.asfortranarray(x)).flags.f_contiguous
    assert dk.relu(x[:, :, ::2]).flags.c_contiguous


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("op", ROW_OPS, ids=lambda op: op.__name__)
def test_rows(op: Any, axis: int, dtype: str) -> None:
    dy, x = (a.clip(-30, 30) for a in operands(dtype, op.domain, 2))
    y = np.moveaxis(op(np.ascontiguousarray(np.moveaxis(x, axis, -1))), -1, axis)
    dx = np.moveaxis(op.backward(*(np.ascontiguousarray(np.moveaxis(a, axis, -1)) for a in (dy, y))), -1, axis)
    for layout, empty in LAYOUTS.items():
        placed, dy_placed, y_placed = (laid_out(layout, a) for a in (x, dy, y))
        hint = f"{op.__name__} axis {axis} {layout}"
        numerics.assert_same_bits(op(placed, axis=axis), y, hint)
        numerics.assert_same_bits(op.backward(dy_placed, y_placed, axis=axis), dx, f"{hint} backward")
        numerics.assert_same_bits(op.backward(dy, y_placed, axis=axis), dx, f"{hint} backward, y")
        out = empty(x)
        numerics.assert_same_bits(op(x, axis=axis, out=out), y, f"{hint} out")
        numerics.assert_same_bits(op(placed, axis=axis, out=placed), y, f"{hint} in place")
        numerics.assert_same_bits(op.backward(dy_placed, y, axis=axis, out=dy_placed), dx, f"{hint} in place of dy")
        numerics.assert_same_bits(op.backward(dy, y_placed, axis=axis, out=y_placed), dx, f"{hint} in place of y")


@pytest.mark.parametrize("shape", [(7, 300), (300, 7), (40, 5000)])
@pytest.mark.parametrize("op", ROW_OPS, ids=lambda op: op.__name__)
def test_columns(op: Any, shape: tuple[int, int], rng: np.random.Generator) -> None:
    """Along the first axis, tile after tile, with several threads."""
    x = rng.standard_normal(shape).astype(np.float32)
    numerics.assert_same_bits(op(x.T, axis=0), np.ascontiguousarray(op(x).T), op.__name__)
    numerics.assert_same_bits(op(np.ascontiguousarray(x.T), axis=0), np.ascontiguousarray(op(x).T), op.__name__)


@pytest.mark.parametrize("op", RANDOM_OPS, ids=lambda op: op.__name__)
def test_random(op: Any, rng: np.random.Generator) -> None:
    """Elements are counted in C order whatever lies where."""
    x = rng.standard_normal(SHAPE).astype(np.float32)
    expected = op(x, seed=5)
    for layout, empty in LAYOUTS.items():
        placed, out = laid_out(layout, x), empty(x)
        numerics.assert_same_bits(op(placed, seed=5), expected, layout)
        numerics.assert_same_bits(op(x, seed=5, out=out), expected, f"out {layout}")
        numerics.assert_same_bits(op(placed, seed=5, out=placed), expected, f"in place {layout}")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_losses(case: LossCase, dtype: str, rng: np.random.Generator) -> None:
    arrays, options = case.arrays(rng, SHAPE, DTYPES[dtype])
    op = case.op
    value, grads = op.value_and_grad(*arrays, **options)
    dy = np.asarray(rng.uniform(0.5, 2, value.shape)).astype(value.dtype)
    expected = [value, *case.gradients(grads)]
    back = case.gradients(op.backward(dy, *arrays, **options))
    for layout, empty in LAYOUTS.items():
        placed = [laid_out(layout, a) if a.shape == SHAPE else a.copy(order="F")[::-1].copy()[::-1] for a in arrays]
        numerics.assert_same_bits(op(*placed, **options), value, f"{case} {layout}")
        again, found = op.value_and_grad(*placed, **options)
        for got, want in zip((again, *case.gradients(found)), expected, strict=True):
            numerics.assert_same_bits(got, want, f"{case} {layout}")
        found = case.gradients(op.backward(dy.copy(order="F"), *placed, **options))
        for got, want in zip(found, back, strict=True):
            numerics.assert_same_bits(got, want, f"{case} {layout} backward")
        outs = tuple(empty(arrays[k]) for k in case.differentiable)
        in_place = tuple(placed[k] for k in case.differentiable)
        for where, out, given in (("out", outs, arrays), ("in place", in_place, placed)):
            numerics.assert_same_bits(
                op.value_and_grad(*given, **options, out=out if len(out) > 1 else out[0])[0],
                value,
                f"{case} {where} {layout}",
            )
            for got, want in zip(out, expected[1:], strict=True):
                numerics.assert_same_bits(got, want, f"{case} {where} {layout}")


@pytest.mark.parametrize("case", [c for c in LOSS_CASES if c.by_rows], ids=str)
def test_rows_on_any_axis(case: RowCase, rng: np.random.Generator) -> None:
    """The bits of the same rows with their dimension last."""
    name = "axis" if "axis" in inspect.signature(case.op).parameters else "axes"
    for axis in range(3):
        one = RowCase(case.op, {**case.options, name: axis}, case.target, case.weight)
        arrays, options = one.arrays(rng, SHAPE, np.float32)
        value, grads = case.op.value_and_grad(*arrays, **options)
        last = [np.ascontiguousarray(np.moveaxis(a, axis, -1)) if a.shape == SHAPE else a for a in arrays]
        value_last, grads_last = case.op.value_and_grad(*last, **{**options, name: -1})
        numerics.assert_same_bits(value, value_last, f"{case} axis {axis}")
        for grad, grad_last in zip(case.gradients(grads), case.gradients(grads_last), strict=True):
            numerics.assert_same_bits(np.moveaxis(grad, axis, -1), grad_last, f"{case} axis {axis}")
