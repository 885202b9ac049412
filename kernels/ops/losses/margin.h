// Losses of a raw score and a label that is -1 or +1.
#pragma once
#include "../../math.h"
#include "../op.h"

DLK_BEGIN
namespace ops {

// max(0, 1 - t s), from -t
template <class V>
DLK_FN V violation(V score, V minus_label) {
  const V m = fma(minus_label, score, V(1));
  return select(m <= V(0), V(0), m);
}

// -t of the label as written, or 1 - 2 t of one that is written 0 or 1. (Not the negative of an fma: compilers make one instruction of
// it, which gives a zero another sign.)
template <bool zero_one, class V>
DLK_FN V minus_label(V t) {
  return zero_one ? fma(V(-2), t, V(1)) : -t;
}

template <bool zero_one>
struct hinge_loss : params<0> {
  static constexpr auto name = zero_one ? "hinge_loss_01" : "hinge_loss";
  static constexpr int ins = 2, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return violation(in[0], minus_label<zero_one>(in[1]));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V minus_t = minus_label<zero_one>(in[1]), m = violation(in[0], minus_t);
    out[0] = select(m > V(0), minus_t * g, m);
  }
};

template <bool zero_one>
struct squared_hinge_loss : params<0> {
  static constexpr auto name = zero_one ? "squared_hinge_loss_01" : "squared_hinge_loss";
  static constexpr int ins = 2, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V m = violation(in[0], minus_label<zero_one>(in[1]));
    return m * m;
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V minus_t = minus_label<zero_one>(in[1]);
    out[0] = V(2) * g * minus_t * violation(in[0], minus_t);
  }
};

// log(1 + exp(-t s))
struct soft_margin_loss : params<0> {
  static constexpr auto name = "soft_margin_loss";
  static constexpr int ins = 2, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return math::softplus(-in[1] * in[0]);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = -in[1] * g * math::sigmoid(-in[1] * in[0]);
  }
};

// A distance x for label 1, max(0, margin - x) for label -1; any other label is NaN.
struct hinge_embedding_loss : params<1> {
  static constexpr auto name = "hinge_embedding_loss";
  static constexpr int ins = 2, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V m = V(p[0]) - in[0];
    return of_label(in[1], in[0], select(m <= V(0), V(0), m));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = of_label(in[1], g, select(V(p[0]) - in[0] <= V(0), V(0), -g));
  }

 private:
  template <class V>
  DLK_FN static V of_label(V label, V near, V far) {
    return select(label == V(1), near, select(label == V(-1), far, V(scalar_t<V>(__builtin_nan("")))));
  }
};

}  // namespace ops

using margin_losses = list<ops::hinge_loss<false>, ops::hinge_loss<true>, ops::squared_hinge_loss<false>,
                           ops::squared_hinge_loss<true>, ops::soft_margin_loss, ops::hinge_embedding_loss>;

DLK_END
