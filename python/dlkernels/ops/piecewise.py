"""Elementwise activations made of straight pieces. The bodies are the float64 definitions; calling an op runs its compiled kernel.

All of them: as in activations.py. At a kink the slope is PyTorch's, and so it is at NaN: that of the piece to which comparisons with a
NaN lead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .._op import map_op


@map_op(ulp=0.5, grad_ulp=0.5, source="Nair & Hinton (2010)", domain=(-100, 100), from_y=True)
def relu(x: Any, *, out: Any = None) -> Any:
    """max(0, x), elementwise.

    relu(-0) is -0 and the derivative at 0 is 0, as in PyTorch.

    >>> import numpy as np, dlkernels as dk
    >>> dk.relu(np.array([-1.0, 0.5]))
    array([0. , 0.5])
    """
    return np.where(x < 0, 0.0, x)


@map_op(
    ulp=0.5,
    grad_ulp=0.5,
    source="Maas, Hannun & Ng (2013)",
    domain=(-100, 100),
    from_y=True,
    y_needs_positive="negative_slope",
)
def leaky_relu(x: Any, negative_slope: float = 0.01, *, out: Any = None) -> Any:
    """x where x > 0, negative_slope * x elsewhere; a slope of 0 is relu, also at -inf.

    The derivative at 0 is negative_slope. backward accepts ``y=`` for a positive slope. Keras' default slope is 0.3, not 0.01.

    >>> import numpy as np, dlkernels as dk
    >>> dk.leaky_relu(np.array([-1.0, 0.5]))
    array([-0.01,  0.5 ])
    """
    return np.where(x > 0, x, np.where((x < 0) & (negative_slope == 0), 0.0, x * negative_slope))


@map_op(ulp=0.5, grad_ulp=0.5, source="Collobert (2004)", domain=(-100, 100), limits={"max_val": "at least min_val"})
def hardtanh(x: Any, min_val: float = -1.0, max_val: float = 1.0, *, out: Any = None) -> Any:
    """x held between min_val and max_val.

    The derivative is 0 at both limits.

    >>> import numpy as np, dlkernels as dk
    >>> dk.hardtanh(np.array([-2.0, 0.5, 2.0]))
    array([-1. ,  0.5,  1. ])
    """
    return np.where(x <= min_val, min_val, np.where(x >= max_val, max_val, x))


@map_op(ulp=0.5, grad_ulp=0.5, source="Howard et al. (2017), arXiv:1704.04861", domain=(-100, 100), from_y=True)
def relu6(x: Any, *, out: Any = None) -> Any:
    """x held between 0 and 6.

    The derivative is 0 at 0 and at 6.

    >>> import numpy as np, dlkernels as dk
    >>> dk.relu6(np.array([-2.0, 0.5, 8.0]))
    array([0. , 0.5, 6. ])
    """
    return np.where(x <= 0, 0.0, np.where(x >= 6, 6.0, x))


@map_op(
    ulp=0.75, grad_ulp=0.5, source="Courbariaux, Bengio & David (2015), arXiv:1511.00363", domain=(-10, 10), from_y=True
)
def hardsigmoid(x: Any, *, out: Any = None) -> Any:
    """x / 6 + 1/2 held between 0 and 1.

    The derivative is 0 at -3 and at 3, and at NaN. As in PyTorch and Keras 3; ONNX has x / 5 + 1/2 by default, as Keras 2 had.

    >>> import numpy as np, dlkernels as dk
    >>> dk.hardsigmoid(np.array([-4.0, 0.0, 1.5]))
    array([0.  , 0.5 , 0.75])
    """
    return np.where(x <= -3, 0.0, np.where(x >= 3, 1.0, (x + 3.0) / 6.0))


@map_op(ulp=0.75, grad_ulp=1.5, source="Howard et al. (2019), arXiv:1905.02244", domain=(-10, 10))
def hardswish(x: Any, *, out: Any = None) -> Any:
    """x hardsigmoid(x): 0 below -3, x above 3, x (x + 3) / 6 between.

    The derivative is 0 at -3 and 1 at 3. hardswish(-inf) is -0 (PyTorch gives NaN). Also called hard silu.

    >>> import numpy as np, dlkernels as dk
    >>> dk.hardswish(np.array([-1.5, 1.5, 4.0]))
    array([-0.375,  1.125,  4.   ])
    """
    return np.where(x <= -3, -0.0, np.where(x < 3, x * (x + 3.0) / 6.0, x))


@map_op(
    ulp=0.5, grad_ulp=0.5, source="Donoho & Johnstone (1994)", domain=(-100, 100), from_y=True, limits={"lambd": ">= 0"},
)  # fmt: skip
def hardshrink(x: Any, lambd: float = 0.5, *, out: Any = None) -> Any:
    """x where |x| > lambd, 0 elsewhere, for lambd >= 0.

    The derivative is 0 at -lambd and at lambd.

    >>> import numpy as np, dlkernels as dk
    >>> dk.hardshrink(np.array([-1.0, 0.25, 0.75]))
    array([-1.  ,  0.  ,  0.75])
    """
    return np.where(np.abs(x) <= lambd, 0.0, x)


@map_op(
    ulp=0.5, grad_ulp=0.5, source="Donoho & Johnstone (1994)", domain=(-100, 100), from_y=True, limits={"lambd": ">= 0"},
)  # fmt: skip
def softshrink(x: Any, lambd: float = 0.5, *, out: Any = None) -> Any:
    """x - lambd where x > lambd, x + lambd where x < -lambd, 0 elsewhere, for lambd >= 0.

    The derivative is 0 at -lambd and at lambd.

    >>> import numpy as np, dlkernels as dk
    >>> dk.softshrink(np.array([-1.0, 0.25, 0.75]))
    array([-0.5 ,  0.  ,  0.25])
    """
    return np.where(x > lambd, x - lambd, np.where(x < -lambd, x + lambd, 0.0 * x))


@map_op(ulp=0.5, grad_ulp=0.5, source="Konda, Memisevic & Krueger (2014), arXiv:1402.3337", domain=(-100, 100))
def threshold(x: Any, threshold: float = 0.0, value: float = 0.0, *, out: Any = None) -> Any:
    """x where x > threshold, value elsewhere.

    The derivative at the threshold is 0. PyTorch has no default for the two numbers; ONNX ThresholdedRelu is threshold=alpha, value=0.

    >>> import numpy as np, dlkernels as dk
    >>> dk.threshold(np.array([-1.0, 0.25, 0.75]), 0.5, -7.0)
    array([-7.  , -7.  ,  0.75])
    """
    return np.where(x <= threshold, value, x)


@map_op(ulp=0.5, grad_ulp=0.5, source="McCulloch & Pitts (1943)", domain=(-100, 100))
def heaviside(x: Any, *, out: Any = None) -> Any:
    """1 where x >= 0, 0 elsewhere: a threshold unit.

    Its derivative is 0 everywhere, 0 itself included. numpy.heaviside takes the value at 0 as an argument; here it is 1.

    >>> import numpy as np, dlkernels as dk
    >>> dk.heaviside(np.array([-1.0, 0.0, 2.0]))
    array([0., 1., 1.])
    """
    return np.where(x >= 0, 1.0, np.where(x < 0, 0.0, x))
