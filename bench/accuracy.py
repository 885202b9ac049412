"""The largest error of every elementwise op, measured: `python -m bench.accuracy [--only NAME ...]`.

Each pass in each dtype: all 65,536 inputs of the 16-bit types, 2^22 of float32, 2^18 of float64; the worst error in ULP and where,
PyTorch's beside it, and a SHA-256 of all outputs, so that any change of any bit is seen (tests/test_accuracy.py). The exact values are
the definitions in float64, for float64 in extended precision or, where the definition has float64 constants, in 40 digits.

`--exhaustive NAME ...` measures float32 over all 2^32 inputs: minutes a pass (elementary functions: test_math.cpp, value only).
Rows go into bench/results/accuracy-<date>.json, beside those that are there, and from there into docs/accuracy.md (`--page` alone).
"""

from __future__ import annotations

import argparse
import datetime as dt
import functools
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

import dlkernels as dk

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import cases  # noqa: E402
import numerics  # noqa: E402
import test_math_native  # noqa: E402
import test_values  # noqa: E402
from cases import Case  # noqa: E402

RESULTS, PAGE = ROOT / "bench/results", ROOT / "docs/accuracy.md"
SAMPLES = {"float16": 1 << 16, "bfloat16": 1 << 16, "float32": 1 << 22, "float64": 1 << 18}
PIECE = 1 << 18  # what is compared at once stays in cache
IN_DIGITS = 1 << 12  # so many samples of float64 are compared where that takes 40 digits
SUSPECTS = 64  # inputs of a piece that are looked at in 40 digits
CHUNK = 1 << 24  # of the 2^32 inputs: one task of a process
PUBLIC = ("sigmoid", "tanh", "silu", "gelu-none", "mish", "softplus")
CANCELS = ("elu", "selu", "celu")  # their derivative from y is a constant + y: in units of y
ELEMENTARY = ("exp", "expm1", "log", "log1p", "tanh", "erf")
# str(case) -> case, of the ops with their default numbers in each variant
CASES = {str(c): c for c in cases.MAP_CASES if not any(isinstance(v, float) for v in c.params.values())}

Row = dict[str, Any]


# --- inputs, exact values, errors ---------------------------------------------------------------------------------------------


def mixed(n: int) -> np.ndarray:
    """n well distributed 64-bit numbers, by integer arithmetic: the same on every machine, with every version of NumPy."""
    z = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    return z ^ (z >> np.uint64(31))


@functools.lru_cache(maxsize=4)
def inputs(dtype: str, domain: tuple[float, float]) -> np.ndarray:
    """All values of a 16-bit type; else one from each of n / 2 equal runs of bit patterns, and n / 2 spread over the domain."""
    if dtype in numerics.HALF:
        return numerics.all_values(dtype)
    half, width = SAMPLES[dtype] // 2, 8 * numerics.DTYPES[dtype].itemsize
    run = np.uint64((1 << width) // half)
    patterns = np.arange(half, dtype=np.uint64) * run + mixed(half) % run
    anywhere = patterns.astype(f"u{width // 8}").view(numerics.DTYPES[dtype])
    unit = (mixed(half) >> np.uint64(11)) * 2.0**-53
    return np.concatenate([anywhere, (domain[0] + (domain[1] - domain[0]) * unit).astype(numerics.DTYPES[dtype])])


def in_digits(case: Case, name: str, x: np.ndarray, dtype: str) -> np.ndarray:
    """The value or slope at x from 40 digits."""
    value = test_values.MP[case.kernel]
    slope = test_values.MP_SLOPE.get(case.kernel, lambda v, **params: mpmath.diff(lambda t: value(t, **params), v))
    return test_values.from_mpmath(value if name == "value" else slope, x, case.rounded_params(dtype))


def is_rounded(case: Case, name: str, dtype: str) -> bool:
    """Is the definition, for its float64 constants, no better than this dtype?"""
    return dtype == "float64" and name != "grad_y" and case.kernel in test_values.ROUNDED_CONSTANTS


def exact(case: Case, name: str, x: np.ndarray, dtype: str) -> np.ndarray:
    """The value or slope at x; in the pass from y, x stands for y."""
    if is_rounded(case, name, dtype):
        return in_digits(case, name, x, dtype)
    wide = x.astype(numerics.EXTENDED if dtype == "float64" else np.float64)
    if name == "grad_y":
        with np.errstate(all="ignore"):
            return np.asarray(cases.DERIVATIVE_FROM_Y[case.kernel](wide, **case.rounded_params(dtype)), wide.dtype)
    return case.exact(wide, dtype) if name == "value" else case.slope(wide, dtype)


Worst = tuple[float, float]  # error in ULP, and where


def worse(best: Worst, case: Case, name: str, x: np.ndarray, y: np.ndarray, wanted: np.ndarray, dtype: str) -> Worst:
    """`best`, or the largest error of y; at finite inputs (the others: tests/test_edges.py).

    Near a root of the slope its terms cancel in the precision of `wanted` too: what would be the largest is looked at in 40 digits.
    """
    scale = (
        np.maximum(np.abs(wanted), np.abs(x.astype(wanted.dtype)))
        if name == "grad_y" and case.kernel in CANCELS
        else None
    )
    with np.errstate(invalid="ignore"):
        error = np.where(np.isfinite(x.astype(np.float64)), numerics.ulp_error(y, wanted, dtype, scale), 0.0)
    larger = np.flatnonzero(error > best[0])
    for i in larger[np.argsort(-error[larger], kind="stable")][:SUSPECTS]:
        if error[i] <= best[0]:
            return best
        one = slice(i, i + 1)
        sure = error[i]
        if name != "grad_y" and np.isfinite(sure):
            sure = min(sure, numerics.ulp_error(y[one], in_digits(case, name, x[one], dtype), dtype)[0])
        best = max(best, (float(sure), float(x[i])))
    rest = larger[np.argsort(-error[larger], kind="stable")][SUSPECTS : SUSPECTS + 1]
    return max([best, *((float(error[i]), float(x[i])) for i in rest)])


def digest(y: np.ndarray) -> bytes:
    """SHA-256 of the bytes, every NaN written as the same one."""
    with np.errstate(invalid="ignore"):
        nan = np.isnan(y)
    return hashlib.sha256(np.where(nan, np.array(np.nan, y.dtype), y).tobytes()).digest()


def pytorch(case: Case) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """pass -> PyTorch's function of x; empty where there is none."""
    try:
        import torch
    except ImportError:
        return {}
    function = getattr(torch.nn.functional, case.op.__name__, None)
    if function is None or case.kernel == "threshold":  # which has no default numbers there
        return {}
    torch.set_num_threads(1)

    def tensor(x: np.ndarray) -> Any:
        return (
            torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
            if x.dtype.name == "bfloat16"
            else torch.from_numpy(x)
        )

    def value(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return function(tensor(x), **case.params).double().numpy()

    def slope(x: np.ndarray) -> np.ndarray:
        t = tensor(x).clone().requires_grad_()
        function(t, **case.params).backward(torch.ones_like(t))
        return t.grad.double().numpy()

    return {"value": value, "grad": slope}


def arguments(case: Case, name: str, dtype: str) -> np.ndarray:
    """What the pass is measured at: inputs, or outputs for the pass from y."""
    x = inputs(dtype, case.op.domain)
    return case.passes()["value"](x, x) if name == "grad_y" else x


def measure(case: Case, name: str, dtype: str) -> Row:
    """One row: a pass of an op in a dtype."""
    x = arguments(case, name, dtype)
    y = case.passes()[name](np.ones_like(x), x)
    peer = pytorch(case).get(name)
    results = [y] if peer is None else [y, peer(x)]
    # Where it takes 40 digits: some of the inputs that are spread over the domain.
    start, stop = (x.size // 2, x.size // 2 + IN_DIGITS) if is_rounded(case, name, dtype) else (0, x.size)
    found = [(0.0, 0.0)] * len(results)
    for first in range(start, stop, PIECE):
        piece = slice(first, min(first + PIECE, stop))
        with np.errstate(invalid="ignore"):
            wanted = exact(case, name, x[piece], dtype)
        found = [worse(f, case, name, x[piece], r[piece], wanted, dtype) for f, r in zip(found, results, strict=True)]
    stated = case.op.ulp if name == "value" else case.op.backward.ulp
    (ulp, at), *theirs = found
    return {
        "op": str(case), "pass": name, "dtype": dtype, "inputs": x.size, "compared": stop - start, "ulp": ulp, "at": at,
        "bound": numerics.bound(stated, dtype), "pytorch_ulp": theirs[0][0] if theirs else None, "sha256": digest(y).hex(),
    }  # fmt: skip


# --- all 2^32 inputs of float32 -------------------------------------------------------------------------------------------------


def chunk(name: str, which: str, first: int) -> tuple[float, float, bytes]:
    """The largest error among CHUNK inputs, where, and the digest of the outputs."""
    case = CASES[name]
    dk.set_num_threads(1)  # there are as many processes as cores
    x = np.arange(first, first + CHUNK, dtype=np.uint32).view(np.float32)
    y = case.passes()[which](np.ones_like(x), x)
    largest = 0.5, 0.0  # where the nearest float32 was found, no error is above that
    with np.errstate(all="ignore"):
        for start in range(0, CHUNK, PIECE):
            part = slice(start, start + PIECE)
            wanted = exact(case, which, x[part], "float32")
            other = np.flatnonzero(
                (numerics.bits(wanted.astype(np.float32)) != numerics.bits(y[part])) & np.isfinite(x[part])
            )
            if other.size:
                largest = worse(largest, case, which, x[part][other], y[part][other], wanted[other], "float32")
    return (*largest, digest(y))


def exhaustive_public(name: str, which: str) -> Row:
    """Every input of a pass of a public op; the digest is that of the digests of the chunks, in order."""
    begin = time.perf_counter()
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        firsts = range(0, 1 << 32, CHUNK)
        found = list(pool.map(chunk, [name] * len(firsts), [which] * len(firsts), firsts))
    ulp, at, _ = max(found, key=lambda f: f[0])
    sha = hashlib.sha256(b"".join(f[2] for f in found)).hexdigest()
    return {
        "op": name,
        "pass": which,
        "ulp": ulp,
        "at": at,
        "hash": sha,
        "seconds": round(time.perf_counter() - begin, 1),
    }


def exhaustive_elementary(name: str) -> Row:
    """Every input of a function of kernels/math.h, by tests/cpp/test_math.cpp."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        target = dk.targets()[0]
        report = test_math_native.run(test_math_native.compiled(Path(folder) / target, target), "f32", 1, name)
    match = re.search(r"float32 (\S+) ULP at (\S+) \(bound \S+\) hash (\S+)", report)
    assert match, report
    ulp, at, hash_ = match.groups()
    return {
        "op": name,
        "pass": "math.h",
        "ulp": float(ulp),
        "at": float(at),
        "hash": hash_,
        "seconds": round(time.perf_counter() - begin, 1),
    }


def exhaustive(name: str, which: str) -> Row:
    """One row over all 2^32 inputs; which: "value", "grad", or "math.h"."""
    return exhaustive_elementary(name) if which == "math.h" else exhaustive_public(name, which)


def every_exhaustive() -> Iterator[tuple[str, str]]:
    """(name, pass) of all that is measured so."""
    yield from ((name, "math.h") for name in ELEMENTARY)
    yield from ((name, which) for name in PUBLIC for which in ("value", "grad"))


# --- results ------------------------------------------------------------------------------------------------------------------


def newest() -> dict[str, Any]:
    """The results that are there."""
    files = sorted(RESULTS.glob("accuracy-*.json"))
    return json.loads(files[-1].read_text()) if files else {"rows": [], "exhaustive": []}


def merged(old: list[Row], new: list[Row], known: list[tuple[str, ...]]) -> list[Row]:
    """New rows in place of old ones of the same name; only what is known, in that order."""
    keys = ("op", "pass", "dtype")
    rows = {tuple(row[k] for k in keys if k in row): row for row in [*old, *new]}
    return [rows[key] for key in known if key in rows]


def save(rows: list[Row], complete: list[Row]) -> None:
    """Into the results of today, what else is known taken over; and onto the page."""
    old, today = newest(), dt.datetime.now(tz=dt.timezone.utc).date().isoformat()
    every = [(str(c), name, dtype) for c in CASES.values() for name in c.passes() for dtype in numerics.DTYPES]
    data = {
        "date": today, "machine": platform.machine(), "numpy": np.__version__, "target": dk.get_target(),
        "rows": merged(old["rows"], rows, every),
        "exhaustive": merged(old["exhaustive"], complete, list(every_exhaustive())),
    }  # fmt: skip
    (RESULTS / f"accuracy-{today}.json").write_text(json.dumps(data, indent=1) + "\n")
    PAGE.write_text(page(data))


INTRODUCTION = """# Measured accuracy

Written by `python -m bench.accuracy`: do not edit. Errors in ULP of the result's dtype, the largest over all 65,536 inputs of the 16-bit
types, 2^22 of float32 and 2^18 of float64: ours, in brackets PyTorch's, in bold where ours is the larger of the two and above 1. The
bound is the one that the op states, for float32 and float64 (16-bit: 0.5 and a little). The gradient of elu, selu and celu from y, which
is y and a constant, counts in units of y. Hashes of all outputs are in `bench/results/`.
"""


def page(data: dict[str, Any]) -> str:
    """The whole of docs/accuracy.md."""
    table: dict[tuple[str, str], dict[str, Row]] = {}
    for row in data["rows"]:
        table.setdefault((row["op"], row["pass"]), {})[row["dtype"]] = row

    def cell(row: Row | None) -> str:
        if row is None:
            return "—"
        ours, theirs = row["ulp"], row["pytorch_ulp"]
        text = f"{ours:.3g}" if theirs is None or ours <= max(theirs, 1.0) else f"**{ours:.3g}**"
        return text if theirs is None else f"{text} ({theirs:.3g})"

    lines = [
        INTRODUCTION,
        "| op | pass | float16 | bfloat16 | float32 | float64 | bound |",
        "|---|---|---|---|---|---|---|",
    ]
    for (op, which), found in table.items():
        cells = [cell(found.get(d)) for d in ("float16", "bfloat16", "float32", "float64")]
        bound = f"{found['float32']['bound']:g}" if "float32" in found else "—"
        lines.append(f"| {op} | {which} | {' | '.join(cells)} | {bound} |")
    lines += [
        "",
        "## All 2^32 inputs of float32",
        "",
        "`math.h`: the function itself, from kernels/math.h, in C++.",
        "",
    ]
    lines += ["| function | pass | largest error | at | hash of all outputs | seconds |", "|---|---|---|---|---|---|"]
    for row in data["exhaustive"]:
        lines.append(
            f"| {row['op']} | {row['pass']} | {row['ulp']:.4g} | {row['at']:.9g} | `{row['hash'][:16]}` | {row['seconds']:g} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy")
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES), metavar="NAME")
    parser.add_argument("--exhaustive", nargs="+", choices=sorted({*PUBLIC, *ELEMENTARY}), metavar="NAME")
    parser.add_argument("--page", action="store_true", help="write the page from the results that are there")
    options = parser.parse_args()
    rows: list[Row] = []
    complete: list[Row] = []
    if options.exhaustive:
        for name, which in every_exhaustive():
            if name in options.exhaustive:
                complete.append(exhaustive(name, which))
                print(complete[-1], flush=True)
                save([], complete)
    elif not options.page:
        for name in options.only:
            for which in CASES[name].passes():
                for dtype in numerics.DTYPES:
                    row = measure(CASES[name], which, dtype)
                    rows.append(row)
                    theirs = "" if row["pytorch_ulp"] is None else f"  PyTorch {row['pytorch_ulp']:.3g}"
                    print(f"{name:14} {which:7} {dtype:9} {row['ulp']:.3g} ULP at {row['at']:.9g}{theirs}", flush=True)
    save(rows, complete)


if __name__ == "__main__":
    main()
