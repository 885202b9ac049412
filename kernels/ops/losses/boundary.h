// Losses that know where a boundary is.
#pragma once
#include "../../math.h"
#include "../op.h"

DLK_BEGIN
namespace ops {

// phi s: the signed distance to a class's boundary, times the probability of that class. Linear in s.   Kervadec et al. 2019
struct boundary_loss : params<0> {
  static constexpr auto name = "boundary_loss";
  static constexpr int ins = 2, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return in[0] * in[1];
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = g * in[1];
  }
};

}  // namespace ops

using boundary_losses = list<ops::boundary_loss>;

DLK_END
