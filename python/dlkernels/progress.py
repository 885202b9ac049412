"""What a person sees while training runs: a live bar on a terminal, one line an epoch in a log file, or
nothing.

Everything goes to stderr, so that stdout stays the program's result. rich draws the bar when it is installed
and honors NO_COLOR. A bar that is redrawn for every batch costs more than a small batch; ten times a second
is plenty.
"""

from __future__ import annotations

import sys
import time
from typing import Any

_REDRAW_SECONDS = 0.1


def describe(row: dict[str, float]) -> str:
    """ "loss 0.3141  accuracy 0.8912  ..." for a row of the history."""
    shown = [
        f"{name} {value:.4g}" if name == "lr" else f"{name} {value:.4f}"
        for name, value in row.items()
        if name not in {"epoch", "seconds"}
    ]
    return "  ".join([*shown, f"{row['seconds']:.2f} s"] if "seconds" in row else shown)


class Silent:
    """No output; also what a reporter must offer."""

    def begin(self, epochs: int, batches: int) -> None:
        """Before the first epoch."""

    def batch(self, epoch: int, index: int, loss: float) -> None:
        """After a batch; `index` counts from 1."""

    def epoch(self, epoch: int, row: dict[str, float]) -> None:
        """After an epoch, with its row of the history."""

    def end(self) -> None:
        """However training ended."""


class Lines(Silent):
    """One line an epoch: for logs, pipes and continuous integration."""

    def begin(self, epochs: int, batches: int) -> None:  # noqa: ARG002
        self._epochs = epochs

    def epoch(self, epoch: int, row: dict[str, float]) -> None:
        print(f"epoch {epoch}/{self._epochs}  {describe(row)}", file=sys.stderr, flush=True)


class Bar(Silent):
    """A bar for the running epoch below one line for each that is done."""

    def begin(self, epochs: int, batches: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._epochs, self._batches, self._drawn = epochs, batches, 0.0
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        # auto_refresh would redraw from a second thread, in the middle of a matrix product
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False)
        self._task = self._progress.add_task("", total=batches, note="")
        self._progress.start()

    def batch(self, epoch: int, index: int, loss: float) -> None:
        now = time.perf_counter()
        if now - self._drawn < _REDRAW_SECONDS:
            return
        self._drawn = now
        title = f"epoch {epoch}/{self._epochs}"
        self._progress.update(self._task, description=title, completed=index, note=f"loss {loss:.4f}", refresh=True)

    def epoch(self, epoch: int, row: dict[str, float]) -> None:
        self._progress.console.print(f"epoch {epoch}/{self._epochs}  {describe(row)}")
        self._progress.reset(self._task)

    def end(self) -> None:
        self._progress.stop()


def reporter(verbose: bool, stream: Any = None) -> Silent:
    """The reporter for this process: a bar if stderr is a terminal and rich is installed, else lines."""
    if not verbose:
        return Silent()
    if (stream or sys.stderr).isatty():
        try:
            import rich  # noqa: F401
        except ImportError:
            return Lines()
        return Bar()
    return Lines()
