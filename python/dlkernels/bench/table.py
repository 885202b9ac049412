"""The table in the terminal: by rich where it is installed, else plain text. The rows where we are slower stand first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from .row import OURS
from .summary import (
    Mean,
    Result,
    asked,
    best_peer,
    comparison,
    lost,
    means,
    middle,
    quantity,
    ratio,
    roof,
    slower,
    verdict_on_peer,
)  # fmt: skip

Lines = Sequence[Sequence[str]]


def show(title: str, headings: Sequence[str], lines: Lines, *, left: int = 1) -> None:
    """A table; the first `left` columns are words, the others numbers."""
    if not lines:
        return
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        _plain(title, headings, lines, left)
        return
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold", title_style="bold")
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i < left else "right", overflow="fold", no_wrap=i >= left)
    for line in lines:
        table.add_row(*line)
    width = None if sys.stdout.isatty() else 200
    console = Console(width=width, highlight=False)
    console.print(table)
    console.print()


def _plain(title: str, headings: Sequence[str], lines: Lines, left: int) -> None:
    widths = [max(len(line[i]) for line in [headings, *lines]) for i in range(len(headings))]
    print(title)
    for line in [headings, *lines]:
        print(
            "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        )
    print()


HEADINGS = (
    "row",
    "size",
    "ours",
    "20-80 %",
    "GB/s",
    "% of copy",
    "best peer",
    "its time",
    "ratio",
    "",
    "error",
    "C loop",
)


def line(results: Result, row: Result) -> list[str]:
    """A row as text."""
    mine, peer, share, r = middle(row), best_peer(row), roof(results, row), ratio(row)
    interval = row["seconds"].get(OURS)
    error = row["errors"].get(OURS)
    return [
        row["label"] or row["name"],
        row["size"],
        quantity(row, mine) if mine else "-",
        f"{quantity(row, interval[0])} - {quantity(row, interval[2])}" if interval else "-",
        f"{row['bytes'] / mine / 1e9:.1f}" if mine and row["bytes"] else "",
        f"{100 * share / mine:.0f}" if mine and share else "",
        peer[0] if peer else "-",
        quantity(row, peer[1]) if peer else "",
        f"{r:.2f}" if r else "",
        verdict_on_peer(row),
        f"{error:.0e}" if error is not None else "",
        quantity(row, row["native"]) if "native" in row else "",
    ]


def goal(row: Result, found: float) -> list[str]:
    """What was asked for, and whether it was missed."""
    return [f"{row['asked']:.2f}", "" if found >= row["asked"] else "missed"]


def report(results: Result) -> None:
    """Everything, the unpleasant first."""
    rows = results["rows"]
    timed = [row for row in rows if ratio(row) is not None]
    behind = slower(rows)
    title = f"Where the best peer is faster: {len(behind)} of {len(timed)} rows that have one"
    show(title, HEADINGS, [line(results, row) for row in behind], left=2)
    demanded = [
        [row["label"], quantity(row, mine), against, quantity(row, theirs), f"{r:.2f}", *goal(row, r)]
        for row, against, theirs, mine, r in asked(results)
    ]
    show("What issues asked for", ("row", "ours", "against", "its time", "ratio", "asked", ""), demanded)
    show("All rows", HEADINGS, [line(results, row) for row in rows], left=2)
    show_means(means(rows))
    show_absent(results)


def show_means(found: Sequence[Mean]) -> None:
    """A line for each family and size class, a column for each peer."""
    peers = list(dict.fromkeys(["best", *(m.peer for m in found)]))
    keys = list(dict.fromkeys((m.family, m.size) for m in found if m.family != "all"))
    cells = {(m.family, m.size, m.peer): m for m in found}
    lines = []
    for family, size in [*sorted(keys), ("all", "all")]:
        of = [cells.get((family, size, peer)) for peer in peers]
        if any(of):
            lines.append([family, size, *(f"{m.ratio:.2f} ({m.rows})" if m else "" for m in of)])
    show("Geometric means: their time / ours (rows)", ("family", "size", *peers), lines, left=2)


def show_absent(results: Result) -> None:
    """Forms that were refused for a reason worth knowing, once each."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in results["rows"]:
        for peer, why in row["absent"].items():
            if why != "no form":
                reasons.setdefault((peer, why), []).append(row["name"])
    lines = [
        [peer, why, f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}"]
        for (peer, why), names in reasons.items()
    ]
    show("Not timed", ("library", "why", "rows"), lines, left=3)


def show_comparison(old: Result, new: Result, tolerance: float) -> int:
    """Prints FAST, SLOW and the number of SAME, and what is not timed any more; returns how many are SLOW or lost."""
    found, gone = comparison(old, new, tolerance), lost(old, new)
    lines = []
    for verdict, before, after in found:
        if verdict != "SAME":
            a, b = middle(before), middle(after)
            assert a
            assert b
            lines.append(
                [verdict, after["label"] or after["name"], quantity(after, a), quantity(after, b), f"{b / a:.2f}"]
            )
    counts = {name: sum(v == name for v, _, _ in found) for name in ("FAST", "SLOW", "SAME")}
    about = old["machine"]
    show(
        f"Against {about['commit'] or 'an earlier run'} of {about['date']}",
        ("", "row", "then", "now", "now/then"),
        lines,
        left=2,
    )
    print(", ".join(f"{name} {n}" for name, n in counts.items()) + f" of {len(found)} rows in both runs")
    if any(about.get(key) != new["machine"].get(key) for key in ("cpu", "gpu", "threads")):
        print("The machines or threads differ: the verdicts say nothing about the code.")
    for row in gone:
        print(f"LOST {row['name']}: {row['absent'].get(OURS, 'not timed')}")
    return counts["SLOW"] + len(gone)


def describe(about: dict[str, Any], peers: Sequence[str], missing: Sequence[str]) -> None:
    """The header: on what, with what, without what."""
    commit = f"{about['commit'] or 'installed'}{' with changes' if about['changed'] else ''}"
    print(
        f"dlkernels {about['versions'][OURS]} ({commit}), target {about['target']}, {about['compiler']} {about['flags']}"
    )
    print(f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads for everybody, Python {about['python']}")
    versions = about["versions"]
    named = [
        f"{peer} {versions.get('torch' if peer == 'torch-compile' else peer, '')}".strip()
        for peer in peers
        if peer != OURS
    ]
    print(f"peers: {', '.join(named) or 'none'}")
    if missing:
        print(f"not installed, so missing here: {', '.join(missing)}")
    print()
