"""Gated linear units: two arrays and one packed one, both gradients in one pass, which half is the gate, what may be overwritten."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import cases
import ml_dtypes
import mpmath
import numerics
import numpy as np
import pytest
import test_values
from numerics import DTYPES, EXTENDED

import dlkernels as dk

VECTORS = json.loads((Path(__file__).parent / "vectors" / "activations.json").read_text())
GATES = {
    "glu": (dk.glu, {}),
    "reglu": (dk.reglu, {}),
    "geglu": (dk.geglu, {}),
    "geglu_tanh": (dk.geglu, {"approximate": "tanh"}),
    "swiglu": (dk.swiglu, {}),
}
each_gate = pytest.mark.parametrize("name", GATES)
each_dtype = pytest.mark.parametrize("dtype", list(DTYPES))


def drawn(rng: np.random.Generator, shape: Any, dtype: str, count: int) -> list[np.ndarray]:
    return [numerics.rounded(rng.normal(0, 2.5, shape), dtype) for _ in range(count)]


def kernel_case(name: str) -> cases.Case:
    """The case of the activation that the gate applies."""
    return next(c for c in cases.MAP_CASES if c.kernel == {"geglu_tanh": "gelu_tanh"}.get(name, GATES[name][0].act))


@each_gate
def test_worked_example(name: str, target: str) -> None:
    op, options = GATES[name]
    example = VECTORS["glu_family"]
    wanted = example[name]
    gate, value = np.array([example["gate_half"]]), np.array([example["value_half"]])
    arrays = (gate, value) if op.gate_is_first else (value, gate)
    np.testing.assert_allclose(op(*arrays, **options), wanted["y"], rtol=1e-12)
    np.testing.assert_allclose(op.reference(*arrays, **options), wanted["y"], rtol=1e-12)
    gradients = op.backward(np.ones(1), *arrays, **options)
    names = ("d_gate", "d_value") if op.gate_is_first else ("d_value", "d_gate")
    for gradient, key in zip(gradients, names, strict=True):
        np.testing.assert_allclose(gradient, wanted[key], rtol=1e-12)


@each_dtype
@each_gate
def test_within_the_bound(name: str, dtype: str, target: str, rng: np.random.Generator) -> None:
    """Value and both gradients, against the activation's own definition and derivative."""
    op, options = GATES[name]
    case = kernel_case(name)
    if dtype == "float64" and case.kernel in {"gelu", "gelu_tanh"}:
        pytest.skip("the definition is no better than float64")
    gate, value, dy = drawn(rng, 20_000, dtype, 3)
    arrays = (gate, value) if op.gate_is_first else (value, gate)
    wide = EXTENDED if dtype == "float64" else np.float64
    act, slope = case.exact(gate.astype(wide), dtype), case.slope(gate.astype(wide), dtype)
    y = op(*arrays, **options)
    numerics.assert_within(y, value.astype(wide) * act, numerics.bound(op.ulp, dtype), dtype, x=gate, hint=name)
    gradients = op.backward(dy, *arrays, **options)
    dgate, dvalue = gradients if op.gate_is_first else gradients[::-1]
    bound = numerics.bound(op.backward.ulp, dtype)
    numerics.assert_within(dvalue, dy.astype(wide) * act, bound, dtype, x=gate, hint=f"{name} dvalue")
    exact = dy.astype(wide) * value.astype(wide) * slope
    numerics.assert_within(dgate, exact, bound, dtype, x=gate, hint=f"{name} dgate")


ROOTS = {"swiglu": -1.2784645427610738, "geglu": -0.7517915246935645, "geglu_tanh": -0.7524614220710163}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ROOTS)
def test_gradient_keeps_its_digits_next_to_its_root(name: str, dtype: str, target: str) -> None:
    """At the number nearest to the root of act', at its neighbors, and on both sides of where another formula begins."""
    op, options = GATES[name]
    case, root = kernel_case(name), np.array(ROOTS[name]).astype(dtype)
    steps = np.arange(-20, 21) * np.spacing(root)
    away = np.append(2.0 ** -np.arange(1.0, 22.0), [0.1875, 0.1874, 0.1876, 0.1249, 0.1251])
    gate = np.concatenate([root + steps, root + away, root - away]).astype(dtype)
    dy, value = np.resize([1.0, -1.9999, 1.4142, 3e30], gate.size), np.resize([1.0, 1.3333, -1.7321], gate.size)
    dy, value = dy.astype(dtype), value.astype(dtype)

    def exact(v: Any) -> Any:
        slope = test_values.MP_SLOPE.get(case.kernel)
        params = case.rounded_params(dtype)
        return slope(v, **params) if slope else mpmath.diff(lambda t: test_values.MP[case.kernel](t, **params), v)

    slope = test_values.from_mpmath(exact, gate, {})
    wanted = dy.astype(EXTENDED) * value.astype(EXTENDED) * slope
    dgate, _ = op.backward(dy, gate, value, **options)
    numerics.assert_within(dgate, wanted, numerics.bound(op.backward.ulp, dtype), dtype, x=gate, hint=name)
    assert (np.sign(dgate) == np.sign(wanted)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_gate
def test_gradients_are_those_of_the_activation(name: str, dtype: str, target: str) -> None:
    """Where they are no ordinary numbers, exactly: zeros and their signs, infinities, NaN. Elsewhere the two agree within both bounds."""
    op, options = GATES[name]
    act, act_options = kernel_case(name).op, {} if name not in {"geglu", "geglu_tanh"} else options
    gates = np.concatenate([numerics.specials(dtype), np.array([*ROOTS.values(), -20, 20, 90, -90, -104.5, -200, 300])])
    factors = numerics.specials(dtype)
    gate, dy = (a.ravel() for a in np.meshgrid(gates.astype(numerics.DTYPES[dtype]), factors))
    value = np.ones_like(gate)
    arrays = (gate, value) if op.gate_is_first else (value, gate)
    with np.errstate(all="ignore"):
        gradients = op.backward(dy, *arrays, **options)
        dgate, dvalue = gradients if op.gate_is_first else gradients[::-1]
        wanted = act.backward(dy, gate, **act_options), dy * act(gate, **act_options)
        for got, want, hint in zip((dgate, dvalue), wanted, ("dgate", "dvalue"), strict=True):
            ordinary = np.isfinite(want) & (want != 0)
            numerics.assert_same_bits(got[~ordinary], want[~ordinary], f"{name} {hint}")
            assert (np.signbit(got) == np.signbit(want))[ordinary].all()
            normal = ordinary & (np.abs(want) > 2 * float(ml_dtypes.finfo(dtype).tiny))
            error = numerics.ulp_error(got[normal], want[normal].astype(EXTENDED), dtype)
            assert error.max() <= 2 * numerics.bound(op.backward.ulp, dtype), (name, hint)


@pytest.mark.parametrize("name", ["geglu", "geglu_tanh", "swiglu"])
def test_gradient_of_the_value_is_a_product_with_the_activation(name: str, target: str) -> None:
    """From float32 numbers of every size: the activation that the backward pass computes beside its slope has the bits of the op."""
    op, options = GATES[name]
    rng = np.random.default_rng(8)
    gate = np.append(numerics.stratified("float32", 60_000, rng), numerics.specials("float32"))
    dy, value = (numerics.rounded(rng.normal(0, 2.5, gate.size), "float32") for _ in range(2))
    with np.errstate(all="ignore"):
        wanted = dy * kernel_case(name).op(gate, **({} if name == "swiglu" else options))
        numerics.assert_same_bits(op.backward(dy, gate, value, **options)[1], wanted, name)


@each_dtype
@each_gate
def test_packed_is_the_same_as_two_arrays(name: str, dtype: str, target: str, rng: np.random.Generator) -> None:
    op, options = GATES[name]
    for shape, axis in itertools.product([(6, 8), (4, 2, 10), (2, 4, 6), (2, 130), (3, 1302)], (0, 1, -1)):
        (x,) = drawn(rng, shape, dtype, 1)
        for packed in (x, np.asfortranarray(x), np.flip(x, 1)):
            if packed.shape[axis] % 2:
                continue
            first, second = (np.ascontiguousarray(half) for half in np.split(packed, 2, axis))
            wanted = op(first, second, **options)
            y = op(packed, axis=axis, **options)
            numerics.assert_same_bits(y, wanted, f"{name} {shape} {axis}")
            swapped = op(packed, axis=axis, gate_first=not op.gate_is_first, **options)
            numerics.assert_same_bits(swapped, op(second, first, **options), "gate_first")
            (dy,) = drawn(rng, wanted.shape, dtype, 1)
            both = np.concatenate(op.backward(dy, first, second, **options), axis)
            numerics.assert_same_bits(op.backward(dy, packed, axis=axis, **options), both, f"{name} backward")
            back = op.backward(dy, packed, axis=axis, gate_first=not op.gate_is_first, **options)
            other = np.concatenate(op.backward(dy, second, first, **options)[::-1], axis)
            numerics.assert_same_bits(back, other, "backward gate_first")


@each_gate
def test_gradients_are_slopes(name: str, target: str, rng: np.random.Generator) -> None:
    op, options = GATES[name]
    gate, value, dy = (rng.uniform(0.1, 2, 400) * rng.choice([-1, 1], 400) for _ in range(3))
    gradients = op.backward(dy, gate, value, **options)
    for k, got in enumerate(gradients):
        arrays = [gate, value]

        def f(v: np.ndarray, k: int = k, arrays: list[np.ndarray] = arrays) -> Any:
            return op.reference(*(v if j == k else a for j, a in enumerate(arrays)), **options)

        np.testing.assert_allclose(got, dy * numerics.central_difference(f, arrays[k]), rtol=1e-8, atol=1e-9)


@each_gate
def test_what_is_given_may_be_overwritten(name: str, target: str, rng: np.random.Generator) -> None:
    op, options = GATES[name]
    for n in (1, 37, 5000, 100_000):
        first, second, dy = drawn(rng, n, "float32", 3)
        y, wanted = op(first, second, **options), op.backward(dy, first, second, **options)
        for place in (0, 1):
            arrays = [first.copy(), second.copy()]
            assert op(*arrays, **options, out=arrays[place]) is arrays[place]
            numerics.assert_same_bits(arrays[place], y, "in place")
        for out in ((0, 1), (1, 0), (2, 0), (1, 2)):
            arrays = [first.copy(), second.copy(), dy.copy()]
            chosen = tuple(arrays[k] for k in out)
            got = op.backward(arrays[2], arrays[0], arrays[1], **options, out=chosen)
            for a, b, w in zip(got, chosen, wanted, strict=True):
                assert a is b
                numerics.assert_same_bits(a, w, f"{name} out={out}")
        packed = np.concatenate([first, second]).reshape(2, n)
        dx = op.backward(dy.reshape(1, n), packed, axis=0, **options, out=packed)
        assert dx is packed
        numerics.assert_same_bits(dx, np.stack(wanted), "packed in place")


@each_gate
def test_same_bits_on_every_target_and_thread_count(name: str, threads: None) -> None:
    op, options = GATES[name]
    home = dk.get_target()
    for dtype in DTYPES:
        rng = np.random.default_rng(5)
        (x,) = drawn(rng, (300, 514), dtype, 1)
        (dy,) = drawn(rng, (300, 257), dtype, 1)
        found = set()
        for name_, count in itertools.product(dk.targets(), (1, 3)):
            dk.set_target(name_)
            dk.set_num_threads(count)
            found.add(op(x, **options).tobytes() + op.backward(dy, x, **options).tobytes())
        dk.set_target(home)
        assert len(found) == 1, dtype


def test_edges(target: str) -> None:
    nan, inf = np.nan, np.inf
    one = np.ones(4)
    for op, options in GATES.values():
        gate, value = np.array([nan, 1.0, 1.0, -inf]), np.array([1.0, nan, inf, 2.0])
        y = op(*((gate, value) if op.gate_is_first else (value, gate)), **options)
        assert np.isnan(y[:2]).all()
        assert y[2] == inf
        assert y[3] == 0
        arrays = (gate, value) if op.gate_is_first else (value, gate)
        assert np.isnan(op.backward(one, *arrays, **options)[0][:2]).any()
        for empty in (np.empty((0,)), np.empty((3, 0))):
            assert op(empty, empty, **options).shape == empty.shape
            assert op(empty, **options).shape == empty.shape
            assert op.backward(empty, empty, **options).shape == empty.shape


def test_refusals() -> None:
    x, out = np.ones((4, 6), np.float32), np.ones((4, 3), np.float32)
    with pytest.raises(
        ValueError, match=r"swiglu: gate without up must hold both, in the halves of axis 0, .* got shape \(3, 6\)"
    ):
        dk.swiglu(x[:3], axis=0)
    with pytest.raises(ValueError, match="must hold both"):
        dk.glu(np.array(1, np.float32))
    with pytest.raises(ValueError, match=r"swiglu: axis must be in \[-2, 2\)"):
        dk.swiglu(x, axis=2)
    with pytest.raises(TypeError, match="gate_first must be a bool, got 1"):
        dk.swiglu(x, gate_first=1)
    with pytest.raises(ValueError, match=r"glu.backward: dy must have the shape of half of value"):
        dk.glu.backward(x, x)
    with pytest.raises(ValueError, match="swiglu: out shares memory with gate"):
        dk.swiglu(x, out=x[:, 1:4])
    assert dk.swiglu(x, out=x[:, :3]).shape == (4, 3)  # exactly one of the halves
    with pytest.raises(TypeError, match="out must be a tuple of 2 arrays"):
        dk.swiglu.backward(out, out, out, out=out)
    with pytest.raises(ValueError, match="out shares memory with another out"):
        dk.swiglu.backward(out, out.copy(), out.copy(), out=(out, out))
    with pytest.raises(TypeError, match="up must be float32"):
        dk.swiglu(out, out.astype("f8"))


@pytest.mark.torch
def test_glu_is_pytorchs(rng: np.random.Generator) -> None:
    import torch

    x = rng.normal(size=(3, 4, 6))
    for axis in (1, 2, -1):
        leaf = torch.from_numpy(x.copy()).requires_grad_()
        wanted = torch.nn.functional.glu(leaf, axis)
        dy = rng.normal(size=tuple(wanted.shape))
        wanted.backward(torch.from_numpy(dy))
        np.testing.assert_allclose(dk.glu(x, axis=axis), wanted.detach().numpy(), rtol=1e-14)
        np.testing.assert_allclose(dk.glu.backward(dy, x, axis=axis), leaf.grad.numpy(), rtol=1e-13, atol=1e-16)
