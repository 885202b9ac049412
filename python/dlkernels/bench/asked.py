"""The rows whose ratio an issue asked for, under the names that it used: what must be readable off every full run."""

from __future__ import annotations

from .row import BACKWARD, COPY, NAMED, THERE_AND_BACK, VALUE, VALUE_AND_GRAD, Row
from .updates import ASKED_UPDATES

MI = 1 << 20


def _row(
    label: str, subject: str, part: str, shape: tuple[int, ...], asked: float, *, family: str, **more: object
) -> Row:
    return Row(subject, part, shape=shape, family=family, tier=NAMED, label=label, asked=asked, **more)  # type: ignore[arg-type]


def _activation(label: str, op: str, n: int, asked: float, **more: object) -> Row:
    family = "piecewise" if op == "relu" else "activations"
    size = {8192: "L2", MI: "LLC"}.get(n, "memory")
    return _row(label, op, VALUE, (n,), asked, family=family, **{"size": size, **more})


_LOSSES = {
    "mse_loss": 3.0, "l1_loss": 3.0, "huber_loss": 3.0, "smooth_l1_loss": 3.0, "binary_cross_entropy_with_logits": 5.0,
    "soft_margin_loss": 3.0, "poisson_nll_loss": 3.0,
}  # fmt: skip
_OF_LOSS = {
    "binary_cross_entropy_with_logits": "entropy",
    "soft_margin_loss": "margin",
    "poisson_nll_loss": "divergence",
}
_COMPARED = ("relu", "sigmoid", "silu", "gelu", "softplus")  # bfloat16 in the cache against float32
_STREAMED = {"relu": 1.2, "sigmoid": 1.2, "silu": 1.2, "tanh": 1.6, "gelu": 1.6}  # of the time of a copy, at most

ASKED: list[Row] = [
    _activation("call tanh 16, out=", "tanh", 16, 1.0, size="call"),
    *[_activation(f"{op} 8,192", op, 8192, 1.5) for op in ("sigmoid", "silu", "gelu", "tanh")],
    *[
        _activation(f"{op} {label}", op, n, 1.5)
        for op in ("softplus", "mish", "elu")
        for label, n in (("8,192", 8192), ("1 Mi", MI), ("32 Mi", 32 * MI))
    ],
    _activation("relu 8,192", "relu", 8192, 0.0),
    *[
        _activation(f"{op} 8,192 bfloat16", op, 8192, 1 / 1.2, dtype="bfloat16", against=f"{op} 8,192")
        for op in _COMPARED
    ],
    _row("swiglu 16 Mi", "swiglu", VALUE, (16 * MI,), 1.3, family="gates", size="memory"),
    _row("swiglu backward 16 Mi", "swiglu", BACKWARD, (16 * MI,), 1.3, family="gates", size="memory"),
    *[
        _row(f"{op} forward+backward 4096x1024", op, THERE_AND_BACK, (4096, 1024), 1.5, family="norms", size="rows of 1,000")
        for op in ("layer_norm", "rms_norm")
    ],
    _row(
        "bias+gelu+dropout 4096x4096", "bias_act", VALUE, (4096, 4096), 3.0, family="fused", size="rows of 4,096",
        options={"p": 0.1, "seed": 1},
    ),
    Row("copy", COPY, shape=(32 * MI,), size="memory", family="copy", tier=NAMED, label="copy 32 Mi"),
    *[
        _activation(f"{op} 32 Mi against copy", op, 32 * MI, 1 / allowed, against="copy 32 Mi")
        for op, allowed in _STREAMED.items()
    ],
    *[
        _activation(f"{op} 32 Mi bfloat16", op, 32 * MI, 1.5, dtype="bfloat16", against=f"{op} 32 Mi against copy")
        for op in _STREAMED
    ],
    _row(
        "cross_entropy value+grad 8192x1000", "cross_entropy", VALUE_AND_GRAD, (8192, 1000), 3.0, family="class_losses",
        size="rows of 1,000",
    ),
    *[
        _row(f"{name} value+grad 16 Mi", name, VALUE_AND_GRAD, (16 * MI,), asked, family=_OF_LOSS.get(name, "regression"), size="memory")
        for name, asked in _LOSSES.items()
    ],
    *ASKED_UPDATES,
]  # fmt: skip
