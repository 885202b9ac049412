// e^-z for z >= 0 with more digits than a number holds and no underflow, for the functions that go on computing with
// it.
#pragma once
#include "exp.h"

DLK_BEGIN
namespace math {

// scale * (hi + lo) * unguard. The scale is a power of two held far above the subnormals; multiplying by unguard comes
// last, so that a subnormal result is rounded once. Both are negative (the offset reaches the sign bit), which costs
// nothing and gives the zeros of hinge_plus their signs whatever the sign of lo.
template <class V>
struct scaled {
  V scale, hi, lo;
};
template <class V>
inline constexpr int guard_offset = is_f32<V> ? 256 + 127 + 64 : 2048 + 1023 + 128;
template <class V>
inline constexpr scalar_t<V> unguard = is_f32<V> ? scalar_t<V>(-0x1p-64) : scalar_t<V>(-0x1p-128);

template <class V>
DLK_FN V value(const scaled<V>& q) {
  return (q.hi + q.lo) * q.scale * V(unguard<V>);
}

// max(x, 0) + z m for z = |x|, capped where z m has become 0. The sign of a zero is that of x.
template <class V>
DLK_FN V hinge_plus(V x, V z, const scaled<V>& m) {
  const V zs = z * m.scale;
  return fma(fma(zs, m.hi, zs * m.lo), V(unguard<V>), max(V(-0.0f), x));
}

// f'(x) from g = f'(-|x|), for an f that is max(x, 0) plus an even function: f'(x) + f'(-x) = 1.
template <class V>
DLK_FN V reflect_slope(V x, const scaled<V>& g) {
  const V s = g.scale * V(unguard<V>);
  const pair<V> y = exact_sum(V(1.0f), -(g.hi * s));
  return select(x < V(0.0f), value(g), y.hi + fma(-g.lo, s, y.lo));
}

// |x|, no larger than where x e^-x has become 0. NaN stays.
template <class V>
DLK_FN V magnitude(V x) {
  return min(pick<V>(110.0f, 760.0), abs(x));
}

// |x|, no larger than where e^-(b|x|) has become 0 for good: times any x / b that is a number of use. b > 0.
template <class V>
DLK_FN V magnitude_over(V x, V b) {
  return min(pick<V>(131.0f, 790.0) / b, abs(x));
}

// e^-z = scale * unguard * mantissa
template <class V>
struct decay {
  V scale;
  pair<V> mantissa, whole;
};

// From the reduced -z, with offset guard_offset.
template <class V>
DLK_FN decay<V> decay_of(const reduced<V>& e) {
  const V scale = power_of_two<V>(e.k), s = scale * V(unguard<V>);
  const pair<V> p = exact_sum(e.hi, expm1_rest(e)), y = exact_sum(V(1.0f), p.hi);
  const V lo = y.lo + p.lo;
  return {scale, {y.hi, lo}, {s * y.hi, s * lo}};
}
template <class V>  // from -z
DLK_FN decay<V> decay_of(V minus_z) {
  return decay_of(reduce(minus_z, guard_offset<V>));
}

}  // namespace math
DLK_END
