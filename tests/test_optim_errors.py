"""What the optimizers refuse (rows 16 and 73 to 88 of the catalogue of bad input): before anything is written.

A refused step or a refused state changes no byte of parameters, state and options.
"""

from __future__ import annotations

import copy
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from test_optim import ALL, BOTH, MAKERS

from dlkernels.optim import SGD, AdamW


@pytest.mark.parametrize("value", [-1.0, -1e-300, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("kind", "option"),
    [(SGD, o) for o in ("lr", "momentum", "dampening", "weight_decay")]
    + [(AdamW, o) for o in ("lr", "eps", "weight_decay")],
)
def test_hyper_parameter_out_of_range(kind: Any, option: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{kind.__name__}: {option} must be finite and >= 0, got"):
        kind([np.ones(2)], **{option: value})
    with pytest.raises(ValueError, match=f"^{kind.__name__}: {option} must be"):
        kind([{"params": [np.ones(2)], option: value}])


@pytest.mark.parametrize("value", [True, np.True_, "0.1", None, 1j, [0.1], np.array(0.1), Decimal("0.1")], ids=repr)
@BOTH
def test_hyper_parameter_is_no_number(kind: Any, value: Any) -> None:
    with pytest.raises(TypeError, match=f"^{kind.__name__}: lr must be a real number, got"):
        kind([np.ones(2)], lr=value)


@pytest.mark.parametrize("value", [1, np.float32(1), np.float64(1), np.int64(1), np.float16(1)], ids=repr)
@BOTH
def test_hyper_parameter_is_a_number(kind: Any, value: Any) -> None:
    w, same = np.ones(3), np.ones(3)
    kind([w], lr=value).step([np.ones(3)])
    kind([same], lr=1.0).step([np.ones(3)])
    assert (w == same).all()


@pytest.mark.parametrize(
    ("betas", "kind"),
    [((1.0, 0.9), ValueError), ((0.9, 1.0), ValueError), ((0.9, -0.1), ValueError), ((float("nan"), 0.9), ValueError), ((0.9,), ValueError),
     ((0.9, 0.9, 0.9), ValueError), (0.9, TypeError), (None, TypeError), (("0.9", 0.9), TypeError)],
)  # fmt: skip
def test_betas(betas: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=r"^AdamW: betas"):
        AdamW([np.ones(2)], betas=betas)


def test_nesterov_needs_momentum() -> None:
    for options in ({}, {"momentum": 0.9, "dampening": 0.1}):
        with pytest.raises(ValueError, match=r"^SGD: nesterov needs momentum > 0 and dampening 0"):
            SGD([np.ones(2)], nesterov=True, **options)


@BOTH
def test_parameters(kind: Any) -> None:
    name = kind.__name__
    base = np.ones(20)
    read_only = np.ones(3)
    read_only.flags.writeable = False
    cases: list[tuple[Any, type[Exception], str]] = [
        ([], ValueError, "params is empty"),
        ([base, base], ValueError, "share memory"),
        ([{"params": [base]}, {"params": [base]}], ValueError, "share memory"),
        ([base[:12], base[8:]], ValueError, "share memory"),
        ([base, base[3:4].view(np.float32)], ValueError, "share memory"),
        ([base[::2]], ValueError, "must be contiguous"),
        ([np.ones((3, 4)).T], ValueError, "must be contiguous"),
        ([read_only], ValueError, "read-only"),
        ([np.broadcast_to(1.0, 4)], ValueError, "read-only"),
        ([np.ones(3, np.int64)], TypeError, "int64"),
        ([np.ones(3, ">f4")], ValueError, ">f4"),
        ([[1.0, 2.0]], TypeError, "must be a NumPy"),
        ([np.ma.masked_array([1.0])], TypeError, "mask"),
        ([{"params": [base], "momentums": 1}], ValueError, "unknown options"),
    ]
    for params, error, text in cases:
        with pytest.raises(error, match=f"^{name}: .*{text}"):
            kind(params)
    with pytest.raises((TypeError, ValueError)):
        kind(base)  # an array is not a list of arrays: its rows are not parameters


BAD_GRADIENTS: dict[str, tuple[Any, type[Exception], str]] = {
    "shape": (np.ones(4), ValueError, r"grads\[1\] must have the shape of params\[1\]"),
    "dtype": (np.ones(5, np.float32), TypeError, r"grads\[1\] must be float64"),
    "integer": (np.ones(5, np.int64), TypeError, r"grads\[1\] must be float64"),
    "list": ([1.0] * 5, TypeError, r"grads\[1\] must be a NumPy"),
    "strided": (np.ones(10)[::2], ValueError, r"grads\[1\] must be contiguous"),
    "mask": (np.ma.masked_array(np.ones(5)), TypeError, r"grads\[1\] .* mask"),
}


def snapshot(optimizer: Any, params: list[np.ndarray]) -> bytes:
    state = optimizer.state_dict()
    options = [repr(state["param_groups"]), repr(sorted(state["state"]))]
    values = [v for s in state["state"].values() for v in s.values()]
    arrays = [*params, *(v for v in values if isinstance(v, np.ndarray))]
    numbers = [repr(v) for v in values if not isinstance(v, np.ndarray)]
    return b"".join([a.tobytes() for a in arrays] + [text.encode() for text in options + numbers])


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("bad", BAD_GRADIENTS)
@ALL
def test_a_refused_step_changes_nothing(name: str, bad: str, steps: int) -> None:
    params = [np.ones(3), np.ones(5), np.ones(2)]
    optimizer = MAKERS[name](params, lr=0.1)
    for _ in range(steps):
        optimizer.step([np.ones(3), np.ones(5), np.ones(2)])
    before = snapshot(optimizer, params)
    gradient, error, text = BAD_GRADIENTS[bad]
    with pytest.raises(error, match=f"^{type(optimizer).__name__}: {text}"):
        optimizer.step([np.ones(3), gradient, np.ones(2)])
    for wrong in ([np.ones(3)], [np.ones(3)] * 4, []):
        with pytest.raises(ValueError, match=f"^{type(optimizer).__name__}: wanted 3 gradients, one per parameter"):
            optimizer.step(wrong)
    assert snapshot(optimizer, params) == before


@ALL
def test_a_refused_step_over_several_dtypes_changes_nothing(name: str) -> None:
    params = [np.ones(3, np.float32), np.ones(3, np.float64)]
    optimizer = MAKERS[name](params)
    before = snapshot(optimizer, params)
    with pytest.raises(TypeError):
        optimizer.step([np.ones(3, np.float32), np.ones(3, np.float32)])
    assert snapshot(optimizer, params) == before


@ALL
def test_a_gradient_that_is_a_parameter(name: str) -> None:
    w, other = np.ones(6), np.ones(6)
    optimizer = MAKERS[name]([w, other])
    for gradient in (w, other, w[::-1][::-1]):
        with pytest.raises(ValueError, match=r"grads\[0\] shares memory with params"):
            optimizer.step([gradient, np.ones(6)])
    assert (w == 1).all()
    shared = np.ones(6)
    optimizer.step([shared, shared])  # two parameters may have one gradient


@ALL
def test_a_wrong_hyper_parameter_at_the_step(name: str) -> None:
    w = np.ones(3)
    optimizer = MAKERS[name]([w])
    for value, error in ((-1.0, ValueError), (float("nan"), ValueError), ("x", TypeError), (True, TypeError)):
        optimizer.param_groups[0]["lr"] = value
        with pytest.raises(error, match="lr must be"):
            optimizer.step([np.ones(3)])
    assert (w == 1).all()


@pytest.mark.parametrize("name", ["SGD-momentum", "AdamW"])
def test_wrong_state(name: str) -> None:
    params = [np.ones(3), np.ones(4)]
    optimizer = MAKERS[name](params, lr=0.1)
    optimizer.step([np.ones(3), np.ones(4)])
    before = snapshot(optimizer, params)
    good = optimizer.state_dict()
    key = "exp_avg" if name == "AdamW" else "momentum_buffer"

    def with_(change: Any) -> dict[str, Any]:
        state = copy.deepcopy(good)
        change(state)
        return state

    wrong = {
        "shape": with_(lambda s: s["state"][1].update({key: np.ones(5)})),
        "another number of parameters": with_(lambda s: s["param_groups"][0].update(params=[0])),
        "another number of groups": with_(lambda s: s["param_groups"].append(s["param_groups"][0])),
        "hyper-parameter": with_(lambda s: s["param_groups"][0].update(lr=-1.0)),
    }
    if name == "AdamW":
        wrong["key missing"] = with_(lambda s: s["state"][1].pop(key))
    for what, state in wrong.items():
        with pytest.raises(ValueError, match=f"^{type(optimizer).__name__}: "):
            optimizer.load_state_dict(state)
        assert snapshot(optimizer, params) == before, what
    optimizer.load_state_dict(good)
    assert snapshot(optimizer, params) == before
