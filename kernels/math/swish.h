// swish(x) = x sigmoid(b x) for b > 0, which is known to more digits than a number has. e^-bx multiplies an error of bx by bx, so bx is
// carried in two parts.
#pragma once
#include "logistic.h"

DLK_BEGIN
namespace math {

// z b
template <class V>
DLK_FN pair<V> times(V z, pair<V> b) {
  const pair<V> t = exact_product(z, b.hi);
  return {t.hi, fma(z, b.lo, t.lo)};
}

template <class V>
DLK_FN V swish(V x, pair<V> b) {
  const V z = magnitude_over(x, b.hi);
  return gate(x, z, reduce<-1>(times(z, b), guard_offset<V>));
}

// The derivative of x sigmoid(b x) is that of silu at b x.
template <class V>
DLK_FN V swish_grad(V x, pair<V> b) {
  return silu_grad(x, times(magnitude_over(x, b.hi), b));
}

// b = 1.702, the number nearest to it in float64
template <class V>
DLK_FN pair<V> quick_gelu_scale() {
  return {pick<V>(0x1.b3b646p+0f, 0x1.b3b645a1cac08p+0), pick<V>(-0x1.78d4fep-26f, 0.0)};
}
template <class V>
DLK_FN V quick_gelu(V x) {
  return swish(x, quick_gelu_scale<V>());
}
template <class V>
DLK_FN V quick_gelu_grad(V x) {
  return swish_grad(x, quick_gelu_scale<V>());
}

}  // namespace math
DLK_END
