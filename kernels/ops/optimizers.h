// Update rules: what happens to one element of a parameter and its state in one step, given its gradient.
//
// Anything that depends on the step count (bias corrections, first-step cases, schedules) is a hyper-parameter, computed once per step in
// double. The loop multiplies the gradient by what all rules share first: unscaling, clipping, and -1 to maximize.
#pragma once
#include "op.h"

DLK_BEGIN
namespace ops {

// What rules share. A `rule` keeps `states` numbers beside each parameter.
template <int Count, int States>
struct rule : params<Count> {
  static constexpr int states = States, sums = 0;
  using params<Count>::params;
  using params<Count>::p;

  // g + wd w; a weight that is infinite harms nothing where there is no decay.
  template <class V>
  static DLK_FN V decayed(V g, V w, double wd) {
    return wd == 0 ? g : fma(V(wd), w, g);
  }
  // w - amount w
  template <class V>
  static DLK_FN V shrunk(V w, double amount) {
    return amount == 0 ? w : fma(-V(amount), w, w);
  }
  // (1-k) average + k v
  template <class V>
  static DLK_FN V moved(V average, V v, double k) {
    return fma(V(k), v - average, average);
  }
  // g^2, held at the largest finite number: an average of inf would turn into NaN (inf - inf) one step later.
  template <class V>
  static DLK_FN V square(V g) {
    const V g2 = g * g, most = V(max_finite<scalar_t<V>>);
    return select(g2 > most, most, g2);
  }
  template <class V>
  static DLK_FN V sign(V v) {
    return select(v > V(0), V(1), select(v < V(0), V(-1), v));
  }
};

// g += wd p;  p -= lr g.   Robbins & Monro 1951
struct sgd : rule<2, 0> {  // lr, weight_decay
  static constexpr auto name = "sgd";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V*) const {
    w = fma(-V(p[0]), decayed(g, w, p[1]), w);
  }
};

// g += wd p;  b = keep b + take g;  p -= lr (direct g + through b)
// The host chooses the weights, as PyTorch does: on the first step keep 0, take 1 (the buffer starts at g, undamped); then keep = momentum,
// take = 1 - dampening. Plain: direct 0, through 1; Nesterov: direct 1, through = momentum. LARS: take is the tensor's own rate, lr is 1.
// Polyak 1964; Nesterov 1983; You, Gitman & Ginsburg 2017
struct sgd_momentum : rule<6, 1> {  // lr, weight_decay, keep, take, direct, through
  static constexpr auto name = "sgd_momentum";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    g = decayed(g, w, p[1]);
    s[0] = fma(V(p[2]), s[0], V(p[3]) * g);
    w = fma(-V(p[0]), fma(V(p[4]), g, V(p[5]) * s[0]), w);
  }
};

// s += g^2;  p -= lr g / (sqrt(s + inside) + eps), and nothing where that is 0.   Duchi, Hazan & Singer 2011
struct adagrad : rule<4, 1> {  // lr, weight_decay, eps, inside
  static constexpr auto name = "adagrad";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    g = decayed(g, w, p[1]);
    s[0] = s[0] + square(g);
    const V below = sqrt(s[0] + V(p[3])) + V(p[2]);
    w = fma(-V(p[0]), select(below == V(0), V(0), g / below), w);
  }
};

// v += (1-rho)(g^2 - v);  d = sqrt(x + eps) / sqrt(v + eps) g;  x += (1-rho)(d^2 - x);  p -= lr d.   Zeiler 2012, arXiv:1212.5701
struct adadelta : rule<4, 2> {  // lr, weight_decay, 1-rho, eps
  static constexpr auto name = "adadelta";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    g = decayed(g, w, p[1]);
    s[0] = moved(s[0], square(g), p[2]);
    const V d = sqrt(s[1] + V(p[3])) / sqrt(s[0] + V(p[3])) * g;
    s[1] = moved(s[1], square(d), p[2]);
    w = fma(-V(p[0]), d, w);
  }
};

// v += (1-a)(g^2 - v);  u = g / (sqrt(v + inside) + eps);  p -= lr u, or through a buffer b = momentum b + u.
// Centered: v - m^2 in the place of v, where m is the average of g; held at 0, below which it may be rounded.
// Tieleman & Hinton 2012; Graves 2013, arXiv:1308.0850
template <bool centered, bool buffered>
struct rmsprop_rule : rule<6, 1 + centered + buffered> {  // lr, weight_decay, 1-alpha, eps, inside, momentum
  using base = rule<6, 1 + centered + buffered>;
  using base::base;
  using base::p;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    g = base::decayed(g, w, p[1]);
    s[0] = base::moved(s[0], base::square(g), p[2]);
    V spread = s[0];
    if constexpr (centered) {
      s[1] = base::moved(s[1], g, p[2]);
      spread = fma(-s[1], s[1], s[0]);
      spread = select(spread < V(0), V(0), spread);
    }
    V u = g / (sqrt(spread + V(p[4])) + V(p[3]));
    if constexpr (buffered) {
      V& b = s[1 + centered];
      b = fma(V(p[5]), b, u);
      u = b;
    }
    w = fma(-V(p[0]), u, w);
  }
};
struct rmsprop : rmsprop_rule<false, false> {
  static constexpr auto name = "rmsprop";
  using rmsprop_rule::rmsprop_rule;
};
struct rmsprop_momentum : rmsprop_rule<false, true> {
  static constexpr auto name = "rmsprop_momentum";
  using rmsprop_rule::rmsprop_rule;
};
struct rmsprop_centered : rmsprop_rule<true, false> {
  static constexpr auto name = "rmsprop_centered";
  using rmsprop_rule::rmsprop_rule;
};
struct rmsprop_centered_momentum : rmsprop_rule<true, true> {
  static constexpr auto name = "rmsprop_centered_momentum";
  using rmsprop_rule::rmsprop_rule;
};

// m += (1-b1)(g - m);  v += (1-b2)(g^2 - v);  p -= shrink p;  p -= (rate m + direct g) / (sqrt(v + inside) scale + eps)
// Adam: rate = lr/(1-b1^t), scale = 1/sqrt(1-b2^t). Kingma & Ba 2014, arXiv:1412.6980. AdamW: shrink = lr wd, Loshchilov & Hutter 2017,
// arXiv:1711.05101. NAdam: direct is not 0, Dozat 2016. RAdam: scale 0 and eps 1 while the variance is intractable, Liu et al. 2019,
// arXiv:1908.03265. AMSGrad: the largest v so far in the place of v, Reddi et al. 2018, arXiv:1904.09237.
template <bool nesterov, bool largest>
struct adam_rule : rule<9, 2 + largest> {  // weight_decay, 1-b1, 1-b2, shrink, rate, scale, eps, inside, direct
  using base = rule<9, 2 + largest>;
  using base::base;
  using base::p;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    g = base::decayed(g, w, p[0]);
    s[0] = base::moved(s[0], g, p[1]);
    s[1] = base::moved(s[1], base::square(g), p[2]);
    w = base::shrunk(w, p[3]);
    V v = s[1];
    if constexpr (largest) {
      s[2] = select(s[1] < s[2], s[2], s[1]);
      v = s[2];
    }
    const V below = fma(sqrt(v + V(p[7])), V(p[5]), V(p[6]));
    if constexpr (nesterov) {
      w = w - fma(V(p[4]), s[0], V(p[8]) * g) / below;
    } else {
      w = fma(-V(p[4]), s[0] / below, w);
    }
  }
};
struct adam : adam_rule<false, false> {
  static constexpr auto name = "adam";
  using adam_rule::adam_rule;
};
struct adam_amsgrad : adam_rule<false, true> {
  static constexpr auto name = "adam_amsgrad";
  using adam_rule::adam_rule;
};
struct nadam : adam_rule<true, false> {
  static constexpr auto name = "nadam";
  using adam_rule::adam_rule;
};

// m as Adam's;  u = max(b2 u, |g| + eps);  p -= rate m / u, rate = lr/(1-b1^t).   Kingma & Ba 2014
struct adamax : rule<5, 2> {  // weight_decay, 1-b1, b2, rate, eps
  static constexpr auto name = "adamax";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    g = decayed(g, w, p[0]);
    s[0] = moved(s[0], g, p[1]);
    const V before = V(p[2]) * s[1], now = abs(g) + V(p[4]);
    s[1] = select(before > now, before, now);
    w = fma(-V(p[3]), select(s[1] == V(0), V(0), s[0] / s[1]), w);
  }
};

// p -= shrink p;  p -= lr sign(m + (1-b1)(g - m));  m += (1-b2)(g - m).   Chen et al. 2023, arXiv:2302.06675
struct lion : rule<4, 1> {  // shrink, lr, 1-b1, 1-b2
  static constexpr auto name = "lion";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    w = fma(-V(p[1]), sign(moved(s[0], g, p[2])), shrunk(w, p[0]));
    s[0] = moved(s[0], g, p[3]);
  }
};

// A step size of its own for each element: times `up` while the gradient keeps its sign, times `down` when that changes, and no step then.
// State: the gradient before, the step size.   Riedmiller & Braun 1993
struct rprop : rule<4, 2> {  // down, up, least, most
  static constexpr auto name = "rprop";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    const V turn = g * s[0];
    const V factor = select(turn > V(0), V(p[1]), select(turn < V(0), V(p[0]), V(1)));
    s[1] = min(max(s[1] * factor, V(p[2])), V(p[3]));
    s[0] = select(turn < V(0), V(0), g);
    w = fma(-sign(s[0]), s[1], w);
  }
};

// g += wd p;  p -= shrink p;  p -= eta g;  average += mu (p - average).   Polyak & Juditsky 1992
struct asgd : rule<4, 1> {  // weight_decay, shrink, eta, mu
  static constexpr auto name = "asgd";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s) const {
    g = decayed(g, w, p[0]);
    w = fma(-V(p[2]), g, shrunk(w, p[1]));
    s[0] = p[3] == 1 ? w : moved(s[0], w, p[3]);
  }
};

// LAMB's direction u = m rate / (sqrt(v) scale + eps) + wd p.   You et al. 2019, arXiv:1904.00962
template <class V>
DLK_FN V lamb_direction(const double* p, V w, const V* s) {
  return fma(V(p[5]), w, V(p[2]) * s[0] / fma(sqrt(s[1]), V(p[3]), V(p[4])));
}
// Its first pass: the moments, and the sums of p^2 and u^2 of each tensor ...
struct lamb_moments : rule<6, 2> {  // 1-b1, 1-b2, rate, scale, eps, weight_decay
  static constexpr auto name = "lamb_moments";
  static constexpr int sums = 2;
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V* s, V* sum) const {
    s[0] = moved(s[0], g, p[0]);
    s[1] = moved(s[1], square(g), p[1]);
    const V u = lamb_direction(p, w, s);
    sum[0] = w * w;
    sum[1] = u * u;
  }
};
// ... and its second: p -= rate_of_the_tensor u
struct lamb : rule<7, 2> {  // 1-b1, 1-b2, rate, scale, eps, weight_decay, rate_of_the_tensor
  static constexpr auto name = "lamb";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V, V* s) const {
    w = fma(-V(p[6]), lamb_direction(p, w, s), w);
  }
};

// average += k (g - average): what the gradient is, here, is the parameter itself. Moving averages of weights.
struct average : rule<1, 0> {  // k
  static constexpr auto name = "average";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V*) const {
    w = moved(w, g, p[0]);
  }
};

// p -= shrink p;  p -= rate g: a direction that was computed elsewhere (Muon, Adafactor).
struct direction : rule<2, 0> {  // shrink, rate
  static constexpr auto name = "direction";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V g, V*) const {
    w = fma(-V(p[1]), g, shrunk(w, p[0]));
  }
};

// p = factor p, and p held in [low, high] (NaN stays): gradients that are clipped by themselves. What would be the gradient is not used.
struct scaled_by : rule<1, 0> {
  static constexpr auto name = "scaled_by";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V, V*) const {
    w = w * V(p[0]);
  }
};
struct clamped_to : rule<2, 0> {
  static constexpr auto name = "clamped_to";
  using rule::rule;

  template <class V>
  DLK_FN void operator()(V& w, V, V*) const {
    w = select(w < V(p[0]), V(p[0]), select(w > V(p[1]), V(p[1]), w));
  }
};

}  // namespace ops

using optimizers = list<ops::sgd, ops::sgd_momentum, ops::adagrad, ops::adadelta, ops::rmsprop, ops::rmsprop_momentum,
                        ops::rmsprop_centered, ops::rmsprop_centered_momentum, ops::adam, ops::adam_amsgrad, ops::nadam,
                        ops::adamax, ops::lion, ops::rprop, ops::asgd, ops::lamb_moments, ops::lamb, ops::average,
                        ops::direction, ops::scaled_by, ops::clamped_to>;

DLK_END
