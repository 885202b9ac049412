// Polynomials, powers of two and sums kept in two parts: what every elementary function here starts from.
// Nothing but + - * / fma, comparisons with select, and integer arithmetic on the bits of a lane: one text, the same
// bits on any machine.
#pragma once
#include "../lane.h"

DLK_BEGIN
namespace math {

// Layout of the two formats, and the number 1.5 * 2^mantissa: adding it to a small x leaves rint(x) in the low bits of
// the sum.
template <class T>
struct ieee;
template <>
struct ieee<float> {
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float magic = 0x1.8p23f;
};
template <>
struct ieee<double> {
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double magic = 0x1.8p52;
};
template <class V>
using ieee_of = ieee<scalar_t<V>>;

// A constant with a value for each precision.
template <class V>
DLK_FN V pick(float single, double twice) {
  if constexpr (is_f32<V>) {
    return V(single);
  } else {
    return V(twice);
  }
}

// c[0] + c[1] x + c[2] x^2 + ... by Estrin's scheme: neighbors are joined in pairs, then pairs of pairs with x^2, x^4,
// ... The chain of dependent operations is the logarithm of the degree, which is what a core with two fma pipes of four
// cycles wants. One coefficient too many joins its neighbors by Horner's rule, which needs no further power of x and
// takes no longer. Recursion, not a loop: a compiler that gives up unrolling would keep the terms in memory.
template <int N, class V>
DLK_FN V poly_of_powers(const V* power, const scalar_t<V>* c) {
  if constexpr (N == 1) {
    return V(c[0]);
  } else {
    constexpr int level = N > 17 ? 4 : N > 9 ? 3 : N > 5 ? 2 : N > 3 ? 1 : 0, low = 1 << level;
    return fma(poly_of_powers<N - low>(power, c + low), power[level], poly_of_powers<low>(power, c));
  }
}
template <class V, int N>
DLK_FN V poly(V x, const scalar_t<V> (&c)[N]) {
  static_assert(N <= 32, "one more power is needed");
  const V x2 = x * x, x4 = x2 * x2, x8 = x4 * x4;
  const V power[] = {x, x2, x4, x8, x8 * x8};
  return poly_of_powers<N>(power, c);
}

// 2^(k - bias) for the low bits of k; higher bits fall out of the shift.
template <class V>
DLK_FN V power_of_two(uint_t<V> k) {
  return from_bits<V>(k << ieee_of<V>::mantissa);
}

// A number as the unevaluated sum hi + lo.
template <class V>
struct pair {
  V hi, lo;
};

// a + b without error, for |a| >= |b| or a = 0 (Dekker 1971); also for an a of few enough bits to be a multiple of the
// last bit of hi.
template <class V>
DLK_FN pair<V> exact_sum(V a, V b) {
  const V hi = a + b;
  return {hi, (a - hi) + b};
}

// a + b without error, whatever their order (Knuth).
template <class V>
DLK_FN pair<V> exact_sum_any(V a, V b) {
  const V hi = a + b, part = hi - a;
  return {hi, (a - (hi - part)) + (b - part)};
}

// a * b without error.
template <class V>
DLK_FN pair<V> exact_product(V a, V b) {
  const V hi = a * b;
  return {hi, fma(a, b, -hi)};
}

// a * b + c with its rounding error, under the conditions of exact_sum(c, a * b).
template <class V>
DLK_FN pair<V> exact_fma(V a, V b, V c) {
  const V hi = fma(a, b, c);
  return {hi, fma(a, b, c - hi)};
}

// a * b to about twice the working precision.
template <class V>
DLK_FN pair<V> product(pair<V> a, pair<V> b) {
  const pair<V> p = exact_product(a.hi, b.hi);
  return {p.hi, fma(a.hi, b.lo, fma(a.lo, b.hi, p.lo))};
}

// -a / d: one division, r = -1 / d.hi, then one step of correction by the residual. Everything is negative because a
// negated operand that is used twice costs an instruction, and -1 / d costs none.
template <class V>
DLK_FN pair<V> minus_quotient(pair<V> a, pair<V> d, V r) {
  const V q = a.hi * r;
  return {q, r * (fma(q, d.hi, a.hi) + fma(q, d.lo, a.lo))};
}

}  // namespace math
DLK_END
