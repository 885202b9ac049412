"""dk.nn: gradients of whole networks, what may be overwritten and what never, names, states, errors."""

from __future__ import annotations

import threading

import ml_dtypes
import numpy as np
import pytest

import dlkernels as dk
from dlkernels import nn

ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "gelu_tanh": lambda: nn.GELU("tanh"),
    "elu": lambda: nn.ELU(0.7),
    "selu": nn.SELU,
    "celu": lambda: nn.CELU(2.0),  # PyTorch rounds 1 / alpha to float32
    "mish": nn.Mish,
    "softplus": lambda: nn.Softplus(1.5),
    "softplus_threshold": lambda: nn.Softplus(1.0, 2.0),
    "logsigmoid": nn.LogSigmoid,
    "tanhshrink": nn.Tanhshrink,
    "softsign": nn.Softsign,
    "hardtanh": lambda: nn.Hardtanh(-0.5, 0.75),
    "relu6": nn.ReLU6,
    "hardswish": nn.Hardswish,
    "hardshrink": lambda: nn.Hardshrink(0.3),
    "softshrink": nn.Softshrink,
    "threshold": lambda: nn.Threshold(0.1, -2.0),
}
# Neighbors that must not overwrite each other's values: each keeps y, or x, or is a view of its neighbor.
NETWORKS = {
    "mixed": lambda: [
        nn.Linear(6, 5),
        nn.GELU(),
        nn.Dropout(0.3),
        nn.Linear(5, 4),
        nn.Tanh(),
        nn.Linear(4, 3),
    ],
    "activations in a row": lambda: [nn.Linear(6, 3), nn.Sigmoid(), nn.LeakyReLU(0.1), nn.Tanh(), nn.ELU()],
    "dropout after what keeps y": lambda: [nn.Linear(6, 3), nn.Sigmoid(), nn.Dropout(0.4), nn.Dropout(0.0)],
    "no twin in PyTorch": lambda: [
        nn.Linear(6, 3),
        nn.Hardsigmoid(),  # whose 1/6 is a float32 there
        nn.Linear(3, 3),
        nn.QuickGELU(),
        nn.Squareplus(2.0),
    ],
    "gates": lambda: [
        nn.Linear(6, 8),
        nn.SwiGLU(),
        nn.Linear(4, 6),
        nn.GLU(),
        nn.Linear(3, 4),
        nn.GEGLU(gate_first=False, approximate="tanh"),
        nn.ReGLU(),
    ],
    "learned activations": lambda: [
        nn.PReLU(6, dtype="f8"),
        nn.Linear(6, 4),
        nn.Swish(4, 0.75, dtype="f8"),
        nn.PReLU(dtype="f8"),
        nn.Tanh(),
        nn.Swish(dtype="f8"),
    ],
    "views": lambda: [nn.Flatten(), nn.Tanh(), nn.Flatten(), nn.Sigmoid(), nn.Flatten()],
    "nested": lambda: [
        nn.Sequential(nn.Linear(6, 4), nn.Sigmoid()),
        nn.Sequential(nn.Tanh(), nn.Dropout(0.2)),
        nn.Sequential(),
        nn.Linear(4, 2, bias=False),
    ],
    "starts without parameters": lambda: [nn.Tanh(), nn.Dropout(0.2), nn.Linear(6, 2), nn.SiLU()],
}


def in_float64(model: nn.Sequential, seed: int = 0) -> nn.Sequential:
    """The model with float64 parameters, biases too away from zero."""
    rng = np.random.default_rng(seed)

    def widen(layer: nn.Layer) -> None:
        for child in layer.children():
            widen(child)
        if isinstance(layer, nn.Linear):
            layer.weight = rng.normal(0, 0.6, layer.weight.shape)
            layer.bias = None if layer.bias is None else rng.normal(0, 0.6, layer.bias.shape)

    widen(model)
    return model


def loss_at(model: nn.Sequential, x: np.ndarray, dy: np.ndarray) -> float:
    """sum(dy * y) with the same dropout masks every time."""
    state = model.random_state()
    y, _ = model(x, train=True)
    model.load_random_state(state)
    return float((y * dy).sum())


def slope(model, x, dy, array, step=1e-6):
    """Central differences of loss_at with respect to every element of `array`, in place."""
    slopes = np.empty(array.shape)
    for index in np.ndindex(array.shape):
        old = array[index]
        array[index] = old + step
        high = loss_at(model, x, dy)
        array[index] = old - step
        low = loss_at(model, x, dy)
        array[index] = old
        slopes[index] = (high - low) / (2 * step)
    return slopes


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_gradients_of_a_composed_network(layers, rng):
    model = in_float64(nn.Sequential(*layers(), seed=1))
    x = rng.normal(size=(5, 6))
    dy = rng.normal(size=model.predict(x).shape)
    state = model.random_state()
    _, backprop = model(x, train=True)
    dx = backprop(dy).copy()
    model.load_random_state(state)
    gradients = [gradient.copy() for gradient in model.grads()]
    # A difference of step h errs by h^2 / 6 times the third derivative (1e-12) and by a rounding of the sum
    # over 2 h (1e-16 * 10 / 2e-6 = 5e-10): 1e-8 leaves a factor of twenty.
    for array, gradient in zip([x, *model.params()], [dx, *gradients], strict=True):
        np.testing.assert_allclose(gradient, slope(model, x, dy, array), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_the_callers_arrays_are_never_written(layers, rng):
    model = in_float64(nn.Sequential(*layers(), seed=1))
    x = rng.normal(size=(5, 6))
    dy = rng.normal(size=model.predict(x).shape)
    kept = x.copy(), dy.copy()
    _, backprop = model(x, train=True)
    backprop(dy)
    model.predict(x)
    assert np.array_equal(x, kept[0])
    assert np.array_equal(dy, kept[1])


@pytest.mark.parametrize("layers", NETWORKS.values(), ids=NETWORKS)
def test_the_first_layers_dx_can_be_left_out(layers, rng):
    model = in_float64(nn.Sequential(*layers(), seed=1))
    x = rng.normal(size=(5, 6))
    dy = rng.normal(size=model.predict(x).shape)
    state = model.random_state()
    _, backprop = model(x, train=True)
    backprop(dy)
    wanted = [gradient.copy() for gradient in model.grads()]
    model.zero_grad()
    model.load_random_state(state)
    _, backprop = model(x, train=True)
    assert backprop(dy, need_dx=False) is None
    for got, gradient in zip(model.grads(), wanted, strict=True):
        assert np.array_equal(got, gradient)


@pytest.mark.torch
@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_the_same_network_in_pytorch(activation, rng):
    import torch

    layer = activation()
    twin = getattr(torch.nn, type(layer).__name__)(**layer.options)
    ours = in_float64(nn.Sequential(nn.Linear(6, 5), layer, nn.Linear(5, 3)))
    theirs = torch.nn.Sequential(torch.nn.Linear(6, 5), twin, torch.nn.Linear(5, 3)).double()
    # PyTorch takes our state_dict as it is: the same names, the same layouts
    theirs.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in ours.state_dict().items()})
    x, dy = rng.normal(size=(8, 6)), rng.normal(size=(8, 3))
    leaf = torch.from_numpy(x.copy()).requires_grad_()
    wanted = theirs(leaf)
    wanted.backward(torch.from_numpy(dy))
    y, backprop = ours(x, train=True)
    # sums of at most 8 products in another order: a few units in the last place of 1
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(backprop(dy), leaf.grad.numpy(), rtol=1e-12, atol=1e-14)
    for gradient, parameter in zip(ours.grads(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(gradient, parameter.grad.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.torch
def test_prelu_and_glu_of_pytorch(rng):
    import torch

    ours = in_float64(nn.Sequential(nn.Linear(6, 4), nn.PReLU(4, 0.1, dtype="f8"), nn.GLU(), nn.Linear(2, 3)))
    theirs = torch.nn.Sequential(
        torch.nn.Linear(6, 4), torch.nn.PReLU(4), torch.nn.GLU(), torch.nn.Linear(2, 3)
    ).double()
    theirs.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in ours.state_dict().items()})
    x, dy = rng.normal(size=(8, 6)), rng.normal(size=(8, 3))
    wanted = theirs(torch.from_numpy(x))
    wanted.backward(torch.from_numpy(dy))
    y, backprop = ours(x, train=True)
    backprop(dy)
    np.testing.assert_allclose(y, wanted.detach().numpy(), rtol=1e-13, atol=1e-14)
    for gradient, parameter in zip(ours.grads(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(gradient, parameter.grad.numpy(), rtol=1e-12, atol=1e-13)


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.25), nn.Linear(8, 3), seed=0)


def test_gradients_add_up_until_zero_grad(rng):
    model = small()
    x, dy = rng.normal(size=(6, 4)).astype("f4"), rng.normal(size=(6, 3)).astype("f4")
    assert model.grads() == [None] * 4
    model(x, train=True)[1](dy)
    once = [gradient.copy() for gradient in model.grads()]
    model.load_random_state({"2.seed": model.layers[2].seed, "2.offset": 0})
    model(x, train=True)[1](dy)
    for twice, gradient in zip(model.grads(), once, strict=True):
        assert np.array_equal(twice, 2 * gradient)
    model.zero_grad()
    assert model.grads() == [None] * 4
    model.load_random_state({"2.seed": model.layers[2].seed, "2.offset": 0})
    model(x, train=True)[1](dy)
    for again, gradient in zip(model.grads(), once, strict=True):
        assert np.array_equal(again, gradient)


def test_a_stale_backprop_raises_instead_of_using_overwritten_activations(rng):
    model = small()
    x, dy = rng.normal(size=(6, 4)).astype("f4"), np.ones((6, 3), "f4")
    _, stale = model(x, train=True)
    model(x, train=True)
    with pytest.raises(RuntimeError, match="earlier forward pass"):
        stale(dy)
    assert model.grads() == [None] * 4


def test_steps_of_any_batch_size_reuse_the_same_memory(rng):
    model = small()

    def addresses(n: int) -> list[int]:
        y, backprop = model(rng.normal(size=(n, 4)).astype("f4"), train=True)
        dx = backprop(np.ones((n, 3), "f4"))
        assert y.shape == (n, 3)
        assert dx.shape == (n, 4)
        model.zero_grad()
        return [y.ctypes.data, dx.ctypes.data, *(g.ctypes.data for g in model.grads() if g is not None)]

    assert addresses(16) == addresses(16) == addresses(5) == addresses(16)
    assert addresses(32) == addresses(16)


def test_inference_is_new_memory_and_no_state(rng):
    model = small()
    x = rng.normal(size=(6, 4)).astype("f4")
    y, backprop = model(x, train=True)
    first = model.predict(x)
    assert np.array_equal(first, model(x))
    assert not np.shares_memory(first, model.predict(x))
    backprop(np.ones((6, 3), "f4"))  # still allowed: nothing of the pass was touched
    hidden = np.maximum(x @ model.layers[0].weight.T + model.layers[0].bias, 0)
    np.testing.assert_array_equal(first, hidden @ model.layers[3].weight.T + model.layers[3].bias)
    assert not np.array_equal(first, y), "dropout is on in training only"


def test_inference_from_many_threads(rng):
    model = small()
    inputs = [rng.normal(size=(50 + i, 4)).astype("f4") for i in range(8)]
    wanted = [model.predict(x) for x in inputs]
    wrong = []

    def work(index: int) -> None:
        wrong.extend(index for _ in range(50) if not np.array_equal(model.predict(inputs[index]), wanted[index]))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_dropout_masks_depend_on_seed_and_pass_alone():
    x = np.ones((40, 50), "f4")
    first, second = nn.Dropout(0.4, seed=3), nn.Dropout(0.4, seed=3)
    masks = [first(x, train=True)[0].copy() for _ in range(3)]
    assert not np.array_equal(masks[0], masks[1])
    second.load_random_state({**first.random_state(), "offset": 2})
    y, backprop = second(x, train=True)
    assert np.array_equal(y, masks[2])
    assert np.array_equal(backprop(x), y), "backward draws the mask of its own forward pass"
    kept = (y != 0).mean()
    assert abs(kept - 0.6) < 5 * np.sqrt(0.24 / x.size)  # five deviations of a binomial
    assert np.allclose(y[y != 0], 1 / 0.6)
    assert first.predict(x) is x


def test_dropout_of_nothing_is_the_identity():
    x = np.ones((4, 5), "f4")
    y, backprop = nn.Dropout(0.0)(x, train=True)
    assert y is x
    assert backprop(x) is x


def test_seed_decides_every_layer_and_layers_differ():
    first, same, other = (nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5), nn.Dropout(), seed=s) for s in (0, 0, 1))
    for a, b, c in zip(first.params(), same.params(), other.params(), strict=True):
        assert np.array_equal(a, b)
        assert not a.any() or not np.array_equal(a, c)  # biases start at zero
    assert not np.array_equal(first.layers[0].weight, first.layers[1].weight)
    assert first.random_state() == same.random_state() != other.random_state()


def test_names_are_pytorchs():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Sequential(nn.Linear(3, 2, bias=False), nn.Dropout()))
    shapes = {name: array.shape for name, array in model.named_parameters().items()}
    assert shapes == {"0.weight": (3, 4), "0.bias": (3,), "2.0.weight": (2, 3)}
    assert list(model.random_state()) == ["2.1.seed", "2.1.offset"]
    assert [id(a) for a in model.params()] == [id(a) for a in model.named_parameters().values()]


def test_a_state_dict_is_checked_before_anything_changes():
    model = small()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    good = {name: array + 1 for name, array in before.items()}
    for bad, message in [
        ({**good, "3.bias": good["3.bias"][:2]}, r"3\.bias must be float32 \(3,\), got float32 \(2,\)"),
        ({**good, "3.bias": good["3.bias"].astype("f8")}, r"got float64"),
        ({k: v for k, v in good.items() if k != "0.bias"}, r"missing \['0\.bias'\]"),
        ({**good, "9.weight": good["0.bias"]}, r"not in this model \['9\.weight'\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.load_state_dict(bad)
        assert all(np.array_equal(array, before[name]) for name, array in model.state_dict().items())
    ids = [id(array) for array in model.params()]
    model.load_state_dict(good)
    assert all(np.array_equal(array, good[name]) for name, array in model.state_dict().items())
    assert [id(array) for array in model.params()] == ids, "an optimizer holds these very arrays"


@pytest.mark.torch
def test_state_dicts_travel_to_and_from_pytorch():
    import torch

    ours = small()
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(8, 3))
    ours.load_state_dict(theirs.state_dict())
    for name, tensor in theirs.state_dict().items():
        assert np.array_equal(ours.state_dict()[name], tensor.numpy())
    with pytest.raises(ValueError, match="got float64"):
        ours.load_state_dict(theirs.double().state_dict())
    theirs = theirs.float()
    other = small()
    theirs.load_state_dict({k: torch.from_numpy(a.copy()) for k, a in other.state_dict().items()})
    assert np.array_equal(theirs[0].weight.detach().numpy(), other.layers[0].weight)


def test_more_than_two_axes(rng):
    model = in_float64(nn.Sequential(nn.Linear(4, 3), nn.Tanh()))
    x = rng.normal(size=(2, 5, 4))
    y, backprop = model(x, train=True)
    flat, flat_backprop = (in_float64(nn.Sequential(nn.Linear(4, 3), nn.Tanh())))(x.reshape(10, 4), train=True)
    assert np.array_equal(y.reshape(10, 3), flat)
    dy = rng.normal(size=y.shape)
    assert np.array_equal(backprop(dy).reshape(10, 4), flat_backprop(dy.reshape(10, 3)))


def test_strided_and_empty_inputs(rng):
    model = small()
    x = rng.normal(size=(12, 8)).astype("f4")[::2, ::2]
    assert np.array_equal(model.predict(x), model.predict(x.copy()))
    state = model.random_state()
    y = model(x, train=True)[0].copy()
    model.load_random_state(state)
    assert np.array_equal(model(x.copy(), train=True)[0], y)
    empty, backprop = model(np.zeros((0, 4), "f4"), train=True)
    assert empty.shape == (0, 3)
    assert backprop(empty).shape == (0, 4)
    assert all(not gradient.any() for gradient in model.grads())


def test_a_custom_layer(rng):
    class Double(nn.Layer):
        def forward(self, x, own):  # noqa: ARG002
            return self.predict(x), lambda dy, _own, need_dx: 2 * dy if need_dx else None

        def predict(self, x):
            return 2 * x

    model = in_float64(nn.Sequential(nn.Linear(3, 3), Double(), nn.Sigmoid()))
    x, dy = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    dx = model(x, train=True)[1](dy).copy()
    np.testing.assert_allclose(dx, slope(model, x, dy, x), rtol=1e-7, atol=1e-8)  # as above


def test_errors_say_what_was_wanted():
    model, x = small(), np.zeros((2, 4), "f4")
    with pytest.raises(ValueError, match=r"Linear: x must have shape \(n, 4\), got \(2, 5\)"):
        model.predict(np.zeros((2, 5), "f4"))
    with pytest.raises(TypeError, match=r'x must be float32.*got float64\. Cast it: x\.astype\("float32"\)'):
        model(np.zeros((2, 4)), train=True)
    with pytest.raises(ValueError, match=r"dy must have y's shape \(2, 3\), got \(2, 1\)"):
        model(x, train=True)[1](np.zeros((2, 1), "f4"))
    layer = nn.ReLU()
    with pytest.raises(ValueError, match="twice"):
        nn.Sequential(layer, nn.Sequential(layer))
    with pytest.raises(TypeError, match=r"layer 1 must be a dk\.nn layer, got function"):
        nn.Sequential(nn.ReLU(), lambda x: x)
    with pytest.raises(ValueError, match="in_features must be at least 1"):
        nn.Linear(0, 3)
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\], got 1\.5"):
        nn.Dropout(1.5)
    for p in (True, "a", None):
        with pytest.raises(TypeError, match="Dropout: p must be a number"):
            nn.Dropout(p)
    with pytest.raises(TypeError, match=r"in_features must be a whole number, got 4\.0"):
        nn.Linear(4.0, 2)
    with pytest.raises(TypeError, match="dtype must be a floating-point type, got int32"):
        nn.Linear(4, 2, dtype="int32")
    with pytest.raises(TypeError, match=r"Linear: x must be an array, got list\. Convert it: np\.asarray\(x\)"):
        model([[1.0, 2.0, 3.0, 4.0]])
    with pytest.raises(TypeError, match=r"dy must be float32 like y, got float64\. Cast it"):
        model(x, train=True)[1](np.zeros((2, 3)))
    with pytest.raises(TypeError, match="dy must be an array, got list"):
        model(x, train=True)[1]([[0.0] * 3] * 2)
    with pytest.raises(ValueError, match=r"init must return shape \(3, 4\)"):
        nn.Linear(4, 3, init=lambda *_, **__: np.zeros(3, "f4"))


def test_summary_counts_what_is_there():
    text = small().summary()
    lines = text.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["0", "1", "2", "3"]
    assert "weight (8, 4), bias (8,)" in lines[1]
    assert lines[-1].split()[-1] == str(4 * 8 + 8 + 8 * 3 + 3)


def test_layers_and_ops_agree(rng):
    x = rng.normal(size=(5, 7)).astype("f4")
    for name in ("relu", "leaky_relu", "sigmoid", "tanh", "silu", "gelu", "elu"):
        layer = nn.Activation(name, from_output=False)
        assert np.array_equal(layer.predict(x), getattr(dk, name)(x))
        assert np.array_equal(layer(x, train=True)[0], getattr(dk, name)(x))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_sixteen_bits(dtype):
    """Sums over a batch are taken in float32; inference keeps the dtype."""
    layer = nn.Linear(3, 4, dtype=dtype, seed=0)
    _, backprop = layer(np.ones((3000, 3), dtype), train=True)
    backprop(np.ones((3000, 4), dtype))
    assert layer.grads()[1].tolist() == [np.float64(dtype(3000))] * 4
    model = nn.Sequential(
        nn.Linear(4, 3, dtype=dtype), nn.ReLU(), nn.LayerNorm(3, dtype=dtype), nn.Linear(3, 2, dtype=dtype)
    )
    x = np.ones((5, 4), dtype)
    y = model.predict(x)
    assert y.dtype == dtype
    np.testing.assert_array_equal(model(x, train=True)[0], y)


@pytest.mark.torch
def test_sixteen_bits_from_pytorch():
    import torch

    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).bfloat16()
    ours = nn.Sequential(nn.Linear(3, 4, dtype=ml_dtypes.bfloat16), nn.BatchNorm1d(4, dtype=ml_dtypes.bfloat16))
    ours.load_state_dict(theirs.state_dict())
    np.testing.assert_array_equal(ours.layers[0].weight.astype(np.float32), theirs[0].weight.detach().float().numpy())
    half = torch.nn.BatchNorm1d(4).half()
    half.running_mean += 0.25
    norm = nn.BatchNorm1d(4, dtype=np.float16)
    norm.load_state_dict(half.state_dict())
    assert norm.running_mean.dtype == np.float32
    assert norm.running_mean.tolist() == [0.25] * 4
