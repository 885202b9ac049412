"""The rows of the benchmark, in the order in which they are measured."""

from __future__ import annotations

from .case import MI, Case
from .elementwise import activation, bias_gelu_dropout, call_overhead, copy, itself, swiglu
from .losses import cross_entropy, loss
from .norms import norm
from .optimizers import optimizer

_SIZES = (("8,192", 8192, 500), ("1 Mi", MI, 10), ("32 Mi", 32 * MI, 1))

CASES = [
    Case("call tanh 16, out=", call_overhead, 128, "best", 1.0, inner=20_000),
    *[
        Case(f"{op} 8,192", activation(op, 8192), 2 * 4 * 8192, "best", 1.5, inner=500)
        for op in ("sigmoid", "silu", "gelu", "tanh")
    ],
    *[
        Case(f"{op} {label}", activation(op, n), 2 * 4 * n, "best", 1.5, inner=inner)
        for op in ("softplus", "mish", "elu")
        for label, n, inner in _SIZES
    ],
    *[
        Case(f"{op} 8,192 {dtype}", make, 2 * item * 8192, against, 1 / 1.2, inner=500)
        for op in ("relu", "sigmoid", "silu", "gelu", "softplus")
        for dtype, item, make, against in (
            ("float32", 4, itself(op, 8192), "none"),
            ("bfloat16", 2, activation(op, 8192, "bfloat16"), f"{op} 8,192 float32"),
        )
    ],
    Case("swiglu 16 Mi", swiglu(16 * MI, False), 3 * 4 * 16 * MI, "best", 1.3),
    Case("swiglu backward 16 Mi", swiglu(16 * MI, True), 5 * 4 * 16 * MI, "best", 1.3),
    *[
        Case(f"{name} forward+backward 4096x1024", norm(name, 4096, 1024), 5 * 4 * 4096 * 1024, "best", 1.5)
        for name in ("layer_norm", "rms_norm")
    ],
    Case("bias+gelu+dropout 4096x4096", bias_gelu_dropout(4096, 4096), 2 * 4 * 4096 * 4096, "best", 3.0),
    Case("copy 32 Mi", copy(32 * MI), 2 * 4 * 32 * MI, "none", 1.0),
    *[
        Case(f"{op} 32 Mi against copy", activation(op, 32 * MI), 2 * 4 * 32 * MI, "copy 32 Mi", 1 / allowed)
        for op, allowed in (("relu", 1.2), ("sigmoid", 1.2), ("silu", 1.2), ("tanh", 1.6), ("gelu", 1.6))
    ],
    *[
        Case(f"{op} 32 Mi bfloat16", activation(op, 32 * MI, "bfloat16"), 4 * 32 * MI, f"{op} 32 Mi against copy", 1.5)
        for op in ("relu", "sigmoid", "silu", "tanh", "gelu")
    ],
    Case("cross_entropy value+grad 8192x1000", cross_entropy(8192, 1000), 2 * 4 * 8192 * 1000, "best", 3.0),
    *[
        Case(f"{name} value+grad 16 Mi", loss(name, 16 * MI), 3 * 4 * 16 * MI, "best", goal)
        for name, goal in (
            ("mse_loss", 3.0),
            ("l1_loss", 3.0),
            ("huber_loss", 3.0),
            ("smooth_l1_loss", 3.0),
            ("binary_cross_entropy_with_logits", 5.0),
            ("soft_margin_loss", 3.0),
            ("poisson_nll_loss", 3.0),
        )
    ],
    Case("AdamW 1,000 x 4,096", optimizer("AdamW", 1000, 4096), 28 * 1000 * 4096, "best", 2.5),
    Case("AdamW clipped 1,000 x 4,096", optimizer("AdamW", 1000, 4096, clip=True), 32 * 1000 * 4096, "best", 4.0),
    Case("AdamW 1 x 32 Mi", optimizer("AdamW", 1, 32 * MI), 28 * 32 * MI, "best", 1.0),
    Case("AdamW clipped 1 x 32 Mi", optimizer("AdamW", 1, 32 * MI, clip=True), 32 * 32 * MI, "best", 1.25),
    *[
        Case(f"{name} 1 x 16 Mi", optimizer(name, 1, 16 * MI), bytes_each * 16 * MI, "best", 1.0)
        for name, bytes_each in (("RMSprop", 20), ("Adagrad", 20), ("NAdam", 28), ("Lion", 20))
    ],
    Case(
        "AdamW bfloat16, float32 state 1 x 16 Mi", optimizer("AdamW", 1, 16 * MI, dtype="bfloat16"), 22 * 16 * MI, "best", 1.5,
    ),
    Case(
        "AdamW 8-bit state 1 x 16 Mi", optimizer("AdamW", 1, 16 * MI, ours={"state_dtype": "uint8"}), 16 * 16 * MI, "best", 1.0,
    ),
    Case(
        "AdamW bfloat16 + remainder 1 x 16 Mi",
        optimizer("AdamW", 1, 16 * MI, dtype="bfloat16", ours={"precision": "remainder"}), 26 * 16 * MI, "best", 1.0,
    ),
]  # fmt: skip
