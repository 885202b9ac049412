// Row ops. Each is: an optional maximum of the first input; `sums` canonical sums of terms over the row; scalars of the row made
// from them; then an output per element. Where `keeps_term`, the loop hands the first term on to the output, so that an exponential
// computed for a sum is not paid for twice.
//
//   terms(in, w, row, t)         in[k] the inputs' lanes, w the column weights (1 when there are none), row.max known; sets t[0..sums)
//   finish(row, label)           scalars, once per row: row.sum[k] known; returns the row's value (losses only)
//   operator()(in, w, t, row)    the output's lane; t is the first term
//   at_label(out, row)           corrects the output at the label's column (ops with labels)
#pragma once
#include "../math.h"
#include "op.h"

DLK_BEGIN
namespace ops {

// What a labelled op may read of its row: the logit and the weight of the right class.
template <class S>
struct label_of {
  S x, weight;
};

template <class S, int Sums>
struct row_of {
  S max;
  S sum[Sums];
  S upstream;  // gradient of the row's value, divided by the divisor (losses)
  S a, b, c;   // the op's own scalars
};

struct row_op : params<0> {
  using params<0>::params;
  static constexpr auto pass = "";
  static constexpr bool needs_max = false, keeps_term = false, labelled = false, loss = false;
};

// exp(x - max) / sum exp(x - max).   A row of -inf, or with +inf or NaN, is NaN.
struct softmax : row_op {
  static constexpr auto name = "softmax";
  static constexpr int ins = 1, sums = 1;
  static constexpr bool needs_max = true, keeps_term = true;
  using row_op::row_op;

  template <class V, class R>
  DLK_FN void terms(const V* in, V, const R& row, V* t) const {
    t[0] = math::exp(in[0] - V(row.max));
  }
  template <class R>
  DLK_FN void finish(R&) const {}
  template <class V, class R>
  DLK_FN V operator()(const V*, V, V t, const R& row) const {
    return t / V(row.sum[0]);
  }
};

// dx = y (dy - sum(dy y));  inputs dy, y
struct softmax_grad : row_op {
  static constexpr auto name = "softmax", pass = "grad";
  static constexpr int ins = 2, sums = 1;
  using row_op::row_op;

  template <class V, class R>
  DLK_FN void terms(const V* in, V, const R&, V* t) const {
    t[0] = in[0] * in[1];
  }
  template <class R>
  DLK_FN void finish(R&) const {}
  template <class V, class R>
  DLK_FN V operator()(const V* in, V, V, const R& row) const {
    return in[1] * (in[0] - V(row.sum[0]));
  }
};

// (x - max) - log sum exp(x - max)
struct log_softmax : row_op {
  static constexpr auto name = "log_softmax";
  static constexpr int ins = 1, sums = 1;
  static constexpr bool needs_max = true;
  using row_op::row_op;

  template <class V, class R>
  DLK_FN void terms(const V* in, V, const R& row, V* t) const {
    t[0] = math::exp(in[0] - V(row.max));
  }
  template <class R>
  DLK_FN void finish(R& row) const {
    row.a = math::log(row.sum[0]);
  }
  template <class V, class R>
  DLK_FN V operator()(const V* in, V, V, const R& row) const {
    return (in[0] - V(row.max)) - V(row.a);
  }
};

// dx = dy - exp(y) sum(dy);  inputs dy, y
struct log_softmax_grad : row_op {
  static constexpr auto name = "log_softmax", pass = "grad";
  static constexpr int ins = 2, sums = 1;
  using row_op::row_op;

  template <class V, class R>
  DLK_FN void terms(const V* in, V, const R&, V* t) const {
    t[0] = in[0];
  }
  template <class R>
  DLK_FN void finish(R&) const {}
  template <class V, class R>
  DLK_FN V operator()(const V* in, V, V, const R& row) const {
    return fma(-math::exp(in[1]), V(row.sum[0]), in[0]);
  }
};

// Cross-entropy against a class id y, weight w:   value  w_y (log s - (x_y - max)),  s = sum exp(x - max)
//                                                  dx_j   w_y (p_j - [j = y]) g,      p_j = exp(x_j - max) / s
struct cross_entropy : row_op {
  static constexpr auto name = "cross_entropy";
  static constexpr int ins = 1, sums = 1;
  static constexpr bool needs_max = true, keeps_term = true, labelled = true, loss = true;
  using row_op::row_op;

  template <class V, class R>
  DLK_FN void terms(const V* in, V, const R& row, V* t) const {
    t[0] = math::exp(in[0] - V(row.max));
  }
  template <class R, class S>
  DLK_FN S finish(R& row, label_of<S> y) const {
    row.c = y.weight * row.upstream;
    row.a = row.c / row.sum[0];
    return y.weight * (math::log(row.sum[0]) - (y.x - row.max));
  }
  template <class V, class R>
  DLK_FN V operator()(const V*, V, V t, const R& row) const {
    return t * V(row.a);
  }
  template <class S, class R>
  DLK_FN S at_label(S out, const R& row) const {
    return out - row.c;
  }
};

// The same with label smoothing e over C classes, class weights in both terms as in PyTorch (Szegedy et al. 2015, arXiv:1512.00567):
//   value  (1-e) w_y (log s - (x_y - max)) + e/C sum_c w_c (log s - (x_c - max))
//   dx_j   [(1-e) w_y (p_j - [j = y]) + e/C (p_j sum_c w_c - w_j)] g
struct cross_entropy_smooth : params<2> {  // e, C
  static constexpr auto name = "cross_entropy.smooth";
  static constexpr int ins = 1, sums = 3;
  static constexpr auto pass = "";
  static constexpr bool needs_max = true, keeps_term = true, labelled = true, loss = true;
  using params<2>::params;

  template <class V, class R>
  DLK_FN void terms(const V* in, V w, const R& row, V* t) const {
    const V z = in[0] - V(row.max);
    t[0] = math::exp(z);
    t[1] = select(w == V(0), V(0), w * z);  // a class of weight 0 may have a logit of -inf
    t[2] = w;
  }
  template <class R, class S>
  DLK_FN S finish(R& row, label_of<S> y) const {
    const S keep = S(1 - p[0]) * y.weight, spread = S(p[0] / p[1]);
    const S log_s = math::log(row.sum[0]);
    row.a = fma(spread, row.sum[2], keep) * row.upstream / row.sum[0];
    row.b = spread * row.upstream;
    row.c = keep * row.upstream;
    return fma(keep, log_s - (y.x - row.max), spread * fma(log_s, row.sum[2], -row.sum[1]));
  }
  template <class V, class R>
  DLK_FN V operator()(const V*, V w, V t, const R& row) const {
    return fma(t, V(row.a), -(V(row.b) * w));
  }
  template <class S, class R>
  DLK_FN S at_label(S out, const R& row) const {
    return out - row.c;
  }
};

// Cross-entropy against probabilities q, smoothed to q' = (1-e) q + e/C; inputs x, q. Nothing is ignored; q need not sum to 1:
//   value  sum_c w_c q'_c (log s - (x_c - max))          dx_j  (p_j sum_c w_c q'_c - w_j q'_j) g
struct cross_entropy_soft : params<2> {  // e, C
  static constexpr auto name = "cross_entropy.soft";
  static constexpr int ins = 2, sums = 3;
  static constexpr auto pass = "";
  static constexpr bool needs_max = true, keeps_term = true, labelled = false, loss = true;
  using params<2>::params;

  template <class V>
  DLK_FN V mass(const V* in, V w) const {
    return w * fma(V(1 - p[0]), in[1], V(p[0] / p[1]));
  }
  template <class V, class R>
  DLK_FN void terms(const V* in, V w, const R& row, V* t) const {
    const V z = in[0] - V(row.max), m = mass(in, w);
    t[0] = math::exp(z);
    t[1] = select(m == V(0), V(0), m * z);  // a masked class (-inf) of probability 0 contributes 0
    t[2] = m;
  }
  template <class R, class S>
  DLK_FN S finish(R& row, label_of<S>) const {
    row.a = row.sum[2] * row.upstream / row.sum[0];
    row.b = row.upstream;
    return fma(math::log(row.sum[0]), row.sum[2], -row.sum[1]);
  }
  template <class V, class R>
  DLK_FN V operator()(const V* in, V w, V t, const R& row) const {
    return fma(t, V(row.a), -(V(row.b) * mass(in, w)));
  }
};

}  // namespace ops

using row_ops = list<ops::softmax, ops::softmax_grad, ops::log_softmax, ops::log_softmax_grad, ops::cross_entropy,
                     ops::cross_entropy_smooth, ops::cross_entropy_soft>;

DLK_END
