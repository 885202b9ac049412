// Activations made of straight pieces. NaN in gives NaN out: every choice between x and something else is a select in which a NaN falls
// to the side of x. At a kink the slope is PyTorch's.
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
    const V vanish = V(p[0] == 0 ? 0 : -__builtin_inf());  // a slope of 0 is relu, also at -inf
    return select(x > V(0), x, select(x < vanish, V(0), x * V(p[0])));
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

// x held between two limits. The gradient is 0 at both, and 1 at NaN.   Collobert 2004
struct hardtanh : params<2> {
  static constexpr auto name = "hardtanh";
  using params<2>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(x < V(p[0]), V(p[0]), select(x > V(p[1]), V(p[1]), x));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select((x <= V(p[0])) | (x >= V(p[1])), V(0), dy);
  }
};

// min(max(0, x), 6).   Krizhevsky 2010; Howard et al. 2017, arXiv:1704.04861
struct relu6 : params<0> {
  static constexpr auto name = "relu6";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(x < V(0), V(0), select(x > V(6), V(6), x));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select((x <= V(0)) | (x >= V(6)), V(0), dy);
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {
    return grad(dy, y);
  }
};

// x / 6 + 1/2 held between 0 and 1. Rounded once: only the limits themselves give 0 and 1, so that y is enough for the gradient.
// Courbariaux, Bengio & David 2015, arXiv:1511.00363
struct hardsigmoid : params<0> {
  static constexpr auto name = "hardsigmoid";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    const math::pair<V> y = math::sixth_of_three_plus(x);
    return select(x <= V(-3), V(0), select(x >= V(3), V(1), y.hi + y.lo));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select((x > V(-3)) & (x < V(3)), dy / V(6), V(0));
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {
    return select((y > V(0)) & (y < V(1)), dy / V(6), V(0));
  }
};

// x hardsigmoid(x).   Howard et al. 2019, arXiv:1905.02244
struct hardswish : params<0> {
  static constexpr auto name = "hardswish";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    const math::pair<V> y = math::sixth_of_three_plus(x);
    return select(x <= V(-3), V(-0.0f), select(x < V(3), fma(x, y.hi, x * y.lo), x));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    const math::pair<V> slope = math::sixth_of_three_plus(x + x);
    return select(x <= V(-3), V(0), select(x < V(3), dy * (slope.hi + slope.lo), dy));
  }
};

// x where |x| > l, else 0.   Donoho & Johnstone 1994
struct hardshrink : params<1> {
  static constexpr auto name = "hardshrink";
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(abs(x) <= V(p[0]), V(0), x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select(abs(x) <= V(p[0]), V(0), dy);
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {
    return select(y == V(0), V(0), dy);
  }
};

// x brought nearer to 0 by l.   The same authors
struct softshrink : params<1> {
  static constexpr auto name = "softshrink";
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(abs(x) <= V(p[0]), V(0) * x, x - copysign(V(p[0]), x));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select(abs(x) <= V(p[0]), V(0), dy);
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {
    return select(y == V(0), V(0), dy);
  }
};

// x > threshold ? x : value.   With value 0: Konda, Memisevic & Krueger 2014, arXiv:1402.3337
struct threshold : params<2> {
  static constexpr auto name = "threshold";
  using params<2>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(x <= V(p[0]), V(p[1]), x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select(x <= V(p[0]), V(0), dy);
  }
};

// x >= 0 ? 1 : 0.   McCulloch & Pitts 1943
struct heaviside : params<0> {
  static constexpr auto name = "heaviside";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(x >= V(0), V(1), select(x < V(0), V(0), x));
  }
  template <class V>
  DLK_FN V grad(V dy, V) const {
    return V(0) * dy;
  }
};

}  // namespace ops
DLK_END
