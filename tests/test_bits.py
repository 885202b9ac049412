"""The same bits for every target, number of threads, offset and length; and for every pass of every op, driven by the registry.

Each test computes a result once, on the last target with one thread, contiguous and aligned, and compares bytes with everything else.
Every op meets every dtype, target, number of threads and offset here; what costs time meets them in turns (`in_turn`).
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numerics
import numpy as np
import pytest
from cases import LOSS_CASES, MAP_PASSES, RANDOM_OPS, ROW_OPS, Case, LossCase
from numerics import DTYPES

import dlkernels as dk

THREADS = (1, 2, 3, 8)
OFFSETS = range(16)
LENGTHS = range(71)
LONG = (2**18 - 1, 2**18, 2**18 + 1)  # eight shares of a thread, and one element about
LONGER = (10**6 - 1, 10**6, 10**6 + 1)
ROW_LENGTHS = (*range(1, 71), 255, 256, 257, 258, 1000, 4095, 4096, 4097, 10000)
PARALLEL_ROW_LENGTHS = (7, 70, 258, 1000, 4097, 10000)  # with enough rows for several threads

pytestmark = pytest.mark.usefixtures("threads")


@pytest.fixture(autouse=True)
def _restored_target() -> Iterator[None]:
    before = dk.get_target()
    yield
    dk.set_target(before)


def base(call: Callable[[], Any]) -> Any:
    """The result that all others are compared with."""
    dk.set_target(dk.targets()[-1])
    dk.set_num_threads(1)
    return call()


def everywhere(threads: tuple[int, ...] = THREADS) -> Iterator[str]:
    """Every target with every number of threads; yields a text for the failure."""
    for target, n in itertools.product(dk.targets(), threads):
        dk.set_target(target)
        dk.set_num_threads(n)
        yield f"{target}, {n} threads"


def in_turn(name: str) -> Iterator[str]:
    """Every target, each with another number of threads: which ones depends on the name, so that an op's dtypes and cases meet all."""
    first = zlib.crc32(name.encode())
    for i, target in enumerate(dk.targets()):
        dk.set_target(target)
        dk.set_num_threads(THREADS[(first + i) % len(THREADS)])
        yield f"{target}, {dk.get_num_threads()} threads"


def shifted(x: np.ndarray, by: int) -> np.ndarray:
    """A copy of x that begins `by` elements after a 64-byte boundary."""
    copy = numerics.aligned(x.size + by, x.dtype)
    copy[by:] = x
    return copy[by:]


def pair(dtype: str, n: int, domain: tuple[float, float], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(x, dy): x specials, every binade, and the domain, shuffled; dy uniform."""
    rng = np.random.default_rng(seed)
    x = rng.permutation(np.resize(np.append(numerics.samples(dtype, n, domain, rng), numerics.specials(dtype)), n))
    return x, rng.uniform(-2, 2, n).astype(DTYPES[dtype])


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize(("case", "name"), MAP_PASSES, ids=str)
def test_offsets_and_lengths(case: Case, name: str, dtype: str) -> None:
    f = case.passes()[name]
    span = OFFSETS[-1] + LENGTHS[-1]
    x, dy = pair(dtype, span, case.op.domain, 1)
    expected_row = base(lambda: f(dy, x))
    x, dy = shifted(x, 0), shifted(dy, 5)  # three different misalignments
    out = numerics.aligned((len(LENGTHS), len(OFFSETS), span + 32), DTYPES[dtype])
    out_bytes = out.view(np.uint8)
    out_bytes[:] = 0xA5
    expected = out.copy()
    calls = []
    for n, o in itertools.product(LENGTHS, OFFSETS):
        calls.append((dy[o : o + n], x[o : o + n], out[n, o, o + 11 : o + 11 + n]))
        expected[n, o, o + 11 : o + 11 + n] = expected_row[o : o + n]
    for where in everywhere():
        out_bytes[:] = 0xA5
        for arrays in calls:
            f(*arrays)
        numerics.assert_same_bits(out, expected, f"{case} {name}, {where}")


def long_calls(seed: int, every: bool) -> Iterator[tuple[str, int, int, int]]:
    """(target, threads, length, offset). Not `every`: four of each target, lengths and offsets going round from test to test."""
    for t, target in enumerate(dk.targets()):
        if every:
            yield from ((target, *rest) for rest in itertools.product(THREADS, LONGER, OFFSETS))
        else:
            for i, n in enumerate(THREADS):
                yield target, n, LONG[(i + t + seed) % 3], OFFSETS[(seed + 5 * i + 3 * t) % 16]


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["in-turn", "every"])
@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize(("case", "name"), MAP_PASSES, ids=str)
def test_long_arrays(case: Case, name: str, dtype: str, every: bool) -> None:
    f = case.passes()[name]
    seed = zlib.crc32(f"{case} {name} {dtype}".encode())
    x, dy = pair(dtype, (LONGER if every else LONG)[-1] + OFFSETS[-1], case.op.domain, seed)
    dk.set_target(dk.targets()[0])  # test_offsets_and_lengths has shown that targets agree, and will do so here
    dk.set_num_threads(1)
    whole = f(dy, x)
    x, dy = shifted(x, 0), shifted(dy, 5)
    for target, n, length, offset in long_calls(seed, every):
        dk.set_target(target)
        dk.set_num_threads(n)
        part = slice(offset, offset + length)
        out = numerics.aligned(length + offset + 1, x.dtype)[offset : offset + length]
        f(dy[part], x[part], out)
        numerics.assert_same_bits(out, whole[part], f"{case} {name}, {target}, {n} threads, {length} from {offset}")


# --- rows ---------------------------------------------------------------------------------------------------------------


def rows_of(dtype: str, rows: int, columns: int, domain: tuple[float, float]) -> np.ndarray:
    rng = np.random.default_rng(columns)
    x = numerics.rounded(rng.uniform(*domain, (rows, columns)), dtype)
    if columns > 2:
        x[1, columns // 2] = -np.inf  # a masked class
        x[2, 0] = np.nan
    return x


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("op", ROW_OPS, ids=lambda op: op.__name__)
def test_rows(op: Any, dtype: str) -> None:
    work = []
    for columns in ROW_LENGTHS:
        x = rows_of(dtype, 5, columns, op.domain)
        dy = rows_of(dtype, 5, columns, (-2, 2))
        y, dx = base(lambda x=x, dy=dy: (op(x), op.backward(dy, op(x))))
        work.append((x, dy, y, dx))
    for where in everywhere((1, 3)):
        for i, (x, dy, y, dx) in enumerate(work):
            o = i % 16
            place = [shifted(a.ravel(), by).reshape(a.shape) for a, by in ((x, o), (dy, o + 5), (y, o + 9))]
            numerics.assert_same_bits(op(place[0]), y, f"{op.__name__} of {x.shape}, {where}")
            numerics.assert_same_bits(
                op.backward(place[1], place[2]), dx, f"{op.__name__}.backward of {x.shape}, {where}"
            )


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("columns", PARALLEL_ROW_LENGTHS)
@pytest.mark.parametrize("op", ROW_OPS, ids=lambda op: op.__name__)
def test_many_rows(op: Any, columns: int, dtype: str) -> None:
    rows = 100_000 // columns + 3
    x, dy = rows_of(dtype, rows, columns, op.domain), rows_of(dtype, rows, columns, (-2, 2))
    y, dx = base(lambda: (op(x), op.backward(dy, op(x))))
    for where in in_turn(f"{op.__name__} {columns} {dtype}"):
        numerics.assert_same_bits(op(x), y, f"{op.__name__}, {where}")
        numerics.assert_same_bits(op.backward(dy, y), dx, f"{op.__name__}.backward, {where}")
    # a row does not depend on its neighbors
    few = slice(rows // 2, rows // 2 + 2)
    numerics.assert_same_bits(op(x[few]), y[few], op.__name__)
    numerics.assert_same_bits(op.backward(dy[few], y[few]), dx[few], op.__name__)


# --- random -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("op", RANDOM_OPS, ids=lambda op: op.__name__)
def test_random_ops(op: Any, dtype: str) -> None:
    """The mask is a function of (seed, offset, index in C order): the same for every target, thread count, alignment and length."""
    x, dy = pair(dtype, LONG[-1], op.domain, 5)
    y, dx = base(lambda: (op(x, seed=2**40 + 7, offset=3), op.backward(dy, seed=2**40 + 7, offset=3)))
    assert 0.49 < np.mean(dx == 0) < 0.51
    for i, where in enumerate(everywhere()):
        for n in (*LENGTHS, *LONG):
            if n > LENGTHS[-1] and n != LONG[i % 3]:
                continue
            part = [shifted(a[:n], (i + n) % 16) for a in (x, dy)]
            numerics.assert_same_bits(op(part[0], seed=2**40 + 7, offset=3), y[:n], f"{op.__name__} of {n}, {where}")
            numerics.assert_same_bits(
                op.backward(part[1], seed=2**40 + 7, offset=3), dx[:n], f"{op.__name__}.backward, {where}"
            )


# --- losses -------------------------------------------------------------------------------------------------------------


def loss_passes(case: LossCase, arrays: tuple[np.ndarray, ...], options: dict[str, Any]) -> list[np.ndarray]:
    """value, (value, gradients), gradients for an upstream gradient."""
    value = case.op(*arrays, **options)
    again, grads = case.op.value_and_grad(*arrays, **options)
    back = case.op.backward(np.full_like(value, 1.5), *arrays, **options)
    return [value, again, *case.gradients(grads), *case.gradients(back)]


SHAPES = [
    (1,),
    (3, 1),
    (5, 2),
    (7, 17),
    (3, 255),
    (2, 256),
    (3, 257),
    (2, 1000),
    (2, 4096),
    (2, 4097),
    (4, 10000),
    (300, 70),
    (2500, 40),
]


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("case", LOSS_CASES, ids=str)
def test_losses(case: LossCase, dtype: str) -> None:
    rng = np.random.default_rng(3)
    work = []
    for shape in SHAPES if case.by_rows else SHAPES[1::4]:
        arrays, options = case.arrays(rng, shape, DTYPES[dtype])
        expected = base(lambda arrays=arrays, options=options: loss_passes(case, arrays, options))
        work.append((arrays, options, expected))
    for where in in_turn(f"{case} {dtype}"):
        for i, (arrays, options, expected) in enumerate(work):
            moved = tuple(shifted(a.ravel(), 1 + (i + 3 * k) % 15).reshape(a.shape) for k, a in enumerate(arrays))
            for got, want in zip(loss_passes(case, moved, options), expected, strict=True):
                numerics.assert_same_bits(got, want, f"{case} of {arrays[0].shape}, {where}")


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("case", [c for c in LOSS_CASES if c.name == c.options.get("reduction")], ids=str)
def test_long_losses(case: LossCase, dtype: str) -> None:
    rng = np.random.default_rng(4)
    for shape in [(30_001, 3), (4099, 10)] if case.by_rows else [(70_001,)]:
        arrays, options = case.arrays(rng, shape, DTYPES[dtype])
        dk.set_target(dk.targets()[0])
        dk.set_num_threads(1)
        expected = loss_passes(case, arrays, options)
        for where in in_turn(f"{case} {dtype} {shape}"):
            for got, want in zip(loss_passes(case, arrays, options), expected, strict=True):
                numerics.assert_same_bits(got, want, f"{case} of {shape}, {where}")


# --- optimizers ---------------------------------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": lambda p: dk.optim.SGD(p, lr=0.1),
    "SGD-decay-maximize": lambda p: dk.optim.SGD(p, lr=0.1, weight_decay=0.01, maximize=True),
    "SGD-momentum": lambda p: dk.optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "SGD-nesterov": lambda p: dk.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "AdamW": lambda p: dk.optim.AdamW(p, lr=0.01),
    "AdamW-options": lambda p: dk.optim.AdamW(p, lr=0.01, betas=(0.8, 0.99), eps=1e-3, weight_decay=0.1, maximize=True),
}
SIZES = (0, 1, 5, 16, 70, 257, 1000, 4095, 4097, 30_000, 70_001)


def trained(name: str, parts: list[np.ndarray], grads: list[list[np.ndarray]]) -> list[np.ndarray]:
    """Parameters and state after a step with each of `grads`; the parts are copied to odd places first."""
    params = [shifted(p, i % 16) for i, p in enumerate(parts)]
    optimizer = OPTIMIZERS[name](params)
    for step in grads:
        optimizer.step([shifted(g, (i + 7) % 16) for i, g in enumerate(step)])
    state = optimizer.state_dict()["state"]
    return params + [a for i in sorted(state) for a in state[i].values() if isinstance(a, np.ndarray)]


@pytest.mark.parametrize("dtype", list(DTYPES))
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name: str, dtype: str) -> None:
    rng = np.random.default_rng(6)
    parts = [rng.standard_normal(n).astype(DTYPES[dtype]) for n in SIZES]
    grads = [[rng.standard_normal(n).astype(DTYPES[dtype]) for n in SIZES] for _ in range(3)]
    expected = base(lambda: trained(name, parts, grads))
    for where in everywhere():
        for got, want in zip(trained(name, parts, grads), expected, strict=True):
            numerics.assert_same_bits(got, want, f"{name}, {where}")
    # Many tensors or one: the update of an element does not know its tensor.
    whole = trained(name, [np.concatenate(parts)], [[np.concatenate(step)] for step in grads])
    numerics.assert_same_bits(whole[0], np.concatenate(expected[: len(SIZES)]), f"{name}: one tensor")
