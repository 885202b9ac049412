"""The exact Euclidean distance transform against its definition, SciPy and extended precision; layouts, edges, bits, errors."""

from __future__ import annotations

import itertools
from typing import Any

import numerics
import numpy as np
import pytest
from scipy import ndimage

import dlkernels as dk

edt = dk.distance_transform_edt
SHAPES = [(1,), (2,), (9,), (70,), (1, 1), (1, 9), (9, 1), (7, 9), (16, 17), (3, 4, 5), (9, 8, 7), (2, 3, 2, 3)]
RARE, MIXED, DENSE = 0.03, 0.5, 0.9  # share of the background


def masks(rng: np.random.Generator, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Random masks, each with at least one background element."""
    found = []
    for share in (RARE, MIXED, DENSE):
        mask = rng.random(shape) >= share
        mask.flat[rng.integers(mask.size)] = False
        found.append(mask)
    return found


def spacings(rng: np.random.Generator, ndim: int) -> list[Any]:
    """None, one number, whole numbers, odd numbers."""
    return [
        None,
        3.0,
        tuple(rng.integers(1, 6, ndim)),
        tuple(rng.uniform(0.1, 5, ndim)),
        10.0 ** rng.uniform(-9, 9, ndim),
    ]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_definition(shape: tuple[int, ...], target: str, rng: np.random.Generator) -> None:
    for mask, spacing in itertools.product(masks(rng, shape), spacings(rng, len(shape))):
        exact = edt.reference(mask, spacing)
        numerics.assert_within(edt(mask, spacing), exact, edt.ulp, "float64", x=mask, hint=str(spacing))


@pytest.mark.parametrize("shape", [*SHAPES[:-1], (1000,), (40, 50), (12, 13, 14), (100, 3)], ids=str)
def test_scipy(shape: tuple[int, ...], target: str, rng: np.random.Generator) -> None:
    for mask, spacing in itertools.product(masks(rng, shape), spacings(rng, len(shape))):
        theirs = ndimage.distance_transform_edt(mask, sampling=spacing)
        numerics.assert_within(edt(mask, spacing), theirs, edt.ulp, "float64", hint=str(spacing))


@pytest.mark.parametrize("shape", [(300, 200), (40, 30, 50)], ids=str)
@pytest.mark.parametrize("spacing", [1, 3, (2, 1, 5)], ids=str)
def test_whole_numbers_are_exact(shape: tuple[int, ...], spacing: Any, target: str, rng: np.random.Generator) -> None:
    """The square root of a whole number, correctly rounded."""
    spacing = spacing[: len(shape)] if isinstance(spacing, tuple) else spacing
    for mask in masks(rng, shape):
        nearest = ndimage.distance_transform_edt(mask, sampling=spacing, return_distances=False, return_indices=True)
        steps = (np.indices(shape) - nearest).astype(np.int64) * np.reshape(
            np.ones(len(shape), int) * spacing, (-1, *[1] * len(shape))
        )
        assert np.array_equal(edt(mask, spacing), np.sqrt(np.sum(steps**2, axis=0)))


def test_large_offsets_are_exact(target: str) -> None:
    """Far from the origin of a line and far from its parabola's vertex, no digit is lost."""
    n = 300_001
    mask = np.ones((2, n), bool)
    mask[0, [7, n - 5]] = mask[1, n // 2] = False
    p = np.arange(n)
    near = np.minimum(abs(p - 7), abs(p - (n - 5)))
    middle = abs(p - n // 2)
    expected = [np.minimum(near**2, middle**2 + 1), np.minimum(near**2 + 1, middle**2)]
    assert np.array_equal(edt(mask), np.sqrt(expected))


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_what_a_mask_may_be(dtype: Any, target: str, rng: np.random.Generator) -> None:
    mask = (rng.random((40, 33)) < 0.9).astype(dtype)
    if dtype is np.uint8:
        mask *= rng.integers(1, 256, mask.shape, np.uint8)
    assert np.array_equal(edt(mask), edt(mask != 0))
    assert np.array_equal(edt(mask), edt.reference(mask))


def test_no_background_is_infinitely_far(target: str) -> None:
    assert (edt(np.ones((3, 4), bool)) == np.inf).all()
    assert (edt(np.ones(5, bool)) == np.inf).all()
    assert (edt.reference(np.ones((3, 4), bool)) == np.inf).all()
    assert (edt(np.zeros((3, 4), bool)) == 0).all()


def test_batches(target: str, rng: np.random.Generator) -> None:
    mask = rng.random((3, 2, 8, 9)) < 0.9
    mask[1, 1] = True
    spacing = (0.5, 1.5)
    d = edt(mask, spacing, axes=(2, 3))
    for b, k in np.ndindex(3, 2):
        expected = edt(mask[b, k], spacing) if (b, k) != (1, 1) else np.full((8, 9), np.inf)
        assert np.array_equal(d[b, k], expected)
    numerics.assert_within(d, edt.reference(mask, spacing, axes=(2, 3)), edt.ulp, "float64")
    assert np.array_equal(d, edt(mask, spacing[::-1], axes=(-1, -2)))
    one = edt(mask, 2.0, axes=1)
    numerics.assert_within(one, edt.reference(mask, 2.0, axes=(1,)), edt.ulp, "float64")
    numerics.assert_within(edt(mask, axes=[0, 3]), edt.reference(mask, axes=(0, 3)), edt.ulp, "float64")


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (2, 0, 3)], ids=str)
def test_empty(shape: tuple[int, ...], target: str) -> None:
    d = edt(np.ones(shape, bool))
    assert d.shape == shape
    assert d.dtype == np.float64
    assert edt(np.ones((3, 0), bool), axes=0).shape == (3, 0)


def views(whole: np.ndarray) -> dict[str, np.ndarray]:
    """Layouts of one (6, 11, 10) array that are not contiguous."""
    wide = np.zeros((6, 22, 30), whole.dtype)
    wide[:, ::2, ::3] = whole
    return {
        "steps": wide[:, ::2, ::3],
        "reversed": whole[::-1, ::-1].copy()[::-1, ::-1],
        "fortran": np.asfortranarray(whole),
        "transposed": whole.transpose(1, 2, 0).copy().transpose(2, 0, 1),
    }


def test_layouts(target: str, rng: np.random.Generator) -> None:
    mask = rng.random((6, 11, 10)) < 0.9
    expected = edt(mask, (1.0, 0.3, 2.0))
    for name, view in views(mask).items():
        assert np.array_equal(edt(view, (1.0, 0.3, 2.0)), expected), name
    for name, out in views(np.empty(mask.shape)).items():
        assert edt(mask, (1.0, 0.3, 2.0), out=out) is out
        assert np.array_equal(out, expected), name
    row = np.broadcast_to(mask[0, 0], (4, 10))
    assert np.array_equal(edt(row), edt(row.copy()))


@pytest.mark.parametrize("shape", [(500,), (30, 40), (9, 8, 7)], ids=str)
def test_float32(shape: tuple[int, ...], target: str, rng: np.random.Generator) -> None:
    """Squares are float64 all the way; only the result is rounded."""
    mask = masks(rng, shape)[0]
    out = np.empty(shape, np.float32)
    assert edt(mask, 0.7, out=out) is out
    assert np.array_equal(out, edt(mask, 0.7).astype(np.float32))
    spread = np.empty((*shape, 2), np.float32)[..., 0]
    assert np.array_equal(edt(mask, 0.7, out=spread), out)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("shape", [(1_000_003,), (997, 1000), (3, 300_000), (300_000, 3), (90, 101, 110)], ids=str)
def test_the_same_bits(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    mask = rng.random(shape) < 0.999
    spacing = tuple(rng.uniform(0.2, 3, len(shape)))
    before, results = dk.get_target(), []
    for target, n in itertools.product(dk.targets(), (1, 2, 3, 8)):
        dk.set_target(target)
        dk.set_num_threads(n)
        results.append(edt(mask, spacing))
    dk.set_target(before)
    for other in results[1:]:
        numerics.assert_same_bits(other, results[0])


@pytest.mark.torch
def test_a_torch_mask_gives_a_torch_tensor() -> None:
    import torch

    d = edt(torch.tensor([[True, True, False], [True, True, True]]))
    assert torch.equal(d, torch.tensor([[2, 1, 0], [5**0.5, 2**0.5, 1]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("kind", "text", "mask", "options"),
    [
        (TypeError, "mask must be bool or uint8 (0 is background), got float32. Compare it: mask != 0.", np.ones(3, "f4"), {}),
        (TypeError, "mask must be bool or uint8", np.ones(3, "i8"), {}),
        (TypeError, "mask must be a NumPy", [True, False], {}),
        (TypeError, "argument 'mask' is missing", None, {}),
        (TypeError, "sampling must be a real number", np.ones(3, bool), {"sampling": "1"}),
        (TypeError, "axes must be an integer", np.ones(3, bool), {"axes": 0.0}),
        (ValueError, "at least one axis", np.array(True), {}),
        (ValueError, "at least one axis", np.ones((2, 2), bool), {"axes": ()}),
        (ValueError, "axes must be different, got 1 twice", np.ones((2, 2), bool), {"axes": (1, -1)}),
        (ValueError, "axis must be in [-2, 2)", np.ones((2, 2), bool), {"axes": (0, 2)}),
        (ValueError, "one for each of 2 axes, got 3 numbers", np.ones((2, 2), bool), {"sampling": (1, 1, 1)}),
        (ValueError, "sampling must be in [1e-100, 1e+100], got 0", np.ones((2, 2), bool), {"sampling": 0}),
        (ValueError, "sampling must be in", np.ones((2, 2), bool), {"sampling": (1, -1)}),
        (ValueError, "sampling must be in", np.ones((2, 2), bool), {"sampling": np.nan}),
        (TypeError, "out must be float32 or float64, got int64", np.ones(3, bool), {"out": np.ones(3, "i8")}),
        (ValueError, "out must have the shape of mask", np.ones(3, bool), {"out": np.ones(4)}),
        (ValueError, "out has several elements at one address", np.ones((2, 3), bool), {"out": np.broadcast_to(np.ones(3), (2, 3))}),
    ],
)  # fmt: skip
def test_errors(kind: type[Exception], text: str, mask: Any, options: dict[str, Any]) -> None:
    out = options.get("out")
    if out is not None and not out.flags.writeable:
        options = {"out": np.lib.stride_tricks.as_strided(np.ones(3), out.shape, out.strides, writeable=True)}
    with pytest.raises(kind) as caught:
        edt(**({} if mask is None else {"mask": mask}), **options)
    assert str(caught.value).startswith("distance_transform_edt: ")
    assert text in str(caught.value)


def test_out_may_not_overlap_the_mask() -> None:
    memory = np.ones(100)
    mask = memory.view(np.uint8)[:50]
    with pytest.raises(ValueError, match="out shares memory with mask"):
        edt(mask, out=memory[:50])
    with pytest.raises(ValueError, match="read-only"):
        edt(mask, out=np.frombuffer(bytes(400)))
