"""Min-max scaling and standardization: worked examples, scikit-learn, streams, NaN and constants, dtypes, errors."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import numerics
import numpy as np
import pytest
from numerics import DTYPES
from sklearn import preprocessing

import dlkernels as dk

EXAMPLES = json.loads((Path(__file__).parent / "vectors" / "normalization.json").read_text())
DIGITS = {"rtol": 1e-12, "atol": 1e-15}

OURS = {
    "min-max": dk.MinMaxScaler,
    "standard": dk.StandardScaler,
}
THEIRS = {"min-max": preprocessing.MinMaxScaler, "standard": preprocessing.StandardScaler}
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("min-max", {}),
    ("min-max", {"feature_range": (-1, 3)}),
    ("min-max", {"clip": True}),
    ("standard", {}),
    ("standard", {"with_mean": False}),
    ("standard", {"with_std": False}),
    ("standard", {"with_mean": False, "with_std": False}),
]
ATTRIBUTES = {
    "min-max": ["data_min_", "data_max_", "data_range_", "scale_", "min_", "n_samples_seen_", "n_features_in_"],
    "standard": ["mean_", "var_", "scale_", "n_samples_seen_", "n_features_in_"],
}
every_option = pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
both = pytest.mark.parametrize("name", list(OURS))


def data(rng: np.random.Generator, rows: int = 200, *, gaps: bool = True) -> np.ndarray:
    """Features of many sizes, two constants, and gaps."""
    x = rng.normal(size=(rows, 7)) * 10.0 ** np.arange(-3, 4) + rng.normal(size=7) * 100
    x[:, 2], x[:, 5] = 0.1, 0.0
    if gaps:
        x[rng.random(x.shape) < 0.1] = np.nan
    return x


def agree(ours: Any, theirs: Any, name: str) -> None:
    for attribute in ATTRIBUTES[name]:
        mine, wanted = getattr(ours, attribute), getattr(theirs, attribute)
        assert (mine is None) == (wanted is None), attribute
        if wanted is not None:
            np.testing.assert_allclose(mine, wanted, rtol=1e-11, atol=1e-25, err_msg=attribute)


# --- worked examples --------------------------------------------------------------------------------------------------------


def test_examples(target: str) -> None:
    example = EXAMPLES["min_max_scale"]
    x = np.array(example["x"])
    np.testing.assert_allclose(dk.min_max_scale(x), example["0_1"], **DIGITS)
    np.testing.assert_allclose(dk.min_max_scale(x, (-1, 1)), example["-1_1"], **DIGITS)
    np.testing.assert_allclose(dk.MinMaxScaler((-1, 1)).fit_transform(x[:, None])[:, 0], example["-1_1"], **DIGITS)
    pixels = dk.min_max_scale(x.astype(np.uint8), (-1, 1), dtype="float64")
    np.testing.assert_allclose(pixels, example["-1_1"], **DIGITS)
    example = EXAMPLES["standardize"]
    x = np.array(example["x"])
    np.testing.assert_allclose(dk.standardize(x), example["z_population"], rtol=1e-12, atol=1e-14)
    scaler = dk.StandardScaler().fit(x[:, None])
    np.testing.assert_allclose(scaler.transform(x[:, None])[:, 0], example["z_population"], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(
        [scaler.mean_[0], scaler.scale_[0]], [example["mean"], example["std_population"]], **DIGITS
    )


# --- scikit-learn -------------------------------------------------------------------------------------------------------------


@every_option
@pytest.mark.parametrize("gaps", [False, True])
def test_sklearn(name: str, options: dict[str, Any], gaps: bool, target: str, rng: np.random.Generator) -> None:
    x, new = data(rng, gaps=gaps), data(rng, 50)
    ours, theirs = OURS[name](**options).fit(x), THEIRS[name](**options).fit(x)
    agree(ours, theirs, name)
    scale = 1e-10
    np.testing.assert_allclose(ours.transform(new), theirs.transform(new), rtol=1e-9, atol=scale)
    np.testing.assert_allclose(ours.fit_transform(x), theirs.transform(x), rtol=1e-9, atol=scale)
    np.testing.assert_allclose(
        ours.inverse_transform(theirs.transform(new)),
        theirs.inverse_transform(theirs.transform(new)),
        rtol=1e-9,
        atol=scale,
    )
    if not options.get("clip"):
        np.testing.assert_allclose(ours.inverse_transform(ours.transform(x)), x, rtol=1e-9, atol=scale)


@both
@pytest.mark.parametrize("step", [1, 7, 64, 1000])
def test_streams(name: str, step: int, rng: np.random.Generator) -> None:
    x = data(rng, 300)
    ours, theirs = OURS[name](), THEIRS[name]()
    for i in range(0, len(x), step):
        assert ours.partial_fit(x[i : i + step]) is ours
    agree(ours, OURS[name]().fit(x), name)
    agree(ours, theirs.fit(x), name)  # its partial_fit makes NaN of a batch without a number, so:
    x = data(rng, 300, gaps=False)
    ours, theirs = OURS[name](), THEIRS[name]()
    for i in range(0, len(x), step):
        agree(ours.partial_fit(x[i : i + step]), theirs.partial_fit(x[i : i + step]), name)
    ours.fit(x[:50])  # forgets
    agree(ours, THEIRS[name]().fit(x[:50]), name)


def test_blocks_are_merged_exactly(rng: np.random.Generator) -> None:
    """More than one internal block; variance far below the mean."""
    x = rng.normal(size=(700_001, 3)) + np.array([0, 1e4, 1e8])
    scaler = dk.StandardScaler().fit(x)
    exact = x.astype(np.longdouble)
    mean = exact.mean(axis=0)
    np.testing.assert_allclose(scaler.mean_, mean.astype(float), rtol=1e-14, atol=1e-12)
    np.testing.assert_allclose(scaler.var_, ((exact - mean) ** 2).mean(axis=0).astype(float), rtol=1e-12)
    assert scaler.n_samples_seen_ == len(x)
    assert np.array_equal(dk.MinMaxScaler().fit(x).data_max_, x.max(axis=0))


# --- special columns ------------------------------------------------------------------------------------------------------------


@both
def test_constant_and_missing_columns(name: str) -> None:
    x = np.array([[0.1, np.nan, 5.0], [0.1, np.nan, np.nan], [0.1, np.nan, np.nan]])
    scaler = OURS[name]().fit(x)
    y = scaler.transform(x)
    assert np.array_equal(scaler.scale_, [1, np.nan, 1], equal_nan=True)
    assert np.array_equal(y, [[0, np.nan, 0], [0, np.nan, np.nan], [0, np.nan, np.nan]], equal_nan=True)
    assert np.array_equal(scaler.inverse_transform(y), x, equal_nan=True)


def test_the_ends_of_the_range() -> None:
    x = np.array([[1e8, -3.0], [1e8 + 1, 5.0], [1e8 + 3, 7.0]])
    y = dk.MinMaxScaler((-1, 1)).fit_transform(x)
    assert (y[0] == -1).all()
    np.testing.assert_allclose(y[2], 1, rtol=1e-15)
    clipped = dk.MinMaxScaler((-1, 1), clip=True).fit(x)
    assert np.array_equal(
        clipped.transform(np.array([[0.0, 1e9], [np.nan, np.inf]])), [[-1, 1], [np.nan, 1]], equal_nan=True
    )


def test_infinity_passes_through_a_transform() -> None:
    y = dk.StandardScaler().fit(np.array([[0.0], [2.0]])).transform(np.array([[np.inf], [-np.inf], [np.nan], [3.0]]))
    assert np.array_equal(y, [[np.inf], [-np.inf], [np.nan], [2]], equal_nan=True)


# --- dtypes and functions ---------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("dtype", [*DTYPES, "uint8"])
def test_dtypes(name: str, dtype: str, target: str, rng: np.random.Generator) -> None:
    x = rng.integers(0, 256, (60, 5)).astype(np.uint8).astype(DTYPES.get(dtype, np.uint8))
    scaler, wide = OURS[name]().fit(x), OURS[name]().fit(x.astype(np.float64))
    agree(scaler, wide, name)
    exact = wide.transform(x.astype(np.float64))
    y = scaler.transform(x)
    assert y.dtype == DTYPES.get(dtype, np.float32)
    for kind in DTYPES:
        z = scaler.transform(x, dtype=DTYPES[kind])
        assert z.dtype == DTYPES[kind]
        numerics.assert_within(z, exact, 0.51, kind, scale=np.maximum(np.abs(exact), 1e-3))
        out = np.empty(x.shape, DTYPES[kind])
        assert scaler.transform(x, out=out) is out
        numerics.assert_same_bits(out, z)
    back = scaler.inverse_transform(exact, dtype="float32")
    np.testing.assert_allclose(back, x.astype(float), rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2, 3), (1, 3), None], ids=str)
def test_functions(axis: Any, target: str, rng: np.random.Generator) -> None:
    x = rng.normal(5, 3, size=(4, 3, 6, 5))
    x[0, 0, 0, 0] = np.nan
    if axis != (1, 3):
        x[1, :, 1, 1] = 7
    low, high = np.nanmin(x, axis=axis, keepdims=True), np.nanmax(x, axis=axis, keepdims=True)
    mean, std = np.nanmean(x, axis=axis, keepdims=True), np.nanstd(x, axis=axis, keepdims=True)
    extent, std = np.where(high == low, 1, high - low), np.where(std == 0, 1, std)
    np.testing.assert_allclose(dk.min_max_scale(x, (2, 5), axis), (x - low) / extent * 3 + 2, rtol=1e-12)
    np.testing.assert_allclose(dk.standardize(x, axis), (x - mean) / std, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(dk.standardize(x, axis, with_mean=False), x / std, rtol=1e-9)
    np.testing.assert_allclose(dk.standardize(x, axis, with_std=False), x - mean, rtol=1e-9, atol=1e-12)
    half = dk.standardize(x.astype(np.float16), axis, dtype="bfloat16")
    assert half.dtype == DTYPES["bfloat16"]


def test_images_in_one_call(target: str, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (50, 8, 8, 3), np.uint8)
    y = dk.standardize(pixels, axis=(0, 1, 2))
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2), dtype=np.float64), 0, atol=1e-7)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2), dtype=np.float64), 1, rtol=1e-6)


@both
def test_gradient(name: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 3))
    scaler = OURS[name]().fit(rng.normal(size=(9, 3)))
    dy = rng.normal(size=x.shape)
    expected = numerics.central_difference(lambda v: np.sum(dy * scaler.transform(v)), x)
    np.testing.assert_allclose(scaler.backward(dy), expected, rtol=1e-9)
    assert scaler.backward(dy, out=dy) is dy


# --- objects and errors -----------------------------------------------------------------------------------------------------------


@both
def test_copies_and_pickles(name: str, rng: np.random.Generator) -> None:
    x, more = data(rng), data(rng)
    scaler = OURS[name]().fit(x)
    for twin in (pickle.loads(pickle.dumps(scaler)), copy.deepcopy(scaler)):
        numerics.assert_same_bits(twin.transform(x), scaler.transform(x))
        agree(twin.partial_fit(more), OURS[name]().fit(np.vstack([x, more])), name)
    assert name.split("-", maxsplit=1)[0] in repr(scaler).lower()


@both
@pytest.mark.torch
def test_torch(name: str) -> None:
    import torch

    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    y = OURS[name]().fit_transform(x)
    assert isinstance(y, torch.Tensor)
    np.testing.assert_allclose(y.numpy(), THEIRS[name]().fit_transform(x.numpy()), rtol=1e-6)


@both
def test_errors(name: str) -> None:
    x = np.ones((3, 2))
    new = OURS[name]()
    where = type(new).__name__
    for method in ("transform", "inverse_transform", "backward"):
        with pytest.raises(
            RuntimeError, match=rf"{where}.{method}: nothing has been learned yet. Call fit\(X\) first."
        ):
            getattr(new, method)(x)
    fitted = OURS[name]().fit(x)
    for method in ("transform", "inverse_transform", "backward", "partial_fit"):
        with pytest.raises(ValueError, match=f"{where}.{method}: X has 3 features, but the scaler has learned from 2"):
            getattr(fitted, method)(np.ones((4, 3)))
        with pytest.raises(ValueError, match=r"X must have shape \(n_samples, n_features\), got \(2,\)"):
            getattr(fitted, method)(np.ones(2))
        with pytest.raises(TypeError, match="X must be an array, got list"):
            getattr(fitted, method)([[1.0, 2.0]])
    for bad in (np.inf, -np.inf):
        with pytest.raises(ValueError, match="infinity cannot be scaled"):
            new.fit(np.array([[1.0, 2.0], [bad, 3.0]]))
    with pytest.raises(ValueError, match="X is empty, of shape"):
        new.fit(np.empty((0, 2)))
    for dtype in ("int64", "bool", "complex128", "uint16", "object"):
        with pytest.raises(TypeError, match=f"X must be a float array or uint8, got {dtype}"):
            new.fit(x.astype(dtype))
    assert np.array_equal(fitted.transform(x), np.zeros((3, 2)))


def test_a_failed_batch_leaves_the_statistics() -> None:
    scaler = dk.StandardScaler().fit(np.array([[0.0], [2.0]]))
    with pytest.raises(ValueError, match="infinity"):
        scaler.partial_fit(np.append(np.full(1_100_000, 5.0), np.inf)[:, None])  # refused in its second block
    scaler.partial_fit(np.array([[4.0]]))
    np.testing.assert_allclose([scaler.mean_[0], scaler.var_[0], scaler.n_samples_seen_], [2, 8 / 3, 3])


@pytest.mark.parametrize("bad", [(1, 1), (2, 0), (0, np.inf), (-np.inf, 0), (np.nan, 1)])
def test_errors_of_the_range(bad: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="feature_range must be"):
        dk.MinMaxScaler(bad)
    with pytest.raises(ValueError, match="feature_range must be"):
        dk.min_max_scale(np.ones(3), bad)


def test_errors_of_the_functions() -> None:
    for function in (dk.min_max_scale, dk.standardize):
        with pytest.raises(ValueError, match="infinity cannot be scaled"):
            function(np.array([1.0, np.inf]))
        with pytest.raises(TypeError, match="must be a float array or uint8, got int64"):
            function(np.ones(3, int))
        with pytest.raises(ValueError, match=r"axis must be in \[-1, 1\)"):
            function(np.ones(3), axis=1)
        with pytest.raises(ValueError, match="is empty"):
            function(np.ones((0, 3)))
    with pytest.raises(ValueError, match="a clipped transform forgets where it clipped"):
        dk.MinMaxScaler(clip=True).fit(np.ones((2, 1))).backward(np.ones((2, 1)))
