// Gated linear units: value * act(gate). Two arrays in, and in the backward pass both gradients out, in one pass over them.
// Dauphin et al. 2016, arXiv:1612.08083 (glu); Shazeer 2020, arXiv:2002.05202 (the others)
#pragma once
#include "activations.h"

DLK_BEGIN
namespace ops {

struct glu {
  static constexpr auto name = "glu";
  using act = sigmoid;
};
struct reglu {
  static constexpr auto name = "reglu";
  using act = relu;
};
struct geglu {
  static constexpr auto name = "geglu";
  using act = gelu;
};
struct geglu_tanh {
  static constexpr auto name = "geglu_tanh";
  using act = gelu_tanh;
};
struct swiglu {
  static constexpr auto name = "swiglu";
  using act = silu;
};

}  // namespace ops

namespace pass {

// in: gate, value
template <class Gate>
struct gated : params<0>, takes<2> {
  static constexpr auto name = Gate::name, pass = "";
  using params<0>::params;
  template <class V>
  DLK_FN void operator()(const V* in, V* out) const {
    out[0] = in[1] * typename Gate::act(nullptr)(in[0]);
  }
};

// in: dy, gate, value; out: dgate, dvalue
template <class Gate>
struct gated_grad : params<0>, takes<3, 2> {
  static constexpr auto name = Gate::name, pass = "grad";
  using params<0>::params;
  template <class V>
  DLK_FN void operator()(const V* in, V* out) const {
    const typename Gate::act act(nullptr);
    if constexpr (is_f32<V> && has_both<typename Gate::act>(0)) {
      const math::value_and_slope<V> of = act.both(in[1]);
      out[0] = math::times_slope(in[0] * in[2], of.slope);
      out[1] = in[0] * of.value;
    } else {
      out[0] = act.grad(in[0] * in[2], in[1]);
      out[1] = in[0] * act(in[1]);
    }
  }
};

}  // namespace pass

using gates = list<ops::glu, ops::reglu, ops::geglu, ops::geglu_tanh, ops::swiglu>;

DLK_END
