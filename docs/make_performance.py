"""Writes docs/performance.md from the tracked results of `dlkernels bench`: `python docs/make_performance.py`. tests/test_bench.py
compares the two.

The page is made of the newest file of each device in bench/results/ (the format of dlkernels.bench.command); nothing is measured here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dlkernels.bench.command import FORMAT
from dlkernels.bench.summary import (
    asked,
    best_peer,
    geometric_mean,
    is_time,
    means,
    middle,
    quantity,
    ratio,
    roof,
    slower,
    verdict_on_peer,
)  # fmt: skip

PAGE = Path(__file__).with_name("performance.md")
RESULTS = Path(__file__).parents[1] / "bench/results"

INTRODUCTION = """# Performance

Written by `python docs/make_performance.py` from `bench/results/`: do not edit. Measure your own machine with `dlkernels bench --quick`
(two minutes) or `dlkernels bench --json run.json --html run.html` (about 25, and more with `--resume`).

What the figures mean:

- *ours*, *its time*: medians over rounds that are interleaved between libraries, each in a process of its own with equal threads, after a
  warm-up, into memory that is there on both sides (of a form without `out=`: in a process that keeps what it has freed). The JSON has
  the 20 and 80 % quantiles; *even* says that these intervals overlap.
- *ratio*: the best peer's time / our time; above 1 we are faster. The best peer is the fastest of NumPy, PyTorch eager (`out=`, fused,
  foreach), `torch.compile`, JAX under `jit` and scikit-learn that has the function, each in its best form. In a default run
  `torch.compile` takes part where an issue asked for a ratio, and in the largest shapes of what PyTorch has no single kernel for.
- Before a form is timed, its numbers are compared with the op's float64 definition on a small shape, and an optimizer's first step in
  float32 with that of the peers; a form that is wrong is not timed. Steps with fewer bits, and losses of an epoch, are not compared.
- *% of copy*: the time of copying as many bytes as any implementation must move (each input read once, each output written once), by
  the fastest copy of NumPy's and PyTorch's in the same run, over our time. Above 100: streaming stores, or a nearer cache.
- *cold*: the caches are overwritten before each call. *allocating*: without `out=`, so that the result's memory is new in each call.
- Gradients: PyTorch's *backward* is its backward pass alone, from a graph that is kept; ours takes what a caller has kept; JAX and
  `torch.compile` compute what they need of the forward pass again. *value+grad* is the whole step for everyone.
- Loop and call: `bench/native/` times the C loops without Python (see its README); the row *call tanh 16* is what Python adds.
- Sizes: *L2* 32 Ki numbers, *LLC* 1 Mi, *memory* 16 Mi or 32 Mi; rows of 10, 1,000, 4,096, 32,000 and 128,256; optimizer lists of a
  small CNN, GPT-2 small and one of 16 shards of a 1 B model (cut so that state and copies fit anywhere).
"""


def newest() -> list[tuple[Path, dict[str, Any]]]:
    """The newest results of each device."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in sorted(RESULTS.glob("*.json")):
        results = json.loads(path.read_text(encoding="utf-8"))
        if results.get("format") == FORMAT:
            before = found.get(results["device"])
            if before is None or before[1]["machine"]["date"] <= results["machine"]["date"]:
                found[results["device"]] = (path, results)
    return list(found.values())


def table(headings: tuple[str, ...], lines: list[list[str]]) -> list[str]:
    """Markdown; nothing for no lines."""
    rule = ["---", *["---:"] * (len(headings) - 1)]
    return [f"| {' | '.join(line)} |" for line in [list(headings), rule, *lines]] if lines else ["None.", ""]


def compared(results: dict[str, Any], row: dict[str, Any]) -> list[str]:
    mine, peer, share, r = middle(row), best_peer(row), roof(results, row), ratio(row)
    assert mine
    assert peer
    return [
        row["label"] or row["name"], quantity(row, mine), f"{100 * share / mine:.0f}" if share else "", peer[0],
        quantity(row, peer[1]), f"{r:.2f}" if r else "", verdict_on_peer(row),
    ]  # fmt: skip


def section(path: Path, results: dict[str, Any]) -> list[str]:
    about, rows = results["machine"], results["rows"]
    best = [m for m in means(rows) if m.peer == "best"]
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items() if name != "dlkernels")
    raced = [r for row in rows if (r := ratio(row)) is not None]
    behind = slower(rows)
    demands = [
        [row["label"], quantity(row, mine), against, quantity(row, theirs), f"{r:.2f}", f"{row['asked']:.2f}",
         "" if r >= row["asked"] else "missed"]
        for row, against, theirs, mine, r in asked(results)
    ]  # fmt: skip
    source = (
        f"`{path.name}`: commit {about['commit']}{' with changes' if about['changed'] else ''}, {about['date']}, {about['cores']} cores, "
        f"{versions}, Python {about['python']}. {len(rows)} rows; {results['left_out']} of the set did not fit into the time. "
        f"Peers missing: {', '.join(results['missing']) or 'none'}."
    )
    whole = [
        [row["label"] or row["name"], *(f"{peer} {quantity(row, t[1])}" for peer, t in row["seconds"].items())]
        for row in rows
        if not is_time(row) or row["part"] == "epoch"
    ]
    return [
        f"## {about.get('gpu', about['cpu'])}, {about['threads']} threads, {about['target']}", "",
        source, "",
        f"### Where the best peer is faster: {len(behind)} of {len(raced)} rows", "",
        *table(("row", "ours", "% of copy", "best peer", "its time", "ratio", ""), [compared(results, row) for row in behind]), "",
        "### What issues asked for", "",
        *table(("row", "ours", "against", "its time", "ratio", "asked", ""), demands), "",
        f"### Families: geometric mean of the best peer's time / ours ({geometric_mean(raced):.2f} over all)", "",
        *table(
            ("family, size", "rows", "ratio"),
            [[f"{m.family}, {m.size}", str(m.rows), f"{m.ratio:.2f}"] for m in sorted(best, key=lambda m: (m.family, m.size))],
        ), "",
        "### The whole", "",
        *[f"- {', '.join(line)}" for line in whole], "",
    ]  # fmt: skip


def page() -> str:
    """The whole of docs/performance.md."""
    parts = [line for path, results in newest() for line in section(path, results)]
    return "\n".join([INTRODUCTION, *(parts or ["No run in this format is tracked yet."])]).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {', '.join(path.name for path, _ in newest())}")
