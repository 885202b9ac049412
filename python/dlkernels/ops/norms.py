"""Normalization. The bodies are the float64 definitions; calling an op runs its compiled kernels.

All of them: float16, bfloat16, float32, float64; any strides. weight and bias have x's dtype; statistics and the gradients of weight and
bias are float64 for float64 x and float32 otherwise. The mean comes first, then the sum of squared deviations (E[x^2] - m^2 would cancel);
sums are added in one canonical order, so no result depends on threads, instruction set or strides. Error bounds are in ULP of the
largest magnitude of the row. ValueError for shapes that do not fit, TypeError for dtypes; nothing is written then.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import channel_norm_op, row_norm_op


def _last_axes(x: Any, weight: Any, normalized_shape: Any) -> tuple[int, ...]:
    if normalized_shape is not None:
        n = 1 if isinstance(normalized_shape, int) else len(normalized_shape)
    else:
        n = 1 if weight is None else np.ndim(weight)
    return tuple(range(np.ndim(x) - n, np.ndim(x)))


def _with_extras(y: Any, h: Any, residual: Any, stats: Any, return_stats: bool) -> Any:
    results = [y, *([h] if residual is not None else []), *([stats] if return_stats else [])]
    return results[0] if len(results) == 1 else tuple(results)


@row_norm_op(ulp=8.0, grad_ulp=16.0, source="Ba, Kiros & Hinton (2016), arXiv:1607.06450", has_mean=True)
def layer_norm(
    x: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *,
    normalized_shape: Any = None,
    residual: Any = None,
    return_stats: bool = False,
    out: Any = None,
) -> Any:
    """(x - m) r weight + bias over the last dimensions,  r = 1 / sqrt(mean (x - m)^2 + eps).

    The normalized dimensions are those of weight, else normalized_shape (an int or a tuple), else the last one. With residual (x's
    shape), h = x + residual is normalized, rounded to x's dtype first, and the result is (y, h). return_stats adds (m, r), one number
    per row. Keras' default eps is 1e-3.

    backward(dy, x, weight) gives (dx, dweight, dbias), or dx alone without weight: with d = dy weight and xh = (x - m) r,
    dx = r (d - mean d - xh mean(d xh)), dweight = sum dy xh, dbias = sum dy. After a residual x is h, and dh= (what flows into h by
    another way) is added to dx in the same pass; stats= saves computing m and r again.

    >>> import numpy as np, dlkernels as dk
    >>> dk.layer_norm(np.array([[1.0, 3.0]]), eps=0.0)
    array([[-1.,  1.]])
    """
    h = x if residual is None else x + residual
    axes = _last_axes(h, weight, normalized_shape)
    m = np.mean(h, axis=axes, keepdims=True)
    r = 1.0 / np.sqrt(np.mean((h - m) ** 2, axis=axes, keepdims=True) + eps)
    y = (h - m) * r * (1.0 if weight is None else weight) + (0.0 if bias is None else bias)
    return _with_extras(y, h, residual, (np.squeeze(m, axes), np.squeeze(r, axes)), return_stats)


@row_norm_op(ulp=8.0, grad_ulp=16.0, source="Zhang & Sennrich (2019), arXiv:1910.07467", has_mean=False)
def rms_norm(
    x: Any,
    weight: Any = None,
    eps: float = 1e-6,
    *,
    weight_offset: float = 0.0,
    normalized_shape: Any = None,
    residual: Any = None,
    return_stats: bool = False,
    out: Any = None,
) -> Any:
    """x r (weight + weight_offset) over the last dimensions,  r = 1 / sqrt(mean x^2 + eps).

    As layer_norm: normalized dimensions, residual, return_stats (r alone), backward (which gives (dx, dweight)). Computed in float32
    and rounded once at the end. weight_offset=1 is Gemma's form. eps: PyTorch's None is 1.19e-7, ONNX has 1e-5, Llama 1e-5 or 1e-6.

    >>> import numpy as np, dlkernels as dk
    >>> dk.rms_norm(np.array([[3.0, 3.0]]), eps=0.0)
    array([[1., 1.]])
    """
    h = x if residual is None else x + residual
    axes = _last_axes(h, weight, normalized_shape)
    r = 1.0 / np.sqrt(np.mean(h * h, axis=axes, keepdims=True) + eps)
    y = h * r * ((1.0 if weight is None else weight) + weight_offset)
    return _with_extras(y, h, residual, np.squeeze(r, axes), return_stats)


def _per_channel(values: Any, x: Any) -> Any:
    return 1.0 if values is None else np.reshape(values, (1, -1) + (1,) * (np.ndim(x) - 2))


def _affine(xh: Any, weight: Any, bias: Any, activation: str) -> Any:
    y = xh * _per_channel(weight, xh) + (0.0 if bias is None else _per_channel(bias, xh))
    return np.where(y < 0, 0.0, y) if activation == "relu" else y


@channel_norm_op(ulp=8.0, grad_ulp=16.0, source="Ioffe & Szegedy (2015), arXiv:1502.03167", over="batch")
def batch_norm(
    x: Any,
    running_mean: Any = None,
    running_var: Any = None,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    activation: str = "none",
    return_stats: bool = False,
    out: Any = None,
) -> Any:
    """(x - m) r weight + bias per channel (dimension 1),  r = 1 / sqrt(v + eps).

    training: m and v (biased) are those of x over all other dimensions, and running_mean, running_var are updated in place:
    (1 - momentum) running + momentum batch, with the unbiased variance n / (n - 1) v, as in PyTorch (Keras and ONNX store the biased
    one, and count momentum the other way: 0.99 and 0.9). Otherwise m and v are the running ones, which are float64 for float64 x and
    float32 for the others. activation="relu" applies a ReLU in the same pass, forward and backward. eps is 1e-3 in Keras.
    return_stats adds (m, r). ValueError in training for one value per channel.

    backward(dy, x, ...) gives (dx, dweight, dbias), or dx alone without weight.

    >>> import numpy as np, dlkernels as dk
    >>> dk.batch_norm(np.array([[1.0], [3.0]]), training=True, eps=0.0)
    array([[-1.],
           [ 1.]])
    """
    axes = (0, *range(2, np.ndim(x)))
    m = np.mean(x, axis=axes) if training else np.asarray(running_mean, dtype=np.float64)
    v = np.mean((x - _per_channel(m, x)) ** 2, axis=axes) if training else np.asarray(running_var, dtype=np.float64)
    r = 1.0 / np.sqrt(v + eps)
    y = _affine((x - _per_channel(m, x)) * _per_channel(r, x), weight, bias, activation)
    return (y, (m, r)) if return_stats else y


def _grouped(x: Any, groups: int, eps: float) -> tuple[Any, Any, Any]:
    g = np.reshape(x, (np.shape(x)[0], groups, -1))
    m = np.mean(g, axis=2)
    r = 1.0 / np.sqrt(np.mean((g - m[..., None]) ** 2, axis=2) + eps)
    return np.reshape((g - m[..., None]) * r[..., None], np.shape(x)), m, r


@channel_norm_op(ulp=8.0, grad_ulp=16.0, source="Wu & He (2018), arXiv:1803.08494", over="groups")
def group_norm(
    x: Any,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *,
    activation: str = "none",
    return_stats: bool = False,
    out: Any = None,
) -> Any:
    """(x - m) r weight + bias, m and r those of each example's group of C / num_groups channels (dimension 1).

    weight and bias are per channel. return_stats adds (m, r), of shape (N, num_groups). activation as for batch_norm. Keras: eps 1e-3.
    backward(dy, x, num_groups, ...) gives (dx, dweight, dbias), or dx alone without weight.

    >>> import numpy as np, dlkernels as dk
    >>> dk.group_norm(np.array([[1.0, 3.0]]), 1, eps=0.0)
    array([[-1.,  1.]])
    """
    xh, m, r = _grouped(x, num_groups, eps)
    y = _affine(xh, weight, bias, activation)
    return (y, (m, r)) if return_stats else y


@channel_norm_op(
    ulp=8.0, grad_ulp=16.0, source="Ulyanov, Vedaldi & Lempitsky (2016), arXiv:1607.08022", over="instance"
)
def instance_norm(
    x: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    *,
    activation: str = "none",
    return_stats: bool = False,
    out: Any = None,
) -> Any:
    """(x - m) r weight + bias, m and r those of each example's channel (dimension 1): group_norm with one channel per group.

    return_stats adds (m, r), of shape (N, C). ValueError for one value per channel.
    backward(dy, x, ...) gives (dx, dweight, dbias), or dx alone without weight.

    >>> import numpy as np, dlkernels as dk
    >>> dk.instance_norm(np.array([[[1.0, 3.0]]]), eps=0.0)
    array([[[-1.,  1.]]])
    """
    xh, m, r = _grouped(x, np.shape(x)[1], eps)
    y = _affine(xh, weight, bias, activation)
    return (y, (m, r)) if return_stats else y
