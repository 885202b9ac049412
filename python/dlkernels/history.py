"""What happened during training: one row of numbers an epoch, as a table, a CSV file and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from os import PathLike
from typing import Any

from dlkernels.atomic import replacing

Row = dict[str, float]


class History:
    """Rows such as {"epoch": 1, "loss": .., "accuracy": .., "val_loss": .., "lr": .., "seconds": ..}.

    ``history["val_loss"]`` is a column; `stopped` says why training ended before its last epoch, or is None.
    """

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows: list[Row] = rows if rows is not None else []
        self.stopped: str | None = None

    @property
    def columns(self) -> list[str]:
        """Names in the order in which they first appear."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.columns:
            raise KeyError(f"history has no {name!r}; it has {', '.join(self.columns) or 'no rows yet'}.")
        return [row[name] for row in self.rows if name in row]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"History({len(self)} epochs, last {self.rows[-1] if self.rows else None})"

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write the rows, replacing the file at once. Numbers are written so that reading gives them back
        exactly.
        """
        text = io.StringIO()
        writer = csv.DictWriter(text, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        with replacing(path) as file:
            file.write(text.getvalue().encode())

    def plot(self, path: str | PathLike[str]) -> None:
        """Draw loss and, where recorded, every metric over the epochs, with their validation twins, as a
        PNG.
        """
        try:
            from matplotlib.backends.backend_agg import (
                FigureCanvasAgg,
            )  # not pyplot: no window, no global state
            from matplotlib.figure import Figure
        except ImportError:
            raise ModuleNotFoundError(
                'history.plot: matplotlib is not installed. Install it: pip install "dlkernels[train]".'
            ) from None
        panels = [
            name for name in self.columns if name not in {"epoch", "lr", "seconds"} and not name.startswith("val_")
        ]
        figure = Figure(figsize=(5 * max(len(panels), 1), 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        for index, name in enumerate(panels):
            axes = figure.add_subplot(1, len(panels), index + 1, xlabel="epoch", title=name)
            for column, label in ((name, "training"), (f"val_{name}", "validation")):
                points = [(row["epoch"], row[column]) for row in self.rows if column in row]
                if points:
                    axes.plot(*zip(*points, strict=True), marker="o", markersize=3, label=label)
            axes.grid(alpha=0.3)
            axes.legend()
        with replacing(path) as file:
            figure.savefig(file, format="png", dpi=120)


def best_is_higher(name: str) -> bool:
    """Whether more of this is better: true for what is called accuracy or score, false for losses and
    errors.
    """
    return any(word in name for word in ("accuracy", "score"))


def choose_monitor(monitor: str | None, row: Mapping[str, Any], who: str) -> str:
    """The column to watch: the one asked for, else the validation loss where there is one, else the loss."""
    if monitor is None:
        return "val_loss" if "val_loss" in row else "loss"
    if monitor not in row:
        raise ValueError(
            f"{who}: monitor must be one of {', '.join(row)}, got {monitor!r}. "
            f"A val_ column needs validation_data= or validation_split=."
        )
    return monitor
