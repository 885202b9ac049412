"""A training run: its state, how it is saved and continued, and how Ctrl-C waits for a batch to end."""

from __future__ import annotations

import contextlib
import math
import signal
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from dlkernels import checkpoint
from dlkernels.callbacks import Callback, Checkpoint
from dlkernels.checkpoint import CheckpointError
from dlkernels.history import History
from dlkernels.layer import Layer


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C during `fit`, raised between two batches; `history` holds the epochs that were finished."""

    def __init__(self, history: History) -> None:
        super().__init__("training was interrupted")
        self.history = history


class ResumeError(ValueError):
    """The checkpoint is of a run with other settings."""


class Run:
    """The state of a training run, as callbacks see it: all of it goes into `save` and comes back with
    `load`.
    """

    def __init__(self, model: Layer, optimizer: Any, callbacks: Sequence[Callback], settings: dict[str, Any]) -> None:
        self.model, self.optimizer = model, optimizer
        self.callbacks = sorted(callbacks, key=lambda callback: callback.order)
        for callback in self.callbacks:
            callback.reset()
        # What must be equal for a run to be the continuation of another; the optimizer's own numbers are restored.
        self.settings = {**settings, "optimizer": type(optimizer).__name__}
        self.history = History()
        self.epoch = 0  # epochs finished
        self.step = 0  # optimizer steps taken
        self.loss = math.nan  # of the last batch
        self.row: dict[str, float] = {}  # of the last epoch
        positions = {id(array): i for i, array in enumerate(model.params())}
        parameters = [array for group in optimizer.param_groups for array in group["params"]]
        if not all(id(array) in positions for array in parameters):
            raise ValueError(
                "fit: the optimizer holds parameters that are not the model's. Make it from model.params()."
            )
        self._order = [positions[id(array)] for array in parameters]

    def stop(self, reason: str) -> None:
        """End training before the next batch; `history.stopped` keeps the reason."""
        self.history.stopped = reason

    def ending(self, interrupted: Callable[[], bool]) -> bool:
        """Whether to start no further batch."""
        return interrupted() or self.history.stopped is not None

    def set_lr(self, value: float) -> None:
        """Give every parameter group this learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = float(value)

    def tell(self, point: str) -> None:
        """Call ``point`` ("on_epoch_end", ...) of every callback."""
        for callback in self.callbacks:
            getattr(callback, point)(self)

    def update(self, learning_rate: Callable[[int], float] | None) -> None:
        """One optimizer step with the model's gradients, in the order in which the optimizer holds its
        parameters.
        """
        if learning_rate is not None:
            self.set_lr(learning_rate(self.step))
        gradients = self.model.grads()
        self.optimizer.step([gradients[i] for i in self._order])
        self.step += 1

    def finish_epoch(self, row: dict[str, float]) -> None:
        """Count the epoch and append its row, with the learning rate it ended on, to the history."""
        rate = self.optimizer.param_groups[0]["lr"]
        row["lr"] = float(rate(max(0, self.step - 1)) if callable(rate) else rate)
        self.epoch += 1
        self.row = row
        self.history.rows.append(row)

    def _named_callbacks(self) -> Iterator[tuple[str, Callback]]:
        """Callbacks by type and number, so that their states find them even when others come or go."""
        seen: dict[str, int] = {}
        for callback in self.callbacks:
            kind = type(callback).__name__
            seen[kind] = seen.get(kind, -1) + 1
            yield f"{kind}.{seen[kind]}", callback

    def save(self, path: str | PathLike[str]) -> None:
        """Write parameters, optimizer, dropout streams, callbacks and history to one file."""
        arrays: dict[str, Any] = dict(self.model.state_dict())
        states = {name: callback.state() for name, callback in self._named_callbacks()}
        metadata = {
            "run": 1,  # version of this layout
            "epoch": self.epoch,
            "step": self.step,
            "settings": self.settings,
            "random": self.model.random_state(),
            "optimizer": checkpoint.pack(self.optimizer.state_dict(), arrays, "optimizer/"),
            "callbacks": checkpoint.pack(states, arrays, "callbacks/"),
            "history": self.history.rows,
        }
        checkpoint.save(path, arrays, metadata)

    def load(self, path: str | PathLike[str]) -> None:
        """Become the run that was saved; raises, before anything changes, when it does not fit this one.

        Compared are seed, batch size, number of examples, the kind of optimizer and every parameter's name, shape and
        dtype. Loss, schedule and data are functions that no file can compare: give the same ones.
        """
        arrays, metadata = checkpoint.load(path)
        if not isinstance(metadata, dict) or metadata.get("run") != 1:
            raise CheckpointError(f"{path}: holds weights but no training state. Load it with model.load(path).")
        for name, value in self.settings.items():
            saved = metadata["settings"].get(name)
            if saved != value:
                raise ResumeError(f"resume: {name} must be {saved} as in {path}, got {value}.")
        parameters = checkpoint.weights(arrays)
        self.model.check_state_dict(parameters)
        self.model.check_random_state(metadata["random"])
        states = checkpoint.unpack(metadata["callbacks"], arrays)
        for name, callback in self._named_callbacks():  # they were reset for this run: nothing to undo
            if states.get(name) is not None:
                callback.load_state(states[name])
        self.optimizer.load_state_dict(checkpoint.unpack(metadata["optimizer"], arrays))  # all or nothing, by itself
        self.model.load_state_dict(parameters)
        self.model.load_random_state(metadata["random"])
        self.epoch, self.step = metadata["epoch"], metadata["step"]
        self.history.rows[:] = metadata["history"]

    def resume(self, path: str | PathLike[str]) -> None:
        """`load` a file, or the last good checkpoint of a folder: a damaged last one falls back to the best, loudly."""
        last, best = (Path(path) / name for name in (Checkpoint.LAST, Checkpoint.BEST))
        if not Path(path).is_dir():
            last = Path(path)
        if not last.exists() and not best.exists():
            raise FileNotFoundError(f"resume: there is no checkpoint {last}. Train without resume first.")
        try:
            self.load(last)
        except (CheckpointError, FileNotFoundError) as error:
            if not best.exists():
                raise
            warnings.warn(f"{error} Going on from {best} instead.", RuntimeWarning, stacklevel=3)
            self.load(best)


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back until it is asked for, so that no update is left half done; the second one acts at
    once.
    """
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not handled or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed = threading.Event()

    def handler(_signal: int, _frame: Any) -> None:
        if pressed.is_set():
            raise KeyboardInterrupt
        pressed.set()

    signal.signal(signal.SIGINT, handler)
    try:
        yield pressed.is_set
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
