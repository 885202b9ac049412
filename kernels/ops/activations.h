// The smooth elementwise activations: the value, the gradient from the input x and, where the output is enough, from the output y.
// `brief` is the value once more, of fewer operations: the same bits where eight significant ones are kept (math/brief.h).
// `both` is value and slope from one exponential, for float32, where a pass asks for the two (math/value_and_slope.h).
// And the lists of all activations.
#pragma once
#include "../math.h"
#include "../math/brief.h"
#include "elu.h"
#include "piecewise.h"

DLK_BEGIN
namespace ops {

// 1 / (1 + exp(-x))
struct sigmoid : params<0> {
  static constexpr auto name = "sigmoid";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::sigmoid(x);
  }
  template <class V>
  DLK_FN V brief(V x) const {
    return math::brief::sigmoid(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::sigmoid_grad(x);
  }
  template <class V>
  DLK_FN math::value_and_slope<V> both(V x) const {
    return math::sigmoid_and_slope(x);
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
  DLK_FN V brief(V x) const {
    return math::brief::tanh(x);
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
  DLK_FN V brief(V x) const {
    return math::brief::silu(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::silu_grad(x);
  }
  template <class V>
  DLK_FN math::value_and_slope<V> both(V x) const {
    return math::silu_and_slope(x);
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
  DLK_FN V brief(V x) const {
    return math::brief::gelu(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::gelu_grad(x);
  }
  template <class V>
  DLK_FN math::value_and_slope<V> both(V x) const {
    return math::gelu_and_slope(x);
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
  DLK_FN V brief(V x) const {
    return math::brief::gelu_tanh(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::gelu_tanh_grad(x);
  }
  template <class V>
  DLK_FN math::value_and_slope<V> both(V x) const {
    return math::gelu_tanh_and_slope(x);
  }
};

// x sigma(1.702 x), the same paper's other approximation
struct quick_gelu : params<0> {
  static constexpr auto name = "quick_gelu";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::quick_gelu(x);
  }
  template <class V>
  DLK_FN V brief(V x) const {
    return math::brief::quick_gelu(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::quick_gelu_grad(x);
  }
};

// x tanh(log(1 + exp(x))).   Misra 2019, arXiv:1908.08681
struct mish : params<0> {
  static constexpr auto name = "mish";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::mish(x);
  }
  template <class V>
  DLK_FN V brief(V x) const {
    return math::brief::mish(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::mish_grad(x);
  }
};

// log(1 + exp(b x)) / b, and x where b x > threshold.   Dugas et al. 2001
struct softplus : params<2> {
  static constexpr auto name = "softplus";
  using params<2>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(V(p[0]) * x > V(p[1]), x, math::softplus(x, V(p[0])));
  }
  static DLK_FN bool brief_holds(const double* p) { return p[0] == 1; }
  template <class V>
  DLK_FN V brief(V x) const {
    return select(x > V(p[1]), x, math::brief::softplus(x));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    const math::pair<V> t = math::exact_product(math::magnitude_over(x, V(p[0])), V(p[0]));
    const V slope = math::sigmoid(x, math::reduce<-1>(t, math::guard_offset<V>));
    return select(V(p[0]) * x > V(p[1]), dy, dy * slope);
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {  // sigma(b x) = 1 - exp(-b y)
    const V t = V(p[0]) * y;
    return select(t > V(p[1]), dy, dy * -math::expm1(-t));
  }
};

// -log(1 + exp(-x))
struct logsigmoid : params<0> {
  static constexpr auto name = "logsigmoid";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return -math::softplus(-x);
  }
  template <class V>
  DLK_FN V brief(V x) const {
    return math::brief::logsigmoid(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::sigmoid(-x, math::reduce<-1>(math::magnitude(x), math::guard_offset<V>));
  }
};

struct tanhshrink : params<0> {
  static constexpr auto name = "tanhshrink";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::tanhshrink(x);
  }
  template <class V>
  DLK_FN V brief(V x) const {
    return math::brief::tanhshrink(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::tanhshrink_grad(x);
  }
};

// x / (1 + |x|).   Bergstra et al. 2009
struct softsign : params<0> {
  static constexpr auto name = "softsign";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::softsign(x);
  }
  template <class V>
  DLK_FN V brief(V x) const {
    return math::brief::softsign(x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::softsign_grad(x);
  }
};

// (x + sqrt(x^2 + b)) / 2.   Barron 2021, arXiv:2112.11687
struct squareplus : params<1> {
  static constexpr auto name = "squareplus";
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return math::squareplus(x, V(p[0]));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return dy * math::squareplus_grad(x, V(p[0]));
  }
};

}  // namespace ops

using activations =
    list<ops::relu, ops::leaky_relu, ops::hardtanh, ops::relu6, ops::hardsigmoid, ops::hardswish, ops::hardshrink,
         ops::softshrink, ops::threshold, ops::heaviside, ops::sigmoid, ops::tanh, ops::silu, ops::gelu, ops::gelu_tanh,
         ops::quick_gelu, ops::mish, ops::softplus, ops::logsigmoid, ops::tanhshrink, ops::softsign, ops::squareplus,
         ops::elu, ops::selu, ops::celu>;
using activations_from_y =
    list<ops::relu, ops::leaky_relu, ops::relu6, ops::hardsigmoid, ops::hardshrink, ops::softshrink, ops::sigmoid,
         ops::tanh, ops::softplus, ops::elu, ops::selu, ops::celu>;

DLK_END
