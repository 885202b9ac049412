"""Ratios against the peers' best forms, measured in one run: `python -m bench [--filter TEXT] [--rounds N] [--json FILE]`.

Every peer runs in its own process; rounds are interleaved, so that drift of a noisy machine cancels; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .case import OURS, Case
from .cases import CASES

PACKAGES = {OURS: "dlkernels", "torch": "torch", "torch.compile": "torch", "jax": "jax", "numpy": "numpy"}


class Peer:
    """A worker process and its pipe."""

    def __init__(self, name: str) -> None:
        self.name = name
        command = [sys.executable, "-m", "bench.worker", name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, case: Case, samples: int) -> list[float] | None:
        """Seconds of `samples` timed calls; None where the peer has no such thing."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"case": case.name, "samples": samples}) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the {self.name} worker died in case {case.name}")
        time.sleep(0.02)  # let the other pool's workers go to sleep
        seconds: list[float] | None = json.loads(answer)
        return seconds


def measure(case: Case, peers: list[Peer], rounds: int, samples: int) -> dict[str, list[float]]:
    """All peers' times, round by round."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for peer in peers:
            seconds = peer.ask(case, samples)
            if seconds is not None:
                times.setdefault(peer.name, []).extend(seconds)
    return times


def _quantiles(seconds: list[float]) -> tuple[float, float, float]:
    q = statistics.quantiles(seconds, n=10)
    return q[1], statistics.median(seconds), q[7]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def machine() -> dict[str, Any]:
    """What a result must carry to be believed."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        "",
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "commit": commit,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in sorted(set(PACKAGES.values()))},
        "target": os.environ.get("DLKERNELS_TARGET", "best"),
    }


def wanted(text: str) -> list[Case]:
    """The cases whose name contains the text, and the rows that they are measured against."""
    chosen = {case.name for case in CASES if text in case.name}
    chosen |= {case.peer for case in CASES if case.name in chosen}
    return [case for case in CASES if case.name in chosen]


def _duration(seconds: float) -> str:
    return f"{seconds * 1e3:.3f} ms" if seconds > 1e-3 else f"{seconds * 1e6:.3f} us"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--filter", default="", help="only cases whose name contains this")
    parser.add_argument("--peers", default=",".join(PACKAGES), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=5, help="timed samples of a peer in a round")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    names = [name for name in PACKAGES if name in args.peers.split(",") or name == OURS]
    for name in [name for name in names if name != OURS and not _version(PACKAGES[name])]:
        print(f"not installed, so not measured: {name}")
        names.remove(name)
    peers = [Peer(name) for name in names]
    rows: list[dict[str, Any]] = []
    about = machine()
    fastest: dict[str, float] = {}
    print(f"{'case':46} {'ours':>11} {'20-80 %':>23} {'peer':>11} {'':13} {'ratio':>6} {'goal':>5}   GB/s")
    for case in wanted(args.filter):
        seconds = {name: _quantiles(t) for name, t in measure(case, peers, args.rounds, args.samples).items()}
        medians = {name: middle for name, (_, middle, _) in seconds.items()}
        fastest[case.name] = medians.get(OURS, min(medians.values()))
        row: dict[str, Any] = {"case": case.name, "bytes": case.bytes, "seconds": seconds}
        rows.append(row)
        others = {name: t for name, t in medians.items() if name != OURS}
        against = min(others, key=lambda name: others[name]) if case.peer == "best" and others else case.peer
        peer = others.get(against, fastest.get(against))
        ours = fastest[case.name]
        low, _, high = seconds.get(OURS, (ours, ours, ours))
        line = f"{case.name:46} {_duration(ours):>11} {_duration(low):>11}-{_duration(high):>11}"
        if peer is not None and case.name != against and OURS in seconds:
            row.update(peer=against, goal=case.goal, ratio=peer / ours)
            line += f" {_duration(peer):>11} {against[:13]:13} {peer / ours:6.2f} {case.goal:5.2f}"
        else:
            line += " " * 39
        print(
            f"{line}  {case.bytes / ours / 1e9:5.1f}{'  MISSED' if row.get('ratio', 1e9) < case.goal else ''}",
            flush=True,
        )
        if args.json:  # after each row: a run that ends early has measured something
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
