// The functions built on the normal distribution: gelu(x) = x Phi(x), its derivative, and erf.
// Everything goes through Phi(-z) = e^(-z^2/2) R(z) for z = |x|, which is accurate in the far tail where 1 + erf(x) has cancelled.
#pragma once
#include "decay.h"

DLK_BEGIN
namespace math {

// e^(-z^2/2); the rounding error of z^2 is carried along.
template <class V>
DLK_FN reduced<V> reduce_gauss(V z) {
  return reduce(exact_product(V(-0.5f) * z, z), guard_offset<V>);
}

// |x|, no larger than where x e^(-x^2/2) has become 0.
template <class V>
DLK_FN V normal_magnitude(V x) {
  return min(pick<V>(14.6f, 38.8), abs(x));
}

// R(z) = S(t) / (z + c), t = 1 - 2 c / (z + c). c has few bits, and makes S(0) a number that rounds well.
// Relative error of S float32 2^-26.1 on 0 <= z <= 14.65 (Sollya fpminimax).
template <class V>
DLK_FN scaled<V> normal_tail(const reduced<V>& e, V z) {
  const V c = V(1.5703125f), c2 = V(-3.140625f);
  const pair<V> d = exact_sum(c, z);
  const V r = V(1.0f) / d.hi, t = fma(c2, r, V(1.0f));
  const V p = e.hi + expm1_rest(e);
  const V rest = poly(t, {-0x1.87fe88p-5f, 0x1.822c84p-6f, 0x1.0da9d2p-6f, 0x1.b9cd96p-10f, -0x1.b4fcp-9f, -0x1.3c48cp-9f, -0x1.d14688p-12f,
                          0x1.ea8c02p-12f, 0x1.6b751ap-12f, 0x1.283d7cp-14f});
  const pair<V> s = exact_fma(t, fma(t, rest, V(-0x1.bb5a98p-3f)), V(0x1.40f64p-1f));
  const pair<V> n = exact_fma(s.hi, p, s.hi);
  const pair<V> q = quotient(pair<V>{n.hi, n.lo + fma(s.lo, p, s.lo)}, d, r);
  return {power_of_two<V>(e.k), q.hi, q.lo};
}

template <class V>
DLK_FN V gelu(V x) {
  const V z = normal_magnitude(x);
  return hinge_minus(x, z, normal_tail(reduce_gauss(z), z));
}

// At -z: Phi(-z) - z phi(z) = e^(-z^2/2) (z0 - z) G(t), where z0 = 0.7517... is the only root.
template <class V>
DLK_FN V gelu_grad(V x) {
  const V z = normal_magnitude(x);
  const decay<V> e = decay_of(reduce_gauss(z));
  const V root = pick<V>(0x1.80ead2p-1f, 0x1.80ead197f00b4p-1), root_lo = pick<V>(-0x1.a03fd4p-27f, -0x1.13e74c58cada8p-56);
  const pair<V> from_root = exact_sum(-z, root);
  const pair<V> d = exact_sum(from_root.hi, root_lo + from_root.lo);
  const V c = V(2.375f), c2 = V(-4.75f);
  const V t = fma(c2, V(1.0f) / (c + z), V(1.0f));
  const V rest = poly(t, {0x1.5569c8p-5f, -0x1.052534p-9f, -0x1.8ad5bp-9f, 0x1.99f9fep-14f, 0x1.a2cd32p-12f, 0x1.e220bp-15f, -0x1.9c0d5ep-15f,
                          -0x1.3e648ep-16f});
  const pair<V> s = exact_fma(t, fma(t, rest, V(-0x1.0cb916p-3f)), V(0x1.f8d3b6p-2f));
  const pair<V> g = product(product(e.mantissa, s), d);
  return reflect_slope(x, scaled<V>{e.scale, g.hi, g.lo});
}

// Odd polynomial below 1, 1 - 2 Phi(-x sqrt(2)) above. Relative error of the polynomial float32 2^-29.3, float64 2^-56.3.
template <class V>
DLK_FN V erf(V x) {
  const V z = min(pick<V>(10.0f, 27.0), abs(x)), square = x * x;
  V series;
  if constexpr (is_f32<V>) {
    series = poly(square, {0x1.06eba8p-3f, -0x1.81274p-2f, 0x1.ce2d52p-4f, -0x1.b7fec4p-6f, 0x1.542fecp-8f, -0x1.a5197ap-11f,
                           0x1.4c5cb2p-14f});
  } else {
    series = poly(square, {0x1.06eba8214db69p-3, -0x1.812746b037a02p-2, 0x1.ce2f21a043b39p-4, -0x1.b82ce312c904p-6, 0x1.565bcd17e7885p-8,
                           -0x1.c02db5bf42659p-11, 0x1.f9a35d60e0679p-14, -0x1.f4d6e38c727afp-17, 0x1.ba29cef95760ap-20,
                           -0x1.62244ff4a7d71p-23, 0x1.1127d10a2041ep-26, -0x1.fba1b68d03e07p-30, 0x1.46c53cb31cb69p-32,
                           -0x1.37038ff08806ap-35});
  }
  const reduced<V> e = reduce(exact_product(-z, z), guard_offset<V>);
  const scaled<V> q = normal_tail(e, z * pick<V>(0x1.6a09e6p+0f, 0x1.6a09e667f3bcdp+0));
  const V tail = fma((q.hi + q.lo) * q.scale, V(-2 * unguard<V>), V(1.0f));
  return select(z < V(1.0f), fma(x, series, x), copysign(tail, x));
}

}  // namespace math
DLK_END
