// log cosh x. Near 0 it is x^2/2: a polynomial below 1, |x| - ln2 + log1p(e^(-2|x|)) above, where that does not cancel.
#pragma once
#include "softplus.h"

DLK_BEGIN
namespace math {

// x^2 (1/2 + x^2 q(x^2)) for |x| < 1: relative error float32 2^-30.4, float64 2^-59.9 (least squares on Chebyshev nodes,
// coefficients rounded one after another).
template <class V>
DLK_FN V log_cosh(V x) {
  const V z = abs(x);
  const pair<V> square = exact_product(x, x);
  V q;
  if constexpr (is_f32<V>) {
    q = poly(square.hi, {-0x1.55554ep-4f, 0x1.6c13eap-6f, -0x1.b9b91ep-8f, 0x1.1b6566p-9f, -0x1.64c63cp-11f,
                         0x1.73009p-13f, -0x1.b0ea6cp-16f});
  } else {
    q = poly(square.hi, {-0x1.555555555554bp-4, 0x1.6c16c16c15ba6p-6, -0x1.ba1ba1b9870ebp-8, 0x1.1ea5d38661411p-9,
                         -0x1.833d98ca8cfdfp-11, 0x1.0d0b1d34eb6f6p-12, -0x1.7d9f326017588p-14, 0x1.12dadb50a5255p-15,
                         -0x1.8ff2d04d9c3afp-17, 0x1.22be487019e21p-18, -0x1.9a7f7a5d8d064p-20, 0x1.08c951058443fp-21,
                         -0x1.19684790b0efap-23, 0x1.a2af83493ae75p-26, -0x1.3ab0eb12a6ca1p-29});
  }
  const V near = fma(V(0.5f), square.hi, fma(square.hi * square.hi, q, V(0.5f) * square.lo));
  const V ln2 = pick<V>(0x1.62e43p-1f, 0x1.62e42fefa39efp-1), ln2_lo = pick<V>(-0x1.05c61p-29f, 0x1.abc9e3b39803fp-56);
  const pair<V> shifted = exact_sum(z, -ln2);
  const V far = shifted.hi + plus(shifted.lo - ln2_lo, log1p_of_decay(decay_of(-magnitude(z + z))));
  return select(z < V(1.0f), near, select(z < pick<V>(0x1p26f, 0x1p55), far, z));
}

}  // namespace math
DLK_END
