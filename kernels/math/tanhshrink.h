// tanhshrink(x) = x - tanh x and its derivative tanh(x)^2, without the cancellation.
#pragma once
#include "logistic.h"

DLK_BEGIN
namespace math {

// Below 1: x^3 (1/3 + s (c1 + s Q(s))) with s = x^2, the relative error of the polynomial float32 2^-30.3, float64 2^-59.3. Above: with z = |x|,
// (z - 1) + 2 / (1 + e^2z).
template <class V>
DLK_FN V tanhshrink(V x) {
  const V z = abs(x);
  const pair<V> square = exact_product(z, z);
  V q;
  if constexpr (is_f32<V>) {
    q = poly(square.hi, {0x1.ba1a3ap-5f, -0x1.663174p-6f, 0x1.213046p-7f, -0x1.c7a62p-9f, 0x1.44f976p-10f,
                         -0x1.607da8p-12f, 0x1.9361b8p-15f});
  } else {
    q = poly(square.hi, {0x1.ba1ba1ba1af4fp-5, -0x1.664f48828a3d5p-6, 0x1.226e355581ad3p-7, -0x1.d6d3cf22c0764p-9,
                         0x1.7da3479168354p-10, -0x1.3556da76a5314p-11, 0x1.f568142304ca2p-13, -0x1.95faaa917196fp-14,
                         0x1.471d5b4e75ed6p-15, -0x1.02b6d4afdd2fep-16, 0x1.83fce730ef1dcp-18, -0x1.024732eeee60dp-19,
                         0x1.13a6269b4ef17p-21, -0x1.9382d1c6eb67bp-24, 0x1.26a64029a34dcp-27});
  }
  const V c1 = pick<V>(-0x1.11110ep-3f, -0x1.111111111110bp-3);
  const pair<V> slope = exact_fma(square.hi, q, c1),
                sum = exact_fma(square.hi, slope.hi, pick<V>(0x1.555556p-2f, 0x1.5555555555555p-2));
  const V sum_lo =
      fma(square.hi, slope.lo, fma(square.lo, slope.hi, sum.lo + pick<V>(-0x1.555556p-27f, 0x1.5555555555555p-56)));
  // A cube close to the subnormals is formed at 2^96 times its size.
  const auto tiny = z < V(0x1p-20f);
  const V y = z * select(tiny, V(0x1p96f), V(1.0f));
  const V cube = y * square.hi, cube_lo = fma(y, square.hi, -cube) + y * square.lo;
  const V near = fma(cube, sum.hi, fma(cube, sum_lo, cube_lo * sum.hi)) * select(tiny, V(0x1p-96f), V(1.0f));

  const logistic_parts<V> m = minus_logistic(reduce<-1>(magnitude(x + x), guard_offset<V>));
  const pair<V> rest = exact_sum(z, V(-1.0f));
  const V s = m.scale * m.r, minus_twice = V(-2 * unguard<V>);
  const V far = rest.hi + fma(s, minus_twice, fma(s * m.error, minus_twice, rest.lo));
  return copysign(select(z < V(1.0f), near, select(z < pick<V>(0x1p30f, 0x1p60), far, z)), x);
}

// tanh |x| = -m / (2 + m) with m = e^(-2|x|) - 1
template <class V>
DLK_FN V tanhshrink_grad(V x) {
  const pair<V> m = long_expm1_of_minus(min(pick<V>(20.0f, 42.0), abs(x + x)));
  const pair<V> d = exact_sum(V(2.0f), m.hi);
  const pair<V> t = minus_quotient(m, pair<V>{d.hi, d.lo + m.lo}, V(-1.0f) / d.hi);
  return fma(t.hi, t.hi, (t.hi + t.hi) * t.lo);
}

}  // namespace math
DLK_END
