"""dk.init: bounds and deviations from the papers, gains, and draws that depend on the seed alone."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest

from dlkernels import init

DRAWS = [
    partial(init.uniform, low=-2.0, high=3.0),
    partial(init.normal, mean=1.0, std=2.0),
    init.xavier_uniform,
    init.xavier_normal,
    init.kaiming_uniform,
    init.kaiming_normal,
]


# SPEC.md 4.6: a layer 256 -> 128, and a convolution 64 -> 32 of 3 x 3
@pytest.mark.parametrize(
    ("draw", "shape", "bound"),
    [
        (init.xavier_uniform, (128, 256), 0.125),
        (init.kaiming_uniform, (128, 256), 0.153093108924),
        (partial(init.kaiming_uniform, a=5**0.5), (128, 256), 0.0625),
        (init.xavier_uniform, (32, 64, 3, 3), 0.0833333333333),
        (init.kaiming_uniform, (32, 64, 3, 3), 0.102062072616),
    ],
)
def test_uniform_draws_fill_their_interval(draw, shape, bound):
    drawn = draw(shape, seed=0, dtype="float64")
    assert np.abs(drawn).max() <= bound * (1 + 1e-11)
    assert np.abs(drawn).max() > bound * 0.999  # of more than 18,000 draws
    # the mean of n draws of deviation b / sqrt(3) has deviation b / sqrt(3 n); five of them
    assert abs(drawn.mean()) < 5 * bound / math.sqrt(3 * drawn.size)


@pytest.mark.parametrize(
    ("draw", "shape", "std"),
    [
        (init.xavier_normal, (128, 256), 0.0721687836487),
        (init.kaiming_normal, (128, 256), 0.0883883476483),
        (partial(init.kaiming_normal, mode="fan_out"), (128, 256), math.sqrt(2 / 128)),
        (init.kaiming_normal, (32, 64, 3, 3), 0.0589255650989),
    ],
)
def test_normal_draws_have_their_deviation(draw, shape, std):
    drawn = draw(shape, seed=0, dtype="float64")
    # the sample deviation of n normal draws has relative deviation 1 / sqrt(2 n); five of them
    assert drawn.std() == pytest.approx(std, rel=5 / math.sqrt(2 * drawn.size))


def test_gains():
    expected = {
        "linear": 1, "conv2d": 1, "sigmoid": 1, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 0.75,
        "silu": 1.67653247033, "gelu": 1.5335304412, "elu": 1.2451983007, "mish": 1.48684758127,
    }  # fmt: skip
    for name, value in expected.items():
        assert init.gain(name) == pytest.approx(value, rel=1e-11)
    assert init.gain("leaky_relu") == pytest.approx(1.414142857, rel=1e-9)
    assert init.gain("leaky_relu", 0.2) == pytest.approx(1.38675049056, rel=1e-11)
    with pytest.raises(ValueError, match="nonlinearity must be one of"):
        init.gain("relu6")


@pytest.mark.parametrize("draw", DRAWS)
def test_a_draw_depends_on_its_seed_alone(draw):
    first = draw((7, 5), seed=3)
    assert np.array_equal(first, draw((7, 5), seed=3))
    assert not np.array_equal(first, draw((7, 5), seed=4))
    assert np.array_equal(first, draw((7, 5), seed=init.generator(3)))


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_every_dtype_is_the_same_draw_rounded_once(draw, dtype):
    wide = draw((9, 4), seed=1, dtype="float64")
    narrow = draw((9, 4), seed=1, dtype=dtype)
    assert narrow.dtype == np.dtype(dtype)
    assert np.array_equal(narrow, wide.astype(dtype))


def test_zeros_and_ones():
    assert not init.zeros((2, 3), seed=1).any()
    assert (init.ones((2, 3)) == 1).all()
    assert init.zeros((2,), dtype="float16").dtype == np.float16


def test_spawned_streams_differ_and_repeat():
    draws = [init.uniform((4,), seed=init.spawn(0, index)) for index in (0, 1)]
    assert not np.array_equal(*draws)
    assert np.array_equal(draws[1], init.uniform((4,), seed=init.spawn(0, 1)))
    nested = init.spawn(init.spawn(0, 1), 0)
    assert not np.array_equal(draws[0], init.uniform((4,), seed=nested))


def test_errors_say_what_was_wanted():
    with pytest.raises(ValueError, match=r"at least 2 axes.*got \(3,\)"):
        init.kaiming_uniform((3,), seed=0)
    with pytest.raises(ValueError, match='"fan_in" or "fan_out"'):
        init.kaiming_normal((3, 3), seed=0, mode="fan_avg")
    with pytest.raises(ValueError, match="callable or one of zeros"):
        init.get("he")


def test_constants_and_identities() -> None:
    assert (init.constant((2, 3), value=0.5) == np.float32(0.5)).all()
    np.testing.assert_array_equal(init.eye((2, 3)), np.eye(2, 3))
    kernel = init.dirac((4, 2, 3, 3), groups=2)
    x = np.random.default_rng(0).standard_normal((4, 5, 5))
    middle = kernel[:, :, 1, 1]
    np.testing.assert_array_equal(middle, [[1, 0], [0, 1], [1, 0], [0, 1]])
    assert kernel.sum() == 4
    assert x.shape[0] == 4
    for call in (lambda: init.eye((2, 2, 2)), lambda: init.dirac((2, 2)), lambda: init.dirac((3, 2, 3), groups=2)):
        with pytest.raises(ValueError, match=r"shape|groups"):
            call()


def test_truncated_normal() -> None:
    w = init.trunc_normal((300, 300), seed=0, dtype="float64", std=0.5, mean=0.1, a=-0.9, b=1.1)
    assert (w >= -0.9).all()
    assert (w <= 1.1).all()
    assert w.std() == pytest.approx(0.5 * 0.87962566103424, rel=0.01)
    assert w.mean() == pytest.approx(0.1, abs=0.01)
    with pytest.raises(ValueError, match="nothing falls there"):
        init.trunc_normal((3,), seed=0, a=9.0, b=10.0)


def test_lecun_and_orthogonal() -> None:
    w = init.lecun_normal((128, 256), seed=0, dtype="float64")
    assert w.std() == pytest.approx(1 / 16, rel=0.02)
    u = init.lecun_uniform((128, 256), seed=0, dtype="float64")
    assert np.abs(u).max() <= np.sqrt(3 / 256)
    for shape in ((20, 50), (50, 20), (8, 2, 3, 3)):
        q = init.orthogonal(shape, seed=1, dtype="float64", gain=2.0).reshape(shape[0], -1)
        gram = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
        np.testing.assert_allclose(gram, 4 * np.eye(len(gram)), atol=1e-12)
