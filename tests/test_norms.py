"""Normalization: values and gradients against the float64 definitions, worked examples, the same bits, extras and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numerics
import numpy as np
import pytest
from numerics import DTYPES, assert_same_bits, bound, compute_dtype

import dlkernels as dk

NORMS = [op for op in dk.ops.registry.values() if op.kind == "norm"]
VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors/normalization.json").read_text())
DIGITS = {"rtol": 1e-12, "atol": 1e-14}
SHAPES = [(5, 6), (3, 4, 33), (2, 6, 5, 7), (70, 8), (4, 6, 300)]


def shapes(op: Any) -> list[tuple[int, ...]]:
    """Shapes that the op accepts: one element per channel cannot be normalized."""
    return [s for s in SHAPES if op is not dk.instance_norm or len(s) > 2]


def options_of(op: Any, rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> dict[str, Any]:
    """Weight, bias and what else the op needs, for x of a shape."""
    n = shape[1] if op.channels else shape[-1]
    options: dict[str, Any] = {"weight": rng.uniform(0.5, 2, n).astype(dtype)}
    if op is not dk.rms_norm:
        options["bias"] = rng.standard_normal(n).astype(dtype)
    if op is dk.group_norm:
        options["num_groups"] = 2
    if op is dk.batch_norm:
        options["training"] = True
    return options


def gradient_options(op: Any, options: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k != "bias" or op.channels}


def scale_of(op: Any, exact: np.ndarray) -> np.ndarray:
    """The largest magnitude among elements that share statistics: bounds are in its ULP."""
    axes = (
        tuple(range(2, exact.ndim)) or (0,) if op.channels and op is not dk.batch_norm
        else (0, *range(2, exact.ndim)) if op.channels
        else (-1,)
    )  # fmt: skip
    if op is dk.group_norm:
        axes = tuple(range(1, exact.ndim))
    return np.max(np.abs(exact), axis=axes, keepdims=True)


def slope(op: Any, dy: np.ndarray, x: np.ndarray, options: dict[str, Any]) -> list[np.ndarray]:
    """Central differences of sum(dy y) with respect to x, weight and bias."""

    def loss(**changes: Any) -> Any:
        return np.sum(dy * op.reference(**{"x": x, **options, **changes}))

    names = ["x", *(n for n in ("weight", "bias") if n in options)]
    start = {"x": x, **options}
    return [numerics.central_difference(lambda v, n=n: loss(**{n: v}), start[n]) for n in names]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", NORMS, ids=lambda op: op.__name__)
def test_value(op: Any, dtype: str, target: str, rng: np.random.Generator) -> None:
    for shape in shapes(op):
        x = (3 * rng.standard_normal(shape) + 5).astype(DTYPES[dtype])
        options = options_of(op, rng, shape, DTYPES[dtype])
        wide = {k: v.astype(np.longdouble if dtype == "float64" else np.float64) if isinstance(v, np.ndarray) else v
                for k, v in options.items()}  # fmt: skip
        exact = op.reference(x.astype(np.longdouble if dtype == "float64" else np.float64), **wide)
        y = op(x, **options)
        assert y.dtype == x.dtype
        numerics.assert_within(y, exact, bound(op.ulp, dtype), dtype, hint=f"{shape}", scale=scale_of(op, exact))


@pytest.mark.parametrize("op", NORMS, ids=lambda op: op.__name__)
def test_gradients_are_slopes(op: Any, target: str, rng: np.random.Generator) -> None:
    for shape in shapes(op)[:3]:
        x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
        options = options_of(op, rng, shape, np.float64)
        got = op.backward(dy, x, **gradient_options(op, options))
        for g, e in zip(got, slope(op, dy, x, options), strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("op", [op for op in NORMS if op.channels], ids=lambda op: op.__name__)
def test_a_relu_in_the_same_pass(op: Any, target: str, rng: np.random.Generator) -> None:
    """Is a ReLU after, bit for bit; and passes no gradient where it cut."""
    for shape in shapes(op)[:3]:
        x, dy = rng.standard_normal(shape).astype(np.float32), rng.standard_normal(shape).astype(np.float32)
        options = options_of(op, rng, shape, np.float32)
        y = op(x, **options, activation="relu")
        assert_same_bits(y, dk.relu(op(x, **options)))
        masked = np.where(y > 0, dy, np.float32(0))
        fused, apart = op.backward(dy, x, **options, activation="relu"), op.backward(masked, x, **options)
        for g, e in zip(fused, apart, strict=True):
            assert_same_bits(g, e)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", NORMS, ids=lambda op: op.__name__)
def test_gradients_in_every_dtype(op: Any, dtype: str, target: str, rng: np.random.Generator) -> None:
    """Against float64 on the same values: dx within the stated bound, dweight and dbias in the compute type."""
    for shape in shapes(op):
        x = rng.standard_normal(shape).astype(DTYPES[dtype])
        dy = rng.standard_normal(shape).astype(DTYPES[dtype])
        options = gradient_options(op, options_of(op, rng, shape, DTYPES[dtype]))
        wide = {k: v.astype(np.float64) if isinstance(v, np.ndarray) else v for k, v in options.items()}
        exact = op.backward(dy.astype(np.float64), x.astype(np.float64), **wide)
        got = op.backward(dy, x, **options)
        assert [g.dtype for g in got] == [x.dtype] + [compute_dtype(dtype)] * (len(got) - 1)
        if dtype == "float64":
            continue
        numerics.assert_within(
            got[0], exact[0], bound(op.backward.ulp, dtype), dtype, hint=f"dx {shape}",
            scale=np.maximum(scale_of(op, exact[0]), 1.0),
        )  # fmt: skip
        for g, e in zip(got[1:], exact[1:], strict=True):
            np.testing.assert_allclose(g, e, rtol=2e-5, atol=2e-5 * np.max(np.abs(e)))


@pytest.mark.parametrize("op", NORMS, ids=lambda op: op.__name__)
def test_same_bits_everywhere(op: Any, threads: None, rng: np.random.Generator) -> None:
    """Targets, thread counts, strides, in place and with statistics given: one answer."""
    before = dk.get_target()
    try:
        for shape in [(67, 6, 40), (3, 4, 5000), *([(70, 8)] if op is not dk.instance_norm else [])]:
            for dtype in DTYPES.values():
                x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
                options = options_of(op, rng, shape, dtype)
                y, stats = op(x, **options, return_stats=True)
                grads = op.backward(dy, x, **gradient_options(op, options))
                for name in dk.targets():
                    dk.set_target(name)
                    for count in (1, 2, 3):
                        dk.set_num_threads(count)
                        strided = np.asfortranarray(x) if count == 2 else np.repeat(x, 2, axis=-1)[..., ::2]
                        assert_same_bits(op(strided, **options), y, f"{name} {count}")
                        with_stats = {"stats": stats} if count == 3 else {}
                        again = op.backward(dy, strided, **gradient_options(op, options), **with_stats)
                        for a, b in zip(again, grads, strict=True):
                            assert_same_bits(a, b, f"backward {name} {count}")
                inside = x.copy()
                assert op(inside, **options, out=inside) is inside
                assert_same_bits(inside, y)
                inside = dy.copy()
                op.backward(inside, x, **gradient_options(op, options), out=inside)
                assert_same_bits(inside, grads[0])
    finally:
        dk.set_target(before)


@pytest.mark.parametrize("op", [dk.layer_norm, dk.rms_norm], ids=lambda op: op.__name__)
@pytest.mark.parametrize("dtype", DTYPES)
def test_residual(op: Any, dtype: str, rng: np.random.Generator) -> None:
    """The sum is rounded first, so that the fused call is the two calls, bit for bit; and dh joins the gradient."""
    for shape in [(300, 257), (4, 5, 64), (64,), (0, 3)]:
        x, r, dy, dh = (rng.standard_normal(shape).astype(DTYPES[dtype]) for _ in range(4))
        w = rng.standard_normal(shape[-1]).astype(DTYPES[dtype])
        y, h = op(x, w, residual=r)
        assert_same_bits(h, x + r)
        assert_same_bits(y, op(h, w))
        dx, *_ = op.backward(dy, h, w, dh=dh)
        plain, *_ = op.backward(dy.astype(np.float64), h.astype(np.float64), w.astype(np.float64))
        exact = plain + dh.astype(np.float64)
        numerics.assert_within(dx, exact, bound(op.backward.ulp, dtype), dtype, scale=np.maximum(np.abs(exact), 1))


def example(name: str) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray]:
    v = VECTORS[name]
    x = np.array(v.get("x(3x4 row-major)", v.get("x"))).reshape(3, 4)
    return v, x, np.array(v.get("upstream", np.zeros(12))).reshape(3, 4), np.array(v["weight"])


def check(got: Any, v: dict[str, Any], *names: str) -> None:
    for g, name in zip(got if isinstance(got, tuple) else (got,), names, strict=False):
        np.testing.assert_allclose(np.ravel(g), np.ravel(v[name]), **DIGITS)


def test_examples_of_rows() -> None:
    v, x, dy, w = example("layer_norm")
    check(dk.layer_norm(x, w, np.array(v["bias"]), eps=v["eps"]), v, "y")
    check(dk.layer_norm.backward(dy, x, w, eps=v["eps"]), v, "dx", "dweight", "dbias")
    v, x, dy, w = example("rms_norm")
    check(dk.rms_norm(x, w, eps=v["eps"]), v, "y")
    check(dk.rms_norm.backward(dy, x, w, eps=v["eps"]), v, "dx", "dweight")
    v, x, _, w = example("fused_add_rms_norm")
    check(dk.rms_norm(x, w, eps=v["eps"], residual=np.array(v["residual"]).reshape(3, 4)), v, "y", "new_residual")


def test_examples_of_channels() -> None:
    v, x, dy, w = example("batch_norm_train")
    b, mean, var = np.array(v["bias"]), np.zeros(4), np.ones(4)
    check(dk.batch_norm(x, mean, var, w, b, training=True, eps=v["eps"]), v, "y")
    check(mean, v, "running_mean_after_momentum_0_1_from_0")
    check(var, v, "running_var_after_from_1_unbiased_torch")
    check(dk.batch_norm.backward(dy, x, weight=w, bias=b, training=True, eps=v["eps"]), v, "dx", "dweight", "dbias")
    v, x, dy, w = example("batch_norm_eval")
    running = [np.array(v[n]) for n in ("running_mean", "running_var")]
    check(dk.batch_norm(x, *running, w, np.array(v["bias"]), eps=v["eps"]), v, "y")
    check(dk.batch_norm.backward(dy, x, *running, w, np.array(v["bias"]), eps=v["eps"]), v, "dx")
    for name, extra in (("group_norm_N1_C4_L3_groups2", {"num_groups": 2}), ("instance_norm_N1_C4_L3", {})):
        op = dk.ops.registry[name[:13] if name.startswith("instance") else name[:10]]
        v, x, dy, w = example(name)
        x, dy, b = x.reshape(1, 4, 3), dy.reshape(1, 4, 3), np.array(v["bias"])
        check(op(x, weight=w, bias=b, eps=v["eps"], **extra), v, "y")
        check(op.backward(dy, x, weight=w, bias=b, eps=v["eps"], **extra), v, "dx", "dweight", "dbias")


def test_large_offsets_keep_their_digits() -> None:
    """E[x^2] - m^2 would have none left."""
    x = (np.linspace(-1, 1, 4096) + 4096).astype(np.float32)
    exact = dk.layer_norm.reference(x.astype(np.float64))
    np.testing.assert_allclose(dk.layer_norm(x), exact, atol=2e-3)
    np.testing.assert_allclose(dk.instance_norm(x[None, None])[0, 0], exact, atol=2e-3)


@pytest.mark.torch
@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_is_torch_s(training: bool, rng: np.random.Generator) -> None:
    import torch

    for shape in SHAPES:
        x, dy = rng.standard_normal(shape), rng.standard_normal(shape)
        n = shape[1]
        w, b, mean, var = rng.standard_normal(n), rng.standard_normal(n), rng.standard_normal(n), rng.uniform(1, 2, n)
        t = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
        theirs = [torch.tensor(mean), torch.tensor(var)]
        y = torch.nn.functional.batch_norm(t[0], *theirs, t[1], t[2], training, momentum=0.3, eps=1e-3)
        y.backward(torch.tensor(dy))
        ours = [mean.copy(), var.copy()]
        np.testing.assert_allclose(dk.batch_norm(x, *ours, w, b, training, 0.3, 1e-3), y.detach().numpy(), **DIGITS)
        for a, c in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, c.numpy(), **DIGITS)
        for g, leaf in zip(dk.batch_norm.backward(dy, x, mean, var, w, b, training, 1e-3), t, strict=True):
            np.testing.assert_allclose(g, leaf.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: dk.layer_norm(x, np.ones(5, np.float32)), ValueError, "must be the last dimensions of x"),
        (lambda x: dk.layer_norm(x, normalized_shape=(4, 5)), ValueError, "normalized_shape must be"),
        (lambda x: dk.layer_norm(x, np.ones(6)), TypeError, "weight must be float32"),
        (lambda x: dk.layer_norm(x, residual=x[:2]), ValueError, "residual must have"),
        (lambda x: dk.layer_norm.backward(x, x, stats=np.ones(4, np.float32)), TypeError, "stats must be the tuple"),
        (lambda x: dk.rms_norm(x, bias=x), TypeError, "unknown argument 'bias'"),
        (lambda x: dk.group_norm(x, 4), ValueError, "num_groups must divide the number of channels, 6"),
        (dk.batch_norm, TypeError, "running_mean and running_var are needed"),
        (lambda x: dk.batch_norm(x[:1], training=True), ValueError, "more than one value per channel"),
        (lambda x: dk.batch_norm(x, training=1), TypeError, "training must be a bool"),
        (lambda x: dk.batch_norm(x, np.zeros(6, np.float32), training=True), TypeError, "come together"),
        (dk.instance_norm, ValueError, "more than one value per channel"),
        (lambda x: dk.instance_norm(x[0]), ValueError, "at least 2 dimensions"),
        (lambda x: dk.instance_norm(x.reshape(2, 2, 6), activation="gelu"), ValueError, "activation must be"),
    ],
)  # fmt: skip
def test_refusals(call: Any, error: type[Exception], text: str) -> None:
    x = np.ones((4, 6), np.float32)
    with pytest.raises(error, match=text):
        call(x)


def test_a_refused_batch_norm_leaves_the_running_statistics_alone() -> None:
    x, mean, var = np.ones((4, 6), np.float32), np.zeros(6, np.float32), np.ones(6, np.float32)
    with pytest.raises(ValueError, match="out"):
        dk.batch_norm(x, mean, var, training=True, out=np.empty((4, 5), np.float32))
    assert not mean.any()
    assert (var == 1).all()


def test_running_statistics_are_arrays_of_their_own() -> None:
    x, w = np.arange(12.0).reshape(4, 3), np.ones(3)
    rm, rv = np.zeros(3), np.ones(3)
    before = x.copy()
    for mean, var, text in (
        (rm, rm, "running_mean shares memory with running_var"),
        (x[0], rv, "running_mean shares memory with x"),
        (rm, x[1], "running_var shares memory with x"),
        (w, rv, "running_mean shares memory with weight"),
    ):
        with pytest.raises(ValueError, match=text):
            dk.batch_norm(x, mean, var, w, training=True)
    assert_same_bits(x, before)
    assert (w == 1).all()
    assert not rm.any()
    y, (mean, _) = dk.batch_norm(x, rm, rv, return_stats=True)
    assert mean is not rm
    assert_same_bits(mean, rm)
    assert_same_bits(y, dk.batch_norm(x, rm, rv, w))


def test_residual_over_several_dimensions(rng: np.random.Generator) -> None:
    """The pieces are of rows, whatever dimensions those have."""
    x, r = rng.standard_normal((2, 3, 50, 1000)), rng.standard_normal((2, 3, 50, 1000))
    y, h = dk.layer_norm(x, residual=r)
    flat_y, flat_h = dk.layer_norm(x.reshape(-1, 1000), residual=r.reshape(-1, 1000))
    assert_same_bits(y.reshape(-1, 1000), flat_y)
    assert_same_bits(h.reshape(-1, 1000), flat_h)
    strided_y, _ = dk.layer_norm(np.asfortranarray(x), residual=r)
    assert_same_bits(np.ascontiguousarray(strided_y), y)
    numerics.assert_same_bits(dk.layer_norm(x, normalized_shape=[1000]), dk.layer_norm(x), "a list")


def test_empty_batches() -> None:
    x = np.ones((0, 6), np.float32)
    w = np.ones(6, np.float32)
    dx, dw, db = dk.layer_norm.backward(x, x, w)
    assert dx.shape == x.shape
    assert not dw.any()
    assert not db.any()
    dx, dw, db = dk.batch_norm.backward(x, x, np.zeros(6, np.float32), w, w, w)
    assert dx.shape == x.shape
    assert not dw.any()
    assert not db.any()


LAYERS = [
    (dk.nn.LayerNorm(6), (7, 6)),
    (dk.nn.LayerNorm((4, 6), bias=False), (3, 4, 6)),
    (dk.nn.RMSNorm(6), (7, 6)),
    (dk.nn.GroupNorm(2, 6), (3, 6, 5)),
    (dk.nn.InstanceNorm2d(6, affine=True), (3, 6, 4, 5)),
    (dk.nn.BatchNorm1d(6), (9, 6)),
    (dk.nn.BatchNorm2d(6, momentum=None), (3, 6, 4, 5)),
]


@pytest.mark.torch
@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=repr)
def test_layers_are_torch_s(layer: Any, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    """Two training passes, then inference: outputs, gradients and running statistics; and PyTorch loads the state."""
    import torch

    kind = type(layer).__name__
    args = {"GroupNorm": (2, 6), "LayerNorm": (shape[-1:] if layer.bias is not None else shape[1:],)}.get(kind, (6,))
    extra: dict[str, Any] = {
        "LayerNorm": {"bias": getattr(layer, "bias", None) is not None},
        "RMSNorm": {"eps": 1e-6},
    }.get(kind, {})
    extra |= {"affine": True} if kind == "InstanceNorm2d" else {}
    extra |= {"momentum": layer.momentum} if kind.startswith("Batch") else {}
    theirs = getattr(torch.nn, kind)(*args, **extra)
    for name, array in layer.parameters().items():
        array[...] = rng.uniform(0.5, 2, array.shape)
        getattr(theirs, name).data = torch.from_numpy(array.copy())
    for _ in range(2):
        x, dy = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
        tx = torch.tensor(x, requires_grad=True)
        theirs.zero_grad()
        theirs(tx).backward(torch.tensor(dy))
        layer.zero_grad()
        _, backprop = layer(x, train=True)
        np.testing.assert_allclose(backprop(dy), tx.grad.numpy(), rtol=1e-4, atol=1e-5)
        for name, gradient in zip(layer.parameters(), layer.grads(), strict=True):
            np.testing.assert_allclose(gradient, getattr(theirs, name).grad.numpy(), rtol=1e-4, atol=1e-5)
    theirs.eval()
    np.testing.assert_allclose(layer(x), theirs(torch.tensor(x)).detach().numpy(), rtol=1e-4, atol=1e-5)
    theirs.load_state_dict({k: torch.from_numpy(a.copy()) for k, a in layer.state_dict().items()})
    layer.load_state_dict(theirs.state_dict())
