"""The options of ``dlkernels bench``, and which rows and peers they mean."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .machine import installed
from .plan import DTYPE_NAMES, SIZES, all_rows, chosen
from .row import DTYPES, NAMED, ON_CPU, ON_GPU, OURS, PEERS, PLAIN, REST, VALUE_AND_GRAD, Row
from .summary import TOLERANCE
from .torch_forms import OUT

QUICK_MINUTES, FULL_MINUTES = 1.8, 25.0
_QUICK_SIZES = {"call", "L2", "rows of 10", "small images", "rows of 128", "small CNN", "process", "digits"}
_QUICK_OPTIMIZERS = {"AdamW", "SGD"}


def _names(known: Sequence[str], what: str) -> Any:
    def parse(text: str) -> list[str]:
        names = [name for name in text.replace("torch.compile", "torch-compile").split(",") if name]
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{what} {name!r} is none of {', '.join(known)}")
        return names

    return parse


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, got {text!r}")
    return value


def _count(text: str) -> int:
    value = int(text) if text.isdecimal() else 0
    if not 1 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"must be in 1 to 1024, got {text!r}")
    return value


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options; `dlkernels bench` and `python -m bench` share them."""
    add = parser.add_argument
    add(
        "--filter",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="only ops or rows that match, as in 'gelu*' '*softmax*'",
    )
    add(
        "--dtype",
        type=_names(DTYPE_NAMES, "dtype"),
        default=[],
        metavar="NAME,...",
        help=f"of {', '.join(DTYPE_NAMES)}",
    )
    add("--sizes", nargs="+", choices=SIZES, default=[], metavar="CLASS", help=f"size classes: {'; '.join(SIZES)}")
    add("--device", choices=("cpu", "cuda"), default="cpu", help="default: %(default)s")
    add(
        "--peers",
        type=_names(PEERS, "peer"),
        metavar="NAME,...",
        help=f"of {', '.join(PEERS)}; default: those installed",
    )
    add("--threads", type=_count, help="for everybody; default: what dlkernels uses")
    add(
        "--quick",
        action="store_true",
        help=f"float32 in the cache, without torch-compile, within {QUICK_MINUTES:g} minutes",
    )
    add("--all", action="store_true", help="also cold and allocating calls, and every dtype in every size: hours")
    add("--minutes", type=_positive, help=f"stop measuring after so many; default: {FULL_MINUTES:g}")
    add("--json", type=Path, metavar="FILE", help="write the results there, after each row")
    add(
        "--resume",
        action="store_true",
        help="keep the rows that FILE of --json has, if machine and commit are the same",
    )
    add("--html", type=Path, metavar="FILE", help="write a self-contained page there")
    add("--compare", type=Path, metavar="OLD.json", help="FAST, SLOW or SAME for each row; exit code 1 on SLOW")
    add(
        "--tolerance",
        type=_positive,
        default=TOLERANCE,
        help="of --compare, beside the intervals; default: %(default)s",
    )
    add("--native", type=Path, metavar="FILE", help="JSON of bench/native: show the C loops' time beside ours")
    add("--show", type=Path, metavar="FILE", help="measure nothing, show a JSON file (with --html: make its page)")
    add("--list", action="store_true", help="measure nothing, name the rows")


def pick_peers(wanted: Sequence[str] | None, device: str, quick: bool) -> tuple[list[str], list[str]]:
    """(us and the peers that are installed, the peers that are missing)."""
    names = list(wanted) if wanted is not None else list(ON_CPU if device == "cpu" else ON_GPU)
    if wanted is None and quick:
        names = [name for name in names if name != "torch-compile"]
    unfit = [name for name in names if name not in (ON_CPU if device == "cpu" else ON_GPU)]
    here = [name for name in names if installed(name) and name not in unfit]
    return [OURS, *here], [
        f"{name} (not for {device})" if name in unfit else name for name in names if name not in here
    ]


def pick_rows(args: argparse.Namespace) -> list[Row]:
    """The rows of these options."""
    tier = REST if args.all else PLAIN if args.quick else DTYPES
    rows = chosen(all_rows(), patterns=args.filter, dtypes=args.dtype, sizes=args.sizes, tier=tier)
    if args.quick and not args.sizes:
        rows = [
            row for row in rows if row.size in _QUICK_SIZES and (row.tier > NAMED or row.size in {"call", "process"})
        ]
        rows = [row for row in rows if row.family != "optimizers" or row.subject in _QUICK_OPTIMIZERS or args.filter]
    return rows


def compiled_here(row: Row) -> bool:
    """Is torch.compile worth its seconds in this row of a default run? What an issue asked for; the largest shapes, unless PyTorch has
    a kernel of its own for the op, which passes over the bytes once.
    """
    large = (
        row.size in {"memory", "rows of 4,096", "images", "rows of 1,024"}
        and row.dtype == "float32"
        and row.variant == "warm"
    )
    return row.tier == NAMED or (large and (row.subject not in OUT or row.part == VALUE_AND_GRAD))
