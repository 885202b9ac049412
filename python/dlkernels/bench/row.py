"""What a row of the benchmark is. A row is plain data: it travels to the peers' processes as JSON and into the results as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

OURS = "dlkernels"
PEERS = ("numpy", "torch", "torch-compile", "jax", "sklearn", "cupy", "liger")
ON_CPU = ("numpy", "torch", "torch-compile", "jax", "sklearn")
ON_GPU = ("cupy", "torch", "torch-compile", "liger")
PACKAGES = {"torch-compile": "torch", "sklearn": "scikit-learn", "liger": "liger-kernel", "cupy": "cupy"}

# A pass: what of an op is called.
VALUE, BACKWARD, FROM_Y, VALUE_AND_GRAD = "value", "backward", "backward from y", "value+grad"
THERE_AND_BACK, STEP, COPY, EPOCH = "forward+backward", "step", "copy", "epoch"

NAMED, PLAIN, DTYPES, REST = range(
    4
)  # tiers: what an issue asked for; float32 warm; the other dtypes; cold, allocating, everything else


@dataclass(frozen=True)
class Row:
    """One line of the table: what is called, on what, and who asked for which ratio."""

    subject: str  # an op, an optimizer, or what else is measured
    part: str
    dtype: str = "float32"
    shape: tuple[int, ...] = ()
    size: str = ""  # its size class
    family: str = ""
    variant: str = "warm"  # warm; cold: the caches are overwritten before each call; allocating: no out=
    options: Mapping[str, Any] = field(default_factory=dict)
    tier: int = REST
    label: str = ""  # the name under which an issue asked for it
    asked: float = 0.0  # the ratio wanted: their time / our time
    against: str = (
        "best"  # whose time: the best of the peers, or the label of another row (our own time there, or the best copy)
    )

    @property
    def name(self) -> str:
        """Unique, and the same in every run: what --compare matches."""
        parts = [self.subject, self.part, self.dtype, "x".join(map(str, self.shape)), self.variant]
        parts += [f"{name}={value}" for name, value in self.options.items()]
        return " ".join(filter(None, [p if p != "warm" else "" for p in parts]))

    @property
    def title(self) -> str:
        """What people read."""
        return self.label or self.name

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "shape": list(self.shape), "options": dict(self.options)}


def row_from(data: Mapping[str, Any]) -> Row:
    """The row that as_json() wrote; other keys are ignored."""
    known = {name: data[name] for name in Row.__dataclass_fields__ if name in data}
    return Row(**{**known, "shape": tuple(known["shape"])})
