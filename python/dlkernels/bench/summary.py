"""What the measurements say: ratios, where we are slower, geometric means, and whether a run is faster or slower than an earlier one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from .copies import interpolated
from .row import COPY, OURS
from .whole import IMPORT, SIZES

Result = dict[str, Any]
FAST, SLOW, SAME = "FAST", "SLOW", "SAME"
TOLERANCE = 0.05  # two runs on one machine differ by as much without a reason


def middle(result: Result, peer: str = OURS) -> float | None:
    """The median, in seconds."""
    seconds = result["seconds"].get(peer)
    return float(seconds[1]) if seconds else None


def peers_of(result: Result) -> dict[str, float]:
    """Medians of all but us."""
    return {peer: float(t[1]) for peer, t in result["seconds"].items() if peer != OURS}


def best_peer(result: Result) -> tuple[str, float] | None:
    """The fastest of the others."""
    others = peers_of(result)
    return min(others.items(), key=lambda item: item[1]) if others else None


def roof(results: Result, result: Result) -> float | None:
    """Seconds of a copy of the same bytes, cold for a cold row."""
    if not result["bytes"] or result["part"] == COPY:
        return None
    return interpolated(results["roof"].get("cold" if result["variant"] == "cold" else "warm", {}), result["bytes"])


def verdict_on_peer(result: Result) -> str:
    """ "slower", "faster", or "even" where the intervals of us and the best peer overlap."""
    peer = best_peer(result)
    if peer is None or not is_time(result) or OURS not in result["seconds"]:
        return ""
    (low, _, high), (peer_low, _, peer_high) = result["seconds"][OURS], result["seconds"][peer[0]]
    if low > peer_high:
        return "slower"
    return "faster" if high < peer_low else "even"


def ratio(result: Result) -> float | None:
    """Time of the best peer / our time: above 1 we are faster. None for what is no race: a size, an import."""
    if not is_time(result):
        return None
    mine, peer = middle(result), best_peer(result)
    return peer[1] / mine if mine and peer else None


def is_time(result: Result) -> bool:
    """Is the number a time of a call that a mean may hold? Not a size, an import, the roof."""
    return result["part"] not in {COPY, *SIZES}


def geometric_mean(values: Iterable[float]) -> float:
    """exp of the mean logarithm; NaN of nothing."""
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan


@dataclass(frozen=True)
class Mean:
    """A line of the table of means."""

    family: str
    size: str
    peer: str  # "best" or a name
    rows: int
    ratio: float


def means(rows: Iterable[Result]) -> list[Mean]:
    """Geometric means of their time / our time for each family and size class, against the best peer and against each."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        mine = middle(row)
        if not mine or not is_time(row):
            continue
        others = peers_of(row)
        best = best_peer(row)
        for peer, seconds in [*others.items(), *([("best", best[1])] if best else [])]:
            for key in ((row["family"], row["size"], peer), ("all", "all", peer)):
                found.setdefault(key, []).append(seconds / mine)
    return [Mean(*key, len(v), geometric_mean(v)) for key, v in found.items()]


def asked(results: Result) -> list[tuple[Result, str, float, float, float]]:
    """The rows that an issue asked a ratio of: (row, against whom, their time, our time, the ratio)."""
    by_label = {row["label"]: row for row in results["rows"] if row["label"]}
    found = []
    for row in results["rows"]:
        mine = middle(row)
        if not row["asked"] or mine is None:
            continue
        if row["against"] == "best":
            peer = best_peer(row)
        elif row["against"] in by_label:
            other = by_label[row["against"]]
            own = middle(other)
            peer = (row["against"], own) if own else best_peer(other)
        else:
            peer = None
        if peer:
            found.append((row, peer[0], peer[1], mine, peer[1] / mine))
    return found


def slower(rows: Iterable[Result]) -> list[Result]:
    """Where the best peer is faster than we are, the worst first."""
    behind = [(r, row) for row in rows if (r := ratio(row)) is not None and r < 1]
    return [row for _, row in sorted(behind, key=lambda item: item[0])]


def drift(old: Result, new: Result) -> float:
    """How much slower the machine was in this row of the new run, by those whose code did not change: the peers, measured in turn."""
    before, after = peers_of(old), peers_of(new)
    moved = [after[peer] / before[peer] for peer in before.keys() & after.keys()]
    return geometric_mean(moved) if moved else 1.0


def compared(old: Result, new: Result, tolerance: float = TOLERANCE, *, control: bool = True) -> str:
    """SLOW or FAST if the intervals (20 to 80 %) of our time do not overlap, the old one widened by the tolerance; else SAME.

    With control, what the peers became slower (or faster) by is no verdict on us.
    """
    (old_low, _, old_high), (low, _, high) = old["seconds"][OURS], new["seconds"][OURS]
    machine = drift(old, new) if control else 1.0
    if low > old_high * (1 + tolerance) * max(1.0, machine):
        return SLOW
    return FAST if high < old_low / (1 + tolerance) * min(1.0, machine) else SAME


def same_peers(old: Result, new: Result) -> bool:
    """Are the peers' versions those of the old run, so that they can be a control?"""
    a, b = ({name: v for name, v in run["machine"]["versions"].items() if name != OURS} for run in (old, new))
    return a == b


def comparison(old: Result, new: Result, tolerance: float = TOLERANCE) -> list[tuple[str, Result, Result]]:
    """(verdict, old row, new row) of the rows that both runs measured for us, the slow ones first."""
    before = {row["name"]: row for row in old["rows"] if OURS in row["seconds"]}
    pairs = [(before[row["name"]], row) for row in new["rows"] if row["name"] in before and OURS in row["seconds"]]
    control = same_peers(old, new)
    found = [(compared(a, b, tolerance, control=control), a, b) for a, b in pairs]
    return sorted(found, key=lambda item: [SLOW, FAST, SAME].index(item[0]))


def lost(old: Result, new: Result) -> list[Result]:
    """Rows of the new run in which we have no time, where the old run had one: wrong, or ended by a crash."""
    timed = {row["name"] for row in old["rows"] if OURS in row["seconds"]}
    return [row for row in new["rows"] if row["name"] in timed and OURS not in row["seconds"]]


def duration(seconds: float) -> str:
    """With the unit that fits."""
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}" if seconds / scale < 1000 else f"{seconds / scale:.0f} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def quantity(row: Result, value: float) -> str:
    """A time, or what else the row measures."""
    return f"{value:.1f} MB" if row["part"] in SIZES and row["part"] != IMPORT else duration(value)
