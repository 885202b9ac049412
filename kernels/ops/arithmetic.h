// Elementwise arithmetic that fused calls need between their other passes.
#pragma once
#include "op.h"

DLK_BEGIN
namespace ops {

// The same bits. For arrays of whatever type has the size of a float.
struct copy : params<0>, pass::takes<1> {
  static constexpr auto name = "copy", pass = "";
  using params<0>::params;
  template <class V>
  DLK_FN void operator()(const V* in, V* out) const {
    out[0] = in[0];
  }
};

// (1 - t) a + t c b: an exponential moving average of c b
struct blend : params<2>, pass::takes<2> {  // t, c
  static constexpr auto name = "blend", pass = "";
  using params<2>::params;
  template <class V>
  DLK_FN void operator()(const V* in, V* out) const {
    out[0] = fma(V(p[0] * p[1]), in[1], V(1 - p[0]) * in[0]);
  }
};

}  // namespace ops

using arithmetic = list<ops::copy, ops::blend>;

DLK_END
