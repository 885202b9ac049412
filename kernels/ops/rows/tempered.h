// The tempered softmax and the bi-tempered logistic loss (Amid, Warmuth, Anil, Koren 2019, arXiv:1906.03361).
//
//   log_t(u) = (u^(1-t) - 1) / (1-t),   exp_t(u) = max(0, 1 + (1-t) u)^(1/(1-t)),   log and exp for t = 1
//   p_i = exp_t(x_i - max - delta), with delta such that sum p = 1
//
// With s = 1 / (1 - (1-t) delta) that is p_i = exp_t(s z_i) / Z, where z = x - max and Z(s) = sum exp_t(s z_i), and delta is right where
// s = Z^(1-t). So no t is too large, and sum p is 1 whatever s is. s is found by Newton's rule for (sum p)^(1-t) as a function of delta, a norm of
// the numbers 1 + (1-t)(z_i - delta), concave (t > 1) or convex (t < 1), so that the steps from s = 1 never go too far. t = 1 has s = 1.
// With num_iters given, s is found as the authors' code does: t > 1 by so many fixed-point steps, t < 1 by bisection.
#pragma once
#include "../../math.h"
#include "../row_op.h"

DLK_BEGIN
namespace ops {

// exp_t(u) as e^(k log), k = 1 / (1-t); base = 1 + (1-t) u, not below 0
template <class V>
struct tempered_exp {
  math::pair<V> log;
  V base;
};

struct temper {
  double c, k;  // 1-t and its inverse; t = 1: 0 and 1
  int steps;    // num_iters, or -1
  enum {
    stretch,
    divisor,
    left,
    low,
    high,
    own
  };  // numbers of a row: s, what exp_t(s z) is divided by, and of the search

  DLK_FN temper(double t, double num_iters) : c(1 - t), k(t == 1 ? 1 : 1 / (1 - t)), steps(int(num_iters)) {}
  DLK_FN bool fixed_point() const { return steps >= 0 && c < 0; }
  DLK_FN bool bisects() const { return steps >= 0 && c > 0; }

  template <class V, class R>
  DLK_FN tempered_exp<V> at(V x, const R& row) const {
    const V u = V(row.s[stretch]) * (x - V(row.max));
    if (c == 0) return {{u, V(0)}, V(1)};
    math::pair<V> scaled = math::product(math::split<V>(c), math::pair<V>{u, V(0)});
    const auto beyond = scaled.hi <= V(-1);
    scaled = {select(beyond, V(-1), scaled.hi), select(beyond, V(0), scaled.lo)};
    return {math::log1p_pair(scaled), V(1) + scaled.hi};
  }
  // exp_t(u)^power
  template <class V>
  DLK_FN V raised(const tempered_exp<V>& e, double power) const {
    return math::exp_times(e.log, power * k);
  }
  // exp_t(u)^t = exp_t(u) / base, which is p^t but for a factor of the row
  template <class V>
  DLK_FN V escort(V y, const tempered_exp<V>& e) const {
    return select(y == V(0), V(0), y / e.base);
  }

  template <class R>
  DLK_FN void start(R& row) const {
    row.s[stretch] = row.s[divisor] = 1;
    row.s[low] = row.s[high] = 0;
    row.s[left] = steps >= 0 && c != 0 ? decltype(row.max)(steps + 1) : 60;
  }
  // The two sums that a step needs.
  template <class X, class R, class V>
  DLK_FN void step_terms(const X& x, const R& row, V* t) const {
    const tempered_exp<V> e = at(x.in[0], row);
    t[0] = raised(e, 1);
    t[1] = bisects() ? select(e.base > V(0), V(1), V(0)) : escort(t[0], e);
  }
  template <class R>
  DLK_FN void step(R& row) const {
    using S = decltype(row.max);
    const S z = row.sum[0], s = row.s[stretch];
    row.s[left] = row.s[left] - S(1);
    if (bisects()) {
      // delta in [low, high]: at most as if all that have a part at delta = 0 were equal
      if (row.s[left] == S(steps)) {
        row.s[high] = math::expm1(S(-c) * math::log(row.sum[1])) / S(-c);
      } else {
        const S middle = S(0.5) * (row.s[high] + row.s[low]);
        const bool beyond = z < row.s[divisor];
        row.s[high] = beyond ? middle : row.s[high];
        row.s[low] = beyond ? row.s[low] : middle;
      }
      row.s[stretch] = S(1) / fma(S(-c) * S(0.5), row.s[high] + row.s[low], S(1));
      row.s[divisor] = math::pow(row.s[stretch], k);
      return;
    }
    row.s[divisor] = z;
    if (fixed_point()) {
      row.s[stretch] = math::pow(z, c);
      return;
    }
    if (row.s[left] <= S(0)) return;
    const S wrong = s * math::pow(z, -c) - S(1);  // 0 for the right s
    const S rate = S(c < -1 || c > 1 ? 1 : c < 0 ? -c : c), eps = is_f32<S> ? S(0x1p-22) : S(0x1p-51);
    if (c == 0 || !(abs(wrong) > eps)) {
      row.s[left] = 0;
    } else {
      row.s[stretch] = s / fma(z / row.sum[1], wrong, S(1));
      // The next error is about the square of this one: then only its Z is missing.
      if (abs(wrong) < rate * (is_f32<S> ? S(0x1p-13) : S(0x1p-28))) row.s[left] = 1;
    }
  }
  template <class R>
  DLK_FN bool again(const R& row) const {
    return row.s[left] > decltype(row.max)(0);
  }
};

struct tempered_softmax : row_params<2> {  // t, num_iters (-1: Newton)
  static constexpr auto name = "tempered_softmax";
  static constexpr int outs = 1, sums = 2;
  static constexpr bool needs_max = true, iterates = true;
  temper find;
  DLK_FN explicit tempered_softmax(const double* from) : row_params<2>(from), find(from[0], from[1]) {}

  template <class R>
  DLK_FN void start(R& row) const {
    find.start(row);
  }
  template <int, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    find.step_terms(x, row, t);
  }
  template <int, class R>
  DLK_FN void finish(R& row) const {
    find.step(row);
  }
  template <class R>
  DLK_FN bool again(const R& row) const {
    return find.again(row);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = find.raised(find.at(x.in[0], row), 1) / V(row.s[temper::divisor]);
  }
};

// dx = q (dy - sum(dy q) / sum q),  q = y^t;  inputs dy, y
struct tempered_softmax_grad : row_params<2> {  // t, num_iters
  static constexpr auto name = "tempered_softmax", pass = "grad";
  static constexpr int ins = 2, outs = 1, sums = 2;
  using row_params<2>::row_params;

  template <int, class X, class R, class V>
  DLK_FN void terms(const X& x, const R&, V* t) const {
    t[1] = math::pow(x.in[1], p[0]);
    t[0] = x.in[0] * t[1];
  }
  template <int, class R>
  DLK_FN void finish(R& row) const {
    row.s[0] = row.sum[0] / row.sum[1];
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = math::pow(x.in[1], p[0]) * (x.in[0] - V(row.s[0]));
  }
};

// Against labels y (given, or 1 at the label's column and 0 elsewhere), smoothed to y' = (1 - e K / (K-1)) y + e / (K-1):
//   value  sum y'^(2-t1) f(log p - log y'),  f(r) = expm1((2-t1) r) / (2-t1) - expm1((1-t1) r) / (1-t1);   p^(2-t1) / (2-t1) where y' = 0
//   dx_i   (d_i - q_i sum d) g,  d_i = (p_i - y'_i) p_i^(t2-t1),  q = p^t2 / sum p^t2 (the normalization differentiated implicitly)
template <bool Ids>
struct bi_tempered : row_params<4> {  // t1, t2, label_smoothing, num_iters
  static constexpr int ins = Ids ? 1 : 2, outs = 1, phases = 2, sums = 3;
  static constexpr bool needs_max = true, iterates = true, labelled = Ids, one_hot = Ids, loss = true;
  temper find;
  // of a row: the label is keep y + spread; of the divisor: its inverse, that to the powers of p below, its logarithm; the gradient's sum
  enum { keep = temper::own, spread, inverse, loss_power, pull_power, log_divisor, escort_sum };
  static_assert(escort_sum < kRowScratch);
  DLK_FN explicit bi_tempered(const double* from) : row_params<4>(from), find(from[1], from[3]) {}

  template <class X, class R>
  DLK_FN auto label(const X& x, const R& row) const {
    using V = decltype(x.kept);
    if constexpr (Ids) {
      return fma(V(row.s[keep]), x.hot, V(row.s[spread]));
    } else {
      return fma(V(row.s[keep]), x.in[1], V(row.s[spread]));
    }
  }
  // d of a class; outside the support (t2 < 1) a change of x_i changes nothing, also where t2 = t1
  template <class V, class R>
  DLK_FN V pull(V p_i, V y, const tempered_exp<V>& e, const R& row) const {
    const V power = find.raised(e, p[1] - p[0]) * V(row.s[pull_power]);
    return select(e.base <= V(0), V(0), (p_i - y) * power);
  }
  template <class V>
  DLK_FN V divergence(V r) const {
    const double a = 1 - p[0], b = 2 - p[0];
    return math::expm1(V(b) * r) / V(b) - (a == 0 ? r : math::expm1(V(a) * r) / V(a));
  }

  template <class R>
  DLK_FN void start(R& row) const {
    using S = decltype(row.max);
    const double e = p[2], others = double(row.cols) - 1;
    find.start(row);
    row.s[keep] = e == 0 ? S(1) : S(1 - e * double(row.cols) / others);
    row.s[spread] = e == 0 ? S(0) : S(e / others);
  }
  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    if constexpr (phase == 0) {
      find.step_terms(x, row, t);
      t[2] = V(0);
    } else {
      const tempered_exp<V> e = find.at(x.in[0], row);
      const V y = label(x, row), e_i = find.raised(e, 1), p_i = e_i * V(row.s[inverse]);
      const V log_p = fma(V(find.k), e.log.hi, V(row.s[log_divisor]));
      const V present = math::pow(y, 2 - p[0]) * divergence(log_p - math::log(y));
      const V absent = find.raised(e, 2 - p[0]) * V(row.s[loss_power]);
      t[0] = select(y == V(0), absent, present);
      t[1] = pull(p_i, y, e, row);
      t[2] = find.escort(e_i, e);
    }
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    if constexpr (phase == 0) {
      find.step(row);
      const S z = row.s[temper::divisor];
      row.s[inverse] = S(1) / z;
      row.s[loss_power] = math::pow(z, p[0] - 2) / S(2 - p[0]);
      row.s[pull_power] = math::pow(z, p[0] - p[1]);
      row.s[log_divisor] = -math::log(z);
    } else {
      row.value[0] = row.sum[0];
      row.s[escort_sum] = row.upstream * (row.sum[1] / row.sum[2]);
    }
  }
  template <class R>
  DLK_FN bool again(const R& row) const {
    return find.again(row);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    const tempered_exp<V> e = find.at(x.in[0], row);
    const V e_i = find.raised(e, 1), d = pull(e_i * V(row.s[inverse]), label(x, row), e, row);
    out[0] = fma(d, V(row.upstream), -(find.escort(e_i, e) * V(row.s[escort_sum])));
  }
};
struct bi_tempered_logistic_loss : bi_tempered<true> {
  static constexpr auto name = "bi_tempered_logistic_loss";
  using bi_tempered::bi_tempered;
};
struct bi_tempered_logistic_loss_soft : bi_tempered<false> {
  static constexpr auto name = "bi_tempered_logistic_loss.soft";
  using bi_tempered::bi_tempered;
};

}  // namespace ops

using tempered_ops = list<ops::tempered_softmax, ops::tempered_softmax_grad, ops::bi_tempered_logistic_loss,
                          ops::bi_tempered_logistic_loss_soft>;

DLK_END
