// The functions built on 1 / (1 + e^z): sigmoid, silu, tanh, and their derivatives.
#pragma once
#include "exp.h"

DLK_BEGIN
namespace math {

// 1 / (1 + e^z) for z >= 0, as q = scale * (hi + lo) * unguard. The scale is a power of two kept above the subnormals; the caller
// multiplies by unguard last, so that a subnormal result is rounded once. With e^-z = s e^r, s = 2^n <= 1: q = s / (s + e^-r).
template <class V>
struct logistic_parts {
  V scale, hi, lo;
};
template <class V>
inline constexpr scalar_t<V> unguard = is_f32<V> ? scalar_t<V>(0x1p-32) : scalar_t<V>(0x1p-64);

template <class V>
DLK_FN logistic_parts<V> logistic(V z) {
  constexpr int guard = is_f32<V> ? 32 : 64;
  const reduced<V> e = reduce<-1>(z, ieee_of<V>::bias + guard);
  const V scale = power_of_two<V>(e.k);
  const pair<V> exp_r = exact_sum(V(1.0f), e.hi + expm1_rest(e));
  const pair<V> d = exact_sum(exp_r.hi, scale * V(unguard<V>));
  const V hi = V(1.0f) / d.hi;
  return {scale, hi, hi * fma(-hi, d.lo + exp_r.lo, fma(-hi, d.hi, V(1.0f)))};
}

// |x|, no larger than where x e^-x has become 0. NaN stays.
template <class V>
DLK_FN V magnitude(V x) {
  return is_f32<V> ? min(V(110.0f), abs(x)) : min(V(760.0f), abs(x));
}

template <class V>
DLK_FN V sigmoid(V x) {
  const logistic_parts<V> l = logistic(magnitude(x));
  const V q = (l.hi + l.lo) * l.scale * V(unguard<V>);
  return select(x < V(0.0f), q, V(1.0f) - q);
}

// max(x, 0) - |x| q
template <class V>
DLK_FN V silu(V x) {
  const V z = magnitude(x);
  const logistic_parts<V> l = logistic(z);
  const V zs = z * l.scale;
  return fma(fma(zs, l.hi, zs * l.lo), V(-unguard<V>), max(V(-0.0f), x));
}

template <class V>
DLK_FN V tanh(V x) {
  const V z = is_f32<V> ? min(V(10.0f), abs(x)) : min(V(20.0f), abs(x));
  // m = 1 - e^(-2z) as m + m_lo
  const reduced<V> e = reduce(V(-2.0f) * z, ieee_of<V>::bias);
  const V s = power_of_two<V>(e.k);
  const V a = s - V(1.0f), a_lost = s - (a + V(1.0f));
  const pair<V> b = exact_sum(a, s * e.hi);
  const pair<V> m = exact_sum(b.hi, fma(s, expm1_rest(e), b.lo + a_lost));
  const pair<V> d = exact_sum(V(2.0f), m.hi);
  const V r = V(1.0f) / d.hi, q = m.hi * r;
  return copysign(fma(fma(-q, d.lo + m.lo, fma(-q, d.hi, m.hi) + m.lo), r, q), x);
}

}  // namespace math
DLK_END
