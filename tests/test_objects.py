"""Hygiene of the per-target objects: nothing compiled for AVX-512 may ever run on a machine without it.

The linker keeps one copy of a shared inline function, whichever it meets; if that copy was compiled with
-mavx512f, an older machine dies. So an object of a target defines nothing weak, runs nothing at load time,
and calls nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest
from builds import ROOT, objects, tool

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class Isa(NamedTuple):
    """What a target's machine code must show, and must not."""

    packed_fma: str | None
    forbidden: str | None
    calls: set[str]  # symbols a kernel may want from elsewhere
    # functions of the object itself that a kernel may call
    inside: str = r"(4treeI[fd]E(4push|5total)E|10draw_words|L?\d+(read|write)_(tile|bytes|halves|at_random))"


# `base` has no FMA unit and asks libm for the exact one; it is compiled for size. The others call what a long row
# calls once a block, what an optimizer calls once a tile, and memset where it makes gradients zero.
ISAS = {
    "avx512": Isa(r"\tvfn?m(add|sub)\d+ps .*%zmm", None, {"memset"}),
    "avx2": Isa(r"\tvfn?m(add|sub)\d+ps .*%ymm", r"%zmm|%k[0-7]\b", {"memset"}),
    "base": Isa(None, r"%[yz]mm|\tv[a-z]", {"fma", "fmaf", "memset"}, ""),
    "neon": Isa(r"\tfml[as]\tv", r"\tz\d", {"memset"}),
}
COPIES = {"memcpy", "memset", "memmove"}
LINKER = {"_GLOBAL_OFFSET_TABLE_"}


# Without DLK_OBJECTS they are compiled first, which takes as long as the build of the library did.
of_objects = pytest.mark.slow if "DLK_OBJECTS" not in os.environ else lambda test: test


@pytest.fixture(scope="session")
def built() -> dict[str, list[Path]]:
    """Objects by target; every target that this architecture has, whether or not this machine can run it."""
    return objects()


class Symbol(NamedTuple):
    """A line of nm."""

    kind: str
    name: str

    @property
    def defined(self) -> bool:
        """nm writes U for what the object wants from elsewhere, w and v for what it wants if it is there."""
        return self.kind not in "Uwv"


def symbols(path: Path) -> list[Symbol]:
    """Demangled symbols of an object."""
    text = subprocess.run([tool("nm"), "-C", "-P", path], capture_output=True, text=True, check=True).stdout
    found = [re.match(r"(?P<name>.+?) (?P<kind>\w)(?: [0-9a-f]+)*\s*$", line) for line in text.splitlines()]
    return [Symbol(m["kind"], m["name"]) for m in found if m]


def disassembly(path: Path) -> Iterator[str]:
    """Lines of objdump: an instruction each, with the symbol that its relocation names."""
    command = [tool("objdump"), "-dr", "--no-show-raw-insn", "-w", path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield from process.stdout
    assert process.returncode == 0


class MachineCode(NamedTuple):
    """What a disassembly holds: packed fma, calls that are not allowed, instructions of a larger set."""

    packed_fma: int
    calls: Counter[str]
    foreign: Counter[str]


def machine_code(isa: Isa, lines: Iterable[str]) -> MachineCode:
    """Counts over the lines of a disassembly. A call names a relocation or a function of this object."""
    fma, calls, foreign = 0, Counter[str](), Counter[str]()
    inside = re.compile(rf"_Z+NK?3dlk\d+[a-z0-9]+12_GLOBAL__N_1.*{isa.inside}")
    for line in lines:
        if isa.forbidden and (match := re.search(isa.forbidden, line.partition("<")[0])):
            foreign[match.group()] += 1
        if isa.packed_fma and re.search(isa.packed_fma, line):
            fma += 1
        if re.search(r"\t(?:call|bl|blr)\b", line):
            match = re.search(r"R_\w+\s+([\w.]+)", line) or re.search(r"<([^>+]+)", line)
            calls[match.group(1) if match else "through a register"] += 1
    return MachineCode(
        fma,
        Counter({name: n for name, n in calls.items() if name not in isa.calls and not inside.match(name)}),
        foreign,
    )


def every_object(built: dict[str, list[Path]]) -> Iterator[tuple[str, Path]]:
    """(target, object)"""
    for target, paths in built.items():
        assert paths, f"no object for {target}"
        yield from ((target, path) for path in paths)


def weak_or_stray(target: str, found: list[Symbol]) -> list[Symbol]:
    """Symbols another object could share or replace: weak, unique, or global outside the namespace."""
    own = re.compile(rf"dlk::{target}::")
    return [s for s in found if s.kind in "VWvwu" or (s.kind in "TDBRCG" and not own.match(s.name))]


def wanted_from_elsewhere(target: str, found: list[Symbol]) -> list[str]:
    """Undefined symbols that no target may want."""
    allowed = COPIES | LINKER | ISAS[target].calls
    own = re.compile(rf"dlk::{target}::")
    return [s.name for s in found if s.kind == "U" and s.name not in allowed and not own.match(s.name)]


@of_objects
def test_every_target_of_the_architecture_is_built(built: dict[str, list[Path]]) -> None:
    assert set(built) in ({"avx512", "avx2", "base"}, {"neon"}, {"base"})
    sources = sorted(path.name for path in (ROOT / "cpp/cpu").glob("*.cpp"))
    for paths in built.values():
        assert sorted(path.name.removesuffix(".o") for path in paths) == sources


@of_objects
def test_no_symbol_is_shared_between_targets(built: dict[str, list[Path]]) -> None:
    bad = [(target, path.name, s) for target, path in every_object(built) for s in weak_or_stray(target, symbols(path))]
    assert not bad


@of_objects
def test_objects_want_nothing_but_copies(built: dict[str, list[Path]]) -> None:
    bad = {(path.name, target): wanted_from_elsewhere(target, symbols(path)) for target, path in every_object(built)}
    assert not {key: names for key, names in bad.items() if names}


@of_objects
def test_nothing_runs_at_load_time(built: dict[str, list[Path]]) -> None:
    for _, path in every_object(built):
        headers = subprocess.run([tool("objdump"), "-h", path], capture_output=True, text=True, check=True).stdout
        assert not re.findall(r"\.(?:init_array|ctors|preinit_array|fini_array|tbss|tdata)\S*", headers), path


@of_objects
@pytest.mark.parametrize("target", sorted(ISAS))
def test_machine_code(built: dict[str, list[Path]], target: str) -> None:
    """Kernels hold packed fma, no call, and no instruction of a larger set."""
    if target not in built:
        pytest.skip(f"{target} is not of this architecture")
    code = [machine_code(ISAS[target], disassembly(path)) for path in built[target]]
    assert not sum((c.foreign for c in code), Counter())
    assert not sum((c.calls for c in code), Counter())
    assert sum(c.packed_fma for c in code) > 0 or ISAS[target].packed_fma is None


def test_the_checks_see_a_weak_symbol_and_a_foreign_call() -> None:
    found = [
        Symbol("T", "dlk::avx2::target"),
        Symbol("W", "std::vector<int>::push_back(int const&)"),
        Symbol("u", "dlk::avx2::counter"),
        Symbol("D", "table"),
        Symbol("U", "expf"),
        Symbol("U", "fmaf"),
        Symbol("U", "memcpy"),
    ]
    assert [s.kind for s in weak_or_stray("avx2", found)] == ["W", "u", "D"]
    assert wanted_from_elsewhere("avx2", found) == ["expf", "fmaf"]
    assert wanted_from_elsewhere("base", found) == ["expf"]


def test_the_scan_sees_a_call_and_a_larger_instruction() -> None:
    lines = [
        "  10:\tvfmadd213ps %ymm2,%ymm1,%ymm0",
        "  15:\tcall   1a <f+0x1a>\t16: R_X86_64_PLT32\texpf-0x4",
        "  1a:\tcall   40 <local>",
        "  1f:\tcall   *%rax",
        "  20:\tvaddps %zmm2,%zmm1,%zmm0",
    ]
    code = machine_code(ISAS["avx2"], lines)
    assert code.packed_fma == 1
    assert code.calls == {"expf": 1, "local": 1, "through a register": 1}
    assert code.foreign == {"%zmm": 1}
    assert machine_code(ISAS["base"], ["\tcall 9 <g>\t5: R_X86_64_PLT32\tfmaf-0x4", "\tvxorps %xmm0,%xmm0,%xmm0"]) == (
        0,
        {},
        {"\tvx": 1},
    )
