// What an update depends on besides its arrays: the numbers of each rule at a step, from its options, in double, once per step and group of
// parameters; and what all gradients are multiplied by. A host and a device compute them from this one text, so a step count may live on
// either.
//
// A rule: `options` numbers, the learning rate first; `carried` ones that it hands from step to step (begun by the caller); the `numbers` of
// the update rule (optimizers.h). t: the step, counted from 1. A rule with a rate of its own for each tensor has `trust`: it changes the row
// of the group, which begins with what gradients are multiplied by, for a tensor of which two sums are known.
#pragma once
#include "../list.h"
#include "../math.h"

DLK_BEGIN
namespace step_rules {

// b^t for a whole number t >= 0, by squaring in twice the digits: correctly rounded but for one number in some billions.
DLK_FN double power(double b, double t) {
  double hi = 1, lo = 0, square = b, square_lo = 0;
  for (std::uint64_t left = std::uint64_t(t); left > 0; left >>= 1) {
    const auto times = [&](double& x, double& x_lo) {
      const double p = x * square, rest = fma(x, square, -p) + fma(x, square_lo, x_lo * square);
      x = p + rest;
      x_lo = rest - (x - p);
    };
    if ((left & 1) != 0) times(hi, lo);
    const double b_hi = square, b_lo = square_lo;
    double next = b_hi, next_lo = b_lo;
    times(next, next_lo);
    square = next;
    square_lo = next_lo;
  }
  return hi;
}

template <int Options, int Numbers, int Carried = 0>
struct rule {
  static constexpr int options = Options, numbers = Numbers, carried = Carried;
  static DLK_FN void trust(double, double, double*) {}
};

struct sgd : rule<5, 2> {  // lr, momentum, dampening, weight_decay, nesterov
  static constexpr auto name = "sgd";

  static DLK_FN void at(double, const double* o, double*, double* p) {
    p[0] = o[0];
    p[1] = o[3];
  }
};

struct sgd_momentum : rule<5, 6> {  // as sgd
  static constexpr auto name = "sgd_momentum";

  static DLK_FN void at(double t, const double* o, double*, double* p) {
    p[0] = o[0];
    p[1] = o[3];
    p[2] = t == 1 ? 0 : o[1];
    p[3] = t == 1 ? 1 : 1 - o[2];
    p[4] = o[4] != 0 ? 1 : 0;
    p[5] = o[4] != 0 ? o[1] : 1;
  }
};

// lr is the rate of the buffer; each tensor has a factor of its own.
struct lars : rule<5, 8> {  // lr, momentum, weight_decay, trust_coefficient, eps
  static constexpr auto name = "lars";

  static DLK_FN void at(double t, const double* o, double*, double* p) {
    p[0] = 1;
    p[1] = o[2];
    p[2] = t == 1 ? 0 : o[1];
    p[3] = o[0];
    p[4] = 0;
    p[5] = 1;
    p[6] = o[3];
    p[7] = o[4];
  }
  // Sums of squares of parameter and gradient.
  static DLK_FN void trust(double squares, double of_gradient, double* row) {
    double* const p = row + 1;
    const double size = sqrt(squares), slope = sqrt(of_gradient) * abs(row[0]);
    if (size > 0 && slope > 0) p[3] = p[3] * (p[6] * size / (slope + p[1] * size + p[7]));
  }
};

struct adagrad : rule<5, 4> {  // lr, lr_decay, weight_decay, eps, eps_in_sqrt
  static constexpr auto name = "adagrad";

  static DLK_FN void at(double t, const double* o, double*, double* p) {
    p[0] = o[0] / (1 + (t - 1) * o[1]);
    p[1] = o[2];
    p[2] = o[4] != 0 ? 0 : o[3];
    p[3] = o[4] != 0 ? o[3] : 0;
  }
};

struct adadelta : rule<4, 4> {  // lr, rho, eps, weight_decay
  static constexpr auto name = "adadelta";

  static DLK_FN void at(double, const double* o, double*, double* p) {
    p[0] = o[0];
    p[1] = o[3];
    p[2] = 1 - o[1];
    p[3] = o[2];
  }
};

struct rmsprop : rule<6, 6> {  // lr, alpha, eps, weight_decay, momentum, eps_in_sqrt
  static constexpr auto name = "rmsprop";

  static DLK_FN void at(double, const double* o, double*, double* p) {
    p[0] = o[0];
    p[1] = o[3];
    p[2] = 1 - o[1];
    p[3] = o[5] != 0 ? 0 : o[2];
    p[4] = o[5] != 0 ? o[2] : 0;
    p[5] = o[4];
  }
};

// What the rules of Adam's kind share: decoupled decay or not, and the shares of the averages.
DLK_FN void averages(const double* o, double decay, bool decoupled, double* p) {
  p[0] = decoupled ? 0 : decay;
  p[1] = 1 - o[1];
  p[2] = 1 - o[2];
  p[3] = decoupled ? o[0] * decay : 0;
}

struct adam : rule<8, 9> {  // lr, b1, b2, eps, weight_decay, decoupled, eps_mode is "hat", eps_root
  static constexpr auto name = "adam";

  static DLK_FN void at(double t, const double* o, double*, double* p) {
    const double left = 1 - power(o[2], t);
    averages(o, o[4], o[5] != 0, p);
    p[4] = o[0] / (1 - power(o[1], t));
    p[5] = 1 / sqrt(left);
    p[6] = o[6] != 0 ? o[3] / sqrt(left) : o[3];
    p[7] = o[7] * left;
    p[8] = 0;
  }
};

// Carried: the product of all momenta.
struct nadam : rule<7, 9, 1> {  // lr, b1, b2, eps, weight_decay, momentum_decay, decoupled
  static constexpr auto name = "nadam";

  static DLK_FN double momentum(const double* o, double t) { return o[1] * (1 - 0.5 * math::pow(0.96, t * o[5])); }
  static DLK_FN void at(double t, const double* o, double* carried, double* p) {
    const double now = momentum(o, t), then = momentum(o, t + 1), product = carried[0] * now;
    averages(o, o[4], o[6] != 0, p);
    p[4] = o[0] * then / (1 - product * then);
    p[5] = 1 / sqrt(1 - power(o[2], t));
    p[6] = o[3];
    p[7] = 0;
    p[8] = o[0] * (1 - now) / (1 - product);
    carried[0] = product;
  }
};

struct radam : rule<6, 9> {  // lr, b1, b2, eps, weight_decay, decoupled
  static constexpr auto name = "radam";

  static DLK_FN void at(double t, const double* o, double*, double* p) {
    const double gone = power(o[2], t), left = 1 - gone, most = 2 / (1 - o[2]) - 1, rho = most - 2 * t * gone / left;
    const bool tractable = rho > 5;
    const double rectified = sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho));
    averages(o, o[4], o[5] != 0, p);
    p[4] = o[0] / (1 - power(o[1], t));
    if (tractable) p[4] = p[4] * rectified * sqrt(left);
    p[5] = tractable ? 1 : 0;
    p[6] = tractable ? o[3] : 1;
    p[7] = p[8] = 0;
  }
};

struct adamax : rule<5, 5> {  // lr, b1, b2, eps, weight_decay
  static constexpr auto name = "adamax";

  static DLK_FN void at(double t, const double* o, double*, double* p) {
    p[0] = o[4];
    p[1] = 1 - o[1];
    p[2] = o[2];
    p[3] = o[0] / (1 - power(o[1], t));
    p[4] = o[3];
  }
};

struct lion : rule<4, 4> {  // lr, b1, b2, weight_decay
  static constexpr auto name = "lion";

  static DLK_FN void at(double, const double* o, double*, double* p) {
    p[0] = o[0] * o[3];
    p[1] = o[0];
    p[2] = 1 - o[1];
    p[3] = 1 - o[2];
  }
};

struct rprop : rule<5, 4> {  // lr, down, up, least, most
  static constexpr auto name = "rprop";

  static DLK_FN void at(double, const double* o, double*, double* p) {
    for (int k = 0; k < 4; ++k) p[k] = o[1 + k];
  }
};

// Carried: eta and mu of this step.
struct asgd : rule<5, 4, 2> {  // lr, lambd, alpha, t0, weight_decay
  static constexpr auto name = "asgd";

  static DLK_FN void at(double t, const double* o, double* carried, double* p) {
    p[0] = o[4];
    p[1] = o[1] * carried[0];
    p[2] = carried[0];
    p[3] = carried[1];
    carried[0] = o[0] / math::pow(1 + o[1] * o[0] * t, o[2]);
    carried[1] = 1 / max(1.0, t - o[3]);
  }
};

struct lamb_moments : rule<6, 8> {  // lr, b1, b2, eps, weight_decay, adapts
  static constexpr auto name = "lamb_moments";

  static DLK_FN void at(double t, const double* o, double*, double* p) {
    p[0] = 1 - o[1];
    p[1] = 1 - o[2];
    p[2] = 1 / (1 - power(o[1], t));
    p[3] = 1 / sqrt(1 - power(o[2], t));
    p[4] = o[3];
    p[5] = o[4];
    p[6] = o[0];
    p[7] = o[5];
  }
  // Sums of squares of parameter and direction.
  static DLK_FN void trust(double squares, double of_direction, double* row) {
    double* const p = row + 1;
    const double size = sqrt(squares), step = sqrt(of_direction);
    p[6] = p[6] * (p[7] != 0 && size > 0 && step > 0 ? size / step : 1.0);
  }
};

// Of rules whose direction is computed elsewhere: the decay of the parameter first, and what the direction's rate is made of.
struct adafactor : rule<3, 3> {  // lr, beta2_decay, weight_decay
  static constexpr auto name = "adafactor";

  static DLK_FN void at(double t, const double* o, double*, double* p) {
    p[0] = o[0] * o[2];
    p[1] = min(o[0], 1 / sqrt(t));
    p[2] = math::pow(t, o[1]);
  }
};
struct muon : rule<2, 2> {  // lr, weight_decay
  static constexpr auto name = "muon";

  static DLK_FN void at(double, const double* o, double*, double* p) {
    p[0] = o[0] * o[1];
    p[1] = o[0];
  }
};

// What gradients are multiplied by, from the sum of their squares: 1/scale, and min(1, max_norm / (norm + 1e-6)), where the norm is that of
// the gradients divided by scale. Their norm is finite if and only if they are.
DLK_FN void judge(double squares, double scale, double max_norm, double& norm, double& factor, double& found_inf) {
  factor = 1 / scale;
  norm = sqrt(squares) * factor;
  found_inf = norm <= max_finite<double> ? 0 : 1;
  factor = factor * min(max_norm / (norm + 1e-6), 1.0);
}

}  // namespace step_rules

using all_step_rules = list<step_rules::sgd, step_rules::sgd_momentum, step_rules::lars, step_rules::adagrad,
                            step_rules::adadelta, step_rules::rmsprop, step_rules::adam, step_rules::nadam,
                            step_rules::radam, step_rules::adamax, step_rules::lion, step_rules::rprop,
                            step_rules::asgd, step_rules::lamb_moments, step_rules::adafactor, step_rules::muon>;

DLK_END
