// Divergences between two distributions and likelihoods of observations, elementwise.
#pragma once
#include "../../math.h"
#include "../op.h"

DLK_BEGIN
namespace ops {

// p (log p - input) for a log-probability input and the true probability p; 0 for p = 0, whatever the prediction.   Kullback & Leibler 1951
struct kl_div : params<0> {
  static constexpr auto name = "kl_div";
  static constexpr int ins = 2, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return select((in[1] == V(0)) & (in[0] == in[0]), V(0), in[1] * (math::log(in[1]) - in[0]));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = -in[1] * g;
  }
};

// The same of a target that is a logarithm too.
struct kl_div_log_target : params<0> {
  static constexpr auto name = "kl_div_log_target";
  static constexpr int ins = 2, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V p = math::exp(in[1]);
    return select((p == V(0)) & (in[0] == in[0]), V(0), p * (in[1] - in[0]));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = -math::exp(in[1]) * g;
  }
};

// Half of p log(p/m) + q log(q/m), m = (p + q)/2. Where p and q are close it is m times a function of r = (p - q)/(p + q), because the
// logarithms log(1 + r) and log(1 - r) cancel.   Lin 1991
template <class V>
struct js_parts {
  V mean, ratio, log_first, log_second;  // m, r, log(p/m), log(q/m)
};
// share log: 0 where the share is 0 and the logarithm has no end
template <class V>
DLK_FN V times_log(V share, V log) {
  return share * max(V(-max_finite<scalar_t<V>>), log);
}
template <class V>
DLK_FN V js_value(const js_parts<V>& of, V first, V second) {
  const V far = V(0.5) * (times_log(first, of.log_first) + times_log(second, of.log_second));
  return select(abs(of.ratio) < V(0.5), of.mean * math::jensen(of.ratio), far);
}

struct js_div : params<0> {
  static constexpr auto name = "js_div";
  static constexpr int ins = 2, outs = 2;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return js_value(parts(in), in[0], in[1]);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const js_parts<V> of = parts(in);
    out[0] = V(0.5) * g * of.log_first;
    out[1] = V(0.5) * g * of.log_second;
  }

 private:
  template <class V>  // halves first: p + q may overflow. Where both are 0 they are equal.
  DLK_FN static js_parts<V> parts(const V* in) {
    const V first = V(0.5) * in[0], second = V(0.5) * in[1], mean = first + second;
    const V ratio = select(mean == V(0), V(0), (first - second) / mean);
    const auto close = abs(ratio) < V(0.5);
    return {mean, ratio, select(close, math::log1p(ratio), math::log(in[0] / mean)),
            select(close, math::log1p(-ratio), math::log(in[1] / mean))};
  }
};

// The same of two log-probabilities: then the gradients stay finite. With d = input - target: r = tanh(d/2), p/m = 2 sigmoid(d).
struct js_div_log : params<0> {
  static constexpr auto name = "js_div_log";
  static constexpr int ins = 2, outs = 2;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return js_value(parts(in), math::exp(in[0]), math::exp(in[1]));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const js_parts<V> of = parts(in);
    const V first = math::exp(in[0]), second = math::exp(in[1]);
    out[0] = V(0.5) * g * times_log(first, of.log_first);
    out[1] = V(0.5) * g * times_log(second, of.log_second);
  }

 private:
  template <class V>
  DLK_FN static js_parts<V> parts(const V* in) {
    const V mean = V(0.5) * (math::exp(in[0]) + math::exp(in[1]));
    const V d = select(in[0] == in[1], V(0), in[0] - in[1]), ratio = math::tanh(V(0.5) * d);
    const auto close = abs(ratio) < V(0.5);
    const V ln2 = math::pick<V>(0x1.62e43p-1f, 0x1.62e42fefa39efp-1);
    return {mean, ratio, select(close, math::log1p(ratio), ln2 - math::softplus(-d)),
            select(close, math::log1p(-ratio), ln2 - math::softplus(d))};
  }
};

// from + log t! - t log_rate, where log t! is Stirling's for t > 1, t (log t - 1) + log(2 pi t)/2, and left out for t <= 1 or if not `full`.
// A logarithm of t that is nearly log_rate is taken off before t multiplies it.
template <bool full, class V>
DLK_FN V count_likelihood(V t, V log_rate, V from) {
  if constexpr (!full) return fma(-t, log_rate, from);
  const V log = math::log(t), half_log_2pi = math::pick<V>(0x1.d67f1cp-1f, 0x1.d67f1c864beb5p-1);
  const auto small = t <= V(1);
  return fma(t, select(small, V(0), log - V(1)) - log_rate, from) + select(small, V(0), fma(V(0.5), log, half_log_2pi));
}

// e^x - t x for the logarithm x of a rate
template <bool full>
struct poisson_nll_loss : params<1> {
  static constexpr auto name = full ? "poisson_nll_loss_full" : "poisson_nll_loss";
  static constexpr int ins = 2, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V log_rate = select(in[1] == V(0), V(0), in[0]);  // no event is certain at rate 0
    return count_likelihood<full>(in[1], log_rate, math::exp(in[0]));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = g * (math::exp(in[0]) - in[1]);
  }
};

// x - t log(x + eps) for a rate x
template <bool full>
struct poisson_nll_loss_rate : params<1> {
  static constexpr auto name = full ? "poisson_nll_loss_rate_full" : "poisson_nll_loss_rate";
  static constexpr int ins = 2, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return count_likelihood<full>(in[1], math::log(in[0] + V(p[0])), in[0]);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = g * (V(1) - in[1] / (in[0] + V(p[0])));
  }
};

// (log v + e^2 / v)/2 with v = max(var, eps) and e = input - target; `full` adds log(2 pi)/2. The gradient of var passes the limit, as in
// PyTorch.   Nix & Weigend 1994
template <bool full>
struct gaussian_nll_loss : params<1> {
  static constexpr auto name = full ? "gaussian_nll_loss_full" : "gaussian_nll_loss";
  static constexpr int ins = 3, outs = 2;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V e = in[0] - in[1], v = variance(in);
    const V loss = fma(V(0.5) * e, e / v, V(0.5) * math::log(v));
    return full ? loss + math::pick<V>(0x1.d67f1cp-1f, 0x1.d67f1c864beb5p-1) : loss;
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V v = variance(in), r = (in[0] - in[1]) / v;
    out[0] = g * r;
    out[1] = V(0.5) * g * fma(-r, r, V(1) / v);
  }

 private:
  template <class V>
  DLK_FN V variance(const V* in) const {
    return max(V(p[0]), in[2]);
  }
};

}  // namespace ops

using divergence_losses =
    list<ops::kl_div, ops::kl_div_log_target, ops::js_div, ops::js_div_log, ops::poisson_nll_loss<false>,
         ops::poisson_nll_loss<true>, ops::poisson_nll_loss_rate<false>, ops::poisson_nll_loss_rate<true>,
         ops::gaussian_nll_loss<false>, ops::gaussian_nll_loss<true>>;

DLK_END
