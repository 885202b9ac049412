// Elementwise ops that draw one random word per element.
#pragma once
#include "op.h"

DLK_BEGIN
namespace ops {

// x / (1 - p) with probability 1 - p, else exactly 0. The keep decision compares 24 random bits with p: u = (word >> 8) / 2^24 >= p.
// The gradient is the same function of dy.   Srivastava et al. 2014
struct dropout : params<1> {  // p
  static constexpr auto name = "dropout", pass = "";
  static constexpr int ins = 1, outs = 1;
  static constexpr bool random = true;
  std::uint32_t threshold;

  DLK_FN explicit dropout(const double* from) : params<1>(from), threshold(std::uint32_t(p[0] * 0x1p24)) {
    if (double(threshold) < p[0] * 0x1p24) ++threshold;
  }

  template <class V>
  DLK_FN void operator()(const V* in, V* out, uint_t<V> word) const {
    out[0] = select((word >> 8) < uint_t<V>(threshold), V(0), in[0] * V(1 / (1 - p[0])));
  }
};

}  // namespace ops

using random_ops = list<ops::dropout>;

DLK_END
