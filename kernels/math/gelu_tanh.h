// gelu in its tanh form (Hendrycks & Gimpel 2016): x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(w), w = x
// (a + b x^2). e^-w multiplies an error of w by w, so w is carried in two parts. |x| is capped where the result has
// reached its limit: nothing overflows.
#pragma once
#include "logistic.h"

DLK_BEGIN
namespace math {

template <class V>
DLK_FN V gelu_tanh_magnitude(V x) {
  return min(pick<V>(10.92f, 21.65), abs(x));
}

// z (a + (b + b_lo) z^2), a = 2 sqrt(2/pi). The first part of a has few bits, so that exact_fma is exact for large z
// too.
template <class V>
DLK_FN pair<V> gelu_tanh_cubic(V z, V b, V b_lo) {
  const V a = pick<V>(0x1.988p+0f, 0x1.988454p+0), a_lo = pick<V>(0x1.14cf5p-14f, -0x1.857935ee5e06ap-25);
  const pair<V> square = exact_product(z, z), c = exact_fma(b, square.hi, a);
  const pair<V> w = exact_product(z, c.hi);
  return {w.hi, fma(z, c.lo + fma(b, square.lo, fma(b_lo, square.hi, a_lo)), w.lo)};
}

// w; b = 0.044715 a
template <class V>
DLK_FN pair<V> gelu_tanh_argument(V z) {
  return gelu_tanh_cubic(z, pick<V>(0x1.2444f2p-4f, 0x1.2444f2a4d8b4bp-4),
                         pick<V>(0x1.49b16ap-29f, -0x1.6c843a29d1c7p-61));
}

// z w', of three times that b
template <class V>
DLK_FN pair<V> gelu_tanh_slope_argument(V z) {
  return gelu_tanh_cubic(z, pick<V>(0x1.b6676cp-3f, 0x1.b6676bf7450fp-3),
                         pick<V>(-0x1.175e2p-32f, 0x1.bba7351828aabp-57));
}

template <class V>
DLK_FN V gelu_tanh(V x) {
  const V z = gelu_tanh_magnitude(x);
  return gate(x, z, reduce<-1>(gelu_tanh_argument(z), guard_offset<V>));
}

// At -z: e (1 + e - z w') / (1 + e)^2, e = e^-w. The bracket is 0 at z0 = 0.7524...; for |z0 - z| < 1/8 it is a
// polynomial in z0 - z, relative error float32 2^-30.6, float64 2^-64.5 (Sollya fpminimax).
template <class V>
DLK_FN V gelu_tanh_grad(V x) {
  const V z = gelu_tanh_magnitude(x);
  const pair<V> w = gelu_tanh_argument(z);
  const decay<V> e = decay_of(reduce(pair<V>{-w.hi, -w.lo}, guard_offset<V>));
  const V root = pick<V>(0x1.8142ap-1f, 0x1.81429f9e97e4dp-1),
          root_lo = pick<V>(-0x1.85a06cp-27f, -0x1.4f523ed77dbdcp-55);
  const V from_root = root - z;
  const pair<V> d = exact_sum(from_root, root_lo);
  const V c0 = pick<V>(0x1.3af6cep+1f, 0x1.3af6cd05624f6p+1), c0_lo = pick<V>(-0x1.f53b62p-24f, 0x1.3d9262739585fp-53);
  V c;
  if constexpr (is_f32<V>) {
    c = poly(d.hi, {-0x1.993ccap-4f, 0x1.9a0efcp-2f, 0x1.371c4cp-4f, 0x1.f3634ep-6f, 0x1.766e7ep-7f, 0x1.f02512p-9f});
  } else {
    c = poly(d.hi, {-0x1.993cd34bf4f0bp-4, 0x1.9a0ef5cdf30ccp-2, 0x1.3720c65c91dc4p-4, 0x1.f37b831f99017p-6,
                    0x1.721f46ce394ap-7, 0x1.e3b4837846f4dp-9, 0x1.2e3c2bae2e9a8p-10, 0x1.75d4cd424eb17p-12,
                    0x1.b0122d6c23c6fp-14, 0x1.d5e4e7270625ap-16, 0x1.5329650e9bfdp-17, 0x1.e42597c44b84ep-19,
                    -0x1.74ae3e10adc05p-15});
  }
  const pair<V> near = product(d, exact_sum(c0, fma(d.hi, c, c0_lo)));
  const pair<V> zw = gelu_tanh_slope_argument(z);
  const pair<V> u = exact_sum(V(1.0f), -zw.hi), far = exact_sum(u.hi, e.whole.hi);
  const auto close = abs(from_root) < V(0.125f);
  const pair<V> n = {select(close, near.hi, far.hi), select(close, near.lo, far.lo + ((u.lo - zw.lo) + e.whole.lo))};
  return reflect_slope(x, logistic_slope(e, product(e.mantissa, n)));
}

}  // namespace math
DLK_END
