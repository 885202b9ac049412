"""Optimizers with PyTorch's names, defaults, state keys and definitions, and what goes with them. What they share is in optimizer.py.

Batch, mini-batch and stochastic gradient descent are the same rule, SGD, at different batch sizes.
"""

from __future__ import annotations

from . import optim_functional as functional
from .adam_rules import Adam, Adamax, AdamW, Lion, NAdam, RAdam
from .descent_rules import ASGD, SGD, Adadelta, Adagrad, RMSprop, Rprop
from .gradients import EMA, GradScaler, clip_grad_norm_, clip_grad_value_, decay_groups, global_grad_norm
from .layerwise_rules import LAMB, LARS
from .matrix_rules import Adafactor, Muon
from .optimizer import Optimizer, StepInfo
from .optimizer_storage import Storage

__all__ = [
    "ASGD", "EMA", "LAMB", "LARS", "SGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "GradScaler", "Lion", "Muon",
    "NAdam", "Optimizer", "RAdam", "RMSprop", "Rprop", "StepInfo", "Storage", "clip_grad_norm_", "clip_grad_value_", "decay_groups",
    "functional", "global_grad_norm",
]  # fmt: skip
