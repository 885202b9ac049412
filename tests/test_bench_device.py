"""The suite's rows on a device: our forms on the emulated one compute what the ops define. Times there mean nothing; peers need a GPU."""

from __future__ import annotations

from typing import Any

import pytest
from test_device import cp, stand_in  # noqa: F401  fixtures

import dlkernels as dk
from dlkernels.bench import device, forms, plan, worker
from dlkernels.bench.row import OURS, VALUE_AND_GRAD, Row


@pytest.mark.parametrize("name", ["gelu", "swiglu", "dropout", "softmax", "mse_loss", "cross_entropy"])
def test_our_forms_are_right_on_a_device(cp: Any, name: str) -> None:  # noqa: F811
    op = dk.ops.registry[name]
    shape = next(x for s, x in plan.shapes(op).items() if s != "call")
    for part in plan.passes(op):
        error = worker.checked(OURS, Row(name, part, "float32", shape), device.device_form)
        assert error is not None
        assert error < 1e-3


def test_rows_are_longer_on_a_device() -> None:
    row = Row("relu", "value", shape=(1 << 24,), size="memory")
    assert device.on_device(row).shape == (1 << 28,)
    both = Row("cross_entropy", VALUE_AND_GRAD, shape=(8192, 1000), size="rows of 1,000")
    assert device.on_device(both) == both


def test_liger_is_asked_only_for_ops_that_are_here() -> None:
    assert set(device.LIGER) <= set(dk.ops.registry)
    assert set(device.LIGER) <= set(forms.PLAIN)
