"""Elementwise ops with random numbers: Philox4x32-10, keyed by seed and counted by (offset, element index in C order).

The same arguments give the same mask on every device, whatever the threads, dtype or strides; nothing is stored for the backward pass.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import random_op


def _philox_words(n: int, seed: int, offset: int) -> Any:
    """Word i % 4 of counter (i / 4, offset) under the key `seed`, for i < n."""
    mask = np.uint64(0xFFFFFFFF)
    index = np.arange(n, dtype=np.uint64)
    block = index // np.uint64(4)
    shift = np.uint64(32)
    counter = [
        block & mask,
        block >> shift,
        np.full(n, offset & 0xFFFFFFFF, np.uint64),
        np.full(n, offset >> 32, np.uint64),
    ]
    key = [seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF]
    for _ in range(10):
        first, second = counter[0] * np.uint64(0xD2511F53), counter[2] * np.uint64(0xCD9E8D57)
        counter = [
            (second >> shift) ^ counter[1] ^ np.uint64(key[0]),
            second & mask,
            (first >> shift) ^ counter[3] ^ np.uint64(key[1]),
            first & mask,
        ]
        key = [(key[0] + 0x9E3779B9) & 0xFFFFFFFF, (key[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.choose((index % np.uint64(4)).astype(np.intp), counter)


@random_op(ulp=0.5, source="Srivastava et al. (2014); Philox: Salmon et al. (2011)")
def dropout(x: Any, p: float = 0.5, training: bool = True, *, seed: int, offset: int = 0, out: Any = None) -> Any:
    """x / (1 - p) with probability 1 - p, else exactly 0, elementwise ("inverted" dropout).

    Element i is kept where u >= p, u the 24-bit uniform of Philox word i for (seed, offset). p = 0 is the identity bit for bit, p = 1
    gives zeros; without `training` p counts as 0. Give every call of a training run its own offset. ValueError for p outside [0, 1].

    >>> import numpy as np, dlkernels as dk
    >>> bool((dk.dropout(np.ones(8), 0.5, seed=1) == dk.dropout.backward(np.ones(8), 0.5, seed=1)).all())
    True
    """
    p = p if training else 0.0
    words = _philox_words(np.size(x), seed, offset).reshape(np.shape(x))
    kept = (words >> np.uint64(8)).astype(np.float64) * 2.0**-24 >= p
    return np.where(kept, x * (1.0 / (1.0 - p) if p < 1 else 0.0), 0.0)
