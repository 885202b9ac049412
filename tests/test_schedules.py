"""Learning rates: the worked examples, PyTorch's schedulers, and where they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlkernels import schedules

EXAMPLES: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "schedules_rng_init.json").read_text())[
    "schedules"
]
WORKED = {
    "constant": schedules.constant(0.1), "step": schedules.step(0.1, 3, 0.5), "multi_step": schedules.multi_step(0.1, [2, 9]),
    "exponential": schedules.exponential(0.1, 0.9), "inverse_time": schedules.inverse_time(0.1, 0.5),
    "linear": schedules.linear(0.1, 8, 0.25), "polynomial": schedules.polynomial(0.1, 10, 2, 0.001),
    "cosine": schedules.cosine(0.1, 10, 0.001), "warmup_linear_then_cosine": schedules.warmup(schedules.cosine(0.1, 7), 3),
    "inverse_sqrt_fairseq": schedules.inverse_sqrt(0.1, 4), "noam_d512_warmup4000": lambda s: schedules.noam(512, 4000)(s - 1),
    "cosine_warm_restarts": schedules.cosine_warm_restarts(0.1, 3, 2), "one_cycle_torch": schedules.one_cycle(0.1, 10),
}  # fmt: skip


@pytest.mark.parametrize("name", WORKED)
def test_worked_examples(name: str) -> None:
    example = EXAMPLES[name]
    np.testing.assert_allclose([WORKED[name](t) for t in example["step"]], example["lr"], rtol=1e-12, atol=1e-17)


def test_plateau() -> None:
    lr = schedules.ReduceOnPlateau(0.1, patience=2)
    for metric, after in EXAMPLES["reduce_on_plateau_patience2_factor0.1"]["metric,lr_after"]:
        assert lr.observe(metric) == pytest.approx(after, rel=1e-12)
        assert lr(7) == lr.lr
    again = schedules.ReduceOnPlateau(0.1, patience=2)
    again.load_state_dict(lr.state_dict())
    assert again.state_dict() == lr.state_dict()


@pytest.mark.torch
@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
def test_plateau_is_pytorchs(mode: str, threshold_mode: str) -> None:
    import torch

    options = {"factor": 0.5, "patience": 2, "threshold": 0.05, "cooldown": 2, "min_lr": 0.01}
    theirs = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, mode, threshold_mode=threshold_mode, **options)
    ours = schedules.ReduceOnPlateau(1.0, mode, threshold_mode=threshold_mode, **options)
    rng = np.random.default_rng(0)
    for metric in 1 + 0.2 * rng.standard_normal(60):
        scheduler.step(metric)
        assert ours.observe(metric) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12)


@pytest.mark.torch
def test_one_cycle_and_restarts_are_pytorchs() -> None:
    import torch

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100, cycle_momentum=False)
    ours = schedules.one_cycle(0.1, 100)
    for t in range(100):
        assert ours(t) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if t < 99:
            cycle.step()
    assert ours(1000) == ours(99)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: schedules.step(0.1, 0), "step_size"), (lambda: schedules.cosine(0.1, 0), "T_max"),
        (lambda: schedules.one_cycle(0.1, 1), "total"), (lambda: schedules.ReduceOnPlateau(0.1, "best"), "mode"),
        (lambda: schedules.warmup(0.1, -1), "steps"), (lambda: schedules.multi_step(0.1, [-1]), "milestones"),
    ],
)  # fmt: skip
def test_errors(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call()
