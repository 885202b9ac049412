"""Distances to a boundary: an exact Euclidean distance transform, and from it the signed maps that a boundary loss is made of."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import plain_op


@plain_op(
    make="_make_distance",
    ulp=4.0,
    source="Felzenszwalb & Huttenlocher (2012), Theory of Computing 8:415, doi:10.4086/toc.2012.v008a019",
)
def distance_transform_edt(mask: Any, sampling: Any = None, *, axes: Any = None, out: Any = None) -> Any:
    """The Euclidean distance of every element to the nearest background element (where mask is 0); 0 on the background itself.

    ``min over q with mask[q] = 0 of sqrt(sum_a (sampling[a] (p[a] - q[a]))^2)``, and inf where there is no background at all.

    mask: bool or uint8, any shape of at least one dimension, any strides. sampling: the spacing of elements along each axis, or one number
    for all (1). axes: which axes to measure along (all); the others are a batch, each of whose arrays is transformed for itself. The
    result has mask's shape and array library; it is float64, or what ``out=`` is: float64 or float32.

    Exact: for a whole-number sampling the square of the result is the whole number itself, as long as it is below 2^52. The time is
    proportional to the number of elements, whatever the mask. The same bits for any number of threads and any instruction set.

    Errors: TypeError for a mask of another dtype; ValueError for an axis out of range or given twice, no axis, a sampling of another length
    or not in [1e-100, 1e100], an ``out`` of another shape, read-only, or overlapping mask. Nothing is written then. CPU arrays only so far.

    Beside ``scipy.ndimage.distance_transform_edt``: a mask without background is inf here, in SciPy the distance to a phantom element
    outside the array; no feature transform (``return_indices``); axes is ours.

    >>> import numpy as np, dlkernels as dk
    >>> dk.distance_transform_edt(np.array([[0, 1, 1, 1], [0, 1, 1, 1]], dtype="uint8"), sampling=(1.0, 0.5))
    array([[0. , 0.5, 1. , 1.5],
           [0. , 0.5, 1. , 1.5]])
    """
    mask = np.asarray(mask) != 0
    chosen = np.ravel(range(mask.ndim) if axes is None else axes)
    spacing = np.broadcast_to(1.0 if sampling is None else np.asarray(sampling, np.float64), chosen.shape)
    last = tuple(range(-chosen.size, 0))
    moved = np.moveaxis(mask, tuple(chosen), last)
    squared = np.full(moved.shape, np.inf)
    shape = moved.shape[-chosen.size :]
    place = np.moveaxis(np.indices(shape), 0, -1)
    for batch in np.ndindex(moved.shape[: -chosen.size]):
        for q in np.argwhere(~moved[batch]):
            squared[batch] = np.minimum(squared[batch], np.sum(((place - q) * spacing) ** 2, axis=-1))
    return np.sqrt(np.moveaxis(squared, last, tuple(chosen)))


def signed_distance_map(
    label: Any,
    num_classes: int | None = None,
    *,
    spatial_dims: int = 2,
    spacing: Any = None,
    convention: str = "liviaets",
) -> Any:
    """phi, the signed distance to the boundary of each class: positive outside of it, negative inside. What `boundary_loss` multiplies.

    With d_out the distance of an element outside the class to the class, and d_in that of one inside to what is not the class:

    - convention "liviaets", of the published code: d_out outside, 1 - d_in inside. The boundary runs along the inner elements: the elements
      next to it have spacing outside and 0 inside.
    - "half_pixel": d_out - h outside, h - d_in inside, where h is half the (smallest) spacing. The boundary runs between the elements.

    A class that is absent, or that covers everything, has no boundary: its map is 0.

    label: class ids, integers of shape (..., *spatial), with num_classes = K: the result has shape (..., K, *spatial). Or, without
    num_classes, masks or one-hot classes: bool, or integers 0 and 1, any shape; the result has the same. spatial_dims: how many of the last
    dimensions are space, 2 for images, 3 for volumes; each image or volume is measured for itself. spacing: of the elements along each of
    these, or one number for all (1). The result is a float64 NumPy array. Meant for the data loader: once for each label, not each step.

    Errors: TypeError for a label that is no array of integers or bool; ValueError for ids out of [0, K), masks with other values than 0 and
    1, fewer dimensions than spatial_dims, an unknown convention, and what `distance_transform_edt` refuses.

    Beside LIVIAETS/boundary-loss (``one_hot2dist``): there, a class that covers everything gets distances to a phantom element, from SciPy.
    Its 1 is subtracted whatever the spacing, here too: with a spacing below 1, elements inside next to the boundary are positive.

    >>> import numpy as np, dlkernels as dk
    >>> dk.signed_distance_map(np.array([[0, 1, 1, 1, 0, 0]], dtype=bool))
    array([[ 1.,  0., -1.,  0.,  1.,  2.]])
    >>> dk.signed_distance_map(np.array([[0, 1, 1, 1, 0, 0]]), num_classes=2, convention="half_pixel")[1]
    array([[ 0.5, -0.5, -1.5, -0.5,  0.5,  1.5]])

    Source: Kervadec et al. (2019), Boundary loss for highly unbalanced segmentation, MIDL, arXiv:1812.07032.
    """
    where = "signed_distance_map"
    if not isinstance(label, np.ndarray) or label.dtype.kind not in "biu":
        got = getattr(label, "dtype", type(label).__name__)
        raise TypeError(
            f"{where}: label must be a NumPy array of integers or bool, got {got}. Convert it: np.asarray(label)."
        )
    if convention not in {"liviaets", "half_pixel"}:
        raise ValueError(f'{where}: convention must be "liviaets" or "half_pixel", got {convention!r}.')
    if not 1 <= spatial_dims <= label.ndim:
        raise ValueError(
            f"{where}: spatial_dims must be in [1, {label.ndim}], the label's dimensions, got {spatial_dims}."
        )
    least, most = (int(label.min()), int(label.max())) if label.size else (0, 0)
    if least < 0 or most >= (2 if num_classes is None else num_classes):
        wanted = "masks of 0 and 1, or num_classes" if num_classes is None else f"class ids in [0, {num_classes})"
        raise ValueError(f"{where}: wanted {wanted}, got a label from {least} to {most}.")
    axes = tuple(range(-spatial_dims, 0))
    if num_classes is None:
        inside = label != 0
    else:
        inside = np.expand_dims(label, axes[0] - 1) == np.arange(num_classes).reshape(-1, *[1] * spatial_dims)
    shift = (0.0, 1.0) if convention == "liviaets" else (0.5 * np.min(1.0 if spacing is None else spacing),) * 2
    phi = distance_transform_edt(~inside, spacing, axes=axes) - shift[0]
    np.subtract(shift[1], distance_transform_edt(inside, spacing, axes=axes), out=phi, where=inside)
    phi[np.isinf(phi)] = 0
    return phi
