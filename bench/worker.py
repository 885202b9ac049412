"""One peer in a process of its own: reads case names from standard input, answers with the seconds of each timed call.

Two thread pools in one process stall each other, so peers never share one. `python -m bench.worker torch`.
"""

from __future__ import annotations

import json
import sys
import time

from .cases import CASES


def main() -> None:
    """Answers requests until standard input ends."""
    peer = sys.argv[1]
    made = {}
    for line in sys.stdin:
        request = json.loads(line)
        case = next(c for c in CASES if c.name == request["case"])
        if case.name not in made:
            made.clear()  # one case's arrays at a time
            made[case.name] = case.make(peer)
            timed = made[case.name]
            for _ in range(3 if timed else 0):
                timed()
        timed = made[case.name]
        if timed is None:
            print("null", flush=True)
            continue
        seconds = []
        for _ in range(request["samples"]):
            start = time.perf_counter()
            for _ in range(case.inner):
                timed()
            seconds.append((time.perf_counter() - start) / case.inner)
        print(json.dumps(seconds), flush=True)


main()
