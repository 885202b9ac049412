// Elementwise losses: operator()(in) is the loss of one element, in[0] the prediction and in[1] the target as a rule; grad(g, in, out)
// sets out[k] = g times the derivative with respect to the k-th differentiable input. Weights, sums and reductions are the loop's.
#pragma once
#include "../math.h"
#include "op.h"

DLK_BEGIN
namespace ops {

// (p - t)^2; no factor 1/2
struct mse_loss : params<0> {
  static constexpr auto name = "mse_loss";
  static constexpr int ins = 2, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V e = in[0] - in[1];
    return e * e;
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = (g + g) * (in[0] - in[1]);
  }
};

// The sum of an array, as a loss: total weights, means.
struct plain_sum : params<0> {
  static constexpr auto name = "plain_sum";
  static constexpr int ins = 1, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return in[0];
  }
  template <class V>
  DLK_FN void grad(V g, const V*, V* out) const {
    out[0] = g;
  }
};

}  // namespace ops

using losses = list<ops::plain_sum, ops::mse_loss>;

DLK_END
