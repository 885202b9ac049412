// Bias, activation, dropout and residual connection in one pass, and back: what stands between two linear layers. Column operand 1: the
// bias. The mask is a function of (seed, offset, element), so nothing is stored for the backward pass.
#pragma once
#include "../activations.h"
#include "../piecewise.h"
#include "../row_op.h"

DLK_BEGIN
namespace ops {

struct identity : params<0> {
  static constexpr auto bias_act = "bias_act.none";
  using params<0>::params;
  template <class V>
  DLK_FN V operator()(V x) const {
    return x;
  }
  template <class V>
  DLK_FN V grad(V dy, V) const {
    return dy;
  }
};

// The activations that a fused call knows, under the names of its kernels.
struct bias_relu : relu {
  static constexpr auto bias_act = "bias_act.relu";
  using relu::relu;
};
struct bias_gelu : gelu {
  static constexpr auto bias_act = "bias_act.gelu";
  using gelu::gelu;
};
struct bias_gelu_tanh : gelu_tanh {
  static constexpr auto bias_act = "bias_act.gelu_tanh";
  using gelu_tanh::gelu_tanh;
};
struct bias_silu : silu {
  static constexpr auto bias_act = "bias_act.silu";
  using silu::silu;
};

struct bias_act_base : row_params<1> {  // p of the dropout
  static constexpr int columns = 2;
  static constexpr bool random = true;
  std::uint32_t threshold;
  DLK_FN explicit bias_act_base(const double* from) : row_params<1>(from), threshold(std::uint32_t(p[0] * 0x1p24)) {
    if (double(threshold) < p[0] * 0x1p24) ++threshold;
  }
  DLK_FN bool draws() const { return threshold != 0; }

  template <class V, class X>
  DLK_FN V dropped(const X& x, V v) const {
    return draws() ? select((x.word >> 8) < uint_t<V>(threshold), V(0), v * V(1 / (1 - p[0]))) : v;
  }
  template <int phase, class R>
  DLK_FN void finish(R&) const {}
};

// y = dropout(act(x + b)) [+ residual]
template <class Act, bool Adds>
struct bias_act : bias_act_base {
  static constexpr auto name = Act::bias_act, pass = Adds ? "add" : "";
  static constexpr int ins = Adds ? 2 : 1;
  using bias_act_base::bias_act_base;

  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R&, V* out, V*) const {
    const V y = dropped(x, Act(nullptr)(x.in[0] + x.col[1]));
    if constexpr (Adds) {
      out[0] = y + x.in[1];
    } else {
      out[0] = y;
    }
  }
};

// dx = dropout(dy) act'(x + b), db = sum dx;  inputs dy, x
template <class Act>
struct bias_act_grad : bias_act_base {
  static constexpr auto name = Act::bias_act, pass = "grad";
  static constexpr int ins = 2, column_sums = 1;
  using bias_act_base::bias_act_base;

  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R&, V* out, V* column) const {
    out[0] = Act(nullptr).grad(dropped(x, x.in[0]), x.in[1] + x.col[1]);
    column[0] = out[0];
  }
};

template <class Act>
using bias_act_value = bias_act<Act, false>;
template <class Act>
using bias_act_add = bias_act<Act, true>;

}  // namespace ops

using bias_acts = list<ops::identity, ops::bias_relu, ops::bias_gelu, ops::bias_gelu_tanh, ops::bias_silu>;
using bias_act_ops =
    join<each<ops::bias_act_value, bias_acts>, each<ops::bias_act_add, bias_acts>, each<ops::bias_act_grad, bias_acts>>;

DLK_END
