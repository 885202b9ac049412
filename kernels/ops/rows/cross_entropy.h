// Softmax cross-entropy: the value of each row and, in the same pass, the gradient with respect to the logits. Column operand: class weights.
//
// To each row's value below is added z lse^2 with lse = max + log s, and to dx_j the 2 z lse p_j g that follows (z-loss; Chowdhery et al.
// 2022, arXiv:2204.02311). That term has no class weight: where a mean divides by the weights, the row operand is their mean.
#pragma once
#include "softmax.h"

DLK_BEGIN
namespace ops {

// The z-loss of a row and its derivative over p_j.
template <class S>
struct z_term {
  S value, slope;
};
template <class R>
DLK_FN auto z_of(const R& row, decltype(row.max) log_s, double z) {
  using S = decltype(row.max);
  const S lse = row.max + log_s, half = z == 0 ? S(0) : S(z) * row.scalar[0] * lse;
  return z_term<S>{z == 0 ? S(0) : half * lse, half + half};
}

// Against a class id y, weight w:   value  w_y (log s - (x_y - max)),  s = sum exp(x - max)
//                                    dx_j   w_y (p_j - [j = y]) g,      p_j = exp(x_j - max) / s
struct cross_entropy : sums_exponentials<2> {  // label_smoothing (0), z
  static constexpr auto name = "cross_entropy";
  static constexpr int columns = 1, scalars = 1;
  static constexpr bool keeps_term = true, labelled = true, corrects_label = true, loss = true;
  using sums_exponentials<2>::sums_exponentials;

  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    const S log_s = math::log(row.sum[0]);
    const z_term<S> z = z_of(row, log_s, p[1]);
    row.s[1] = row.label_weight * row.upstream;
    row.s[0] = fma(z.slope, row.upstream, row.s[1]) / row.sum[0];
    row.value[0] = fma(row.label_weight, log_s - (row.label_x - row.max), z.value);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = x.kept * V(row.s[0]);
  }
  template <class S, class R>
  DLK_FN S at_label(S out, const R& row) const {
    return out - row.s[1];
  }
};

// The same with label smoothing e over C classes, class weights in both terms as in PyTorch (Szegedy et al. 2015, arXiv:1512.00567):
//   value  (1-e) w_y (log s - (x_y - max)) + e/C sum_c w_c (log s - (x_c - max))
//   dx_j   [(1-e) w_y (p_j - [j = y]) + e/C (p_j sum_c w_c - w_j)] g
struct cross_entropy_smooth : row_params<2> {  // e, z
  static constexpr auto name = "cross_entropy.smooth";
  static constexpr int sums = 3, columns = 1, scalars = 1;
  static constexpr bool needs_max = true, keeps_term = true, labelled = true, corrects_label = true, loss = true;
  using row_params<2>::row_params;

  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    const V w = x.col[0], z = x.in[0] - V(row.max);
    t[0] = math::exp(z);
    t[1] = select(w == V(0), V(0), w * z);  // a class of weight 0 may have a logit of -inf
    t[2] = w;
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    const S keep = S(1 - p[0]) * row.label_weight, spread = S(p[0] / double(row.cols));
    const S log_s = math::log(row.sum[0]);
    const z_term<S> z = z_of(row, log_s, p[1]);
    row.s[0] = (fma(spread, row.sum[2], keep) + z.slope) * row.upstream / row.sum[0];
    row.s[1] = spread * row.upstream;
    row.s[2] = keep * row.upstream;
    row.value[0] =
        fma(keep, log_s - (row.label_x - row.max), fma(spread, fma(log_s, row.sum[2], -row.sum[1]), z.value));
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = fma(x.kept, V(row.s[0]), -(V(row.s[1]) * x.col[0]));
  }
  template <class S, class R>
  DLK_FN S at_label(S out, const R& row) const {
    return out - row.s[2];
  }
};

// Against probabilities q, smoothed to q' = (1-e) q + e/C; inputs x, q. Nothing is ignored; q need not sum to 1:
//   value  sum_c w_c q'_c (log s - (x_c - max))          dx_j  (p_j sum_c w_c q'_c - w_j q'_j) g
struct cross_entropy_soft : row_params<2> {  // e, z
  static constexpr auto name = "cross_entropy.soft";
  static constexpr int ins = 2, sums = 3, columns = 1, scalars = 1;
  static constexpr bool needs_max = true, keeps_term = true, loss = true;
  using row_params<2>::row_params;

  template <class V, class X, class R>
  DLK_FN V mass(const X& x, const R& row) const {
    return x.col[0] * fma(V(1 - p[0]), x.in[1], V(p[0] / double(row.cols)));
  }
  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    const V z = x.in[0] - V(row.max), m = mass<V>(x, row);
    t[0] = math::exp(z);
    t[1] = select(m == V(0), V(0), m * z);  // a masked class (-inf) of probability 0 contributes 0
    t[2] = m;
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    const S log_s = math::log(row.sum[0]);
    const z_term<S> z = z_of(row, log_s, p[1]);
    row.s[0] = (row.sum[2] + z.slope) * row.upstream / row.sum[0];
    row.s[1] = row.upstream;
    row.value[0] = fma(log_s, row.sum[2], -row.sum[1]) + z.value;
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = fma(x.kept, V(row.s[0]), -(V(row.s[1]) * mass<V>(x, row)));
  }
};

}  // namespace ops

using cross_entropy_ops = list<ops::cross_entropy, ops::cross_entropy_smooth, ops::cross_entropy_soft>;

DLK_END
