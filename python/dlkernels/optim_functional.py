"""The update rules as pure functions over lists of arrays, for those who keep state themselves.

``adamw_(params, grads, exp_avg, exp_avg_sq, step=t, lr=...)`` updates parameters and state in place; t counts from 1. Each list has one
array per parameter (None among the gradients leaves that parameter alone), state in the compute type: float64 for float64 parameters, else
float32. Options are those of the optimizer of that name, the learning rate a number. Nothing is written if anything is refused; what is
returned is what the optimizer's step returns: a skipped step is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .adam_rules import Adam, Adamax, AdamW, Lion, NAdam, RAdam
from .descent_rules import ASGD, SGD, Adadelta, Adagrad, RMSprop, Rprop
from .layerwise_rules import LAMB, LARS
from .matrix_rules import Adafactor, Muon
from .optimizer import Optimizer, StepInfo
from .optimizer_device import DeviceStepInfo
from .optimizer_storage import Storage

__all__ = [
    "adadelta_", "adafactor_", "adagrad_", "adam_", "adamax_", "adamw_", "asgd_", "lamb_", "lars_",
    "lion_", "muon_", "nadam_", "radam_", "rmsprop_", "rprop_", "sgd_",
]  # fmt: skip

Arrays = Sequence[Any]


def _stepped(
    kind: type[Optimizer], params: Arrays, grads: Arrays, states: dict[str, Arrays | None], step: int, options: dict[str, Any],
    numbers: dict[str, float] | None = None,
) -> tuple[StepInfo | DeviceStepInfo, Optimizer]:  # fmt: skip
    name = f"{kind.__name__.lower()}_"
    if type(step) is not int or step < 1:
        raise ValueError(f"{name}: step must be an integer >= 1, got {step!r}.")
    if kept := set(options) & set(Storage.__annotations__):
        raise TypeError(f"{name}: {sorted(kept)} are for optimizers, which keep what they need.")
    passed = {k: options.pop(k) for k in ("max_norm", "grad_scale", "zero_grads") if k in options}
    made = kind(list(params), **options)
    for key in {key: None for state in made._states for key in state}:
        arrays = states.get(key)
        if arrays is None or len(arrays) != len(made._params):
            raise ValueError(f"{name}: {key} must be a list of {len(made._params)} arrays, one per parameter.")
        for i, (state, array) in enumerate(zip(made._states, arrays, strict=True)):
            if key not in state:
                continue
            wanted = state[key]
            if getattr(array, "dtype", None) != wanted.dtype or tuple(array.shape) != tuple(wanted.shape):
                raise ValueError(f"{name}: {key}[{i}] must be {wanted.dtype} of shape {tuple(wanted.shape)}.")
            state[key] = array
    made._steps = [step - 1] * len(made._params)
    if numbers is not None:
        made._numbers = [dict(numbers) for _ in made._params]
    made.name = name
    made._build()
    return made.step(grads, **passed), made


def _step(
    kind: type[Optimizer], params: Arrays, grads: Arrays, states: dict[str, Arrays | None], step: int, options: dict[str, Any],
) -> StepInfo | DeviceStepInfo:  # fmt: skip
    return _stepped(kind, params, grads, states, step, options)[0]


def sgd_(
    params: Arrays, grads: Arrays, momentum_buffer: Arrays | None = None, *, step: int, **options: Any
) -> StepInfo | DeviceStepInfo:
    """`SGD`."""
    return _step(SGD, params, grads, {"momentum_buffer": momentum_buffer}, step, options)


def adagrad_(params: Arrays, grads: Arrays, sum: Arrays, *, step: int, **options: Any) -> StepInfo | DeviceStepInfo:
    """`Adagrad`."""
    return _step(Adagrad, params, grads, {"sum": sum}, step, options)


def adadelta_(
    params: Arrays, grads: Arrays, square_avg: Arrays, acc_delta: Arrays, *, step: int, **options: Any
) -> StepInfo | DeviceStepInfo:
    """`Adadelta`."""
    return _step(Adadelta, params, grads, {"square_avg": square_avg, "acc_delta": acc_delta}, step, options)


def rmsprop_(
    params: Arrays, grads: Arrays, square_avg: Arrays, grad_avg: Arrays | None = None, momentum_buffer: Arrays | None = None,
    *, step: int, **options: Any,
) -> StepInfo | DeviceStepInfo:  # fmt: skip
    """`RMSprop`."""
    states = {"square_avg": square_avg, "grad_avg": grad_avg, "momentum_buffer": momentum_buffer}
    return _step(RMSprop, params, grads, states, step, options)


def adam_(
    params: Arrays, grads: Arrays, exp_avg: Arrays, exp_avg_sq: Arrays, max_exp_avg_sq: Arrays | None = None, *, step: int,
    **options: Any,
) -> StepInfo | DeviceStepInfo:  # fmt: skip
    """`Adam`."""
    states = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq, "max_exp_avg_sq": max_exp_avg_sq}
    return _step(Adam, params, grads, states, step, options)


def adamw_(
    params: Arrays, grads: Arrays, exp_avg: Arrays, exp_avg_sq: Arrays, max_exp_avg_sq: Arrays | None = None, *, step: int,
    **options: Any,
) -> StepInfo | DeviceStepInfo:  # fmt: skip
    """`AdamW`.

    >>> import numpy as np, dlkernels as dk
    >>> w, g, m, v = np.ones(3), np.ones(3), np.zeros(3), np.zeros(3)
    >>> info = dk.optim.functional.adamw_([w], [g], [m], [v], step=1, lr=0.1); w
    array([0.899, 0.899, 0.899])
    """
    states = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq, "max_exp_avg_sq": max_exp_avg_sq}
    return _step(AdamW, params, grads, states, step, options)


def nadam_(
    params: Arrays, grads: Arrays, exp_avg: Arrays, exp_avg_sq: Arrays, *, step: int, mu_product: float, **options: Any
) -> tuple[StepInfo | DeviceStepInfo, float]:
    """`NAdam`; mu_product is the product of all mu before this step (1 at first). Returns what `step` does, and the product after it."""
    states: dict[str, Arrays | None] = {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}
    info, made = _stepped(NAdam, params, grads, states, step, dict(options), {"mu_product": float(mu_product)})
    made._settle()
    after = [n["mu_product"] for n, g in zip(made._numbers, grads, strict=True) if g is not None]
    return info, after[0] if after else float(mu_product)


def radam_(
    params: Arrays, grads: Arrays, exp_avg: Arrays, exp_avg_sq: Arrays, *, step: int, **options: Any
) -> StepInfo | DeviceStepInfo:
    """`RAdam`."""
    return _step(RAdam, params, grads, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}, step, options)


def adamax_(
    params: Arrays, grads: Arrays, exp_avg: Arrays, exp_inf: Arrays, *, step: int, **options: Any
) -> StepInfo | DeviceStepInfo:
    """`Adamax`."""
    return _step(Adamax, params, grads, {"exp_avg": exp_avg, "exp_inf": exp_inf}, step, options)


def lion_(params: Arrays, grads: Arrays, exp_avg: Arrays, *, step: int, **options: Any) -> StepInfo | DeviceStepInfo:
    """`Lion`."""
    return _step(Lion, params, grads, {"exp_avg": exp_avg}, step, options)


def lamb_(
    params: Arrays, grads: Arrays, exp_avg: Arrays, exp_avg_sq: Arrays, *, step: int, **options: Any
) -> StepInfo | DeviceStepInfo:
    """`LAMB`."""
    return _step(LAMB, params, grads, {"exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}, step, options)


def lars_(
    params: Arrays, grads: Arrays, momentum_buffer: Arrays, *, step: int, **options: Any
) -> StepInfo | DeviceStepInfo:
    """`LARS`."""
    return _step(LARS, params, grads, {"momentum_buffer": momentum_buffer}, step, options)


def rprop_(
    params: Arrays, grads: Arrays, prev: Arrays, step_size: Arrays, *, step: int, **options: Any
) -> StepInfo | DeviceStepInfo:
    """`Rprop`."""
    return _step(Rprop, params, grads, {"prev": prev, "step_size": step_size}, step, options)


def asgd_(
    params: Arrays, grads: Arrays, ax: Arrays, *, step: int, eta: float, mu: float, **options: Any
) -> StepInfo | DeviceStepInfo:
    """`ASGD`, with the eta and mu of this step."""
    return _stepped(ASGD, params, grads, {"ax": ax}, step, options, {"eta": float(eta), "mu": float(mu)})[0]


def muon_(
    params: Arrays, grads: Arrays, momentum_buffer: Arrays, *, step: int, **options: Any
) -> StepInfo | DeviceStepInfo:
    """`Muon`."""
    return _step(Muon, params, grads, {"momentum_buffer": momentum_buffer}, step, options)


def adafactor_(
    params: Arrays, grads: Arrays, row_var: Arrays, col_var: Arrays, variance: Arrays, *, step: int, **options: Any
) -> StepInfo | DeviceStepInfo:
    """`Adafactor`; a matrix has row_var and col_var, a vector variance, the others are None."""
    return _step(
        Adafactor, params, grads, {"row_var": row_var, "col_var": col_var, "variance": variance}, step, options
    )
