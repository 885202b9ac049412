// Activations without an exponential: quotients and roots with the roundings of their parts made good.
#pragma once
#include "poly.h"

DLK_BEGIN
namespace math {

// |x| / (1 + |x|), capped where it has become 1.
template <class V>
DLK_FN V softsign(V x) {
  const V z = min(pick<V>(0x1p26f, 0x1p55), abs(x));
  const pair<V> d = exact_sum_any(V(1.0f), z);
  const V r = V(1.0f) / d.hi, q = z * r;
  return copysign(fma(r, fma(-q, d.hi, z) - q * d.lo, q), x);
}

// 1 / (1 + |x|)^2, capped where it has become 0.
template <class V>
DLK_FN V softsign_grad(V x) {
  const pair<V> d = exact_sum_any(V(1.0f), min(pick<V>(0x1p100f, 0x1p600), abs(x)));
  const V r = V(1.0f) / d.hi, r_lo = r * (fma(-r, d.hi, V(1.0f)) - r * d.lo);
  return fma(r, r, (r + r) * r_lo);
}

// (3 + x) / 6 for |x| <= 6, as the unevaluated sum of two numbers.
template <class V>
DLK_FN pair<V> sixth_of_three_plus(V x) {
  const V sixth = pick<V>(0x1.555556p-3f, 0x1.5555555555555p-3);
  const pair<V> s = exact_sum_any(V(3.0f), x);
  const V q = s.hi * sixth;
  return {q, sixth * (fma(V(-6.0f), q, s.hi) + s.lo)};
}

// What squareplus and its derivative are made of, for z = |x|: root = sqrt(z^2 + b) and half = (z + root) / 2. Where z is so large that
// both are z, its square might overflow. b is no larger than half of that (2^60, in float64 2^500).
template <class V>
struct squareplus_parts {
  V per_root;  // 1 / root.hi
  pair<V> root, half;
};
template <class V>
DLK_FN squareplus_parts<V> squareplus_of(V z, V b) {
  const auto large = z > pick<V>(0x1p60f, 0x1p500);
  const V y = select(large, V(1.0f), z);
  const pair<V> square = exact_product(y, y), sum = exact_sum_any(square.hi, b);
  const V h = select(large, z, sqrt(sum.hi)), r = V(1.0f) / h;
  const V h_lo = select(large, V(0.0f), (fma(-h, h, sum.hi) + (sum.lo + square.lo)) * (V(0.5f) * r));
  const pair<V> d = exact_sum(V(0.5f) * h, V(0.5f) * z);
  return {r, {h, h_lo}, {d.hi, fma(V(0.5f), h_lo, d.lo)}};
}

// (x + sqrt(x^2 + b)) / 2; times the same at -x it is b / 4. What belongs to |x| is taken at a finite number.
template <class V>
DLK_FN pair<V> squareplus(const squareplus_parts<V>& s, V x, V b) {
  const V k = V(0.25f) * b, r = V(1.0f) / s.half.hi, q = k * r;
  const auto left = x < V(0.0f);
  return {select(left, q, s.half.hi), select(left, r * (fma(-q, s.half.hi, k) - q * s.half.lo), s.half.lo)};
}
template <class V>
DLK_FN V squareplus(V x, V b) {
  const V most = V(max_finite<scalar_t<V>>);
  const pair<V> y = squareplus(squareplus_of(min(most, abs(x)), b), x, b);
  return select(x < -most, V(0.0f), max(y.hi + y.lo, x));
}

// squareplus(x) / sqrt(x^2 + b)
template <class V>
DLK_FN V squareplus_grad(V x, V b) {
  const squareplus_parts<V> s = squareplus_of(min(V(max_finite<scalar_t<V>>), abs(x)), b);
  const pair<V> y = squareplus(s, x, b);
  const V g = y.hi * s.per_root;
  return fma(s.per_root, fma(-g, s.root.hi, y.hi) + (y.lo - g * s.root.lo), g);
}

}  // namespace math
DLK_END
