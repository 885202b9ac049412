// Powers u^k = e^(k log u) with a real exponent k: the logarithm and its product with k are sums of two numbers, so that a large |k log u|
// costs few digits. k is a hyper-parameter, a double: what float32 would round off it is kept too. Largest errors in a million draws:
//   |k| <= 2  .89 ULP    |k| <= 5  1.4 ULP    |k| <= 16  3.3 ULP    |k| = 200  35 ULP        float32 and float64 alike
#pragma once
#include "exp.h"
#include "log.h"

DLK_BEGIN
namespace math {

// A double as the sum of two lanes.
template <class V>
DLK_FN pair<V> split(double k) {
  const auto hi = scalar_t<V>(k);
  return {V(hi), V(scalar_t<V>(k - double(hi)))};
}

// log_sum of log.h, before its last addition.
template <class V>
DLK_FN pair<V> log_pair_of(V u, V k, V f, V f_lo) {
  const pair<V> y = exact_sum(k * pick<V>(0x1.62e4p-1f, 0x1.62e42fefa38p-1), f);
  const V rest = log1p_rest(f) + fma(k, pick<V>(0x1.7f7d1cp-20f, 0x1.ef35793c7673p-45), y.lo + f_lo);
  const pair<V> log = exact_sum(y.hi, rest);
  const V hi = log_special(u, log.hi);
  return {hi, select(hi == log.hi, log.lo, V(0.0f))};
}

// log u
template <class V>
DLK_FN pair<V> log_pair(V x) {
  const auto tiny = x < pick<V>(0x1p-126f, 0x1p-1022);
  const V u = select(tiny, x * pick<V>(0x1p24f, 0x1p53), x);
  const exponent_split<V> e = split_exponent(u);
  const V k = e.k - select(tiny, pick<V>(24.0f, 53.0), V(0.0f));
  return log_pair_of(x, k, from_bits<V>(bits(u) - e.field) - V(1.0f), V(0.0f));
}

// log(1 + x), as log1p does it; but what 1 + x loses is kept for large x too
template <class V>
DLK_FN pair<V> log1p_pair(pair<V> x) {
  using S = uint_t<scalar_t<V>>;
  const pair<V> sum = exact_sum_any(V(1.0f), x.hi);
  const V u = sum.hi, lost = sum.lo + x.lo;
  const exponent_split<V> e = split_exponent(u);
  const uint_t<V> two(S(ieee_of<V>::bias + 1) << ieee_of<V>::mantissa);
  const pair<V> f = exact_sum(from_bits<V>(bits(u) - e.field) - V(1.0f), lost * from_bits<V>(two - e.field) * V(0.5f));
  return log_pair_of(u, e.k, f.hi, fma(-f.hi, f.lo, f.lo));
}

// e^(k log) for a logarithm in two parts; 1 for k = 0
template <class V>
DLK_FN V exp_times(pair<V> log, double k) {
  const pair<V> x = product(log, split<V>(k));
  const V c = min(pick<V>(89.0f, 710.0), max(pick<V>(-104.0f, -746.0), x.hi));
  const V y = exp_of(reduce(pair<V>{c, select(c == x.hi, x.lo, V(0.0f))}, 2 * ieee_of<V>::bias));
  return select(V(k) == V(0.0f), V(1.0f), y);
}

// u^k for u >= 0; NaN for u < 0
template <class V>
DLK_FN V pow(V u, double k) {
  return exp_times(log_pair(u), k);
}

// (1 + x)^k for x >= -1
template <class V>
DLK_FN V pow1p(V x, double k) {
  return exp_times(log1p_pair(pair<V>{x, V(0.0f)}), k);
}

}  // namespace math
DLK_END
