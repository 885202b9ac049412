// exp and expm1. x = n ln2 + r with |r| <= ln2/2, e^x = 2^n e^r, and e^r = 1 + r + r^2 q(r) with the tail q fitted.
// float32 <= 1 ULP, float64 <= 1 ULP (measured by tests/cpp/test_math.cpp); subnormal results are rounded once.
#pragma once
#include "poly.h"

DLK_BEGIN
namespace math {

// x = n ln2 + r with r = hi - lo: hi is exact and lo is tiny, so that a sum that starts from them does not see the
// rounding of r. The low bits of k hold n + offset; with Sign = -1 they hold -n + offset.
template <class V>
struct reduced {
  uint_t<V> k;
  V hi, lo, r;
};

// The first part of ln2 is short enough that n * first is exact.
template <int Sign = 1, class V>
DLK_FN reduced<V> reduce(V x, int offset) {
  const V shift = V(ieee_of<V>::magic + scalar_t<V>(offset));
  const V t = fma(x, pick<V>(Sign * 0x1.715476p+0f, Sign * 0x1.71547652b82fep+0), shift), n = t - shift;
  const V hi = fma(n, pick<V>(Sign * -0x1.62e4p-1f, Sign * -0x1.62e42fefa38p-1), x);
  const V lo = n * pick<V>(Sign * 0x1.7f7d1cp-20f, Sign * 0x1.ef35793c7673p-45);
  return {bits(t), hi, lo, hi - lo};
}
template <int Sign = 1, class V>
DLK_FN reduced<V> reduce(pair<V> x, int offset) {
  const reduced<V> e = reduce<Sign>(x.hi, offset);
  const V lo = e.lo - x.lo;
  return {e.k, e.hi, lo, e.hi - lo};
}

// (e^r - 1 - r) / r^2 for |r| <= 1.002 ln2 / 2. Error relative to e^r: float32 2^-32.8, float64 2^-63.5 (Sollya
// fpminimax). The last step is Horner's: one rounding of a number close to 1/2 instead of two.
template <class V>
DLK_FN V exp_tail(V r) {
  if constexpr (is_f32<V>) {
    return fma(r, poly(r, {0x1.555552p-3f, 0x1.5554e2p-5f, 0x1.1115a8p-7f, 0x1.6d53c2p-10f, 0x1.9ab59ap-13f}), V(0.5f));
  } else {
    return fma(r,
               poly(r, {0x1.555555555555cp-3, 0x1.5555555555542p-5, 0x1.111111110e9e6p-7, 0x1.6c16c16c1f36ep-10,
                        0x1.a01a01b452991p-13, 0x1.a01a017939753p-16, 0x1.71ddee447f9f1p-19, 0x1.27e53babdfb07p-22,
                        0x1.af6ee1b4b3e2ep-26, 0x1.1ee1a64a7c4cp-29}),
               V(0.5));
  }
}

// (e^r - 1) - hi, small beside hi: the two are kept apart until the last addition.
template <class V>
DLK_FN V expm1_rest(const reduced<V>& e) {
  return fma(e.r * e.r, exp_tail(e.r), -e.lo);
}

// The same with fewer operations, for float32: e^x = 2^n (1 + p + p_lo), where p_lo is the rounding error of p; that of
// r remains, 2^-26 at most. Error of the polynomial relative to e^r 2^-28.
template <class V>
struct short_exp {
  uint_t<V> k;
  V p, p_lo;
};
template <class V>
DLK_FN short_exp<V> finish_short(V t, V n, V hi) {
  const V r = fma(n, V(-0x1.7f7d1cp-20f), hi);
  const V tail = fma(r, poly(r, {0x1.5554a2p-3f, 0x1.55568cp-5f, 0x1.12312ap-7f, 0x1.6b6d16p-10f}), V(0.5f));
  const V p = fma(r * r, tail, r);
  return {bits(t), p, fma(r * r, tail, r - p)};
}
template <int Sign, class V>  // e^(Sign x)
DLK_FN short_exp<V> reduce_short(V x, int offset) {
  const V shift = V(ieee_of<V>::magic + float(offset));
  const V t = fma(x, V(Sign * 0x1.715476p+0f), shift), n = t - shift;
  return finish_short(t, n, fma(n, V(-0x1.62e4p-1f), Sign < 0 ? -x : x));
}
template <class V>
DLK_FN short_exp<V> reduce_short(pair<V> x, int offset) {
  const V shift = V(ieee_of<V>::magic + float(offset));
  const V t = fma(x.hi, V(0x1.715476p+0f), shift), n = t - shift;
  return finish_short(t, n, fma(n, V(-0x1.62e4p-1f), x.hi) + x.lo);
}

// x between where e^x is 0 and inf all the same. min and max let NaN through because x is the second operand.
template <class V>
DLK_FN V exp_range(V x, V low) {
  return min(pick<V>(89.0f, 710.0), max(low, x));
}
// y * 2^n for the low bits of k, with offset 2 * bias: 2^n does not always fit, its two halves do.
template <class V>
DLK_FN V times_power_of_two(V y, uint_t<V> k) {
  const uint_t<V> half = k >> 1;
  return y * power_of_two<V>(half) * power_of_two<V>(k - half);
}

// e^x from the reduction with offset 2 bias
template <class V>
DLK_FN V exp_of(const reduced<V>& e) {
  return times_power_of_two(V(1.0f) + (e.hi + expm1_rest(e)), e.k);
}
template <class V>
DLK_FN V exp(V x) {
  return exp_of(reduce(exp_range(x, pick<V>(-104.0f, -746.0)), 2 * ieee_of<V>::bias));
}

// a e^x for x <= 0: the product costs no rounding of its own, a in two parts one addition.
template <class V>
DLK_FN V times_exp(V a, V x) {
  const reduced<V> e = reduce(exp_range(x, pick<V>(-130.0f, -800.0)), 2 * ieee_of<V>::bias);
  return times_power_of_two(fma(a, e.hi + expm1_rest(e), a), e.k);
}
template <class V>
DLK_FN V times_exp(pair<V> a, V x) {
  const reduced<V> e = reduce(exp_range(x, pick<V>(-130.0f, -800.0)), 2 * ieee_of<V>::bias);
  return times_power_of_two(a.hi + fma(a.hi, e.hi + expm1_rest(e), a.lo), e.k);
}

// e^x - 1 = (s - 1) + s hi + s rest with s = 2^n, all at half scale, where the largest s still fits. The first two
// terms are summed exactly, so that the last addition is the only rounding that shows, also where s - 1 and s hi
// cancel. e has offset bias - 1; the sum of the pair is (e^x - 1) / 2.
template <class V>
DLK_FN pair<V> half_expm1(const reduced<V>& e) {
  const V s = power_of_two<V>(e.k);
  const V a = s - V(0.5f), a_lost = (s - a) - V(0.5f);
  const pair<V> b = exact_sum(a, s * e.hi);
  const V rest = fma(e.hi * fma(V(-2.0f), e.lo, e.hi), exp_tail(e.r), -e.lo);  // expm1_rest with a better r^2
  return {b.hi, fma(s, rest, b.lo + a_lost)};
}
template <class V>
DLK_FN pair<V> half_expm1(V x) {
  const V c = min(pick<V>(89.0f, 710.0), max(pick<V>(-32.0f, -64.0), x));
  return half_expm1(reduce(c, ieee_of<V>::bias - 1));
}
// Is e^x - 1 = x, as far as one can tell? Taking x there keeps -0 and subnormals.
template <class V>
DLK_FN auto linear_expm1(V x) {
  return abs(x) < pick<V>(0x1p-26f, 0x1p-55);
}

template <class V>
DLK_FN V expm1(V x) {
  const pair<V> h = half_expm1(x);
  const V y = h.hi + h.lo;
  return select(linear_expm1(x), x, y + y);
}

// a (e^x - 1), rounded once
template <class V>
DLK_FN V times_expm1(V a, V x) {
  const pair<V> h = half_expm1(x);
  const V twice = a + a;
  return select(linear_expm1(x), a * x, fma(twice, h.hi, twice * h.lo));
}
template <class V>
DLK_FN V times_expm1(pair<V> a, V x) {
  const pair<V> h = half_expm1(x);
  const V twice = a.hi + a.hi;
  const V y = fma(twice, h.hi, fma(twice, h.lo, (a.lo + a.lo) * h.hi));
  return select(linear_expm1(x), fma(a.hi, x, a.lo * x), y);
}

// x / a as the unevaluated sum of two numbers, x no larger than what the exponential of it takes.
template <class V>
DLK_FN pair<V> exponent_quotient(V x, V a) {
  const V r = V(1.0f) / a, q = x * r;
  return {q, fma(-q, a, x) * r};
}

}  // namespace math
DLK_END
