// The functions built on 1 / (1 + e^z): sigmoid, tanh, silu and their derivatives, and the core that gelu_tanh shares.
// Most work on z = |x|, where e^-z <= 1 and nothing overflows or cancels, and reflect the result to the other side.
// sigmoid and silu in float32 have a shorter way, because at L1 speed every operation counts.
#pragma once
#include "decay.h"

DLK_BEGIN
namespace math {

// -1 / (1 + e^z) = scale * unguard * r (1 + error), from z reduced with Sign = -1.
// With e^z = y / s, s = 2^n <= 1, it is -s / (y + s). r has the rounding errors of that sum and of a division; error is
// what is left of 1 + r (y + s), small and nearly exact.
template <class V>
struct logistic_parts {
  V scale, r, error;
};
template <class V>
DLK_FN logistic_parts<V> minus_logistic(const reduced<V>& e) {
  const V scale = power_of_two<V>(e.k), s = scale * V(unguard<V>);
  const pair<V> y = exact_sum(V(1.0f), e.hi + expm1_rest(e));
  const V r = V(-1.0f) / (y.hi + s);
  return {scale, r, fma(r, y.lo, fma(r, s, fma(r, y.hi, V(1.0f))))};
}

// 1 / (1 + e^-x) in float32, as guard * (r - r error): both signs at once, so that neither |x| nor a choice is needed.
// With e^-x / guard = s (1 + p) the sum guard + s (1 + p) stays inside the format for every x in [-110, 40]; r is its
// rounded reciprocal and error the residual r (guard + s + s p) - 1, whose first difference r s - 1 is exact for x < 0
// and harmless otherwise.
// 1 minus it is rs (1 + p) (1 - error).
template <class V>
struct short_logistic_parts {
  V r, error, rs, p;
};
template <int Guard, class V>
DLK_FN short_logistic_parts<V> short_logistic(V x) {
  static_assert(is_f32<V>, "float64 goes through minus_logistic");
  constexpr float guard = 1.0f / float(std::uint64_t(1) << Guard);
  const short_exp<V> e = reduce_short<-1>(x, ieee_of<V>::bias - Guard);
  const V s = power_of_two<V>(e.k), r = V(1.0f) / fma(s, e.p, s + V(guard)), rs = r * s;
  return {r, fma(rs, e.p, fma(r, V(guard), rs - V(1.0f))), rs, e.p};
}

// From the reduced |x|, which may have more digits than x: q = 1 / (1 + e^|x|) on the left, 1 - q on the right, rounded once.
template <class V>
DLK_FN V sigmoid(V x, const reduced<V>& e) {
  const logistic_parts<V> m = minus_logistic(e);
  const V q = -m.r * m.scale, u = V(unguard<V>);
  const pair<V> right = exact_sum(V(1.0f), -(q * u));
  return select(x < V(0.0f), fma(q, m.error, q) * u, right.hi + fma(-(q * m.error), u, right.lo));
}

template <class V>
DLK_FN V sigmoid(V x) {
  if constexpr (is_f32<V>) {
    const short_logistic_parts<V> q = short_logistic<63>(min(V(40.0f), max(V(-104.0f), x)));
    return fma(-q.r, q.error, q.r) * V(0x1p-63f);
  } else {
    return sigmoid(x, reduce<-1>(magnitude(x), guard_offset<V>));
  }
}

// x sigmoid(w) from z = |x| and the reduced |w|.
template <class V>
DLK_FN V gate(V x, V z, const reduced<V>& e) {
  const logistic_parts<V> m = minus_logistic(e);
  return hinge_plus(x, z, scaled<V>{m.scale, m.r, m.r * m.error});
}

template <class V>
DLK_FN V silu(V x) {
  if constexpr (is_f32<V>) {
    const V c = max(V(-110.0f), x);
    const short_logistic_parts<V> q = short_logistic<32>(min(V(40.0f), c));
    // c (r - r error), with the rounding error of c r; written as a difference because that keeps the sign of a zero.
    const V y = c * q.r;
    return select(x > V(40.0f), x, (y - fma(y, q.error, fma(-c, q.r, y))) * V(0x1p-32f));
  } else {
    const V z = magnitude(x);
    return gate(x, z, reduce<-1>(z, guard_offset<V>));
  }
}

// e^-w - 1 with all its digits, for small w too.
template <class V>
DLK_FN pair<V> long_expm1_of_minus(V w) {
  const reduced<V> e = reduce(-w, ieee_of<V>::bias);
  const V s = power_of_two<V>(e.k), a = s - V(1.0f), a_lost = s - (a + V(1.0f));
  const pair<V> b = exact_sum(a, s * e.hi);
  const V rest = fma(e.hi * fma(V(-2.0f), e.lo, e.hi), exp_tail(e.r), -e.lo);
  return exact_sum(b.hi, fma(s, rest, b.lo + a_lost));
}
// The same in fewer operations. float32 needs w < 24.5 ln2: s - 1 is then exact.
template <class V>
DLK_FN pair<V> expm1_of_minus(V w) {
  if constexpr (is_f32<V>) {
    const short_exp<V> e = reduce_short<-1>(w, ieee_of<V>::bias);
    const V s = power_of_two<V>(e.k);
    const pair<V> m = exact_fma(s, e.p, s - V(1.0f));
    return {m.hi, fma(s, e.p_lo, m.lo)};
  } else {
    return long_expm1_of_minus(w);
  }
}

// tanh |x| = -m / (2 + m) with m = e^(-2|x|) - 1. The residual is m + q (2 + m), where m + 2 q is exact because 1 <= 2
// |q| / |m| <= 2. Beyond the cap of 2|x| float32 has one number below 1 left, float64 none.
template <class V>
DLK_FN V tanh(V x) {
  const V z = abs(x);
  const pair<V> m = expm1_of_minus(min(pick<V>(16.98f, 40.0), z + z));
  const V r = V(-1.0f) / (V(2.0f) + m.hi), q = m.hi * r;
  const V residual = fma(q, m.hi, fma(V(2.0f), q, m.hi)) + fma(q, m.lo, m.lo);
  return copysign(select(z > pick<V>(9.01f, 20.0), V(1.0f), fma(r, residual, q)), x);
}

// e^-z n / (1 + e^-z)^2 from a = n e^-z / (scale * unguard)
template <class V>
DLK_FN scaled<V> logistic_slope(const decay<V>& e, pair<V> a) {
  const V r = V(-1.0f) / (V(1.0f) + e.whole.hi);
  const pair<V> minus = {r, r * fma(r, e.whole.lo, fma(r, e.whole.hi, V(1.0f) + r))};
  const pair<V> g = product(a, product(minus, minus));
  return {e.scale, g.hi, g.lo};
}

// e / (1 + e)^2
template <class V>
DLK_FN V sigmoid_grad(V x) {
  const decay<V> e = decay_of(reduce(-magnitude(x), guard_offset<V>));
  return value(logistic_slope(e, e.mantissa));
}

// 1 - tanh(x)^2 = 4 e / (1 + e)^2 with e = e^(-2|x|)
template <class V>
DLK_FN V tanh_grad(V x) {
  const decay<V> e = decay_of(reduce(-magnitude(x + x), guard_offset<V>));
  return value(logistic_slope(e, pair<V>{V(4.0f) * e.mantissa.hi, V(4.0f) * e.mantissa.lo}));
}

// silu'(+-z), on the side of x, for a z that may have more digits than x.
// silu'(-z) = e (1 + e - z) / (1 + e)^2. The bracket is 0 at z0 = 1.278...; with d = z0 - z it is d (1 + (z0 - 1) (e^d
// - 1) / d), taken from a polynomial where |d| < 1/4: relative error float32 2^-30.5, float64 2^-62 (Sollya fpminimax).
template <class V>
DLK_FN V silu_grad(V x, pair<V> z) {
  const decay<V> e = decay_of(reduce(pair<V>{-z.hi, -z.lo}, guard_offset<V>));
  const V root = pick<V>(0x1.474974p+0f, 0x1.474973c84120bp+0),
          root_lo = pick<V>(-0x1.bdf6fap-27f, 0x1.f8d74bc9ac154p-54);
  const V from_root = root - z.hi;
  const pair<V> d = exact_sum(from_root, root_lo - z.lo);
  V slope;
  if constexpr (is_f32<V>) {
    slope = poly(d.hi, {0x1.1d25dp-3f, 0x1.7c3236p-5f, 0x1.7c2f2cp-7f, 0x1.30ccdap-9f, 0x1.9b2094p-12f});
  } else {
    slope = poly(d.hi, {0x1.1d25cf210482ep-3, 0x1.7c3269815b597p-5, 0x1.7c3269815b2bdp-7, 0x1.302854677962dp-9,
                        0x1.958b1b3737ad6p-12, 0x1.cf7a68629938bp-15, 0x1.cf7a4e569818dp-18, 0x1.9bfa3bd75736ep-21,
                        0x1.4a01a98b0d703p-24, 0x1.e277c78120a03p-28});
  }
  const pair<V> near = product(d, exact_sum(root, fma(d.hi, slope, root_lo)));
  const pair<V> u = exact_sum(V(1.0f), -z.hi), far = exact_sum(u.hi, e.whole.hi);
  const auto close = abs(from_root) < V(0.25f);
  const pair<V> n = {select(close, near.hi, far.hi), select(close, near.lo, far.lo + ((u.lo - z.lo) + e.whole.lo))};
  return reflect_slope(x, logistic_slope(e, product(e.mantissa, n)));
}
template <class V>
DLK_FN V silu_grad(V x) {
  return silu_grad(x, pair<V>{magnitude(x), V(0.0f)});
}

}  // namespace math
DLK_END
