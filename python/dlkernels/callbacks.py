"""Callbacks: what may happen between batches and epochs of dk.train.fit.

A callback sees the `Run` (model, optimizer, epoch, step, loss, history, stop(reason), save(path)). One with a
memory gives it to `state` and takes it back in `load_state`, so that a resumed run goes on as if it had never
stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlkernels import arguments
from dlkernels.history import best_is_higher, choose_monitor

if TYPE_CHECKING:
    from dlkernels.run import Run

Hook = Callable[["Run"], None]


class Callback:
    """Does nothing at every point; subclass and override. Lower `order` runs first."""

    order = 0

    def reset(self) -> None:
        """Forget an earlier fit: called before everything else, also before a checkpoint is resumed."""

    def on_fit_begin(self, run: Run) -> None: ...
    def on_epoch_begin(self, run: Run) -> None: ...
    def on_batch_end(self, run: Run) -> None: ...
    def on_epoch_end(self, run: Run) -> None: ...
    def on_fit_end(self, run: Run) -> None: ...

    def state(self) -> Any:
        """What to store in a checkpoint: nested dicts and lists of plain values and arrays."""
        return None

    def load_state(self, state: Any) -> None:
        """Take back what `state` gave."""


class _Best:
    """The best value of one column so far."""

    def __init__(self, monitor: str | None, mode: str, min_delta: float, who: str) -> None:
        if mode not in {"auto", "min", "max"}:
            raise ValueError(f'{who}: mode must be "auto", "min" or "max", got {mode!r}.')
        arguments.real(who, "min_delta", min_delta, 0)
        self.monitor, self.mode, self.min_delta, self.who = monitor, mode, min_delta, who
        self.value: float | None = None

    def improves(self, row: dict[str, float]) -> bool:
        """Whether `row` beats the best by more than min_delta; if so it is the new best. NaN never does."""
        name = choose_monitor(self.monitor, row, self.who)
        higher = best_is_higher(name) if self.mode == "auto" else self.mode == "max"
        value = row[name]
        gain = math.inf if self.value is None else (value - self.value if higher else self.value - value)
        if math.isnan(value) or not gain > self.min_delta:
            return False
        self.value = value
        return True


class EarlyStopping(Callback):
    """Stop after `patience` epochs without an improvement of more than `min_delta`.

    `monitor` is a column of the history (default: val_loss if there is validation data, else loss); `mode`
    "auto" takes the higher for accuracies and scores, else the lower. `restore_best` puts the best epoch's
    parameters back at the end.
    """

    def __init__(
        self,
        monitor: str | None = None,
        patience: int = 3,
        min_delta: float = 0.0,
        mode: str = "auto",
        restore_best: bool = True,
    ) -> None:
        self._best = _Best(monitor, mode, min_delta, "EarlyStopping")
        self.patience, self.restore_best = arguments.whole("EarlyStopping", "patience", patience), restore_best
        self.reset()

    def reset(self) -> None:
        self._best.value = None
        self.waited, self.best_epoch = 0, 0
        self._parameters: dict[str, Any] = {}

    def on_epoch_end(self, run: Run) -> None:
        if self._best.improves(run.row):
            self.waited, self.best_epoch = 0, run.epoch
            if self.restore_best:
                self._parameters = {name: array.copy() for name, array in run.model.state_dict().items()}
            return
        self.waited += 1
        if self.waited >= self.patience:
            run.stop(f"no improvement for {self.waited} epochs; the best was epoch {self.best_epoch}")

    def on_fit_end(self, run: Run) -> None:
        if self._parameters:
            run.model.load_state_dict(self._parameters)

    def state(self) -> Any:
        return {
            "best": self._best.value,
            "waited": self.waited,
            "best_epoch": self.best_epoch,
            "parameters": dict(self._parameters),
        }

    def load_state(self, state: Any) -> None:
        self._best.value, self.waited, self.best_epoch = state["best"], state["waited"], state["best_epoch"]
        self._parameters = state["parameters"]


class Checkpoint(Callback):
    """Write the whole state of training after every epoch: last.safetensors, and best.safetensors when it
    improved.

    Runs after the other callbacks, so that what they remember is in the file. ``fit(..., resume=folder)``
    goes on from it.
    """

    order = 100
    LAST, BEST = "last.safetensors", "best.safetensors"

    def __init__(self, folder: str | PathLike[str], monitor: str | None = None, mode: str = "auto") -> None:
        self.folder = Path(folder)
        self._best = _Best(monitor, mode, 0.0, "Checkpoint")

    def reset(self) -> None:
        self._best.value = None

    def on_epoch_end(self, run: Run) -> None:
        improved = self._best.improves(run.row)
        run.save(self.folder / self.LAST)
        if improved:
            run.save(self.folder / self.BEST)

    def state(self) -> Any:
        return {"best": self._best.value}

    def load_state(self, state: Any) -> None:
        self._best.value = state["best"]


class CSVLogger(Callback):
    """Keep `path` equal to the history: rewritten, atomically, after every epoch."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = path

    def on_epoch_end(self, run: Run) -> None:
        run.history.to_csv(self.path)


class TerminateOnNaN(Callback):
    """Stop at the first batch whose loss is NaN or infinite."""

    def on_batch_end(self, run: Run) -> None:
        if not math.isfinite(run.loss):
            run.stop(f"the loss is {run.loss} at step {run.step}")


class LambdaCallback(Callback):
    """Functions of the run at named points: ``LambdaCallback(on_epoch_end=lambda run: print(run.row))``."""

    def __init__(self, **hooks: Hook) -> None:
        points = [name for name in vars(Callback) if name.startswith("on_")]
        for name, hook in hooks.items():
            if name not in points:
                raise TypeError(f"LambdaCallback: {name} must be one of {', '.join(points)}.")
            setattr(self, name, hook)
