"""`dlkernels bench`: which rows it takes, what it says of them, what it writes. No test judges a time."""

from __future__ import annotations

import copy
import html.parser
import importlib.util
import itertools
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import dlkernels as dk
from dlkernels.__main__ import main
from dlkernels.bench import command, copies, machine, measure, options, plan, summary
from dlkernels.bench.page import page
from dlkernels.bench.row import NAMED, OURS, REST, Row, row_from
from dlkernels.bench.updates import LISTS, step_bytes

ROWS = plan.all_rows()


def result(row: Row, **seconds: float) -> dict[str, Any]:
    """A measured row whose intervals are 2 % wide."""
    times = {OURS if name == "ours" else name: (0.99 * t, t, 1.01 * t) for name, t in seconds.items()}
    return {
        **row.as_json(),
        "name": row.name,
        **measure.cost(row),
        "seconds": times,
        "errors": {OURS: 1e-7},
        "absent": {},
    }


def results(*rows: dict[str, Any]) -> dict[str, Any]:
    about = machine.machine(2)
    roof = {"warm": {"4096": 1e-7, str(1 << 28): 1e-2}}
    return {
        "format": command.FORMAT, "device": "cpu", "machine": about, "roof": roof, "missing": ["jax"], "left_out": 0,
        "rows": list(rows),
    }  # fmt: skip


def some() -> dict[str, Any]:
    """Faster, slower, and what an issue asked for."""
    relu, softmax = (
        next(r for r in ROWS if r.subject == s and r.part == "value" and r.tier == 1) for s in ("relu", "softmax")
    )
    asked = next(r for r in ROWS if r.label == "gelu 8,192")
    return results(
        result(relu, ours=1e-5, numpy=3e-5, torch=2e-5),
        result(softmax, ours=2e-3, torch=1e-3),
        result(asked, ours=1e-6, torch=1.2e-6),
    )


# --- rows -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", dk.ops.registry.values(), ids=lambda op: op.__name__)
def test_every_op_has_rows_for_every_pass_dtype_size_and_variant(op):
    rows = [r for r in plan.op_rows() if r.subject == op.__name__]
    kinds = itertools.product(
        plan.passes(op), plan.shapes(op), ("float32", "bfloat16", "float16", "float64"), ("warm", "cold", "allocating")
    )
    assert {(r.part, r.size, r.dtype, r.variant) for r in rows} == set(kinds)
    assert {r.part for r in rows} >= {"value", "backward"}
    assert any(r.tier < REST for r in rows if r.part == "value")


def test_names_are_unique_and_rows_survive_json():
    of_ops = list(plan.op_rows())
    assert len({r.name for r in of_ops}) == len(of_ops)
    for row in ROWS[:200]:
        assert row_from(json.loads(json.dumps(row.as_json()))) == row


def test_the_shapes_are_those_of_networks():
    assert {r.shape[1] for r in ROWS if r.subject == "cross_entropy"} >= {10, 1000, 4096, 32_000, 128_256}
    parameters = {name: sum(math.prod(s) for s in shapes) for name, shapes in LISTS.items()}
    assert parameters["GPT-2 small"] == 124_439_808
    assert 60e6 < parameters["1 B model, 1/16"] < 100e6


def test_what_issues_asked_for_is_in_every_full_run():
    """The ratios of the issues before: their labels are those of bench/results/2026-11-21-epyc-2core-avx512.json."""
    full = plan.chosen(ROWS)
    asked = {r.label: r.asked for r in full if r.asked}
    assert len(asked) == 53
    assert asked["binary_cross_entropy_with_logits value+grad 16 Mi"] == 5.0
    assert asked["AdamW clipped 1,000 x 4,096"] == 4.0
    labels = {r.label for r in full if r.label}
    assert {r.against for r in full if r.asked} - {"best"} <= labels
    assert full[0].tier == NAMED
    assert {"import, in a fresh process", "package, as a wheel"} <= labels
    assert any(r.part == "epoch" for r in full)


@pytest.mark.parametrize(
    ("arguments", "subjects"),
    [
        (["--filter", "gelu*"], {"gelu"}),
        (
            ["--filter", "gelu", "*softmax", "--dtype", "float32"],
            {"gelu", "softmax", "log_softmax", "tempered_softmax"},
        ),
        (["--filter", "AdamW*"], {"AdamW"}),
        (["--filter", "sigmoid 8,192 bfloat16"], {"sigmoid"}),
    ],
)
def test_filter(arguments, subjects):
    rows = options.pick_rows(parse(*arguments))
    assert {r.subject for r in rows if r.part != "copy"} == subjects


def parse(*arguments: str) -> Any:
    parser = __import__("argparse").ArgumentParser()
    options.add_options(parser)
    return parser.parse_args(arguments)


def test_dtype_and_sizes_narrow_and_open_the_rest():
    rows = options.pick_rows(parse("--filter", "gelu", "--dtype", "float64", "--sizes", "L2"))
    assert {(r.dtype, r.size) for r in rows} == {("float64", "L2")}
    assert {r.variant for r in rows} == {"warm", "cold", "allocating"}
    assert all(r.dtype == "float64" for r in options.pick_rows(parse("--dtype", "float64")))


def test_a_row_that_is_compared_with_another_brings_it():
    rows = options.pick_rows(parse("--filter", "gelu 8,192 bfloat16"))
    assert [r.label for r in rows] == ["gelu 8,192", "gelu 8,192 bfloat16"]


def test_quick_has_every_family_and_only_small_rows():
    rows = options.pick_rows(parse("--quick"))
    families = {plan.family(op) for op in dk.ops.registry.values()} | {"optimizers", "whole"}
    assert {r.family for r in rows} >= families
    assert len(rows) < 200
    assert all(r.dtype == "float32" and math.prod(r.shape) <= 1 << 22 for r in rows)


def test_a_peer_that_is_not_installed_is_missing_and_one_for_another_device_too(monkeypatch):
    monkeypatch.setattr(options, "installed", lambda name: name in {"numpy", "cupy"})
    assert options.pick_peers(None, "cpu", False) == ([OURS, "numpy"], ["torch", "torch-compile", "jax", "sklearn"])
    assert options.pick_peers(["numpy", "cupy"], "cpu", False) == ([OURS, "numpy"], ["cupy (not for cpu)"])
    assert options.pick_peers(["jax"], "cuda", False) == ([OURS], ["jax (not for cuda)"])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--dtype", "int8"],
        ["--peers", "tensorflow"],
        ["--minutes", "0"],
        ["--threads", "0"],
        ["--sizes", "huge"],
        ["--device", "tpu"],
    ],
)
def test_wrong_arguments_are_2(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        main(["bench", *arguments])
    assert end.value.code == 2
    assert "usage: dlkernels bench" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--filter", "no such op"], ["--resume"], ["--compare", "no such file"]])
def test_what_cannot_be_done_is_2_and_says_why(arguments, capsys):
    assert main(["bench", *arguments]) == 2
    assert "dlkernels bench: " in capsys.readouterr().err


# --- what the numbers say -----------------------------------------------------------------------------------------------------


def test_another_step_is_not_timed():
    row = next(r for r in ROWS if r.label == "AdamW 1 x 32 Mi")
    moved = {OURS: [1e-3, -1e-3], "torch": [1e-3, -1.01e-3], "torch-compile": [1e-3, 1e-3]}
    off = measure.steps_differ(row, moved)
    assert off == {"torch": pytest.approx(0.01), "torch-compile": pytest.approx(2.0)}
    half = next(r for r in ROWS if r.label == "AdamW bfloat16, float32 state 1 x 16 Mi")
    assert measure.steps_differ(half, moved) == {}
    nothing = measure.steps_differ(row, {OURS: [1e-3, -1e-3], "torch": [1e-3, math.nan]})
    assert not nothing["torch"] <= 0.05


def test_a_step_that_nobody_else_takes_is_ours_to_explain():
    """Else a wrong rule of ours would throw out the right ones and be timed alone."""
    errors: dict[str, float] = {}
    assert measure.refused_steps({"torch": 0.2, "torch-compile": 1e-6}, errors).keys() == {"torch"}
    assert errors == {"torch": 0.2, "torch-compile": 1e-6}
    for differ in ({"torch": 0.2, "torch-compile": 0.2}, {"torch": math.nan}):
        assert measure.refused_steps(differ, {}).keys() == {OURS}
    assert measure.refused_steps({}, {}) == {}


def test_minimal_bytes_and_operations():
    row = next(
        r for r in ROWS if r.subject == "swiglu" and r.part == "value" and r.dtype == "float32" and r.size == "LLC"
    )
    assert measure.cost(row)["bytes"] == 3 * 4 << 20
    norm = next(r for r in ROWS if r.label == "layer_norm forward+backward 4096x1024")
    assert measure.cost(norm)["bytes"] == pytest.approx(5 * 4 * 4096 * 1024, rel=1e-3)
    both = next(r for r in ROWS if r.label == "mse_loss value+grad 16 Mi")
    assert measure.cost(both)["bytes"] == 3 * 4 * 16 << 20
    assert measure.cost(both)["operations"] == pytest.approx(
        3 * 3 * 16 << 20, rel=0.35
    )  # subtract, square, sum; three times
    assert step_bytes(next(r for r in ROWS if r.label == "AdamW 1 x 32 Mi")) == 28 * 32 << 20
    for op in dk.ops.registry.values():
        for part in plan.passes(op):
            cost = measure.cost(next(r for r in ROWS if r.subject == op.__name__ and r.part == part))
            assert cost["bytes"] > 0, (op.__name__, part)
            assert cost["operations"] > 0, (op.__name__, part)


def test_ratios_and_the_slower_rows():
    found = some()
    assert summary.best_peer(found["rows"][0]) == ("torch", 2e-5)
    assert [row["subject"] for row in summary.slower(found["rows"])] == ["softmax"]
    assert [summary.verdict_on_peer(row) for row in found["rows"]] == ["faster", "slower", "faster"]
    ((row, against, *_, ratio),) = summary.asked(found)
    assert (row["label"], against, round(ratio, 3)) == ("gelu 8,192", "torch", 1.2)
    best = {m.family: m.ratio for m in summary.means(found["rows"]) if m.peer == "best"}
    assert best["all"] == pytest.approx((2 * 0.5 * 1.2) ** (1 / 3))


def test_asked_against_another_row_of_ours():
    base, half = (next(r for r in ROWS if r.label == label) for label in ("relu 8,192", "relu 8,192 bfloat16"))
    ((_, against, theirs, mine, ratio),) = summary.asked(
        results(result(base, ours=2e-6), result(half, ours=1e-6, torch=9e-9))
    )
    assert (against, theirs, mine, ratio) == ("relu 8,192", 2e-6, 1e-6, 2.0)


def test_the_roof_lies_between_the_copies_measured():
    roof = {"1000": 1e-6, "100000": 1e-4}
    assert copies.interpolated(roof, 10_000) == pytest.approx(1e-5)
    assert copies.interpolated(roof, 200_000) == pytest.approx(2e-4)
    assert copies.interpolated(roof, 10) == 1e-6
    assert copies.interpolated({}, 10) is None


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ((9.0, 10.0, 11.0), (9.0, 10.0, 11.0), "SAME"),
        ((9.9, 10.0, 10.1), (10.3, 10.4, 10.5), "SAME"),  # 4 %: two runs differ by that
        ((9.9, 10.0, 10.1), (11.9, 12.0, 12.1), "SLOW"),
        ((9.0, 10.0, 12.0), (11.9, 12.0, 12.1), "SAME"),  # the intervals overlap
        ((11.9, 12.0, 12.1), (9.9, 10.0, 10.1), "FAST"),
    ],
)
def test_verdicts(old, new, verdict):
    assert summary.compared({"seconds": {OURS: old}}, {"seconds": {OURS: new}}) == verdict


def test_the_peers_are_the_control():
    """All became slower by half: the machine. We alone: our code; or, with other versions of the peers, who knows."""
    old, new = ({"seconds": {OURS: (t, t, t), "torch": (t, t, t)}} for t in (1.0, 1.5))
    assert summary.compared(old, new) == "SAME"
    assert summary.compared(new, old) == "SAME"
    assert summary.compared(old, new, control=False) == "SLOW"
    new["seconds"]["torch"] = old["seconds"]["torch"]
    assert summary.compared(old, new) == "SLOW"
    before, after = some(), some()
    after["machine"]["versions"]["numpy"] = "0"
    assert summary.same_peers(before, before)
    assert not summary.same_peers(before, after)


def test_compare_finds_a_planted_slowdown_and_nothing_else(tmp_path, capsys):
    then, now = tmp_path / "then.json", tmp_path / "now.json"
    command.save(some(), then)
    assert main(["bench", "--show", str(then), "--compare", str(then)]) == 0
    assert "FAST 0, SLOW 0, SAME 3 of 3" in capsys.readouterr().out
    planted = some()
    planted["rows"][0]["seconds"][OURS] = [1.2 * t for t in planted["rows"][0]["seconds"][OURS]]
    command.save(planted, now)
    assert main(["bench", "--show", str(now), "--compare", str(then)]) == 1
    out = capsys.readouterr().out
    assert "FAST 0, SLOW 1, SAME 2 of 3" in out
    assert "1.20" in out
    assert main(["bench", "--show", str(then), "--compare", str(now)]) == 0


def test_a_row_that_seems_slower_is_measured_again(monkeypatch):
    old, new = some(), some()
    new["rows"][0]["seconds"][OURS] = (2e-5, 2e-5, 2e-5)
    again = []

    class Calmer:
        def measure(self, row, only):
            again.append((row.name, only))
            return result(row, ours=1e-5)

    rows = [row_from(r) for r in new["rows"]]
    command.measure_again(Calmer(), rows, old, new, SimpleNamespace(tolerance=0.05, json=None))
    assert again == [(rows[0].name, [OURS, "numpy", "torch"])]
    assert [v for v, *_ in summary.comparison(old, new)] == ["SAME"] * 3


def test_a_row_that_is_not_timed_any_more_fails_the_comparison(tmp_path, capsys):
    then, now = some(), some()
    row = now["rows"][0]
    row["seconds"].pop(OURS)
    row["absent"] = {OURS: "not timed: wrong"}
    paths = [tmp_path / "then.json", tmp_path / "now.json"]
    for path, run in zip(paths, (then, now), strict=True):
        command.save(run, path)
    assert main(["bench", "--show", str(paths[1]), "--compare", str(paths[0])]) == 1
    assert f"LOST {row['name']}: not timed: wrong" in capsys.readouterr().out


def test_a_comparison_of_no_row_is_not_a_success(tmp_path, capsys):
    then, now = tmp_path / "then.json", tmp_path / "now.json"
    command.save(some(), now)
    command.save({**some(), "rows": []}, then)
    assert main(["bench", "--show", str(now), "--compare", str(then)]) == 2
    assert "nothing is compared" in capsys.readouterr().err


@pytest.mark.parametrize("text", [b"{bad", b"[1]", b"{}", b'{"format": 2}', b"\xc7\xff"])
def test_a_foreign_file_is_2_and_says_so(text, tmp_path, capsys):
    path = tmp_path / "foreign.json"
    path.write_bytes(text)
    for arguments in (["--show", str(path)], ["--compare", str(path)], ["--json", str(path), "--resume"]):
        assert main(["bench", *arguments]) == 2
        assert str(path) in capsys.readouterr().err


def test_rows_that_a_resumed_run_measures_are_no_longer_left_out(monkeypatch):
    bench: Any = SimpleNamespace(names=[OURS], measure=lambda row, names: result(row, ours=1e-5))
    found, args = results(), SimpleNamespace(peers=None, json=None)
    command.measure_rows(bench, ROWS[:3], found, args, end=0)
    assert found["left_out"] == 3
    command.measure_rows(bench, ROWS[:3], found, args, end=math.inf)
    assert (found["left_out"], len(found["rows"])) == (0, 3)


@pytest.mark.parametrize(("fresh", "kept"), [(False, True), (True, False)])
def test_peers_keep_their_memory_but_for_allocating_rows(fresh, kept, monkeypatch):
    given = {}
    monkeypatch.setattr(measure.subprocess, "Popen", lambda *_, env, **__: given.update(env))
    measure.Peer("torch", 3, "module", fresh=fresh)
    assert ("mmap_threshold" in given["GLIBC_TUNABLES"]) == kept
    assert {given[name] for name in measure._THREAD_VARIABLES} == {"3"}


# --- what is written ------------------------------------------------------------------------------------------------------------


def test_the_tables_name_the_slow_rows_first(tmp_path, capsys, monkeypatch):
    path = tmp_path / "run.json"
    command.save(some(), path)
    for hidden in (None, "rich"):
        if hidden:
            monkeypatch.setitem(sys.modules, "rich", None)
            monkeypatch.setitem(sys.modules, "rich.console", None)
        assert main(["bench", "--show", str(path)]) == 0
        out = capsys.readouterr().out
        assert (
            out.index("Where the best peer is faster: 1 of 3")
            < out.index("What issues asked for")
            < out.index("All rows")
        )
        assert "missed" in out
        assert "Geometric means" in out


def test_the_loops_without_python_stand_beside_ours(tmp_path, capsys):
    run, native = tmp_path / "run.json", tmp_path / "native.json"
    command.save(some(), run)
    entry = {"name": "relu value float32/32768/real_time", "real_time": 7.5, "time_unit": "us"}
    native.write_text(json.dumps({"context": {}, "benchmarks": [entry]}))
    assert main(["bench", "--show", str(run), "--native", str(native), "--json", str(run)]) == 0
    assert "7.5 us" in capsys.readouterr().out
    assert [row.get("native") for row in command.load(run)["rows"]] == [pytest.approx(7.5e-6), None, None]


class _Links(html.parser.HTMLParser):
    """Collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [f"{tag} {k}={v}" for k, v in attrs if k in {"src", "href", "srcset", "data", "action"}]


def test_the_page_is_one_file_without_a_network():
    found = some()
    found["rows"][0]["label"] = "</script><b>"
    text = page(found)
    links = _Links()
    links.feed(text)
    assert links.found == []
    assert text.count("</script>") == 1
    assert text.replace("http://www.w3.org/2000/svg", "").count("http") == 0
    for fetching in ("@import", "url(http", "fetch(", "XMLHttpRequest", "import("):
        assert fetching not in text
    assert "missing: jax" in text
    embedded = text.partition("const DATA = ")[2].partition(";\n")[0]
    assert [r["title"] for r in json.loads(embedded)["rows"]][1:] == [r["label"] or r["name"] for r in found["rows"]][
        1:
    ]


def test_a_result_says_where_it_comes_from():
    about = some()["machine"]
    assert {
        "cpu",
        "cores",
        "threads",
        "commit",
        "date",
        "python",
        "target",
        "compiler",
        "flags",
        "versions",
    } <= about.keys()
    assert about["versions"][OURS] == dk.__version__


def test_a_run_is_partial_safe_and_goes_on(tmp_path, monkeypatch, capsys):
    """Rows are kept as they come; the second run measures only what the first did not."""
    asked = []

    class Dying:
        def __init__(self, *_, **__):
            self.names = [OURS]

        def measure(self, row, *_):
            if row.part != "copy":
                asked.append(row.name)
                if len(asked) == 3:
                    raise KeyboardInterrupt
            return result(row, ours=1e-5, numpy=2e-5)

        def close(self):
            pass

    monkeypatch.setattr(command, "Bench", Dying)
    about = {**machine.machine(2), "changed": False, "date": "then"}
    monkeypatch.setattr(command, "machine", lambda threads: copy.deepcopy(about))
    path = tmp_path / "run.json"
    arguments = ["bench", "--filter", "mish", "--dtype", "float32", "--json", str(path), "--threads", "2"]
    assert main(arguments) == 130
    assert [r["name"] for r in command.load(path)["rows"]] == asked[:2]
    assert main([*arguments, "--resume"]) == 0
    assert asked.count(asked[0]) == 1
    assert len(command.load(path)["rows"]) == len(set(asked))
    about["commit"] = "another"
    assert main([*arguments, "--resume"]) == 0
    assert "nothing is kept" in capsys.readouterr().err
    assert asked.count(asked[0]) == 2


def test_a_short_run_from_end_to_end(tmp_path, monkeypatch, capsys):
    """Real processes: one op, NumPy, two copies."""
    monkeypatch.setattr(command, "GRID", (4096, 1 << 16))
    path, shown = tmp_path / "run.json", tmp_path / "run.html"
    arguments = [
        "bench",
        "--filter",
        "call tanh*",
        "--peers",
        "numpy,liger",
        "--quick",
        "--json",
        str(path),
        "--html",
        str(shown),
    ]
    assert main(arguments) == 0
    assert "missing here: liger (not for cpu)" in capsys.readouterr().out
    (row,) = command.load(path)["rows"]
    assert row["seconds"].keys() == {OURS, "numpy"}
    assert all(0 < low <= middle <= high < 1 for low, middle, high in row["seconds"].values())
    assert row["errors"][OURS] < 1e-6
    assert command.load(path)["roof"]["warm"].keys() == {"4096", "65536"}
    assert "const DATA" in Path(shown).read_text()


MAKE_PERFORMANCE = Path(__file__).parents[1] / "docs/make_performance.py"


@pytest.mark.skipif(not (MAKE_PERFORMANCE.parents[1] / "bench/results").exists(), reason="needs a checkout")
def test_the_page_about_performance_is_up_to_date():
    spec = importlib.util.spec_from_file_location("make_performance", MAKE_PERFORMANCE)
    make_performance = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_performance)
    assert make_performance.PAGE.read_text(encoding="utf-8") == make_performance.page(), (
        "run: python docs/make_performance.py"
    )
    for path, results in make_performance.newest():
        assert results["machine"]["commit"], f"{path} does not say of which commit it is"
