// log and log1p. x = 2^k m with m in [sqrt(1/2), sqrt(2)), f = m - 1 is exact, and log x = k ln2 + log(1 + f).
// float32 <= 1 ULP, float64 <= 1 ULP (measured by tests/cpp/test_math.cpp). log(0) = -inf, log of a negative number is
// NaN.
#pragma once
#include "poly.h"

DLK_BEGIN
namespace math {

// log(1 + f) - f for 1 + f in [sqrt(1/2), sqrt(2)].
// float32: f^2 times a polynomial, relative error of log(1 + f) 2^-30.2.
// float64: with s = f / (2 + f), log(1 + f) = 2 atanh(s) needs half as many terms, relative error 2^-57.6 (Sollya
// fpminimax).
template <class V>
DLK_FN V log1p_rest(V f) {
  if constexpr (is_f32<V>) {
    const V q = poly(f, {0x1.555548p-2f, -0x1.000008p-2f, 0x1.99a478p-3f, -0x1.555b8cp-3f, 0x1.233af6p-3f,
                         -0x1.fc3e3ap-4f, 0x1.e6dd24p-4f, -0x1.dd992ap-4f, 0x1.13be0cp-4f});
    return f * f * fma(f, q, V(-0.5f));
  } else {
    const V s = f / (V(2.0) + f), z = s * s, half_square = V(0.5) * f * f;
    const V q = z * poly(z, {0x1.5555555555558p-1, 0x1.99999999952d9p-2, 0x1.2492492df75c5p-2, 0x1.c71c62dc153fdp-3,
                             0x1.7462b770bf0c4p-3, 0x1.39fe05ba9f5adp-3, 0x1.2b5c84287ab33p-3});
    return fma(s, half_square + q, -half_square);
  }
}

// x = 2^k m, with k as a number and as the exponent field to take off the bits of x. x > 0 and normal.
template <class V>
struct exponent_split {
  V k;
  uint_t<V> field;
};
template <class V>
DLK_FN exponent_split<V> split_exponent(V x) {
  using T = scalar_t<V>;
  using U = uint_t<V>;
  using S = uint_t<T>;
  constexpr int width = ieee<T>::mantissa, bias = ieee<T>::bias;
  const U root_half(is_f32<V> ? S(0x3f3504f3) : S(0x3fe6a09e667f3bcd));
  const U field = (bits(x) - root_half) & U(~((S(1) << width) - 1));
  // The integer becomes a number by way of the mantissa of 2^mantissa + k + bias.
  const U one(S(bias) << width);
  const T two_to_width = T(S(1) << width);
  return {from_bits<V>(((field + one) >> width) | bits(V(two_to_width))) - V(two_to_width + T(bias)), field};
}

// k ln2 + (f + f_lo) + log1p_rest(f), with the first part of ln2 short enough for k * first to be exact.
template <class V>
DLK_FN V log_sum(V k, V f, V f_lo) {
  const V first = pick<V>(0x1.62e4p-1f, 0x1.62e42fefa38p-1);
  const V second = pick<V>(0x1.7f7d1cp-20f, 0x1.ef35793c7673p-45);
  const pair<V> y = exact_sum(k * first, f);
  return y.hi + (log1p_rest(f) + fma(k, second, y.lo + f_lo));
}

// The answer y of a logarithm of u, except where u is 0, negative, infinite or NaN.
template <class V>
DLK_FN V log_special(V u, V y) {
  const scalar_t<V> infinity = scalar_t<V>(__builtin_inf()), nan = scalar_t<V>(__builtin_nan(""));
  const V positive = select(u < V(infinity), y, u);
  return select(u > V(0.0f), positive, select(u == V(0.0f), V(-infinity), V(nan)));
}

template <class V>
DLK_FN V log(V x) {
  const auto tiny = x < pick<V>(0x1p-126f, 0x1p-1022);
  const V u = select(tiny, x * pick<V>(0x1p24f, 0x1p53), x);
  const exponent_split<V> e = split_exponent(u);
  const V k = e.k - select(tiny, pick<V>(24.0f, 53.0), V(0.0f));
  return log_special(x, log_sum(k, from_bits<V>(bits(u) - e.field) - V(1.0f), V(0.0f)));
}

// 1 + x = u + lost. Scaled by 2^-k like u, lost enters to first order: log(m + l) = log(m) + l / m.
template <class V>
DLK_FN V log1p(V x) {
  using S = uint_t<scalar_t<V>>;
  const V u = V(1.0f) + x, lost = x - (u - V(1.0f));
  const exponent_split<V> e = split_exponent(u);
  const uint_t<V> two(S(ieee_of<V>::bias + 1) << ieee_of<V>::mantissa);
  const V scale = from_bits<V>(two - e.field);  // 2^(1 - k): stays a number for the largest k
  const pair<V> f = exact_sum(from_bits<V>(bits(u) - e.field) - V(1.0f), lost * scale * V(0.5f));
  return copysign(log_special(u, log_sum(e.k, f.hi, fma(-f.hi, f.lo, f.lo))), x);
}

}  // namespace math
DLK_END
