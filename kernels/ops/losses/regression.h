// Losses of a difference e = input - target, and of two logarithms. The gradient is with respect to input.
#pragma once
#include "../../math.h"
#include "../op.h"

DLK_BEGIN
namespace ops {

// g sgn(e): 0 at 0
template <class V>
DLK_FN V with_sign_of(V e, V g) {
  return select(e > V(0), g, select(e < V(0), -g, g * e));
}

// e^2; no factor 1/2
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

// (s e)^2, of whose mean the loop takes the root r: what flows in is divided by r. All errors 0: gradient 0, not 0/0. s is a power of two,
// 1 unless squares leave the range of the format (root.h).
struct rmse_loss : params<0> {
  static constexpr auto name = "rmse_loss";
  static constexpr int ins = 2, outs = 1;
  static constexpr bool scaled = true;
  double scale = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V e = (in[0] - in[1]) * V(scale);
    return e * e;
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = select(abs(g) > V(max_finite<scalar_t<V>>), V(0), g * ((in[0] - in[1]) * V(scale)));
  }
};

// |e|
struct l1_loss : params<0> {
  static constexpr auto name = "l1_loss";
  static constexpr int ins = 2, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return abs(in[0] - in[1]);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = with_sign_of(in[0] - in[1], g);
  }
};

// (log1p input - log1p target)^2, both no less than clamp_min. The difference of two close logarithms is one logarithm:
// log1p(|e| / (1 + the smaller one)).
struct msle_loss : params<1> {
  static constexpr auto name = "msle_loss";
  static constexpr int ins = 2, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V d = difference(clamped(in[0]), clamped(in[1]));
    return d * d;
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V x = clamped(in[0]), d = difference(x, clamped(in[1]));
    out[0] = select(in[0] < V(p[0]), V(0), (g + g) * (d / (V(1) + x)));
  }

 private:
  template <class V>
  DLK_FN V clamped(V x) const {
    return max(V(p[0]), x);
  }
  // NaN unless both are above -1. Where |e| / base could overflow it is scaled down: the logarithm does not see the 1 any more.
  template <class V>
  DLK_FN static V difference(V x, V t) {
    const V e = abs(x - t), base = V(1) + select(x < t, x, t);
    const V huge = math::pick<V>(0x1p100f, 0x1p900), down = math::pick<V>(0x1p-64f, 0x1p-512);
    const auto scaled = (e > huge) & (base < V(1));
    const V d = math::log1p(e * select(scaled, down, V(1)) / base) +
                select(scaled, math::pick<V>(0x1.62e43p+5f, 0x1.62e42fefa39efp+8), V(0));
    return select(base > V(0), copysign(d, x - t), V(scalar_t<V>(__builtin_nan(""))));
  }
};

// e^2/2 up to |e| = delta, delta (|e| - delta/2) beyond.   Huber 1964
struct huber_loss : params<1> {
  static constexpr auto name = "huber_loss";
  static constexpr int ins = 2, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V e = abs(in[0] - in[1]), c = min(V(p[0]), e);
    return c * fma(V(-0.5), c, e);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V e = in[0] - in[1];
    out[0] = g * max(V(-p[0]), min(V(p[0]), e));
  }
};

// huber_loss / beta; beta = 0 is l1_loss.   Girshick 2015, arXiv:1504.08083
struct smooth_l1_loss : params<1> {
  static constexpr auto name = "smooth_l1_loss";
  static constexpr int ins = 2, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V e = abs(in[0] - in[1]), beta = V(p[0]);
    return select(e < beta, e / beta, V(1)) * fma(V(-0.5), min(beta, e), e);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V e = in[0] - in[1], beta = V(p[0]);
    out[0] = select(abs(e) < beta, g * (e / beta), with_sign_of(e, g));
  }
};

// delta^2 (sqrt(1 + (e/delta)^2) - 1) = c |e| / (s + r) without cancellation or overflow: c the smaller and m the larger of |e| and
// delta, s = sqrt(1 + (c/m)^2), r = 1 if |e| is the smaller one and c/m if not.   Charbonnier et al. 1997
struct pseudo_huber_loss : params<1> {
  static constexpr auto name = "pseudo_huber_loss";
  static constexpr int ins = 2, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V e = abs(in[0] - in[1]), delta = V(p[0]), ratio = small_over_large(e);
    return min(delta, e) * (e / (root(ratio) + select(e > delta, ratio, V(1))));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V e = in[0] - in[1], size = abs(e);
    out[0] = g * copysign(min(V(p[0]), size) / root(small_over_large(size)), e);
  }

 private:
  template <class V>
  DLK_FN V small_over_large(V e) const {
    return min(V(p[0]), e) / max(V(p[0]), e);
  }
  template <class V>
  DLK_FN static V root(V ratio) {
    return sqrt(fma(ratio, ratio, V(1)));
  }
};

// log cosh e
struct log_cosh_loss : params<0> {
  static constexpr auto name = "log_cosh_loss";
  static constexpr int ins = 2, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return math::log_cosh(in[0] - in[1]);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = g * math::tanh(in[0] - in[1]);
  }
};

// q |e| where target is above input, (1 - q) |e| where it is below.   Koenker & Bassett 1978
struct quantile_loss : params<1> {
  static constexpr auto name = "quantile_loss";
  static constexpr int ins = 2, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V e = in[0] - in[1];
    return e * select(e < V(0), V(-p[0]), V(1 - p[0]));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V e = in[0] - in[1];
    out[0] = g * select(e < V(0), V(-p[0]), select(e > V(0), V(1 - p[0]), e));
  }
};

}  // namespace ops

using regression_losses = list<ops::mse_loss, ops::rmse_loss, ops::l1_loss, ops::msle_loss, ops::huber_loss,
                               ops::smooth_l1_loss, ops::pseudo_huber_loss, ops::log_cosh_loss, ops::quantile_loss>;

DLK_END
