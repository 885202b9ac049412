"""The peers' forms compute what the ops define: each formula of bench/forms.py and the libraries' own functions, on small arrays."""

from __future__ import annotations

import importlib.util
import os
import warnings

import numpy as np
import pytest

import dlkernels as dk
from dlkernels.bench import check, forms, numpy_forms, plan, problem, torch_forms, worker
from dlkernels.bench.row import OURS, VALUE, Row

OPS = list(dk.ops.registry)
NO_PLAIN = {"gelu", "geglu", "dropout", "bias_act"}  # no library-neutral words for erf and for drawing


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "2")


def rows(name: str) -> list[Row]:
    """The op's passes in float64, in its first size that is no mere call."""
    op = dk.ops.registry[name]
    size, shape = next((s, x) for s, x in plan.shapes(op).items() if s != "call")
    return [Row(name, part, "float64", shape, size) for part in plan.passes(op)]


def test_every_op_has_a_formula_that_peers_share():
    assert set(forms.PLAIN) | NO_PLAIN == set(OPS)
    assert set(torch_forms.TORCH) <= set(OPS)
    assert set(torch_forms.OUT) | set(numpy_forms.NUMPY_OUT) | set(numpy_forms.SKLEARN) <= set(OPS)


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("peer", [OURS, "numpy", "sklearn", "torch", "jax"])
def test_a_form_computes_what_the_op_defines(peer, name):
    if peer != OURS and importlib.util.find_spec(peer) is None:
        pytest.skip(f"{peer} is not installed")
    for row in rows(name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the peers' own
            error = worker.checked(peer, row)
        if peer == OURS or (peer in {"torch", "jax"}):
            assert error is not None, row.name
        if error is not None and peer != "torch":  # PyTorch's softplus is x from 20 on
            assert error < 1e-6, row.name


@pytest.mark.parametrize("name", forms.PLAIN)
def test_a_shared_formula_is_the_definition(name):
    """Also where each library here has a function of its own: CuPy has not."""
    row = next(row for row in rows(name) if row.part == VALUE)
    p = problem.problem(row, problem.check_shape(row))
    assert check.error_of(p, row, [forms.PLAIN[name](np, *p.arrays.values())]) < 1e-9


@pytest.mark.parametrize("name", ["gelu", "layer_norm", "cross_entropy", "swiglu"])
def test_the_check_finds_a_wrong_result(name):
    """The arrays of one op, the numbers of another: a scaled gradient, a shifted value."""
    for row in rows(name):
        p = problem.problem(row, problem.check_shape(row))
        form = worker.ours(row, p)
        numbers = [np.array(a) for a in form.numbers(form.run())]
        assert check.error_of(p, row, numbers) <= check.TOLERANCE[row.dtype]
        wrong = [a * 1.01 for a in numbers] if row.part == VALUE else [numbers[0] * 1.01, *numbers[1:]]
        assert check.error_of(p, row, wrong) > check.TOLERANCE[row.dtype], row.name
        nothing = [*numbers[:-1], numbers[-1] * np.nan]
        assert not check.error_of(p, row, nothing) <= check.TOLERANCE[row.dtype], row.name


def test_the_check_finds_a_shape_and_a_dropped_part():
    row = Row("dropout", VALUE, shape=(2048,))
    p = problem.problem(row)
    y = dk.dropout(p.arrays["x"], **p.options)
    assert check.error_of(p, row, [y]) < 1e-6
    with pytest.raises(check.WrongResultError, match="dropped"):
        check.error_of(p, row, [np.where(np.arange(2048) % 3 == 0, 0, y)])
    with pytest.raises(check.WrongResultError, match="shape"):
        check.error_of(problem.problem(Row("relu", VALUE, shape=(8,))), Row("relu", VALUE, shape=(8,)), [np.zeros(7)])


def test_no_number_lies_where_slopes_jump():
    for dtype in ("float16", "bfloat16", "float32"):
        x = problem.filled((1 << 16,), dtype).astype("float64")
        assert not np.any(2 * x == np.rint(2 * x))
