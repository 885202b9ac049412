// Half of (1 + r) log(1 + r) + (1 - r) log(1 - r), the Jensen-Shannon term of 1 + r and 1 - r, for |r| <= 1/2. It is r^2/2 near 0, where
// the logarithms cancel.
#pragma once
#include "poly.h"

DLK_BEGIN
namespace math {

// r^2/2 (1 + r^2 s(r^2)): relative error float32 2^-28.3, float64 2^-61 (least squares on Chebyshev nodes, coefficients rounded one after
// another).
template <class V>
DLK_FN V jensen(V r) {
  const V z = r * r;
  V s;
  if constexpr (is_f32<V>) {
    s = poly(z, {0x1.55559ap-3f, 0x1.10f38ep-4f, 0x1.28a756p-5f, 0x1.2e6e4cp-6f, 0x1.bf32acp-6f});
  } else {
    s = poly(z, {0x1.5555555555563p-3, 0x1.111111110efc1p-4, 0x1.2492492658c86p-5, 0x1.6c16c0a918a2ep-6,
                 0x1.f07c5044d6393p-7, 0x1.68128609c83fep-7, 0x1.11487f45b5e4dp-7, 0x1.a82dd36051991p-8,
                 0x1.74c3334b124ccp-8, 0x1.3650ffdb713bcp-9, 0x1.3d33ad61e7a36p-7, -0x1.17dce790aeb1dp-7,
                 0x1.cf2ac50d090ddp-7});
  }
  const V half = V(0.5f) * z;
  return fma(half, z * s, half);
}

}  // namespace math
DLK_END
