// mish(x) = x tanh(log(1 + e^x)) from one exponential, e = e^-|x|.
//   x < 0:  tanh(..) = e (2 + e) / D            mish' = e (4(1 + x) + e (6 + 4x) + 4 e^2 + e^3) / D^2          D = 2 + 2e + e^2
//   x >= 0: tanh(..) = 1 - 2 e^2 / D            mish' = (1 + 4e + e^2 (6 + 4x) + 4 e^3 (1 + x)) / D^2          D = 1 + 2e + 2e^2
#pragma once
#include "decay.h"

DLK_BEGIN
namespace math {

// D, with its c0 and c2
template <class V>
DLK_FN pair<V> mish_denominator(pair<V> e, V c0, V c2) {
  const pair<V> inner = exact_fma(c2, e.hi, V(2.0f)), d = exact_fma(e.hi, inner.hi, c0);
  return {d.hi, fma(e.hi, fma(c2, e.lo, inner.lo), fma(e.lo, inner.hi, d.lo))};
}

template <class V>
DLK_FN V mish(V x) {
  const V z = magnitude(x);
  const decay<V> e = decay_of(reduce(-z, guard_offset<V>));
  const pair<V> w = e.whole;
  const auto left = x < V(0.0f);
  const pair<V> d = mish_denominator(w, select(left, V(2.0f), V(1.0f)), select(left, V(1.0f), V(2.0f)));
  const pair<V> sum = exact_sum(V(2.0f), w.hi);
  const pair<V> n = {select(left, sum.hi, w.hi + w.hi), select(left, sum.lo + w.lo, w.lo + w.lo)};
  const pair<V> m = product(e.mantissa, minus_quotient(n, d, V(-1.0f) / d.hi));
  return hinge_plus(x, z, scaled<V>{e.scale, m.hi, m.lo});
}

// The numerator on the left is 0 at z0 = 1.192...; with d = z0 - z it is d (c0 + d C(d)) for |d| < 1/2: relative error of the polynomial
// float32 2^-29.5, float64 2^-59.9.
template <class V>
DLK_FN pair<V> mish_root(V from_root, V root_lo) {
  const pair<V> d = exact_sum(from_root, root_lo);
  V c;
  if constexpr (is_f32<V>) {
    c = poly(d.hi, {0x1.21b0c8p+1f, 0x1.49434p+0f, 0x1.1d9abp-1f, 0x1.ab1356p-3f, 0x1.256a72p-4f, 0x1.7ce9a4p-6f,
                    0x1.e72b72p-8f, 0x1.14a18p-9f});
  } else {
    c = poly(d.hi, {0x1.21b0c7fb83ba1p+1, 0x1.49433e20bcae2p+0, 0x1.1d9a628eeaab1p-1, 0x1.ab14503f46bdfp-3,
                    0x1.259c9614196b1p-4, 0x1.7cd9d5dc3abb5p-6, 0x1.d3c3cb25f4792p-8, 0x1.0eee53523ee04p-9,
                    0x1.26c67a67fa83bp-11, 0x1.2c8104d13554cp-13, 0x1.1ed4860c849cdp-15, 0x1.0057025d6e69ap-17,
                    0x1.ae2495c646ec6p-20, 0x1.5e5b3bdaf3839p-22, 0x1.02a4442a80f15p-24});
  }
  const pair<V> sum = exact_fma(d.hi, c, pick<V>(0x1.9a1c16p+2f, 0x1.9a1c155f7b7d1p+2));
  return product(d, pair<V>{sum.hi, sum.lo + pick<V>(-0x1.410906p-23f, 0x1.4479ee534728bp-52)});
}

// The numerator on either side as a cubic in e, c0 + e (c1 + e (c2 + e c3)).
template <class V>
DLK_FN pair<V> mish_cubic(pair<V> e, pair<V> c0, V c1, V c2, V c3) {
  const pair<V> t = exact_fma(e.hi, c3, c2), u = exact_product(e.hi, t.hi), b = exact_sum_any(c1, u.hi);
  const V b_lo = b.lo + fma(e.hi, t.lo, fma(e.lo, t.hi, u.lo));
  const pair<V> v = exact_product(e.hi, b.hi), y = exact_sum_any(c0.hi, v.hi);
  return {y.hi, y.lo + fma(e.hi, b_lo, fma(e.lo, b.hi, v.lo + c0.lo))};
}

template <class V>
DLK_FN V mish_grad(V x) {
  const V z = magnitude(x), v = copysign(z, x), one = V(1.0f), four = V(4.0f);
  const decay<V> e = decay_of(reduce(-z, guard_offset<V>));
  const auto left = x < V(0.0f);
  const pair<V> d = mish_denominator(e.whole, select(left, V(2.0f), one), select(left, one, V(2.0f)));

  const pair<V> p = exact_sum_any(one, v);
  const V q = fma(four, v, V(6.0f)), p4 = four * p.hi;
  const pair<V> far = mish_cubic(e.whole, pair<V>{select(left, p4, one), select(left, four * p.lo, V(0.0f))},
                                 select(left, q, four), select(left, four, q), select(left, one, p4));
  const V from_root = pick<V>(0x1.31432cp+0f, 0x1.31432c0d12d84p+0) + v;
  const pair<V> near = mish_root(from_root, pick<V>(0x1.a25b08p-29f, 0x1.bf319154da21p-55));
  const auto close = abs(from_root) < V(0.5f);
  const pair<V> n = {select(close, near.hi, far.hi), select(close, near.lo, far.lo)};

  const V r = V(-1.0f) / d.hi;
  const pair<V> over = {r, r * fma(r, d.lo, fma(r, d.hi, one))};
  const pair<V> front = {select(left, e.mantissa.hi, one), select(left, e.mantissa.lo, V(0.0f))};
  const pair<V> g = product(product(front, n), product(over, over));
  return value(scaled<V>{select(left, e.scale, V(scalar_t<V>(1) / unguard<V>)), g.hi, g.lo});
}

}  // namespace math
DLK_END
