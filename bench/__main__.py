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

from .cases import CASES, Case

PEERS = ("dlkernels", "torch", "numpy")


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
        "versions": {package: _version(package) for package in ("dlkernels", "numpy", "torch")},
        "target": os.environ.get("DLKERNELS_TARGET", "best"),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--filter", default="", help="only cases whose name contains this")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--samples", type=int, default=5, help="timed samples of a peer in a round")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    peers = [Peer(name) for name in PEERS]
    rows: list[dict[str, Any]] = []
    roof = 0.0
    print(f"{'case':38} {'ours':>10} {'20-80 %':>17} {'peer':>10}  {'ratio':>6} {'goal':>5}  GB/s")
    for case in CASES:
        if args.filter not in case.name and case.peer != "copy":
            continue
        if args.filter not in case.name and not (case.name.startswith("copy") and "32 Mi" in args.filter):
            continue
        times = measure(case, peers, args.rounds, args.samples)
        if case.name.startswith("copy"):
            roof = min(statistics.median(t) for t in times.values())
            rows.append({"case": case.name, "seconds": {k: _quantiles(t) for k, t in times.items()}})
            print(f"{case.name:38} {roof * 1e3:8.3f}ms {'':17} {'':10}  {'':6} {'':5}  {case.bytes / roof / 1e9:.1f}")
            continue
        low, ours, high = _quantiles(times["dlkernels"])
        peer = roof if case.peer == "copy" else statistics.median(times[case.peer])
        unit, name = (1e3, "ms") if ours > 1e-3 else (1e6, "us")
        verdict = "" if peer / ours >= case.goal else "  MISSED"
        print(
            f"{case.name:38} {ours * unit:8.3f}{name} {low * unit:7.3f}-{high * unit:7.3f}{name} {peer * unit:8.3f}{name}"
            f"  {peer / ours:6.2f} {case.goal:5.2f}  {case.bytes / ours / 1e9:.1f}{verdict}"
        )
        rows.append(
            {
                "case": case.name, "peer": case.peer, "goal": case.goal, "ratio": peer / ours, "bytes": case.bytes,
                "seconds": {k: _quantiles(t) for k, t in times.items()},
            }
        )  # fmt: skip
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
