// f and f' of one x in float32, from one exponential and one division: what the backward pass of a gated linear unit asks for. f' stays the
// unevaluated sum of two numbers, because a gradient multiplies it and rounds the product. float64 has f and f' one after the other.
// The values of silu, gelu and gelu_tanh have the bits of logistic.h, normal.h and gelu_tanh.h.
#pragma once
#include "gelu_tanh.h"
#include "logistic.h"
#include "normal.h"

DLK_BEGIN
namespace math {

template <class V>
struct value_and_slope {
  V value;
  pair<V> slope;
};

// a (hi + lo), rounded once. An infinite a does not meet lo, which may have the other sign; nor does lo decide the sign of a zero.
template <class V>
DLK_FN V times_slope(V a, pair<V> s) {
  const V most = V(max_finite<scalar_t<V>>), finite = min(most, max(-most, a));
  return copysign(fma(a, s.hi, finite * s.lo), from_bits<V>(bits(a) ^ bits(s.hi)));
}

// Next to a root of f': d (c + rest) + k, d the exact distance from the number nearest to the root and k what f' is there. The first part is
// not 0 where d is, so that infinity times it has a sign.
template <class V>
DLK_FN pair<V> near_root(V d, float c, V rest, float k) {
  const V hi = fma(d, V(c), V(k < 0 ? -0x1p-100f : 0x1p-100f));
  return {hi, fma(d, rest, fma(d, V(c), -hi) + V(k))};
}

// f'(x) from g = f'(-|x|), for an f that is max(x, 0) plus an even function.
template <class V>
DLK_FN pair<V> reflect_slope(V x, pair<V> g) {
  const pair<V> y = exact_sum(V(1.0f), -g.hi);
  const auto left = x < V(0.0f);
  return {select(left, g.hi, y.hi), select(left, g.lo, y.lo - g.lo)};
}

// With q = r (1 - error) = sigma(-|x|): f' = q (1 - q), f = q or 1 - q.
template <class V>
DLK_FN value_and_slope<V> sigmoid_and_slope(V x) {
  const V unscale = V(0x1p-63f);
  const short_logistic_parts<V> q = short_logistic<63>(max(V(-104.0f), -abs(x)));
  const V r = q.r * unscale;
  const pair<V> u = exact_sum(V(1.0f), -r);
  const V lo = fma(r, q.error, u.lo);
  const V g = q.r * u.hi, g_lo = fma(q.r, lo, fma(q.r, u.hi, -g)) - g * q.error;
  return {select(x < V(0.0f), fma(-q.r, q.error, q.r) * unscale, u.hi + lo), {g * unscale, g_lo * unscale}};
}

// f' = sigma (1 + x (1 - sigma)). The bracket is 0 at x = -1.278...; for a distance below 3/16 f' is a polynomial there, relative error
// 2^-27.5 (least squares on Chebyshev nodes, coefficients rounded one after another).
template <class V>
DLK_FN value_and_slope<V> silu_and_slope(V x) {
  const V unscale = V(0x1p-32f), c = min(V(40.0f), max(V(-110.0f), x));
  const short_logistic_parts<V> q = short_logistic<32>(c);
  const V y = c * q.r;
  const V value = select(x > V(40.0f), x, (y - fma(y, q.error, fma(-c, q.r, y))) * unscale);

  const pair<V> u = exact_fma(q.rs, q.p, q.rs), v = exact_product(c, u.hi), n = exact_sum(V(1.0f), v.hi);
  const V error = fma(q.r, V(0x1p-32f), u.hi - V(1.0f)) + u.lo;  // with the digits that q.error lost where sigma < 1/2
  const V n_lo = n.lo + fma(c, fma(-u.hi, error, u.lo), v.lo);
  const V g = q.r * n.hi, g_lo = fma(q.r, n_lo, fma(q.r, n.hi, -g)) - g * error;
  const V d = V(0x1.474974p+0f) + c;
  const V rest =
      poly(d, {-0x1.7d88d2p-31f, 0x1.2c5634p-3f, 0x1.353c66p-6f, -0x1.f2cfc6p-7f, -0x1.ae382ap-8f, 0x1.11187ep-13f});
  const pair<V> near = near_root(d, 0x1.be141p-3f, rest, -0x1.848b9ep-29f);
  const auto close = abs(d) < V(0.1875f);
  return {value, {select(close, near.hi, g * unscale), select(close, near.lo, g_lo * unscale)}};
}

// f'(-z) = e^(-z^2/2) (z0 - z) G(t) as in gelu_grad, in the t of the tail: G's error is 2^-25.
template <class V>
DLK_FN value_and_slope<V> gelu_and_slope(V x) {
  const V z = normal_magnitude(x);
  const short_exp<V> e = reduce_short(gauss_exponent(z), guard_offset<V>);
  const tail_argument<V> at = tail_argument_of(z);
  const scaled<V> m = minus_normal_tail(e.k, e.p, at);

  const V rest = poly(at.t, {-0x1.233362p-3f, 0x1.3e312ap-7f, 0x1.507b2ap-7f, 0x1.78234ep-10f, -0x1.1fa71ep-10f,
                             -0x1.94dce8p-11f, -0x1.ea10d2p-14f, 0x1.1924fep-13f, 0x1.11b12p-14f});
  const pair<V> s = exact_fma(at.t, rest, V(0x1.0b0266p-1f));
  const pair<V> d = exact_sum_any(V(0x1.80ead2p-1f), -z);
  const V a = fma(d.hi, s.hi, V(-0x1p-100f)),
          a_lo = fma(d.hi, s.lo, fma(d.lo + V(-0x1.a03fd4p-27f), s.hi, fma(d.hi, s.hi, -a)));
  const pair<V> g = exact_fma(a, e.p, a);
  const V g_lo = g.lo + fma(a_lo, e.p, a_lo), u = V(unguard<V>);
  return {hinge_plus(x, z, m), reflect_slope(x, pair<V>{g.hi * m.scale * u, g_lo * m.scale * u})};
}

// f'(-z) = q (1 - z w' (1 - q)), q = sigma(-w). 0 at z0 = 0.7524...; for |z0 - z| < 1/8 a polynomial, relative error 2^-29 (as silu's).
template <class V>
DLK_FN value_and_slope<V> gelu_tanh_and_slope(V x) {
  const V z = gelu_tanh_magnitude(x);
  const logistic_parts<V> m = minus_logistic(reduce<-1>(gelu_tanh_argument(z), guard_offset<V>));
  const V u = V(unguard<V>);

  const V r = m.r * (m.scale * u);  // -q
  const pair<V> p = exact_sum(V(1.0f), r), w = gelu_tanh_slope_argument(z);
  const pair<V> zw = exact_product(w.hi, p.hi);
  const V zw_lo = fma(w.hi, fma(r, m.error, p.lo), fma(w.lo, p.hi, zw.lo));
  const pair<V> n = exact_sum(V(1.0f), -zw.hi);
  const V g = m.r * n.hi, g_lo = fma(m.r, n.lo - zw_lo, fma(m.r, n.hi, -g)) + g * m.error;

  const V d = V(0x1.8142ap-1f) - z;
  const V rest =
      poly(d, {0x1.4096p-27f, 0x1.8cd1a2p-2f, -0x1.029914p-6f, -0x1.d2b4ap-4f, -0x1.0e4734p-6f, 0x1.3fb2bcp-6f});
  const pair<V> near = near_root(d, 0x1.b8baccp-2f, rest, -0x1.4f6404p-28f);
  const auto close = abs(d) < V(0.125f);
  const pair<V> left = {select(close, near.hi, g * m.scale * -u), select(close, near.lo, g_lo * m.scale * -u)};
  return {hinge_plus(x, z, scaled<V>{m.scale, m.r, m.r * m.error}), reflect_slope(x, left)};
}

}  // namespace math
DLK_END
