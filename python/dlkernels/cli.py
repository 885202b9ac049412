"""The command line: train, bench, info, selftest.

stdout is the result, stderr the progress. Exit codes: 0 done, 1 a check failed, a row is slower than before, or training broke down, 2
wrong arguments or missing data, 130 interrupted (what was finished is written).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import dlkernels as dk
from dlkernels.bench.command import run as run_bench
from dlkernels.bench.options import add_options as bench_options
from dlkernels.checkpoint import CheckpointError
from dlkernels.datasets import DataError
from dlkernels.report import run_info
from dlkernels.run import ResumeError
from dlkernels.selftest import run_selftest
from dlkernels.training_job import ACTIVATIONS, DEFAULTS, run_train


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(_positive(part) for part in text.split(","))


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be in [0, 1), got {value}")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0 and finite, got {value}")
    return value


def _threads(text: str) -> int:
    value = _positive(text)
    if value > 1024:  # what the core allows
        raise argparse.ArgumentTypeError(f"must be at most 1024, got {value}")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"must not be negative, got {value}")
    return value


def _defaults(name: str) -> str:
    """ "default: 40 for digits, 15 for fashion-mnist" """
    shown = (
        f"{','.join(map(str, row[name])) if isinstance(row[name], tuple) else row[name]} for {dataset}"
        for dataset, row in DEFAULTS.items()
    )
    return f"default: {', '.join(shown)}"


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(prog="dlkernels", description="Deep-learning kernels at work.")
    root.add_argument("--version", action="version", version=f"dlkernels {dk.__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="command")

    job = commands.add_parser("train", help="train a classifier on real images")
    job.set_defaults(run=run_train)
    add = job.add_argument
    add("--dataset", choices=sorted(DEFAULTS), default="digits", help="default: %(default)s")
    add("--data-dir", metavar="DIR", help="fashion-mnist's IDX files; default: where Debian puts them")
    add("--epochs", type=_positive, metavar="N", help=_defaults("epochs"))
    add("--batch-size", type=_positive, metavar="N", help=_defaults("batch_size"))
    add("--lr", type=_rate, metavar="R", help=f"peak of the one-cycle schedule; {_defaults('lr')}")
    add("--hidden", type=_sizes, metavar="N,...", help=f"sizes of hidden layers; {_defaults('hidden')}")
    add("--activation", choices=sorted(ACTIVATIONS), help=_defaults("activation"))
    add("--dropout", type=_fraction, metavar="P", help=_defaults("dropout"))
    add("--label-smoothing", type=_fraction, metavar="E", help=_defaults("label_smoothing"))
    add("--seed", type=_natural, default=0, metavar="N", help="equal seeds give equal bits; default: 0")
    add("--threads", type=_threads, metavar="N", help="of dlkernels and NumPy's BLAS; default: all")
    add("--out", metavar="DIR", default="dlkernels-run", help="for what is written; default: %(default)s")
    add("--resume", action="store_true", help="go on from the last checkpoint in --out")
    add("--json", metavar="FILE", help="write the result there")
    add("--quiet", action="store_true", help="no progress on stderr")

    bench = commands.add_parser("bench", help="time every op against a copy of its bytes and against its peers")
    bench.set_defaults(run=run_bench)
    bench_options(bench)

    info = commands.add_parser("info", help="what is installed and what runs here: for bug reports")
    info.set_defaults(run=run_info)
    info.add_argument("--json", action="store_true", help="print JSON")

    check = commands.add_parser("selftest", help="check every op on every target of this machine")
    check.set_defaults(run=run_selftest)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    args = parser().parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `| head` has what it wanted; keep the interpreter's exit from flushing again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, ModuleNotFoundError, DataError, CheckpointError, ResumeError) as error:
        print(f"dlkernels {args.command}: {error}", file=sys.stderr)  # their texts say what to do
        return 2
    except KeyboardInterrupt:
        print(f"dlkernels {args.command}: interrupted", file=sys.stderr)
        return 130
