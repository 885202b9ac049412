// The functions built on the normal distribution: gelu(x) = x Phi(x), its derivative, erf and erfc.
#pragma once
#include "exp.h"

DLK_BEGIN
namespace math {

// e^(z^2/2) Phi(-z), which falls slowly from 1/2 to 1/(z sqrt(2 pi)), as a quotient of polynomials with positive coefficients: no
// cancellation anywhere. Relative error float32 2^-26.3 on [0, 14.8].
template <class V>
DLK_FN pair<V> mills_ratio(V z) {
  return {fma(z, poly(z, {0x1.c16ca6p-2f, 0x1.782be0p-3f, 0x1.4e1722p-5f, 0x1.0f38dep-8f}), V(0x1p-1f)),
            fma(z, poly(z, {0x1.acf884p+0f, 0x1.344f8cp+0f, 0x1.e1ef08p-2f, 0x1.a2beecp-4f, 0x1.53ec3ap-7f}), V(1.0f))};
}

template <class V>
struct normal_parts {
  V scale, hi, lo;
};

// e^(-z^2/2)
template <class V>
DLK_FN normal_parts<V> gauss(V z) {
  constexpr int guard = is_f32<V> ? 32 : 64;
  const V half = V(-0.5f) * z, square = half * z;
  reduced<V> e = reduce(square, ieee_of<V>::bias + guard);
  e.lo = e.lo - fma(half, z, -square);
  e.r = e.hi - e.lo;
  const pair<V> y = exact_sum(V(1.0f), e.hi + expm1_rest(e));
  return {power_of_two<V>(e.k), y.hi, y.lo};
}

template <class V>
DLK_FN V gelu(V x) {
  const V z = is_f32<V> ? min(V(14.6f), abs(x)) : min(V(38.8f), abs(x));
  const normal_parts<V> e = gauss(z);
  const pair<V> m = mills_ratio(z);
  const V n = e.hi * m.hi, n_lo = fma(e.lo, m.hi, fma(e.hi, m.hi, -n));
  const V r = V(1.0f) / m.lo, q = n * r;
  const V lo = r * (fma(-q, m.lo, n) + n_lo);
  const V zs = z * e.scale;
  return fma(fma(zs, q, zs * lo), V(is_f32<V> ? -0x1p-32f : -0x1p-64f), max(V(-0.0f), x));
}

}  // namespace math
DLK_END
