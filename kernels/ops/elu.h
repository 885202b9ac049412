// The exponential linear units: x on the right, a (exp(x) - 1) or the like on the left. As activations.h, which lists them.
#pragma once
#include "../math.h"
#include "../math/brief.h"
#include "op.h"

DLK_BEGIN
namespace ops {

// x > 0 ? x : a (exp(x) - 1).   Clevert, Unterthiner & Hochreiter 2015, arXiv:1511.07289
struct elu : params<1> {
  static constexpr auto name = "elu";
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(x > V(0), x, math::times_expm1(V(p[0]), x));
  }
  static DLK_FN bool brief_holds(const double* p) { return p[0] == 1; }
  template <class V>
  DLK_FN V brief(V x) const {
    return select(x < V(0), math::brief::expm1(x), x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select(x > V(0), dy, dy * math::times_exp(V(p[0]), x));
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {  // a exp(x) = y + a, for a > 0
    return select(y > V(0), dy, dy * (y + V(p[0])));
  }
};

// l elu(x, a) with two constants that are known to more digits than a float32 has.   Klambauer et al. 2017, arXiv:1706.02515
struct selu : params<0> {
  static constexpr auto name = "selu";
  using params<0>::params;

  // The first part is rounded down: an infinity then stays one.
  template <class V>
  static DLK_FN V times_scale(V x) {
    if constexpr (is_f32<V>) {
      return fma(x, V(0x1.0cfabcp+0f), x * V(0x1.6a9114p-24f));
    } else {
      return x * V(0x1.0cfabd6a91132p+0);
    }
  }
  template <class V>
  static DLK_FN math::pair<V> left_scale() {  // l a
    return {math::pick<V>(0x1.c212ccp+0f, 0x1.c212cc640f03p+0), math::pick<V>(0x1.903c0cp-26f, 0x1.092dbf6372048p-54)};
  }

  template <class V>
  DLK_FN V operator()(V x) const {
    return select(x > V(0), times_scale(x), math::times_expm1(left_scale<V>(), x));
  }
  template <class V>
  DLK_FN V brief(V x) const {
    const auto left = x < V(0);
    return select(left, math::brief::expm1(x), x) * select(left, V(0x1.c212ccp+0f), V(0x1.0cfabep+0f));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return select(x > V(0), times_scale(dy), dy * math::times_exp(left_scale<V>(), x));
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {
    const math::pair<V> a = left_scale<V>();
    return select(y > V(0), times_scale(dy), dy * ((y + a.hi) + a.lo));
  }
};

// x > 0 ? x : a (exp(x / a) - 1), a > 0.   Barron 2017, arXiv:1704.07483
struct celu : params<1> {
  static constexpr auto name = "celu";
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(V x) const {
    const V a = V(p[0]), twice = a + a;
    const math::pair<V> t = math::exponent_quotient(max(a * math::pick<V>(-32.0f, -64.0), x), a);
    const math::pair<V> h = math::half_expm1(math::reduce(t, math::ieee_of<V>::bias - 1));
    return select((x > V(0)) | math::linear_expm1(t.hi), x, fma(twice, h.hi, twice * h.lo));
  }
  static DLK_FN bool brief_holds(const double* p) { return p[0] == 1; }
  template <class V>
  DLK_FN V brief(V x) const {
    return select(x < V(0), math::brief::expm1(x), x);
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    const V a = V(p[0]);
    const math::pair<V> t = math::exponent_quotient(max(a * math::pick<V>(-104.0f, -746.0), x), a);
    return select(x > V(0), dy, dy * math::exp_of(math::reduce(t, 2 * math::ieee_of<V>::bias)));
  }
  template <class V>
  DLK_FN V grad_y(V dy, V y) const {  // exp(x / a) = (y + a) / a
    return select(y > V(0), dy, dy * ((y + V(p[0])) / V(p[0])));
  }
};

}  // namespace ops
DLK_END
