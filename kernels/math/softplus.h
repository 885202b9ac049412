// softplus(x) = log(1 + e^x) = max(x, 0) + log1p(e^-|x|), relatively accurate on the negative side, where it is nearly
// e^x.
#pragma once
#include "decay.h"

DLK_BEGIN
namespace math {

// log1p(e) for e = e^-z: e + e^2 M(e), relative error float32 2^-30.2, float64 2^-59 (Sollya fpminimax).
template <class V>
DLK_FN scaled<V> log1p_of_decay(const decay<V>& e) {
  V m;
  if constexpr (is_f32<V>) {
    m = fma(e.whole.hi,
            poly(e.whole.hi, {0x1.5553b4p-2f, -0x1.ffc552p-3f, 0x1.97890ep-3f, -0x1.4a6966p-3f, 0x1.fefbf4p-4f,
                              -0x1.54af5ap-4f, 0x1.588ab6p-5f, -0x1.bfbf76p-7f, 0x1.107bacp-9f}),
            V(-0x1.fffff8p-2f));
  } else {
    m = fma(e.whole.hi, poly(e.whole.hi, {0x1.5555555555546p-2,  -0x1.fffffffffe84p-3,   0x1.99999999309cdp-3,
                                          -0x1.55555546658bap-3, 0x1.249247da87c12p-3,   -0x1.ffffda06d23c4p-4,
                                          0x1.c71ae5abb710fp-4,  -0x1.998dacfbcb38p-4,   0x1.7417163aecc6bp-4,
                                          -0x1.5414f6af335ddp-4, 0x1.368826b68017ep-4,   -0x1.1747e94ca6bb7p-4,
                                          0x1.e2c5519af6bb9p-5,  -0x1.8367e6850e5cp-5,   0x1.1520f061b4a39p-5,
                                          -0x1.526e099c38aa6p-6, 0x1.50e5d70d01603p-7,   -0x1.0329ddf2f3857p-8,
                                          0x1.1e850e0002e5ap-10, -0x1.92afc7ea7fbe8p-13, 0x1.0d18336911de4p-16}),
            V(-0x1p-1));
  }
  const pair<V> ratio = exact_fma(e.whole.hi, m, V(1.0f));  // log1p(e) / e
  const pair<V> y = product(e.mantissa, ratio);
  return {e.scale, y.hi, y.lo};
}

// a + q for a >= 0 or -0
template <class V>
DLK_FN V plus(V a, const scaled<V>& q) {
  return fma(q.hi * q.scale, V(unguard<V>), fma(q.lo * q.scale, V(unguard<V>), a));
}

template <class V>
DLK_FN V softplus(V x) {
  return plus(max(V(-0.0f), x), log1p_of_decay(decay_of(-magnitude(x))));
}

// softplus(b x) / b for b > 0
template <class V>
DLK_FN V softplus(V x, V b) {
  const pair<V> t = exact_product(-magnitude_over(x, b), b);
  const scaled<V> q = log1p_of_decay(decay_of(reduce(t, guard_offset<V>)));
  const V r = V(1.0f) / b;
  const pair<V> y = product(pair<V>{q.hi, q.lo}, pair<V>{r, fma(-r, b, V(1.0f)) * r});
  return plus(max(V(-0.0f), x), scaled<V>{q.scale, y.hi, y.lo});
}

}  // namespace math
DLK_END
