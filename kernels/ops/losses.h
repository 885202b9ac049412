// Elementwise losses, by family: operator()(in) is the loss of one element, in[0] the prediction and in[1] the target as a rule;
// grad(g, in, out) sets out[k] = g times the derivative with respect to the k-th differentiable input. Weights, sums and reductions are
// the loop's.
#pragma once
#include "losses/adversarial.h"
#include "losses/boundary.h"
#include "losses/divergence.h"
#include "losses/entropy.h"
#include "losses/margin.h"
#include "losses/penalty.h"
#include "losses/regression.h"

DLK_BEGIN
namespace ops {

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

// 1 for what is no probability: its sum tells whether an array may be one of probabilities.
struct outside_unit_interval : params<0> {
  static constexpr auto name = "outside_unit_interval";
  static constexpr int ins = 1, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return select((in[0] < V(0)) | (in[0] > V(1)), V(1), V(0));
  }
  template <class V>
  DLK_FN void grad(V g, const V*, V* out) const {
    out[0] = V(0) * g;
  }
};

}  // namespace ops

using losses = join<list<ops::plain_sum, ops::outside_unit_interval>, regression_losses, margin_losses, entropy_losses,
                    divergence_losses, adversarial_losses, boundary_losses, penalties>;

DLK_END
