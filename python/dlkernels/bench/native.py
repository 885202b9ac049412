"""The times of bench/native, the C loops without Python, beside our rows: what is left is the loop, the rest was the call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def native_seconds(path: Path) -> dict[str, float]:
    """Row name -> seconds, from Google Benchmark's JSON: "tanh value float32/8192/real_time" is the row "tanh value float32 8192"."""
    found = {}
    for entry in json.loads(path.read_text(encoding="utf-8"))["benchmarks"]:
        name, *shape = entry["name"].removesuffix("/real_time").split("/")
        found[f"{name} {'x'.join(shape)}"] = entry["real_time"] * _SECONDS[entry["time_unit"]]
    return found


def attach(results: dict[str, Any], path: Path) -> None:
    """Gives the rows that are warm, into memory that is there, the time of their C loop."""
    seconds = native_seconds(path)
    for row in results["rows"]:
        if row["name"] in seconds:
            row["native"] = seconds[row["name"]]
