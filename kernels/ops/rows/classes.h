// Losses of scores x of C classes against the class id y of the row, with the class's weight w = w_y (1 without weights).
#pragma once
#include "../../math.h"
#include "../row_op.h"

DLK_BEGIN
namespace ops {

// Input: log-probabilities.   value  -w x_y          dx_j  -w [j = y] g
struct nll_loss : row_op {
  static constexpr auto name = "nll_loss";
  static constexpr bool labelled = true, loss = true, corrects_label = true;
  using row_op::row_op;

  template <int, class X, class R, class V>
  DLK_FN void terms(const X&, const R&, V*) const {}
  template <int, class R>
  DLK_FN void finish(R& row) const {
    row.value[0] = -(row.label_weight * row.label_x);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X&, const R&, V* out, V*) const {
    out[0] = V(0);
  }
  template <class S, class R>
  DLK_FN S at_label(S, const R& row) const {
    return -(row.label_weight * row.upstream);
  }
};

// Crammer & Singer 2001.   value  w max(0, v),  v = 1 + max_{j != y} x_j - x_y
//                          dx_j   w ([j = k] - [j = y]) g  where v > 0;  k is the lowest column that attains the maximum
struct categorical_hinge_loss : row_op {
  static constexpr auto name = "categorical_hinge_loss";
  static constexpr int sums = 1;
  static constexpr bool needs_max = true, skips_label = true, marks_max = true, labelled = true, loss = true,
                        corrects_label = true;
  using row_op::row_op;

  template <int, class X, class R, class V>
  DLK_FN void terms(const X& x, const R&, V* t) const {
    t[0] = select(x.in[0] == x.in[0], V(0), x.in[0]);  // a maximum loses NaN, a sum does not
  }
  template <int, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    const S v = (S(1) + (row.max - row.label_x)) + row.sum[0];
    row.value[0] = select(v <= S(0), S(0), row.label_weight * v);
    row.s[0] = select(v > S(0), row.label_weight * row.upstream, S(0));
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X&, const R&, V* out, V*) const {
    out[0] = V(0);
  }
  template <class S, class R>
  DLK_FN S at_max(S, const R& row) const {
    return row.s[0];
  }
  template <class S, class R>
  DLK_FN S at_label(S, const R& row) const {
    return -row.s[0];
  }
};

// Weston & Watkins 1999.   value  w / C sum_{j != y} h_j^p,  h_j = max(0, margin - x_y + x_j),  p = 1 or 2
//                          dx_j   w / C p h_j^(p-1) [h_j > 0] g for j != y, and minus the sum of these at y
template <int P>
struct multi_margin : row_params<1> {  // margin
  static constexpr int sums = 2;
  static constexpr bool labelled = true, one_hot = true, loss = true, corrects_label = true;
  using row_params<1>::row_params;

  template <class V, class X, class R>
  DLK_FN V hinge(const X& x, const R& row) const {
    const V h = V(p[0]) - V(row.label_x) + x.in[0];
    return select((h <= V(0)) | (x.hot > V(0)), V(0), h);
  }
  template <class V>
  DLK_FN V slope(V h) const {
    return P == 2 ? h + h : select(h > V(0), V(1), h);
  }
  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    const V h = hinge<V>(x, row);
    t[0] = P == 2 ? h * h : h;
    t[1] = slope(h);
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    const auto share = row.label_weight / row.cols;
    row.value[0] = share * row.sum[0];
    row.s[0] = share * row.upstream;
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = V(row.s[0]) * slope(hinge<V>(x, row));
  }
  template <class S, class R>
  DLK_FN S at_label(S, const R& row) const {
    return -(row.s[0] * row.sum[1]);
  }
};
struct multi_margin_loss : multi_margin<1> {
  static constexpr auto name = "multi_margin_loss";
  using multi_margin::multi_margin;
};
struct multi_margin_loss_squared : multi_margin<2> {
  static constexpr auto name = "multi_margin_loss.squared";
  using multi_margin::multi_margin;
};

// Focal loss of a softmax (Lin et al. 2017, arXiv:1708.02002).   p_j = softmax(x)_j,  q = 1 - p_y
//   value  -w q^gamma log p_y
//   dx_j   w A (p_j - [j = y]) g,   A = q^gamma (1 - gamma p_y log(p_y) / q): a sum of two positive terms
// q is the sum of the other classes' terms, so that it keeps its digits where p_y is close to 1.
struct softmax_focal_loss : row_params<1> {  // gamma
  static constexpr auto name = "softmax_focal_loss";
  static constexpr int sums = 2;
  static constexpr bool needs_max = true, keeps_term = true, labelled = true, one_hot = true, loss = true,
                        corrects_label = true;
  using row_params<1>::row_params;

  template <int, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    t[0] = math::exp(x.in[0] - V(row.max));
    t[1] = select(x.hot > V(0), V(0), t[0]);
  }
  template <int, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    const S sum = row.sum[0], z = row.label_x - row.max, py = math::exp(z) / sum, q = row.sum[1] / sum;
    const S log_p = select(q < S(0.5), math::log1p(-q), z - math::log(sum));
    const S ratio = select(q > S(0), log_p / q, S(-1));  // log(1 - q) / q
    const S power = math::pow(q, p[0]);
    const S a = power * (S(1) - select(py > S(0), S(p[0]) * py * ratio, S(0)));
    row.value[0] = -(row.label_weight * (power * log_p));
    row.s[0] = row.label_weight * a * row.upstream;
    row.s[1] = row.s[0] / sum;
    row.s[2] = -(row.s[0] * q);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = x.kept * V(row.s[1]);
  }
  template <class S, class R>
  DLK_FN S at_label(S, const R& row) const {
    return row.s[2];
  }
};

}  // namespace ops

using class_ops = list<ops::nll_loss, ops::categorical_hinge_loss, ops::multi_margin_loss,
                       ops::multi_margin_loss_squared, ops::softmax_focal_loss>;

DLK_END
