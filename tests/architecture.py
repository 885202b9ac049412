"""The rooms of DESIGN.md section 2 as a table, and the scan that finds what breaks it.

`violations(tree)` takes a source tree as a dict (path -> text) and returns one line for each arrow that
points up and each thing a room must never hold. It works on a dict so that test_architecture.py can show, on
planted trees, that it really fails. What a pattern cannot decide honestly is not scanned: an `if` on a lane
value, for one, does not compile when the lane is a vector.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

Tree = dict[str, str]

ROOMS = (  # the first pattern that matches decides
    ("Waist", "kernels/abi.h"),
    ("Waist", "kernels/dtype.h"),
    ("Waist", "kernels/step.h"),
    ("Device", "kernels/cuda/device.cu"),
    ("Device", "kernels/cuda/probe.cu"),
    ("Device", "kernels/cuda/devices.h"),
    ("Device", "kernels/cuda/failure.h"),
    ("CUDA loops", "kernels/cuda/*"),
    ("Math", "kernels/*.h"),
    ("CPU loops", "cpp/cpu/*"),
    ("ABI", "cpp/include/*"),
    ("Door", "cpp/bindings/*"),
    ("Host", "cpp/*.h"),
    ("Host", "cpp/*.cpp"),
    ("Core", "python/dlkernels/_core*"),
    ("Front", "python/dlkernels/ops/*.py"),
    ("Front", "python/dlkernels/_[!_]*.py"),
    ("Bench", "python/dlkernels/bench/*.py"),
    ("Training", "python/dlkernels/*.py"),
    ("Proof", "tests/*"),
    ("Proof", "bench/*"),
    ("Proof", "docs/*"),
)

# Quoted includes: which rooms a room may see. abi.h and dtype.h are the waist: the host sees abi.h alone.
MAY_INCLUDE = {
    "Waist": {"Waist", "Math"},
    "Math": {"Math"},
    "CPU loops": {"CPU loops", "Math", "Waist"},
    "CUDA loops": {"CUDA loops", "Device", "Math", "Waist"},
    "Device": {"Device", "Math", "Waist"},
    "Host": {"Host", "ABI"},
    "Door": {"Door", "Host", "ABI"},
    "ABI": {"ABI"},
}

PLAIN = r"cstdint|cstring"
INTRINSICS = r"\w*intrin\.h|arm_neon\.h|arm_sve\.h"
CUDA = r"(cuda\w*|cooperative_groups|curand\w*|nccl)(\.h)?(/.*)?|(cub|thrust)/.*"
PYTHON = r"pybind11/.*|Python\.h|numpy/.*"
DLPACK = r"dlpack/.*"
ALL_FOREIGN = f"{INTRINSICS}|{CUDA}|{PYTHON}|{DLPACK}"

# Angle includes: the only ones allowed, or, with a leading "not", the ones forbidden.
SYSTEM = {
    "Waist": (True, PLAIN),
    "Math": (True, PLAIN),
    "CPU loops": (True, PLAIN),
    "CUDA loops": (True, f"{PLAIN}|{CUDA}"),
    "ABI": (True, r"stdint\.h|stddef\.h|stdbool\.h"),
    "Device": (False, f"{INTRINSICS}|{PYTHON}|{DLPACK}"),
    "Host": (False, ALL_FOREIGN),
    "Door": (False, f"{INTRINSICS}|{CUDA}"),
}

STD_ALLOWED = r"u?int(8|16|32|64)_t|u?intptr_t|size_t|memcpy|memset|memmove"
ALLOCATION = r"\b(?:[mc]alloc|realloc|aligned_alloc|posix_memalign|cudaMalloc\w*|alloca)\s*\(|\bnew\s+[\w(\[]"
THREADS = r"\bpthread_\w+|\bomp_\w+|#\s*pragma\s+omp|\bthread_local\b|\bmutex\b"

KERNELS = ("Math", "Waist", "CPU loops", "CUDA loops")

# What the text of a room must never hold: (rooms, pattern, what it is).
NEVER = (
    (KERNELS, rf"\bstd::(?!(?:{STD_ALLOWED})\b)\w+", "the standard library"),
    (KERNELS, ALLOCATION, "allocation"),
    (KERNELS, THREADS, "threads"),
    (("Math",), r"\b(?:f16|bf16|f32|f64|compute_t|to_compute|to_storage|Dtype)\b", "a storage dtype"),
    (("Math",), r"\b(?:void|float|char|T)\s*\*", "a pointer to storage"),
    (("Math",), r"\b__?(?:mm\d*_|m\d{3}|builtin_ia32)\w*|\bfloat32x\d_t", "an intrinsic"),
    (("Math",), r"\b(?:threadIdx|blockIdx|blockDim|__shfl\w*|__syncthreads|__global__|__shared__)\b", "CUDA"),
    (("CPU loops", "CUDA loops"), r"\bmath::\w+", "a formula"),
    (("Host", "Door"), r"\b(?:__global__|__device__|cuda[A-Z]\w+)\b", "CUDA"),
    (("Host",), r"\b(?:py::|pybind11|PyObject|Py_\w+)", "Python"),
    (("Door",), r"\b(?:std::)?(?:exp|log|tanh|erf|sqrt|pow)f?\s*\(", "numerics"),
)

CORE_DEPENDENCIES = {"numpy", "ml_dtypes"}
DTYPE_NAMES = {"float16", "bfloat16", "float32", "float64", "half", "double"}


def read_tree(root: Path) -> Tree:
    """Every source file of the repository, as git would list it."""
    wanted = {".h", ".cpp", ".cu", ".cuh", ".py"}
    tops = ("kernels", "cpp", "python", "tests", "bench", "docs")
    paths = (p for top in tops for p in sorted((root / top).rglob("*")) if p.suffix in wanted)
    return {p.relative_to(root).as_posix(): p.read_text(encoding="utf-8") for p in paths}


def room_of(path: str) -> str | None:
    """The room a file stands in; None for a file that no room owns."""
    return next((room for room, pattern in ROOMS if fnmatch(path, pattern)), None)


def violations(tree: Tree) -> list[str]:
    """One line for each broken rule."""
    names = op_names(tree)
    found: list[str] = []
    for path, text in tree.items():
        room = room_of(path)
        if room is None:
            found.append(f"{path}: stands in no room of DESIGN.md section 2")
        elif path.endswith(".py"):
            found += [f"{path}: {line}" for line in python_violations(path, text, room, tree)]
        elif room != "Proof":
            found += [f"{path}: {line}" for line in cpp_violations(path, text, room, tree, names)]
    return found


# --- C++ and CUDA -------------------------------------------------------------------------------------------


def without_comments(text: str) -> str:
    """The code alone: comments blanked, strings emptied but for those of #include lines, lines kept."""
    pattern = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', re.DOTALL)

    def blank(match: re.Match[str]) -> str:
        piece = match.group()
        if piece.startswith(('"', "'")):
            start = text.rfind("\n", 0, match.start()) + 1
            return piece if text[start : match.start()].lstrip().startswith("#") else '""'
        return "\n" * piece.count("\n")

    return pattern.sub(blank, text)


def op_names(tree: Tree) -> set[str]:
    """The structs that kernels/ops/ calls ops: those with a `name`."""
    ops = "\n".join(without_comments(text) for path, text in tree.items() if fnmatch(path, "kernels/ops/*.h"))
    return set(re.findall(r'struct\s+(\w+)[^{;]*\{[^}]*?\bname\s*=\s*"', ops))


def cpp_violations(path: str, text: str, room: str, tree: Tree, ops: set[str]) -> Iterator[str]:
    """Includes against the table, then what the room must never hold."""
    code = without_comments(text)
    for kind, name in re.findall(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', code, re.MULTILINE):
        yield from (quoted_include if kind == '"' else angle_include)(path, name, room, tree)
    body = re.sub(r"^[ \t]*#[ \t]*include.*$", "", code, flags=re.MULTILINE)
    for rooms, pattern, what in NEVER:
        if room in rooms and path != "kernels/config.h":
            for match in re.finditer(pattern, body):
                yield f"{room} must never hold {what}: {match.group()!r} in line {line_of(body, match)}"
    if path.startswith("kernels/") and path != "kernels/config.h":
        for match in re.finditer(r"^[ \t]*#[ \t]*(?:if|ifdef|ifndef|elif)\b.*", body, re.MULTILINE):
            yield f"{match.group().strip()!r} in line {line_of(body, match)}: config.h holds the only #ifdefs"
    if room in {"CPU loops", "CUDA loops"}:
        for match in re.finditer(r"\b[A-Za-z_]\w*\b", body):
            if match.group() in ops:
                yield f"a loop names the op {match.group()!r} in line {line_of(body, match)}"


def line_of(text: str, match: re.Match[str]) -> int:
    """1-based line of a match."""
    return text.count("\n", 0, match.start()) + 1


def quoted_include(path: str, name: str, room: str, tree: Tree) -> Iterator[str]:
    """An #include "name" must resolve inside the tree, into a room that this one may see."""
    beside = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
    target = next((p for p in (beside, f"cpp/include/{name}") if p in tree), None)
    if target is None:
        yield f'#include "{name}" is not a file of the tree (system headers go in <>)'
        return
    there = room_of(target)
    allowed = there in MAY_INCLUDE[room] or (room == "Host" and target == "kernels/abi.h")
    if room == "Waist" and path.endswith("abi.h"):
        allowed = False
    if not allowed:
        yield f'{room} includes "{target}" of {there}: the arrow points up'


def angle_include(path: str, name: str, room: str, tree: Tree) -> Iterator[str]:
    """An #include <name> against the room's list. Intrinsics have one home, cpp/cpu/vec.h."""
    if path == "cpp/cpu/vec.h" and re.fullmatch(INTRINSICS, name):
        return
    listed_is_allowed, pattern = SYSTEM[room]
    if bool(re.fullmatch(pattern, name)) != listed_is_allowed:
        yield f"{room} must not include <{name}>"


# --- Python -------------------------------------------------------------------------------------------------


def python_violations(path: str, text: str, room: str, tree: Tree) -> Iterator[str]:
    """Imports against the table; framework imports at import time; ladders of dtype names."""
    module = ast.parse(text, path)
    at_import = set(map(id, import_time(module)))
    for node in ast.walk(module):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for name in imported(path, node, tree):
                yield from python_import(path, name, room, at_import=id(node) in at_import)
    if room != "Proof":
        for line, names in dtype_ladders(module):
            yield f"a ladder of dtype names ({', '.join(names)}) in line {line}: tables belong to the core"


def import_time(module: ast.Module) -> Iterator[ast.stmt]:
    """The statements that run when the module is imported: not functions' own, nor `if TYPE_CHECKING`."""
    stack: list[ast.AST] = [module]
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            stack += node.orelse
            continue
        if isinstance(node, ast.stmt):
            yield node
        stack += ast.iter_child_nodes(node)


def imported(path: str, node: ast.Import | ast.ImportFrom, tree: Tree) -> Iterator[str]:
    """Absolute dotted names of what an import statement brings in."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        package = posixpath.dirname(path).removeprefix("python/").split("/")
        base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
    for alias in node.names:  # `from . import x`: x may be a module
        full = f"{base}.{alias.name}"
        yield full if alias.name.startswith("_") or module_path(full, tree) else base


def module_path(name: str, tree: Tree) -> str | None:
    """The file of a module of ours, or None."""
    stem = "python/" + name.replace(".", "/")
    return next((p for p in (f"{stem}.py", f"{stem}/__init__.py") if p in tree), None)


def python_import(path: str, name: str, room: str, *, at_import: bool) -> Iterator[str]:
    """One imported name against the room's rules."""
    top = name.partition(".")[0]
    core = re.match(r"dlkernels\._(core|cuda)\b", name)
    if room in {"Proof", "Bench"} and re.match(r"dlkernels(\.\w+)*\._(?!_)", name):
        yield f"{room} uses the public API only, not {name}"
    if room == "Proof":
        return
    if room != "Bench" and path != "python/dlkernels/cli.py" and re.match(r"dlkernels\.bench\b", name):
        yield f"imports {name}: only the command line does"
    if core and path != "python/dlkernels/_op.py":
        yield f"imports {name}: only _op.py does"
    if top in {"tests", "bench", "docs", "conftest", "numerics"}:
        yield f"imports {name} of Proof: nothing may"
    if top == "dlkernels" and room == "Front" and not re.match(r"dlkernels\.(ops\b|_[^_])", name):
        yield f"Front imports {name} of Training: the arrow points up"
    adapter = path == f"python/dlkernels/{top}.py"  # torch.py may import torch
    if at_import and not adapter and top not in {"dlkernels", *CORE_DEPENDENCIES, *sys.stdlib_module_names}:
        yield f"imports {top} at import time: only numpy and ml_dtypes are there for everyone"


def dtype_ladders(module: ast.Module) -> Iterator[tuple[int, list[str]]]:
    """Functions in which two or more dtype names are compared with something: a ladder drifts apart."""
    for function in ast.walk(module):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        names: set[str] = set()
        for node in ast.walk(function):
            if isinstance(node, ast.Compare):
                names |= dtype_names([node.left, *node.comparators])
            elif isinstance(node, ast.MatchValue):
                names |= dtype_names([node.value])
        if len(names) >= 2:
            yield function.lineno, sorted(names)


def dtype_names(nodes: list[ast.expr]) -> set[str]:
    """Dtype names spelled in these expressions: "float32", np.float32, ("float16", "float32")."""
    pieces = [piece for node in nodes for piece in ast.walk(node)]
    spelled = {p.value for p in pieces if isinstance(p, ast.Constant) and isinstance(p.value, str)}
    spelled |= {p.attr for p in pieces if isinstance(p, ast.Attribute)}
    return spelled & DTYPE_NAMES
