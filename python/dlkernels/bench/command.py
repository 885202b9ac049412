"""``dlkernels bench``: options, the run, what is written. Exit code 1 if --compare finds a row SLOW."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import dlkernels as dk

from . import device, page, table
from .copies import GRID, copy_row, fastest
from .machine import installed, machine
from .measure import Bench
from .native import attach
from .options import FULL_MINUTES, QUICK_MINUTES, add_options, compiled_here, pick_peers, pick_rows
from .row import OURS, Row
from .summary import SAME, Result, compared, comparison, lost, same_peers

FORMAT = 2


def start(args: argparse.Namespace) -> Result:
    """Results without rows yet, or those of --json where --resume may go on."""
    about = {**machine(args.threads), **(device.describe_device() if args.device == "cuda" else {})}
    results: Result = {
        "format": FORMAT,
        "device": args.device,
        "machine": about,
        "roof": {},
        "missing": [],
        "left_out": 0,
        "rows": [],
    }
    if args.resume and args.json and args.json.exists():
        before = load(args.json)
        keys = ("cpu", "gpu", "threads", "commit", "changed", "versions")
        same = before["device"] == args.device and all(before["machine"].get(key) == about.get(key) for key in keys)
        if same and not about["changed"]:
            return before
        print(f"{args.json}: another machine, version or commit, so nothing is kept", file=sys.stderr)
    return results


def load(path: Path) -> Result:
    """A JSON file that this command wrote."""
    try:
        results: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise OSError(f"{path} is no JSON: {error}") from error
    if not isinstance(results, dict) or not {"format", "machine", "rows"} <= results.keys():
        raise OSError(f"{path} was not written by dlkernels bench --json")
    if results["format"] != FORMAT:
        raise OSError(f"{path} is of another format than this version's ({FORMAT}): measure anew")
    return cast(Result, results)


def save(results: Result, path: Path | None) -> None:
    """Whole or not at all: a run that is killed leaves the rows before."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".part")
        rows = ",\n".join(json.dumps(row) for row in results["rows"])
        head = json.dumps({**results, "rows": []}, indent=1)
        beside.write_text(head.removesuffix("[]\n}") + f"[\n{rows}\n]\n}}\n", encoding="utf-8")
        beside.replace(path)


def measure_roof(bench: Bench, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Copies over sizes, warm and cold; quickly, only what quick rows need."""
    variants, grid = ["warm", "cold"], list(device.GRID if args.device == "cuda" else GRID)
    if args.quick:
        variants, grid = ["warm"], [n for n in grid if n <= 1 << 24]
    copiers = ["cupy" if args.device == "cuda" else "numpy", *(["torch"] if "torch" in bench.names else [])]
    return {
        variant: {str(moved): fastest(bench.measure(copy_row(moved, variant), copiers)["seconds"]) for moved in grid}
        for variant in variants
    }


def measure_rows(bench: Bench, rows: Sequence[Row], results: Result, args: argparse.Namespace, end: float) -> None:
    """Row by row until the time is over; what is left out is counted."""
    done = {row["name"] for row in results["rows"]}
    todo = [row for row in rows if row.name not in done]
    results["left_out"] = 0
    for i, row in enumerate(todo):
        if time.monotonic() > end:
            results["left_out"] = len(todo) - i
            break
        _progress(f"{i + 1}/{len(todo)} {row.title}")
        names = bench.names
        if args.peers is None and not compiled_here(row):
            names = [name for name in names if name != "torch-compile"]
        results["rows"].append(bench.measure(row, names))
        save(results, args.json)
    _progress("")


def measure_again(bench: Bench, rows: Sequence[Row], old: Result, results: Result, args: argparse.Namespace) -> None:
    """A row that differs from the old run is measured up to twice more; it is called different if it stays so."""
    before = {row["name"]: row for row in old["rows"] if OURS in row["seconds"]}
    by_name = {row.name: row for row in rows}
    control = same_peers(old, results)
    for i, result in enumerate(results["rows"]):
        then, row = before.get(result["name"]), by_name.get(result["name"])
        for _ in range(2):
            if not then or not row or OURS not in result["seconds"]:
                break
            if compared(then, result, args.tolerance, control=control) == SAME:
                break
            _progress(f"again: {row.title}")
            result = {**result, "seconds": bench.measure(row, list(result["seconds"]))["seconds"]}
        results["rows"][i] = result
    _progress("")
    save(results, args.json)


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:100]}", end="", file=sys.stderr, flush=True)


def run(args: argparse.Namespace) -> int:
    """Measure, print, write, compare."""
    if args.resume and not args.json:
        raise OSError("--resume goes on from the file of --json: name it")
    old = load(args.compare) if args.compare else None
    if args.show:
        return finish(load(args.show), old, args)
    rows = pick_rows(args)
    if args.list:
        print("\n".join(f"{row.title}  [{row.size}]" for row in rows))
        return 0
    if not rows:
        raise OSError("no row matches --filter, --dtype and --sizes; --list names the rows")
    args.threads = args.threads or dk.get_num_threads()
    names, missing = pick_peers(args.peers, args.device, args.quick)
    how: dict[str, Any] = {"rounds": 3, "budget": 0.004} if args.quick else {}
    if args.device == "cuda":
        if not installed("cupy"):
            raise OSError("--device cuda needs CuPy: pip install 'dlkernels[cuda13]'")
        rows = [device.on_device(row) for row in rows if row.family != "whole"]
        how["module"] = "dlkernels.bench.device"
    results = start(args)
    results["missing"] = missing
    table.describe(results["machine"], names, missing)
    minutes = args.minutes or (QUICK_MINUTES if args.quick else FULL_MINUTES)
    end = time.monotonic() + 60 * minutes if not args.all or args.minutes else float("inf")
    bench = Bench(names, args.threads, **how)
    try:
        results["roof"] = results["roof"] or measure_roof(bench, args)
        measure_rows(bench, rows, results, args, end)
        if old:
            measure_again(bench, rows, old, results, args)
    finally:
        bench.close()
    return finish(results, old, args)


def finish(results: Result, old: Result | None, args: argparse.Namespace) -> int:
    """The tables, the page, the verdict."""
    if args.native:
        attach(results, args.native)
    table.report(results)
    if results["left_out"]:
        print(f"{results['left_out']} rows did not fit into the time: --minutes, or --json FILE --resume to go on")
    save(results, args.json)
    if args.html:
        args.html.parent.mkdir(parents=True, exist_ok=True)
        args.html.write_text(page.page(results), encoding="utf-8")
        print(f"{args.html}: the same as a page")
    if old and not comparison(old, results) and not lost(old, results):
        raise OSError(f"no row of {args.compare} is in this run: nothing is compared")
    return int(old is not None and table.show_comparison(old, results, args.tolerance) > 0)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `python -m bench` and `python -m dlkernels.bench`."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Every op against a copy of its bytes and against its peers."
    )
    add_options(parser)
    args = parser.parse_args(argv)
    try:
        code = run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nbench: interrupted; --json has the rows before", file=sys.stderr)
        return 130
