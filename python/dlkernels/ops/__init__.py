"""The ops. Each module holds float64 definitions; importing it registers the compiled calls in `registry`."""

from __future__ import annotations

from .._op import registry
from .activations import (
    celu,
    elu,
    gelu,
    logsigmoid,
    mish,
    quick_gelu,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    squareplus,
    tanh,
    tanhshrink,
)
from .adversarial import gan_discriminator_loss, gan_fake_loss, gan_generator_loss, gan_real_loss
from .boundary import boundary_loss
from .class_losses import (
    categorical_hinge_loss,
    cross_entropy,
    multi_margin_loss,
    nll_loss,
    softmax_focal_loss,
)
from .distance import distance_transform_edt, signed_distance_map
from .divergence import gaussian_nll_loss, js_div, kl_div, poisson_nll_loss
from .entropy import binary_cross_entropy, binary_cross_entropy_with_logits, sigmoid_focal_loss
from .fused import bias_act
from .gates import geglu, glu, reglu, swiglu
from .linear_cross_entropy import linear_cross_entropy
from .margin import hinge_embedding_loss, hinge_loss, soft_margin_loss, squared_hinge_loss
from .metric_losses import cosine_embedding_loss, gradient_penalty, triplet_margin_loss
from .norms import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from .overlap import dice_loss, tversky_loss
from .penalties import l1_penalty, l2_penalty
from .piecewise import (
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    heaviside,
    leaky_relu,
    relu,
    relu6,
    softshrink,
    threshold,
)
from .random import dropout
from .regression import (
    huber_loss,
    l1_loss,
    log_cosh_loss,
    mse_loss,
    msle_loss,
    pseudo_huber_loss,
    quantile_loss,
    rmse_loss,
    smooth_l1_loss,
)
from .rows import log_softmax, logsumexp, softmax
from .scaling import rescale
from .slopes import prelu, swish
from .tempered import bi_tempered_binary_logistic_loss, bi_tempered_logistic_loss, tempered_softmax

__all__ = [
    "batch_norm",
    "bi_tempered_binary_logistic_loss",
    "bi_tempered_logistic_loss",
    "bias_act",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "boundary_loss",
    "categorical_hinge_loss",
    "celu",
    "cosine_embedding_loss",
    "cross_entropy",
    "dice_loss",
    "distance_transform_edt",
    "dropout",
    "elu",
    "gan_discriminator_loss",
    "gan_fake_loss",
    "gan_generator_loss",
    "gan_real_loss",
    "gaussian_nll_loss",
    "geglu",
    "gelu",
    "glu",
    "gradient_penalty",
    "group_norm",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "heaviside",
    "hinge_embedding_loss",
    "hinge_loss",
    "huber_loss",
    "instance_norm",
    "js_div",
    "kl_div",
    "l1_loss",
    "l1_penalty",
    "l2_penalty",
    "layer_norm",
    "leaky_relu",
    "linear_cross_entropy",
    "log_cosh_loss",
    "log_softmax",
    "logsigmoid",
    "logsumexp",
    "mish",
    "mse_loss",
    "msle_loss",
    "multi_margin_loss",
    "nll_loss",
    "poisson_nll_loss",
    "prelu",
    "pseudo_huber_loss",
    "quantile_loss",
    "quick_gelu",
    "registry",
    "reglu",
    "relu",
    "relu6",
    "rescale",
    "rms_norm",
    "rmse_loss",
    "selu",
    "sigmoid",
    "sigmoid_focal_loss",
    "signed_distance_map",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmax_focal_loss",
    "softplus",
    "softshrink",
    "softsign",
    "squared_hinge_loss",
    "squareplus",
    "swiglu",
    "swish",
    "tanh",
    "tanhshrink",
    "tempered_softmax",
    "threshold",
    "triplet_margin_loss",
    "tversky_loss",
]
