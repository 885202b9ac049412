"""Arrays of other libraries, without a copy: PyTorch and JAX through DLPack, and DLPack producers that lie, refuse or misbehave."""

from __future__ import annotations

import gc
from typing import Any

import dlpack
import numerics
import numpy as np
import pytest
from cases import CALLS, Call, calls
from dlpack import Producer
from numerics import DTYPES

import dlkernels as dk

# --- PyTorch ------------------------------------------------------------------------------------------------------------


def to_torch(a: np.ndarray) -> Any:
    import torch

    if a.dtype == DTYPES["bfloat16"]:
        return torch.from_numpy(a.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(a.copy())


def from_torch(t: Any) -> np.ndarray:
    import torch

    return t.view(torch.int16).numpy().view(DTYPES["bfloat16"]) if t.dtype == torch.bfloat16 else t.numpy()


def parts(result: Any) -> tuple[Any, ...]:
    return tuple(p for r in result for p in parts(r)) if isinstance(result, tuple) else (result,)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_torch(dtype: str) -> None:
    import torch

    for call in calls(DTYPES[dtype]):
        result = call()
        expected, returned = parts(result), call.outputs(result)
        tensors = {k: to_torch(a) for k, a in call.arrays.items()}
        for got, want in zip(parts(call(**tensors)), expected, strict=True):
            assert isinstance(got, torch.Tensor)
            numerics.assert_same_bits(from_torch(got), want, call.name)
        for k, a in call.arrays.items():
            numerics.assert_same_bits(from_torch(tensors[k]), a, f"{call.name}: {k} was written")
        if call.takes_out:
            out = torch.zeros_like(tensors[call.like])
            assert call.outputs(call(**tensors, out=out)) is out
            numerics.assert_same_bits(from_torch(out), returned, f"{call.name} out")
            mine = np.zeros_like(returned)  # a NumPy output for PyTorch inputs
            assert call.outputs(call(**tensors, out=mine)) is mine
            numerics.assert_same_bits(mine, returned, f"{call.name} NumPy out")
            call(**tensors, out=tensors[call.like])
            numerics.assert_same_bits(from_torch(tensors[call.like]), returned, f"{call.name} in place")


@pytest.mark.torch
def test_torch_is_not_copied() -> None:
    import torch

    t = torch.linspace(-1, 1, 12).reshape(3, 4)
    dk.relu(t.T, out=t.T)  # strided, in place
    assert float(t.min()) == 0
    assert torch.equal(t, torch.linspace(-1, 1, 12).reshape(3, 4).relu())


@pytest.mark.torch
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_torch_refuses_to_lend(call: Call) -> None:
    import torch

    x = to_torch(call.arrays[call.like])
    wrong = {
        "requires_grad": x.clone().requires_grad_(),
        "conj": torch.ones(4, 5, dtype=torch.complex64).conj(),
        "neg": torch.full((4, 5), 1 + 2j).conj().imag,  # PyTorch lends it without saying that its sign is another one
        "sparse": x.to_sparse(),
        "meta": x.to("meta"),
        "int": x.int(),
    }
    for tensor in wrong.values():
        with pytest.raises(TypeError, match=rf"^{call.name}: {call.like} must be .*, got "):
            call(**{call.like: tensor})


# --- JAX ----------------------------------------------------------------------------------------------------------------


@pytest.mark.jax
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_jax(dtype: str) -> None:
    jax = pytest.importorskip("jax")
    for call in calls(DTYPES[dtype]):
        arrays = {k: jax.numpy.asarray(a) for k, a in call.arrays.items()}  # class ids become int32
        before = {k: np.array(a) for k, a in arrays.items()}
        for got, want in zip(parts(call(**arrays)), parts(call()), strict=True):
            assert isinstance(got, jax.Array)
            numerics.assert_same_bits(np.asarray(got), want, call.name)
        if call.takes_out:
            with pytest.raises(ValueError, match=rf"^{call.name}: out is read-only"):
                call(out=arrays[call.like])
        for k, a in before.items():
            numerics.assert_same_bits(np.asarray(arrays[k]), a, f"{call.name}: {k} was written")


# --- DLPack producers (62, 63) ------------------------------------------------------------------------------------------

X = np.linspace(-2, 2, 24, dtype=np.float32).reshape(4, 6)


@pytest.fixture
def x() -> np.ndarray:
    return X.copy()


@pytest.mark.parametrize("versioned", [True, False])
def test_the_deleter_is_called_once(versioned: bool, x: np.ndarray) -> None:
    producer, out = Producer(x, versioned=versioned), np.empty_like(x)
    dk.relu(producer, out=out)
    gc.collect()
    assert (producer.asked, producer.deleted) == (1, 1)
    assert np.array_equal(out, np.maximum(X, 0))
    lent = Producer(out, versioned=versioned)
    assert dk.silu(x, out=lent) is lent  # as an output
    assert (lent.asked, lent.deleted) == (1, 1)
    assert np.array_equal(out, dk.silu(x))
    for bad in ({"bits": 64}, {"code": dlpack.INT}, {"lanes": 2}, {"device_type": dlpack.UNKNOWN}):
        producer = Producer(x, versioned=versioned, **bad)
        with pytest.raises((TypeError, ValueError), match=r"^tanh: (x|out) must be"):
            dk.tanh(producer, out=np.empty_like(x))
        assert producer.deleted == 1, bad
    producer = Producer(x, versioned=versioned)
    with pytest.raises(ValueError, match=r"has the shape|must have the shape"):
        dk.relu.backward(np.ones(3, np.float32), producer)
    assert producer.deleted == 1


def test_layouts_of_producers(x: np.ndarray) -> None:
    def relu(producer: Producer) -> np.ndarray:
        out = np.empty(producer.fields["shape"][: producer.fields["ndim"]], np.float32)
        return dk.relu(producer, out=out)

    expected = np.maximum(X, 0)
    assert np.array_equal(relu(Producer(x, strides=None)), expected)
    assert np.array_equal(relu(Producer(x, byte_offset=24, shape=(3, 6))), expected[1:])
    assert np.array_equal(relu(Producer(x.T)), expected.T)
    assert np.array_equal(relu(Producer(x[::2, ::3])), expected[::2, ::3])
    assert np.array_equal(relu(Producer(x[::-1])), expected[::-1])
    assert np.array_equal(relu(Producer(x, ndim=0, shape=(), strides=())), expected[0, 0])
    assert np.array_equal(relu(Producer(x, ndim=0, shape=(), strides=None)), expected[0, 0])
    assert relu(Producer(x, shape=(0, 6))).size == 0


def test_bfloat16_of_a_producer() -> None:
    x = X.astype(DTYPES["bfloat16"])
    out = np.empty_like(x)
    dk.silu(Producer(x, code=dlpack.BFLOAT), out=out)
    numerics.assert_same_bits(out, dk.silu(x))


def test_a_read_only_producer(x: np.ndarray) -> None:
    assert np.array_equal(dk.relu(Producer(x, flags=dlpack.READ_ONLY), out=np.empty_like(x)), np.maximum(X, 0))
    lent = Producer(x, flags=dlpack.READ_ONLY)
    with pytest.raises(ValueError, match=r"^relu: out is read-only"):
        dk.relu(x.copy(), out=lent)
    assert lent.deleted == 1
    assert np.array_equal(x, X)
    x.flags.writeable = False
    with pytest.raises(ValueError, match=r"^relu: out is read-only"):
        dk.relu(x, out=x)


class Lending:
    """A producer that answers with what it is told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0

    def __dlpack__(self, **kwargs: Any) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_producers_that_misbehave(x: np.ndarray) -> None:
    used = Producer(x).__dlpack__()
    dk.relu(Lending(used), out=x.copy())
    cases = {
        "a capsule used twice": (Lending(used), "capsule"),
        "a future version": (Producer(x, major=2), "version"),
        "no capsule": (Lending(3), "capsule"),
        "None": (Lending(None), "capsule"),
        "a refusal": (Lending(BufferError("not today")), "not today"),
        "an error": (Lending(RuntimeError("broken")), "broken"),
        "65 dimensions": (Producer(x, ndim=65, shape=(1,) * 65, strides=(1,) * 65), "64 dimensions"),
    }
    for name, (producer, text) in cases.items():
        with pytest.raises((TypeError, ValueError, BufferError), match=r"^relu: x ") as caught:
            dk.relu(producer, out=x.copy())
        assert text in str(caught.value), name


def test_a_producer_from_before_dlpack_1(x: np.ndarray) -> None:
    class Old:
        def __dlpack__(self) -> Any:
            return Producer(x, versioned=False).__dlpack__()

        def __dlpack_device__(self) -> tuple[int, int]:
            return 1, 0

    assert np.array_equal(dk.relu(Old(), out=np.empty_like(x)), np.maximum(X, 0))


def test_a_shape_whose_product_overflows(x: np.ndarray) -> None:
    for shape in ((2**40, 2**40), (2**62, 4), (2**63 - 1, 3), (-1, 6), (4, -6)):
        with pytest.raises((ValueError, MemoryError), match=r"."):
            dk.relu(Producer(x, shape=shape, strides=(0, 0)))
