// The terms of adversarial objectives, each of one array: what a discriminator (its logit) or a critic (its score) says of real examples
// (gan_real_loss_...) or of generated ones (gan_fake_loss_..., gan_generator_loss_...). They differ in labels and signs only.
#pragma once
#include "entropy.h"

DLK_BEGIN
namespace ops {

template <class V>
DLK_FN V half_square(V e) {
  return V(0.5) * e * e;
}

// scale log(1 + e^(sign x))
template <int sign, int scale = 1>
struct logistic_term : params<0> {
  static constexpr int ins = 1, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return V(scale) * math::softplus(V(sign) * in[0]);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = V(sign * scale) * g * math::sigmoid(V(sign) * in[0]);
  }
};

// (x - label)^2/2
template <int label>
struct square_term : params<0> {
  static constexpr int ins = 1, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return half_square(in[0] - V(label));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = g * (in[0] - V(label));
  }
};

// max(0, 1 + sign x)
template <int sign>
struct hinge_term : params<0> {
  static constexpr int ins = 1, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    const V m = V(1) + V(sign) * in[0];
    return select(m <= V(0), V(0), m);
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    const V m = V(1) + V(sign) * in[0];
    out[0] = select(m > V(0), V(sign) * g, select(m <= V(0), V(0), m));
  }
};

// sign x
template <int sign>
struct linear_term : params<0> {
  static constexpr int ins = 1, outs = 1;
  using params<0>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return V(sign) * in[0];
  }
  template <class V>
  DLK_FN void grad(V g, const V*, V* out) const {
    out[0] = V(sign) * g;
  }
};

// Goodfellow et al. 2014, arXiv:1406.2661: -log D on real examples, or the entropy against 1 - p[0] (Salimans et al. 2016); -log(1 - D)
// on generated ones. The generator maximises that, or minimises -log D.
struct gan_real_loss_minimax : params<1> {
  static constexpr auto name = "gan_real_loss_minimax";
  static constexpr int ins = 1, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return logit_entropy(in[0], V(1 - p[0]), V(p[0]));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = g * logit_entropy_slope(in[0], V(1 - p[0]), V(p[0]));
  }
};
struct gan_fake_loss_minimax : logistic_term<1> {
  static constexpr auto name = "gan_fake_loss_minimax";
  using logistic_term::logistic_term;
};
struct gan_generator_loss_saturating : logistic_term<1, -1> {
  static constexpr auto name = "gan_generator_loss_saturating";
  using logistic_term::logistic_term;
};
struct gan_generator_loss_non_saturating : logistic_term<-1> {
  static constexpr auto name = "gan_generator_loss_non_saturating";
  using logistic_term::logistic_term;
};

// Mao et al. 2016, arXiv:1611.04076: the label is 1 - p[0] on real examples, 0 on generated ones, and 1 for the generator.
struct gan_real_loss_lsgan : params<1> {
  static constexpr auto name = "gan_real_loss_lsgan";
  static constexpr int ins = 1, outs = 1;
  using params<1>::params;

  template <class V>
  DLK_FN V operator()(const V* in) const {
    return half_square(in[0] - V(1 - p[0]));
  }
  template <class V>
  DLK_FN void grad(V g, const V* in, V* out) const {
    out[0] = g * (in[0] - V(1 - p[0]));
  }
};
struct gan_fake_loss_lsgan : square_term<0> {
  static constexpr auto name = "gan_fake_loss_lsgan";
  using square_term::square_term;
};
struct gan_generator_loss_lsgan : square_term<1> {
  static constexpr auto name = "gan_generator_loss_lsgan";
  using square_term::square_term;
};

// Lim & Ye 2017, arXiv:1705.02894
struct gan_real_loss_hinge : hinge_term<-1> {
  static constexpr auto name = "gan_real_loss_hinge";
  using hinge_term::hinge_term;
};
struct gan_fake_loss_hinge : hinge_term<1> {
  static constexpr auto name = "gan_fake_loss_hinge";
  using hinge_term::hinge_term;
};
struct gan_generator_loss_hinge : linear_term<-1> {
  static constexpr auto name = "gan_generator_loss_hinge";
  using linear_term::linear_term;
};

// Arjovsky, Chintala & Bottou 2017, arXiv:1701.07875
struct gan_real_loss_wgan : linear_term<-1> {
  static constexpr auto name = "gan_real_loss_wgan";
  using linear_term::linear_term;
};
struct gan_fake_loss_wgan : linear_term<1> {
  static constexpr auto name = "gan_fake_loss_wgan";
  using linear_term::linear_term;
};
struct gan_generator_loss_wgan : linear_term<-1> {
  static constexpr auto name = "gan_generator_loss_wgan";
  using linear_term::linear_term;
};

}  // namespace ops

using adversarial_losses =
    list<ops::gan_real_loss_minimax, ops::gan_real_loss_lsgan, ops::gan_real_loss_hinge, ops::gan_real_loss_wgan,
         ops::gan_fake_loss_minimax, ops::gan_fake_loss_lsgan, ops::gan_fake_loss_hinge, ops::gan_fake_loss_wgan,
         ops::gan_generator_loss_saturating, ops::gan_generator_loss_non_saturating, ops::gan_generator_loss_lsgan,
         ops::gan_generator_loss_hinge, ops::gan_generator_loss_wgan>;

DLK_END
