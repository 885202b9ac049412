// Elementwise activations: the value, the gradient from the input x and, where the output is enough, from the output y.
// NaN in gives NaN out, because every choice between x and something else is a select in which a NaN falls to the side of x.
#pragma once
#include "../math.h"
#include "op.h"

DLK_BEGIN
namespace ops {

// max(0, x).  relu(-0) = -0 and the derivative at 0 is 0, as in PyTorch; fmax would turn NaN into 0.
struct relu : params<0> {
  static constexpr auto name = "relu";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(x < V(0), V(0), x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select(x <= V(0), V(0), dy);
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {
    return grad(dy, y);
  }
};

// x > 0 ? x : a x.   Maas, Hannun & Ng 2013
struct leaky_relu : params<1> {
  static constexpr auto name = "leaky_relu";
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(x > V(0), x, x * V(p[0]));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select(x > V(0), dy, dy * V(p[0]));
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {  // y has the sign of x: the slope is positive
    return grad(dy, y);
  }
};

// 1 / (1 + exp(-x))
struct sigmoid : params<0> {
  static constexpr auto name = "sigmoid";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::sigmoid(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::sigmoid_grad(x);
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {
    return dy * (y * (V(1) - y));
  }
};

struct tanh : params<0> {
  static constexpr auto name = "tanh";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::tanh(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::tanh_grad(x);
  }
  // (1 - y)(1 + y): both factors are exact or nearly so where 1 - y*y would cancel.
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {
    return dy * ((V(1) - y) * (V(1) + y));
  }
};

// x sigma(x).   Elfwing, Uchibe & Doya 2017, arXiv:1702.03118
struct silu : params<0> {
  static constexpr auto name = "silu";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::silu(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::silu_grad(x);
  }
};

// x Phi(x), Phi the normal distribution function.   Hendrycks & Gimpel 2016, arXiv:1606.08415
struct gelu : params<0> {
  static constexpr auto name = "gelu";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::gelu(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::gelu_grad(x);
  }
};

// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), the same paper's approximation
struct gelu_tanh : params<0> {
  static constexpr auto name = "gelu_tanh";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::gelu_tanh(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::gelu_tanh_grad(x);
  }
};

// x > 0 ? x : a (exp(x) - 1).   Clevert, Unterthiner & Hochreiter 2015, arXiv:1511.07289
struct elu : params<1> {
  static constexpr auto name = "elu";
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(x > V(0), x, V(p[0]) * math::expm1(x));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select(x > V(0), dy, dy * (V(p[0]) * math::exp(x)));
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {  // a exp(x) = y + a, for a > 0
    return select(y > V(0), dy, dy * (y + V(p[0])));
  }
};

}  // namespace ops

using activations =
    list<ops::relu, ops::leaky_relu, ops::sigmoid, ops::tanh, ops::silu, ops::gelu, ops::gelu_tanh, ops::elu>;
using activations_from_y = list<ops::relu, ops::leaky_relu, ops::sigmoid, ops::tanh, ops::elu>;

DLK_END
