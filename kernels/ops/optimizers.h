// Update rules: what happens to one element of a parameter, its gradient and its state in one step.
// Anything that depends on the step count (bias corrections, first-step cases) is a hyper-parameter, computed once per step in double.
#pragma once
#include "op.h"

DLK_BEGIN
namespace ops {

// g += wd p;  p -= lr g.   Robbins & Monro 1951
struct sgd : params<3> {  // sign, lr, weight_decay
  static constexpr auto name = "sgd";
  static constexpr int states = 0;
  using params<3>::params;

  template <class V>
  DLK_FN void operator()(V& w, V g, V*) const {
    g = fma(V(p[2]), w, g * V(p[0]));
    w = fma(-V(p[1]), g, w);
  }
};

// g += wd p;  b = keep b + take g;  p -= lr (direct g + through b)
// The host chooses the weights, as PyTorch does: on the first step keep 0, take 1 (the buffer starts at g, undamped); then keep = momentum,
// take = 1 - dampening. Plain: direct 0, through 1; Nesterov: direct 1, through = momentum.   Polyak 1964; Nesterov 1983
struct sgd_momentum : params<7> {  // sign, lr, weight_decay, keep, take, direct, through
  static constexpr auto name = "sgd_momentum";
  static constexpr int states = 1;
  using params<7>::params;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    g = fma(V(p[2]), w, g * V(p[0]));
    s[0] = fma(V(p[3]), s[0], V(p[4]) * g);
    w = fma(-V(p[1]), fma(V(p[5]), g, V(p[6]) * s[0]), w);
  }
};

// AdamW.  Loshchilov & Hutter 2017, arXiv:1711.05101; decay is scaled by lr, as in PyTorch.
//   m += (1-b1)(g - m);  v += (1-b2)(g^2 - v);  p -= lr wd p;  p -= lr/(1-b1^t) m / (sqrt(v)/sqrt(1-b2^t) + eps)
// g^2 is held at the largest finite number: v = inf would turn into NaN (inf - inf) one step later.
struct adamw : params<7> {  // sign, 1-b1, 1-b2, lr*wd, lr/(1-b1^t), 1/sqrt(1-b2^t), eps
  static constexpr auto name = "adamw";
  static constexpr int states = 2;
  using params<7>::params;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    g = g * V(p[0]);
    s[0] = fma(V(p[1]), g - s[0], s[0]);
    const V g2 = g * g, most = V(max_finite<scalar_t<V>>);
    s[1] = fma(V(p[2]), select(g2 > most, most, g2) - s[1], s[1]);
    w = fma(-V(p[3]), w, w);
    w = fma(-V(p[4]), s[0] / fma(sqrt(s[1]), V(p[5]), V(p[6])), w);
  }
};

}  // namespace ops

using optimizers = list<ops::sgd, ops::sgd_momentum, ops::adamw>;

DLK_END
