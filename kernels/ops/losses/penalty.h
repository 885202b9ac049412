// Penalties on weights: losses of one array, whose sum is wanted.
#pragma once
#include "regression.h"

DLK_BEGIN
namespace ops {

// strength |w|
struct l1_penalty : params<1> {
  static constexpr auto name = "l1_penalty";
  static constexpr int ins = 1, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return abs(in[0]) * V(p[0]);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = with_sign_of(in[0], g * V(p[0]));
  }
};

// strength w^2; no factor 1/2
struct l2_penalty : params<1> {
  static constexpr auto name = "l2_penalty";
  static constexpr int ins = 1, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return in[0] * in[0] * V(p[0]);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = g * V(p[0] + p[0]) * in[0];
  }
};

}  // namespace ops

using penalties = list<ops::l1_penalty, ops::l2_penalty>;

DLK_END
