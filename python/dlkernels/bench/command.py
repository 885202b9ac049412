"""``dlkernels bench``: options, the run, what is written. Exit code 1 if --compare finds a row SLOW."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dlkernels as dk

from . import page, table
from .copies import GRID, copy_row, fastest
from .machine import installed, machine
from .measure import Bench
from .plan import DTYPE_NAMES, SIZES, all_rows, chosen
from .row import DTYPES, NAMED, ON_CPU, ON_GPU, OURS, PEERS, PLAIN, REST, Row
from .summary import SAME, TOLERANCE, Result, compared

FORMAT = 2
_QUICK_MINUTES, _FULL_MINUTES = 1.8, 25.0


def _names(known: Sequence[str], what: str) -> Any:
    def parse(text: str) -> list[str]:
        names = [name for name in text.replace("torch.compile", "torch-compile").split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{what} {name!r} is none of {', '.join(known)}")
        return names

    return parse


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"must be in 1 to 1024, got {text}")
    return value


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options; `dlkernels bench` and `python -m bench` share them."""
    add = parser.add_argument
    add("--filter", nargs="+", default=[], metavar="PATTERN", help="only ops or rows that match, as in 'gelu*' '*softmax*'")
    add("--dtype", type=_names(DTYPE_NAMES, "dtype"), default=[], metavar="NAME,...", help=f"of {', '.join(DTYPE_NAMES)}")
    add("--sizes", nargs="+", choices=SIZES, default=[], metavar="CLASS", help=f"size classes: {'; '.join(SIZES)}")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    add("--peers", type=_names(PEERS, "peer"), metavar="NAME,...", help=f"of {', '.join(PEERS)}; default: those installed")
    add("--threads", type=_count, help="for everybody; default: what dlkernels uses")
    add("--quick", action="store_true", help=f"float32 in the cache, without torch-compile, within {_QUICK_MINUTES:g} minutes")
    add("--all", action="store_true", help="also cold and allocating calls, and every dtype in every size: hours")
    add("--minutes", type=_positive, help=f"stop measuring after so many; default: {_FULL_MINUTES:g}")
    add("--json", type=Path, metavar="FILE", help="write the results there, after each row")
    add("--resume", action="store_true", help="keep the rows that FILE of --json has, if machine and commit are the same")
    add("--html", type=Path, metavar="FILE", help="write a self-contained page there")
    add("--compare", type=Path, metavar="OLD.json", help="FAST, SLOW or SAME for each row; exit code 1 on SLOW")
    add("--tolerance", type=_positive, default=TOLERANCE, help="of --compare, beside the intervals; default: %(default)s")
    add("--show", type=Path, metavar="FILE", help="measure nothing, show a JSON file (with --html: make its page)")
    add("--list", action="store_true", help="measure nothing, name the rows")


def pick_peers(wanted: Sequence[str] | None, device: str, quick: bool) -> tuple[list[str], list[str]]:
    """(us and the peers that are installed, the peers that are missing)."""
    names = list(wanted) if wanted is not None else list(ON_CPU if device == "cpu" else ON_GPU)
    if wanted is None and quick:
        names = [name for name in names if name != "torch-compile"]
    unfit = [name for name in names if name not in (ON_CPU if device == "cpu" else ON_GPU)]
    here = [name for name in names if installed(name) and name not in unfit]
    return [OURS, *here], [f"{name} (not for {device})" if name in unfit else name for name in names if name not in here]


def pick_rows(args: argparse.Namespace) -> list[Row]:
    """The rows of these options."""
    tier = REST if args.all else PLAIN if args.quick else DTYPES
    rows = chosen(all_rows(), patterns=args.filter, dtypes=args.dtype, sizes=args.sizes, tier=tier)
    if args.quick:
        small = {"call", "L2", "rows of 10", "small images", "rows of 128", "small CNN", "process", "package", "digits"}
        rows = [row for row in rows if row.size in small or args.filter or args.sizes]
        rows = [row for row in rows if row.tier > NAMED or row.size in {"call", "process"} or args.filter or args.sizes]
    return rows


def compiled_here(row: Row) -> bool:
    """Is torch.compile worth its seconds in this row of a default run? What an issue asked for, and the largest float32 shapes."""
    return row.tier == NAMED or row.size in {"memory", "rows of 4,096", "images", "rows of 1,024"}


def start(args: argparse.Namespace) -> Result:
    """Results without rows yet, or those of --json where --resume may go on."""
    about = machine(args.threads)
    results: Result = {"format": FORMAT, "device": args.device, "machine": about, "roof": {}, "missing": [], "left_out": 0, "rows": []}
    if args.resume and args.json and args.json.exists():
        before = load(args.json)
        same = all(before["machine"][key] == about[key] for key in ("cpu", "threads", "commit", "changed", "versions"))
        if same and not about["changed"]:
            return before
        print(f"{args.json}: another machine, version or commit, so nothing is kept", file=sys.stderr)
    return results


def load(path: Path) -> Result:
    """A JSON file that this command wrote."""
    results: Result = json.loads(path.read_text(encoding="utf-8"))
    if results.get("format") != FORMAT:
        raise OSError(f"{path} is of another format than this version's ({FORMAT}): measure anew")
    return results


def save(results: Result, path: Path | None) -> None:
    """Whole or not at all: a run that is killed leaves the rows before."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(path.name + ".part")
        rows = ",\n".join(json.dumps(row) for row in results["rows"])
        head = json.dumps({**results, "rows": []}, indent=1)
        beside.write_text(head.removesuffix("[]\n}") + f"[\n{rows}\n]\n}}\n", encoding="utf-8")
        beside.replace(path)


def measure_roof(bench: Bench, names: Sequence[str], quick: bool) -> dict[str, dict[str, float]]:
    """Copies over sizes, warm and cold; quickly, only what quick rows need."""
    if quick:
        variants, grid = ["warm"], [n for n in GRID if n <= 1 << 24]
    else:
        variants, grid = ["warm", "cold"], list(GRID)
    copiers = ["numpy", *(["torch"] if "torch" in names else [])]
    return {
        variant: {str(moved): fastest(bench.measure(copy_row(moved, variant), copiers)["seconds"]) for moved in grid}
        for variant in variants
    }


def measure_rows(bench: Bench, rows: Sequence[Row], results: Result, args: argparse.Namespace, end: float) -> None:
    """Row by row until the time is over; what is left out is counted."""
    done = {row["name"] for row in results["rows"]}
    todo = [row for row in rows if row.name not in done]
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
    """A row that differs from the old run is measured twice more: what remains is the interval nearest to the old one."""
    before = {row["name"]: row for row in old["rows"] if OURS in row["seconds"]}
    by_name = {row.name: row for row in rows}
    for i, result in enumerate(results["rows"]):
        name = result["name"]
        for _ in range(2):
            if name not in before or OURS not in result["seconds"] or compared(before[name], result, args.tolerance) == SAME:
                break
            _progress(f"again: {by_name[name].title}")
            again = bench.measure(by_name[name], [OURS])
            if compared(before[name], again, args.tolerance) == SAME:
                result = {**result, "seconds": {**result["seconds"], OURS: again["seconds"][OURS]}}
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
    if args.device == "cuda":
        from .device import measure_on_device

        return finish(measure_on_device(rows, names, missing, args), old, args)
    results = start(args)
    results["missing"] = missing
    table.describe(results["machine"], names, missing)
    minutes = args.minutes or (_QUICK_MINUTES if args.quick else _FULL_MINUTES)
    end = time.monotonic() + 60 * minutes if not args.all or args.minutes else float("inf")
    bench = Bench(names, args.threads, **({"rounds": 3, "budget": 0.004} if args.quick else {}))
    try:
        results["roof"] = results["roof"] or measure_roof(bench, names, args.quick)
        measure_rows(bench, rows, results, args, end)
        if old:
            measure_again(bench, rows, old, results, args)
    finally:
        bench.close()
    return finish(results, old, args)


def finish(results: Result, old: Result | None, args: argparse.Namespace) -> int:
    """The tables, the page, the verdict."""
    table.report(results)
    if results["left_out"]:
        print(f"{results['left_out']} rows did not fit into the time: --minutes, or --json FILE --resume to go on")
    save(results, args.json)
    if args.html:
        args.html.parent.mkdir(parents=True, exist_ok=True)
        args.html.write_text(page.page(results), encoding="utf-8")
        print(f"{args.html}: the same as a page")
    return int(old is not None and table.show_comparison(old, results, args.tolerance) > 0)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of `python -m bench` and `python -m dlkernels.bench`."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Every op against a copy of its bytes and against its peers.")
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
