"""Every arrow points down (DESIGN.md 2): the tree obeys the table, and the scan fails on planted trees."""

from __future__ import annotations

from pathlib import Path

import pytest
from architecture import Tree, op_names, read_tree, room_of, violations

ROOT = Path(__file__).resolve().parent.parent

# A house in miniature that obeys every rule; each planted file below breaks one of them.
HOUSE: Tree = {
    "kernels/config.h": "#include <cstdint>\n#if defined(__CUDACC__)\n#define DLK_FN __device__\n#endif\n",
    "kernels/lane.h": '#include "config.h"\nDLK_FN float min(float a, float b) { return a < b ? a : b; }\n',
    "kernels/math.h": '#include "lane.h"\n// exp: if (x) -> std::exp, in a comment\n',
    "kernels/list.h": '#include "config.h"\n',
    "kernels/dtype.h": '#include "lane.h"\nusing f32 = float;\n',
    "kernels/abi.h": "#include <cstdint>\nstruct MapArgs { const void* in; std::int64_t n; };\n",
    "kernels/ops/gates.h": '#include "../math.h"\nstruct silu { static constexpr auto name = "silu"; };\n',
    "kernels/cuda/map.cu": '#include <cuda_runtime.h>\n#include "../dtype.h"\n#include "../ops/gates.h"\n',
    "cpp/cpu/vec.h": '#include <immintrin.h>\n#include "../../kernels/dtype.h"\n#ifdef __AVX2__\n#endif\n',
    "cpp/cpu/map.cpp": '#include "vec.h"\n#include "../../kernels/ops/gates.h"\n',
    "cpp/cpu/target.cpp": '#include "vec.h"\n#include "../../kernels/abi.h"\n',
    "cpp/target.h": '#pragma once\n#include <vector>\n#include "../kernels/abi.h"\n',
    "cpp/c_api.cpp": '#include "dlkernels/dlkernels.h"\n#include "target.h"\n',
    "cpp/include/dlkernels/dlkernels.h": "#include <stdint.h>\n",
    "cpp/bindings/module.cpp": '#include <pybind11/pybind11.h>\n#include "../target.h"\n',
    "python/dlkernels/__init__.py": "from ._op import op\nfrom .ops.gates import silu\nfrom . import optim\n",
    "python/dlkernels/_op.py": "import numpy as np\nfrom . import _core\n",
    "python/dlkernels/_arrays.py": "import sys\n\ndef of(x):\n    import cupy\n    return cupy\n",
    "python/dlkernels/ops/__init__.py": "",
    "python/dlkernels/ops/gates.py": "from .._op import op\nfrom dlkernels._arrays import of\n",
    "python/dlkernels/optim.py": "from ._op import op\nfrom .ops import gates\n",
    "python/dlkernels/torch.py": "import torch\n",
    "tests/test_x.py": "import torch\nimport dlkernels as dk\n",
}

PLANTED = [
    ("kernels/ops/new.h", '#include "../dtype.h"', 'Math includes "kernels/dtype.h" of Waist'),
    ("kernels/ops/new.h", '#include "../../cpp/cpu/vec.h"', "the arrow points up"),
    ("kernels/ops/new.h", "#include <cmath>", "Math must not include <cmath>"),
    ("kernels/ops/new.h", "#include <cuda_fp16.h>", "Math must not include"),
    ("kernels/ops/new.h", "auto f(float x) { return std::exp(x); }", "the standard library"),
    ("kernels/ops/new.h", "bf16 f();", "a storage dtype"),
    ("kernels/ops/new.h", "void f(const float* x);", "a pointer to storage"),
    ("kernels/ops/new.h", "auto y = _mm256_add_ps(a, b);", "an intrinsic"),
    ("kernels/ops/new.h", "#ifdef __AVX2__\n#endif", "the only #ifdefs"),
    ("kernels/abi.h", '#include "dtype.h"', "the arrow points up"),
    ("kernels/cuda/rows.cu", '#include "../../cpp/cpu/map.h"', "not a file of the tree"),
    ("kernels/cuda/rows.cu", '#include "../../cpp/cpu/vec.h"', "the arrow points up"),
    ("kernels/cuda/rows.cu", "auto p = cudaMalloc(&q, n);", "allocation"),
    ("kernels/cuda/rows.cu", "#if __CUDA_ARCH__ > 900\n#endif", "the only #ifdefs"),
    ("cpp/cpu/rows.cpp", '#include "../../kernels/cuda/map.cu"', "the arrow points up"),
    ("cpp/cpu/rows.cpp", "#include <vector>", "CPU loops must not include <vector>"),
    ("cpp/cpu/rows.cpp", "#include <immintrin.h>", "CPU loops must not include <immintrin.h>"),
    ("cpp/cpu/rows.cpp", "auto* p = new float[4];", "allocation"),
    ("cpp/cpu/rows.cpp", "thread_local int x;", "threads"),
    ("cpp/cpu/rows.cpp", "y = math::exp(x);", "a formula"),
    ("cpp/cpu/rows.cpp", "run<ops::silu>();", "names the op 'silu'"),
    ("cpp/plan.cpp", '#include "../kernels/ops/gates.h"', "Host includes"),
    ("cpp/plan.cpp", '#include "../kernels/dtype.h"', "Host includes"),
    ("cpp/plan.cpp", '#include "cpu/vec.h"', "Host includes"),
    ("cpp/plan.cpp", "#include <pybind11/pybind11.h>", "Host must not include"),
    ("cpp/plan.cpp", "#include <cuda_runtime.h>", "Host must not include"),
    ("cpp/plan.cpp", "#include <xmmintrin.h>", "Host must not include"),
    ("cpp/plan.cpp", "cudaStreamSynchronize(s);", "CUDA"),
    ("cpp/bindings/arrays.cpp", '#include "../../kernels/abi.h"', "Door includes"),
    ("cpp/bindings/arrays.cpp", "double y = std::exp(x);", "numerics"),
    ("cpp/include/dlkernels/x.h", "#include <vector>", "ABI must not include"),
    ("cpp/lib/x.cpp", '#include "../../tests/x.h"', "not a file"),
    ("kernels2/x.h", "", "stands in no room"),
    ("python/dlkernels/__init__.py", "from . import _core", "only _op.py does"),
    ("python/dlkernels/__init__.py", "from ._core import x", "only _op.py does"),
    ("python/dlkernels/nn.py", "def f():\n    import dlkernels._core", "only _op.py does"),
    ("python/dlkernels/_op.py", "from . import optim", "Front imports dlkernels.optim of Training"),
    ("python/dlkernels/ops/rows.py", "import dlkernels", "Front imports dlkernels of Training"),
    ("python/dlkernels/ops/rows.py", "from ..optim import SGD", "Front imports dlkernels.optim of Training"),
    ("python/dlkernels/_arrays.py", "import cupy", "at import time"),
    (
        "python/dlkernels/_arrays.py",
        "try:\n    import torch\nexcept ImportError:\n    pass",
        "at import time",
    ),
    ("python/dlkernels/train.py", "import rich", "only numpy and ml_dtypes"),
    ("python/dlkernels/torch.py", "import jax", "at import time"),
    ("python/dlkernels/train.py", "from tests import numerics", "of Proof"),
    ("tests/test_y.py", "from dlkernels._op import op", "public API only"),
    ("python/dlkernels/bench/ours.py", "from .._op import op", "public API only"),
    ("python/dlkernels/train.py", "from dlkernels.bench import plan", "only the command line does"),
    (
        "python/dlkernels/_arrays.py",
        "def f(x):\n    if x.dtype == 'float32':\n        return 1\n    return x.dtype == np.float64\n",
        "a ladder of dtype names (float32, float64)",
    ),
]


def test_the_tree_obeys_its_table():
    found = violations(read_tree(ROOT))
    assert not found, "\n" + "\n".join(found)


def test_the_scan_sees_every_room():
    tree = read_tree(ROOT)
    seen = {room_of(path) for path in tree}
    assert {
        "Math",
        "Waist",
        "CPU loops",
        "CUDA loops",
        "Host",
        "Door",
        "ABI",
        "Front",
        "Training",
        "Proof",
    } <= seen
    assert {"relu", "silu", "softmax", "adam"} <= op_names(tree)


def test_a_house_that_obeys_has_no_violation():
    assert violations(HOUSE) == []


@pytest.mark.parametrize(("path", "text", "expected"), PLANTED, ids=[f"{p}: {t[:40]}" for p, t, _ in PLANTED])
def test_a_planted_violation_is_found(path: str, text: str, expected: str):
    found = violations({**HOUSE, path: text})
    assert any(line.startswith(path) and expected in line for line in found), found
