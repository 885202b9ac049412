"""The last layer of a language model and its loss in one call, so that the logits of all tokens never exist at once."""

from __future__ import annotations

import math
from typing import Any

from .. import _arrays
from .class_losses import cross_entropy


def _wide(a: Any, kind: str) -> Any:
    """a in the type that is computed in; a itself if it has it."""
    if str(a.dtype).endswith(kind):
        return a
    wide = _arrays.empty(a, tuple(a.shape), kind)
    wide[...] = a
    return wide


def _copied(a: Any, kind: str) -> Any:
    copy = _arrays.empty(a, tuple(a.shape), kind)
    copy[...] = a
    return copy


def _zeros(a: Any, shape: tuple[int, ...], kind: str) -> Any:
    zeros = _arrays.empty(a, shape, kind)
    zeros[...] = 0
    return zeros


def _like(a: Any, result: Any) -> Any:
    """result, rounded once to a's dtype and with a's shape."""
    result = result.reshape(a.shape)
    if result.dtype == a.dtype:
        return result
    rounded = _arrays.empty(a, tuple(a.shape), str(a.dtype).removeprefix("torch."))
    rounded[...] = result
    return rounded


def _chunk_rows(tokens: int, classes: int, features: int) -> int:
    """Logits about as large as x: tokens / ceil(classes / features), rounded up to a power of two (Liger)."""
    rows = -(-tokens // max(1, -(-classes // max(1, features))))
    return 1 << max(0, rows - 1).bit_length()


_NAME = "linear_cross_entropy"


def _check(arrays: dict[str, Any], ignore_index: int) -> None:
    """Dtypes, shapes and class ids: the calls below see chunks, and would speak of those."""
    arrays = {name: a for name, a in arrays.items() if a is not None or name not in {"bias", "class_weight"}}
    for name, a in arrays.items():
        if not (hasattr(a, "dtype") and hasattr(a, "shape")):
            raise TypeError(f"{_NAME}: {name} must be an array, got {type(a).__name__}.")
    x, weight, target = arrays["x"], arrays["weight"], arrays["target"]
    for name, a in arrays.items():
        kind = str(a.dtype).removeprefix("torch.")
        if name == "target":
            if kind not in {"int32", "int64"}:
                raise TypeError(
                    f'{_NAME}: target must be class ids, int32 or int64, got {kind}. Cast it: .astype("int64").'
                )
        elif "float" not in kind:
            raise TypeError(f"{_NAME}: {name} must hold floating-point numbers, got {kind}.")
        elif a.dtype != x.dtype:
            raise TypeError(f"{_NAME}: {name} must be {x.dtype} as x, got {kind}. Cast it.")
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"{_NAME}: weight must have shape (classes, features) and x (..., features), "
            f"got {tuple(weight.shape)} and {tuple(x.shape)}."
        )
    wanted = {"target": tuple(x.shape[:-1]), "bias": (weight.shape[0],), "class_weight": (weight.shape[0],)}
    for name, shape in wanted.items():
        if name in arrays and tuple(arrays[name].shape) != shape:
            what = "x's shape without the features" if name == "target" else "one number per class"
            raise ValueError(f"{_NAME}: {name} must have shape {shape}, {what}, got {tuple(arrays[name].shape)}.")
    ids = target.reshape(-1)
    wrong = ((ids < 0) | (ids >= weight.shape[0])) & (ids != ignore_index)
    if bool(wrong.any()):
        at = int((wrong * 1).argmax())
        raise IndexError(
            f"{_NAME}: target[{at}] is {int(ids[at])}, wanted a class id in [0, {weight.shape[0]}) "
            f"or ignore_index ({ignore_index})."
        )


class LinearCrossEntropy:
    """cross_entropy(x @ weight.T + bias, target), over chunks of tokens: the logits of one chunk exist at a time.

    x: (..., features); weight: (classes, features) as torch.nn.Linear keeps it; target: class ids (int32 or int64) of x's shape without
    the features; bias: (classes,). class_weight, ignore_index, label_smoothing, z_loss and reduction are those of `cross_entropy`, and so
    is the result, but for the rounding of sums over chunks. ``value_and_grad`` returns (loss, (dx, dweight, dbias)); dbias is None without
    bias. Each gradient has its array's shape and dtype: gradients of 16-bit arrays are accumulated in float32 and rounded once.

    chunk_rows tokens are taken at a time: by default so many that their logits are about as large as x. The matrix products are the array
    library's (``@``), in float32 for 16-bit arrays. PyTorch 2.13 has torch.nn.functional.linear_cross_entropy.

    Errors: ValueError for shapes that do not fit or a chunk_rows below 1; otherwise those of `cross_entropy`.

    >>> import numpy as np, dlkernels as dk
    >>> x, weight = np.eye(2), np.zeros((4, 2))
    >>> loss, (dx, dweight, dbias) = dk.linear_cross_entropy.value_and_grad(x, weight, np.array([0, 3]))
    >>> round(float(loss), 6), dweight
    (1.386294, array([[-0.375,  0.125],
           [ 0.125,  0.125],
           [ 0.125,  0.125],
           [ 0.125, -0.375]]))

    Source: Hsu et al. (2024), arXiv:2410.10989 (Liger kernels).
    """

    __name__ = _NAME

    def __call__(self, x: Any, weight: Any, target: Any, bias: Any = None, **options: Any) -> Any:
        """The loss."""
        return self._run(x, weight, target, bias, grad=False, **options)[0]

    def value_and_grad(self, x: Any, weight: Any, target: Any, bias: Any = None, **options: Any) -> Any:
        """(loss, (dx, dweight, dbias))."""
        return self._run(x, weight, target, bias, grad=True, **options)

    @staticmethod
    def reference(
        x: Any, weight: Any, target: Any, bias: Any = None, *, class_weight: Any = None, **options: Any
    ) -> Any:
        """The definition, without chunks."""
        logits = x @ weight.T if bias is None else x @ weight.T + bias
        return cross_entropy.reference(logits, target, class_weight, axis=-1, **options)

    def _run(
        self,
        x: Any,
        weight: Any,
        target: Any,
        bias: Any,
        *,
        grad: bool,
        class_weight: Any = None,
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        reduction: str = "mean",
        chunk_rows: int | None = None,
    ) -> Any:
        _check({"x": x, "weight": weight, "target": target, "bias": bias, "class_weight": class_weight}, ignore_index)
        if reduction not in {"mean", "sum", "none"}:
            raise ValueError(f'{_NAME}: reduction must be "mean", "sum" or "none", got "{reduction}".')
        if chunk_rows is not None and (type(chunk_rows) is not int or chunk_rows < 1):
            raise ValueError(f"{_NAME}: chunk_rows must be an integer >= 1, got {chunk_rows!r}.")
        (classes, features), shape = weight.shape, tuple(target.shape)
        kind = "float64" if str(x.dtype).endswith("float64") else "float32"
        tokens, ids = x.reshape(-1, features), target.reshape(-1)
        w, b = _wide(weight, kind), None if bias is None else _wide(bias, kind)
        per_class = None if class_weight is None else _wide(class_weight, kind)
        kept = ids[ids != ignore_index]
        count = float(kept.shape[0] if per_class is None else per_class[kept].sum())
        if reduction == "mean" and kept.shape[0] > 0:
            z_loss = z_loss * count / kept.shape[0]  # the mean of this term has no class weights
        n = tokens.shape[0]
        losses = _arrays.empty(x, (n,), kind)
        dx = _arrays.empty(x, (n, features), kind) if grad else None
        dw = _zeros(x, (classes, features), kind) if grad else None
        db = _zeros(x, (classes,), kind) if grad and bias is not None else None
        options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "z_loss": z_loss}
        step = chunk_rows or _chunk_rows(n, classes, features)
        for first in range(0, n, step):
            rows = slice(first, first + step)
            part = _wide(tokens[rows], kind)
            logits = part @ w.T
            if b is not None:
                logits += b
            if dw is None or dx is None:
                losses[rows] = cross_entropy(logits, ids[rows], per_class, reduction="none", **options)
                continue
            losses[rows], d = cross_entropy.value_and_grad(
                logits, ids[rows], per_class, reduction="none", out=logits, **options
            )
            dx[rows] = d @ w
            ignored = ids[rows] == ignore_index
            if bool(ignored.any()):  # whatever such rows hold: 0 times infinity is NaN
                part = _copied(part, kind)
                part[ignored] = 0
            dw += d.T @ part
            if db is not None:
                db += d.sum(0)
        value = losses.reshape(shape)
        if reduction != "none":
            value = _arrays.empty(x, (), kind)
            value[...] = losses.sum() / ((count or math.nan) if reduction == "mean" else 1)
        if dw is None or dx is None:
            return value, None
        for gradient in (dx, dw, db):
            if gradient is not None and reduction == "mean" and kept.shape[0] > 0:
                gradient /= count or math.nan
        return value, (_like(x, dx), _like(weight, dw), None if db is None else _like(bias, db))


linear_cross_entropy = LinearCrossEntropy()
