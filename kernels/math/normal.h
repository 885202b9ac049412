// The functions built on the normal distribution: gelu(x) = x Phi(x), its derivative, and erf.
// Everything goes through Phi(-z) = e^(-z^2/2) R(z) for z = |x|, which is accurate in the far tail where 1 + erf(x) has
// cancelled.
#pragma once
#include "decay.h"

DLK_BEGIN
namespace math {

// -z^2/2; the rounding error of z^2 is carried along.
template <class V>
DLK_FN pair<V> gauss_exponent(V z) {
  return exact_product(V(-0.5f) * z, z);
}

// |x|, no larger than where x e^(-x^2/2) has become 0.
template <class V>
DLK_FN V normal_magnitude(V x) {
  return min(pick<V>(14.6f, 38.8), abs(x));
}

// d = z + c in two parts, r = -1 / d and t = 1 - 2 c / d: what the fraction below is made of.
template <class V>
struct tail_argument {
  pair<V> d;
  V r, t;
};
template <class V>
DLK_FN tail_argument<V> tail_argument_of(V z) {
  const V c = pick<V>(1.5703125f, 3.40625), c2 = V(2.0f) * c;
  const pair<V> d = exact_sum(c, z);
  const V r = V(-1.0f) / d.hi, t = fma(c2, r, V(1.0f));
  if constexpr (is_f32<V>) {
    return {d, r, t};
  } else {  // S is steeper for this larger c: t needs the digits that r lost
    return {d, r, fma(c2, r * fma(r, d.lo, fma(r, d.hi, V(1.0))), t)};
  }
}

// R(z) = S(t) / (z + c), t = 1 - 2 c / (z + c), S a polynomial whose last two steps are Horner's. c has few bits, and
// is chosen so that S(0) rounds well. Relative error float32 2^-26.1 for z <= 14.65 (Sollya fpminimax), float64 2^-58.6
// for z <= 38.85 (least squares on Chebyshev nodes, coefficients rounded one after another).
template <class V>
DLK_FN scaled<V> minus_normal_tail(uint_t<V> k, V p, const tail_argument<V>& at) {
  const V t = at.t;
  V rest;
  if constexpr (is_f32<V>) {
    rest = poly(t, {-0x1.87fe88p-5f, 0x1.822c84p-6f, 0x1.0da9d2p-6f, 0x1.b9cd96p-10f, -0x1.b4fcp-9f, -0x1.3c48cp-9f,
                    -0x1.d14688p-12f, 0x1.ea8c02p-12f, 0x1.6b751ap-12f, 0x1.283d7cp-14f});
  } else {
    rest = poly(t, {0x1.33ae5ce2518f5p-2,   -0x1.a5038ca8167ep-4,   0x1.61d400b17bc44p-7,   0x1.efe1bc119912ep-8,
                    -0x1.49ec927fe5b9p-9,   -0x1.8c897b8435ca5p-11, 0x1.9bc6daea82a4bp-12,  0x1.0d2fc077ebdbcp-13,
                    -0x1.e2e4dcf53aefdp-15, -0x1.f71913f9945ffp-16, 0x1.a06278f6eea69p-18,  0x1.e560c9837360ep-18,
                    0x1.a6bd0db1f7893p-22,  -0x1.898b9c7787422p-20, -0x1.1a413facbd336p-21, 0x1.6a9e71b0bf26ep-23,
                    0x1.918cdf23d9a0dp-23,  0x1.f7a39ddbf0995p-26,  -0x1.40be70237fcf9p-25, -0x1.8d0f6501eb78p-26,
                    0x1.953f3c2962b1p-30,   0x1.bbdb11b5e347p-28,   0x1.8dea147cf7361p-30,  -0x1.bd108e0e85ed5p-31,
                    -0x1.5f70f2e69f384p-32});
  }
  const pair<V> s = exact_fma(t, fma(t, rest, pick<V>(-0x1.bb5a98p-3f, -0x1.1cc8c70e0a6b8p-1)),
                              pick<V>(0x1.40f64p-1f, 0x1.7bdfc4c717fb5p-1));
  const pair<V> n = exact_fma(s.hi, p, s.hi);
  const pair<V> q = minus_quotient(pair<V>{n.hi, n.lo + fma(s.lo, p, s.lo)}, at.d, at.r);
  return {power_of_two<V>(k), q.hi, q.lo};
}

template <class V>  // Phi(-z) from the exponent -z^2/2
DLK_FN scaled<V> minus_normal_tail(pair<V> exponent, V z) {
  if constexpr (is_f32<V>) {
    const short_exp<V> e = reduce_short(exponent, guard_offset<V>);
    return minus_normal_tail(e.k, e.p, tail_argument_of(z));
  } else {
    const reduced<V> e = reduce(exponent, guard_offset<V>);
    return minus_normal_tail(e.k, e.hi + expm1_rest(e), tail_argument_of(z));
  }
}

template <class V>
DLK_FN V gelu(V x) {
  const V z = normal_magnitude(x);
  return hinge_plus(x, z, minus_normal_tail(gauss_exponent(z), z));
}

// At -z: Phi(-z) - z phi(z) = e^(-z^2/2) (z0 - z) G(t), where z0 = 0.7517... is the only root and G a polynomial as S
// above. Relative error float32 2^-28.3, float64 2^-59.4.
template <class V>
DLK_FN V gelu_grad(V x) {
  const V z = normal_magnitude(x);
  const decay<V> e = decay_of(reduce(gauss_exponent(z), guard_offset<V>));
  const V root = pick<V>(0x1.80ead2p-1f, 0x1.80ead197f00b4p-1),
          root_lo = pick<V>(-0x1.a03fd4p-27f, -0x1.13e74c58cada8p-56);
  const pair<V> from_root = exact_sum_any(root, -z);
  const pair<V> d = exact_sum(from_root.hi, root_lo + from_root.lo);
  const V c = pick<V>(2.375f, 3.3671875), c2 = V(2.0f) * c;
  const pair<V> distance = exact_sum(c, z);
  const V r = V(-1.0f) / distance.hi;
  const V t = fma(c2, r * fma(r, distance.lo, fma(r, distance.hi, V(1.0f))), fma(c2, r, V(1.0f)));
  V rest;
  if constexpr (is_f32<V>) {
    rest = poly(t, {0x1.5569c8p-5f, -0x1.052534p-9f, -0x1.8ad5bp-9f, 0x1.99f9fep-14f, 0x1.a2cd32p-12f, 0x1.e220bp-15f,
                    -0x1.9c0d5ep-15f, -0x1.3e648ep-16f});
  } else {
    rest = poly(t, {0x1.d6064da46ab1dp-5,   -0x1.493221eed4433p-6,  0x1.c1f543b5c62dbp-9,   0x1.3bcc9ffdd8043p-11,
                    -0x1.9e8594e6f5586p-12, -0x1.b0cb5563fab5cp-16, 0x1.92644fcf82a54p-15,  0x1.1f88aab628477p-18,
                    -0x1.c18bcb7a295d6p-18, -0x1.7bad59fdb8ba1p-20, 0x1.ea44021d661f2p-21,  0x1.c8bd4d3951abfp-22,
                    -0x1.48155970f729fp-24, -0x1.bcededd696799p-24, -0x1.defef625e4ad6p-27, 0x1.332cd387a0966p-26,
                    0x1.34387ef9be31ap-27,  -0x1.12144086fce32p-30, -0x1.38914dd2b5ce4p-29, -0x1.11b85ef8e600cp-31,
                    0x1.0669ffa55f013p-32,  0x1.11445472b7307p-33,  0x1.d1297ad005c19p-37});
  }
  const pair<V> s = exact_fma(t, fma(t, rest, pick<V>(-0x1.0cb916p-3f, -0x1.d11f244bb65c4p-4)),
                              pick<V>(0x1.f8d3b6p-2f, 0x1.e2df27dde895p-2));
  const pair<V> g = product(product(e.mantissa, s), d);
  return reflect_slope(x, scaled<V>{e.scale, g.hi, g.lo});
}

// Odd polynomial below 1, 1 - 2 Phi(-x sqrt(2)) above. Relative error of the polynomial float32 2^-29.3, float64
// 2^-56.3.
template <class V>
DLK_FN V erf(V x) {
  const V z = min(pick<V>(10.0f, 27.0), abs(x)), square = x * x;
  V series;
  if constexpr (is_f32<V>) {
    series = poly(square, {0x1.06eba8p-3f, -0x1.81274p-2f, 0x1.ce2d52p-4f, -0x1.b7fec4p-6f, 0x1.542fecp-8f,
                           -0x1.a5197ap-11f, 0x1.4c5cb2p-14f});
  } else {
    series = poly(square, {0x1.06eba8214db69p-3, -0x1.812746b037a02p-2, 0x1.ce2f21a043b39p-4, -0x1.b82ce312c904p-6,
                           0x1.565bcd17e7885p-8, -0x1.c02db5bf42659p-11, 0x1.f9a35d60e0679p-14, -0x1.f4d6e38c727afp-17,
                           0x1.ba29cef95760ap-20, -0x1.62244ff4a7d71p-23, 0x1.1127d10a2041ep-26, -0x1.fba1b68d03e07p-30,
                           0x1.46c53cb31cb69p-32, -0x1.37038ff08806ap-35});
  }
  const scaled<V> m = minus_normal_tail(exact_product(-z, z), z * pick<V>(0x1.6a09e6p+0f, 0x1.6a09e667f3bcdp+0));
  const V tail = fma((m.hi + m.lo) * m.scale, V(2 * unguard<V>), V(1.0f));
  return select(z < V(1.0f), fma(x, series, x), copysign(tail, x));
}

}  // namespace math
DLK_END
