// Elementwise losses of a prediction p and a target t: the value and its derivative with respect to p.
#pragma once
#include "../math.h"
#include "op.h"

DLK_BEGIN
namespace ops {

// (p - t)^2; no factor 1/2
struct mse_loss : params<0> {
  static constexpr auto name = "mse_loss";
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(V p, V t) const {
    const V e = p - t;
    return e * e;
  }
  template <class V>
  DLK_FN V grad(V dy, V p, V t) const {
    return (dy + dy) * (p - t);
  }
};

}  // namespace ops

using losses = list<ops::mse_loss>;

DLK_END
