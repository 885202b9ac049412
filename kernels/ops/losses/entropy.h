// Binary cross-entropies. A logit x is taken apart into |x| and e = exp(-|x|), so that nothing overflows, and the target into what agrees
// with x and what denies it: every term of a loss is then positive, and none cancels.
#pragma once
#include "../../math.h"
#include "../op.h"

DLK_BEGIN
namespace ops {

template <class V>
DLK_FN math::decay<V> decay_of_logit(V x) {
  return math::decay_of(-math::magnitude(x));
}
// sigmoid(-|x|)
template <class V>
DLK_FN V doubt(const math::decay<V>& e) {
  return e.whole.hi / (V(1) + e.whole.hi);
}
// what a target holds of the class that x denies: `yes` of the positive one, `no` of the other
template <class V>
DLK_FN V denied(V x, V yes, V no) {
  return select(x < V(0), yes, no);
}
// u |x|, also 0 for u = 0 and an infinite x
template <class V>
DLK_FN V times_size(V u, V x) {
  return select(u == V(0), V(0), u * abs(x));
}
// v where x is positive, -v where it is negative
template <class V>
DLK_FN V towards(V x, V v) {
  return select(x < V(0), -v, v);
}

// log(1 + e^x) - yes x for yes + no = 1, and its derivative sigmoid(x) - yes
template <class V>
DLK_FN V logit_entropy(V x, V yes, V no) {
  return math::plus(times_size(denied(x, yes, no), x), math::log1p_of_decay(decay_of_logit(x)));
}
template <class V>
DLK_FN V logit_entropy_slope(V x, V yes, V no) {
  return towards(x, denied(x, yes, no) - doubt(decay_of_logit(x)));
}

// -t log x - (1 - t) log(1 - x) of a probability x, with PyTorch's limits: each logarithm is at least -100, the denominator of the
// gradient at least 1e-12.
struct binary_cross_entropy : params<0> {
  static constexpr auto name = "binary_cross_entropy";
  static constexpr int ins = 2, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V one = max(V(-100), math::log(in[0])), other = max(V(-100), math::log1p(-in[0]));
    return fma(-in[1], one, (in[1] - V(1)) * other);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V x = in[0], spread = max(V(1e-12), x * (V(1) - x));
    const auto inside = (x >= V(0)) & (x <= V(1));
    out[0] = select(inside, g * ((x - in[1]) / spread), V(scalar_t<V>(__builtin_nan(""))));
  }
};

// The target of a smoothed label: (1 - s) t + s/2
struct smoothed_labels : params<1> {
  static constexpr int outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V label(const V* in) const {
    return fma(V(1 - p[0]), in[1], V(p[0] / 2));
  }
};

// (1 - t) x + (1 + (q - 1) t) log(1 + e^-x): a positive example counts q = in[2] times. The target is smoothed to (1 - s) t + s/2.
struct binary_cross_entropy_with_logits : params<1> {
  static constexpr auto name = "binary_cross_entropy_with_logits";
  static constexpr int ins = 3, outs = 1, required = 2;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V x = in[0], yes = in[2] * smoothed(in[1]), no = smoothed(V(1) - in[1]);
    return fma(yes + no, math::value(math::log1p_of_decay(decay_of_logit(x))), times_size(denied(x, yes, no), x));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V x = in[0], yes = in[2] * smoothed(in[1]), no = smoothed(V(1) - in[1]);
    out[0] = g * towards(x, fma(-(yes + no), doubt(decay_of_logit(x)), denied(x, yes, no)));
  }

 private:
  template <class V>
  DLK_FN V smoothed(V share) const {
    return fma(V(1 - p[0]), share, V(p[0] / 2));
  }
};

// alpha_t (1 - p_t)^gamma times the entropy of a logit, p_t = t p + (1 - t)(1 - p) with p = sigmoid(x).   Lin et al. 2017,
// arXiv:1708.02002
struct sigmoid_focal_loss : params<2> {
  static constexpr auto name = "sigmoid_focal_loss";
  static constexpr int ins = 2, outs = 1;
  using params<2>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V x = in[0], u = denied(x, in[1], V(1) - in[1]);
    const terms<V> of = parts(x, u);
    return balance(in[1]) * of.power * (times_size(u, x) + of.log1p);
  }
  // d(1 - p_t)/dx = +-(2 u - 1) (1 - p_t) r b with r = e / mix, which is 1 where u is 0 and e has underflown too.
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V x = in[0], u = denied(x, in[1], V(1) - in[1]);
    const terms<V> of = parts(x, u);
    const V entropy = fma(u, of.z, of.log1p), r = select(u == V(0), V(1), of.e / of.mix);
    const V slope = fma(entropy * (V(p[1]) * r * of.b), fma(V(2), u, V(-1)), u - of.e * of.b);
    out[0] = g * (balance(in[1]) * of.power * towards(x, slope));
  }

 private:
  template <class V>
  struct terms {
    V z, e, b, log1p, mix, power;  // |x| as a number, e^-z, 1 / (1 + e), log(1 + e), u + e (1 - u), (1 - p_t)^gamma
  };

  // 1 - p_t = mix / (1 + e). Its logarithm has two parts, because gamma multiplies its error; log e = -z needs no logarithm.
  template <class V>
  DLK_FN terms<V> parts(V x, V u) const {
    const math::decay<V> d = decay_of_logit(x);
    const V z = min(V(max_finite<scalar_t<V>>), abs(x)), e = d.whole.hi, mix = fma(e, V(1) - u, u);
    const math::pair<V> below = math::log1p_pair(d.whole), above = math::log_pair(mix);
    const auto sure = u == V(0);
    const math::pair<V> log = math::exact_sum_any(select(sure, -z, above.hi), -below.hi);
    const V rest = log.lo + (select(sure, V(0), above.lo) - below.lo);
    return {z, e, V(1) / (V(1) + e), below.hi, mix, math::exp_times(math::pair<V>{log.hi, rest}, p[1])};
  }
  // alpha t + (1 - alpha)(1 - t), or 1 for a negative alpha
  template <class V>
  DLK_FN V balance(V t) const {
    const double alpha = p[0];
    return alpha < 0 ? V(1) : fma(V(alpha), t, V(1 - alpha) * (V(1) - t));
  }
};

}  // namespace ops

using entropy_losses = list<ops::binary_cross_entropy, ops::binary_cross_entropy_with_logits, ops::sigmoid_focal_loss>;

DLK_END
