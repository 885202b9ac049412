// The functions built on the normal distribution: gelu(x) = x Phi(x), its derivative, erf and erfc.
#pragma once
#include "exp.h"

DLK_BEGIN
namespace math {

template <class V>
DLK_FN reduced<V> reduce_square(V half, V z, int offset) {
  const V square = half * z;
  reduced<V> e = reduce(square, offset);
  e.lo = e.lo - fma(half, z, -square);
  e.r = e.hi - e.lo;
  return e;
}

template <class V>
DLK_FN V gelu(V x) {
  const V z = is_f32<V> ? min(V(14.6f), abs(x)) : min(V(38.8f), abs(x));
  constexpr int guard = is_f32<V> ? 32 : 64;
  const reduced<V> e = reduce_square(V(-0.5f) * z, z, ieee_of<V>::bias + guard);
  const V p = e.hi + expm1_rest(e);
  const pair<V> d = {z + V(1.9921875f), select(z < V(1.9921875f),  (V(1.9921875f) - (z + V(1.9921875f))) + z, (z - (z + V(1.9921875f))) + V(1.9921875f))};
  const V r = V(1.0f) / d.hi;
  const V t = fma(V(-2 * 1.9921875f), r, V(1.0f));
  const V s = fma(t, poly(t, {-0x1.51762p-2f, 0x1.be3092p-6f, 0x1.2d94eap-5f, -0x1.e5fc5p-14f, -0x1.b7259ep-8f, -0x1.0af86ep-9f,
                 0x1.9a4f84p-11f, 0x1.bac506p-11f, 0x1.3568f2p-13f, -0x1.320cf8p-13f, -0x1.166788p-14f}), V(0x1.57ee3ep-1f));
  const V n = fma(s, p, s), n_lo = fma(s, p, s - n);
  const V q = n * r;
  const V lo = r * (fma(-q, d.hi, n) + fma(-q, d.lo, n_lo));
  const V zs = z * power_of_two<V>(e.k);
  return fma(fma(zs, q, zs * lo), V(is_f32<V> ? -0x1p-32f : -0x1p-64f), max(V(-0.0f), x));
}

}  // namespace math
DLK_END
