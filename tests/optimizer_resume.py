"""Run as a program by test_optimizer_storage.py: takes optimizers up from a file where another process left them, and goes on.

Arguments: the file to read, the file to write. Both hold {case: (parameters, state_dict)}, by pickle.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from dlkernels import optim

BF16 = np.dtype(ml_dtypes.bfloat16)
STEPS = 6
RULES: dict[str, Any] = {
    "SGD": lambda p, **o: optim.SGD(p, lr=0.01, momentum=0.9, **o), "Adagrad": optim.Adagrad, "Adadelta": optim.Adadelta,
    "RMSprop": lambda p, **o: optim.RMSprop(p, momentum=0.9, centered=not o.get("state_dtype"), **o), "Rprop": optim.Rprop,
    "ASGD": optim.ASGD, "Adam": optim.Adam, "AMSGrad": lambda p, **o: optim.AdamW(p, amsgrad=True, **o), "NAdam": optim.NAdam,
    "RAdam": optim.RAdam, "Adamax": optim.Adamax, "Lion": optim.Lion, "LAMB": optim.LAMB, "LARS": lambda p, **o: optim.LARS(p, lr=0.1, **o),
    "Adafactor": optim.Adafactor, "Muon": optim.Muon,
}  # fmt: skip
STORAGES: list[dict[str, Any]] = [
    {}, {"precision": "stochastic"}, {"precision": "master"}, {"precision": "remainder"}, {"state_dtype": "bfloat16"},
    {"state_dtype": "uint8", "precision": "master"},
]  # fmt: skip
PLAIN_ONLY = {"Adafactor", "Muon"}


def cases() -> list[tuple[str, int, int]]:
    """(rule, storage, steps taken before the file)"""
    found = []
    for name in RULES:
        for s, storage in enumerate(STORAGES):
            if storage and name in PLAIN_ONLY:
                continue
            if name == "Rprop" and storage.get("state_dtype") == "uint8":
                continue  # its step sizes do not begin at 0
            if name == "LAMB" and set(storage.values()) - {"master"}:
                continue
            if name == "LARS" and storage.get("precision") == "remainder":
                continue
            found += [(name, s, after) for after in (0, 1, 2, 5)]
    return found


def start() -> np.ndarray:
    return np.random.default_rng(2).standard_normal((64, 70)).astype(BF16)


def gradient(t: int) -> np.ndarray:
    return np.random.default_rng(100 + t).standard_normal((64, 70)).astype(BF16)


def run(case: tuple[str, int, int], w: np.ndarray, state: Any, first: int, last: int) -> Any:
    """The state after the steps [first, last)."""
    opt = RULES[case[0]]([w], **STORAGES[case[1]])
    if state is not None:
        opt.load_state_dict(state)
    for t in range(first, last):
        opt.step([gradient(t)])
    return opt.state_dict()


def main() -> None:
    given = pickle.loads(Path(sys.argv[1]).read_bytes())
    for case, (w, state) in given.items():
        given[case] = w, run(case, w, state, case[2], STEPS)
    Path(sys.argv[2]).write_bytes(pickle.dumps(given))


if __name__ == "__main__":
    main()
