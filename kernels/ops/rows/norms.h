// Normalization of rows: layer_norm (Ba, Kiros & Hinton 2016, arXiv:1607.06450) and rms_norm (Zhang & Sennrich 2019, arXiv:1910.07467).
// The mean first, then the sum of squared deviations: E[x^2] - m^2 would cancel. Column operands: weight, bias.
#pragma once
#include "../../math.h"
#include "../row_op.h"

DLK_BEGIN
namespace ops {

// Mean and sum of squared deviations of the row, in two phases.
template <int N>
struct has_moments : row_params<N> {
  static constexpr int sums = 1, phases = 2, values = 2;
  using row_params<N>::row_params;

  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    if constexpr (phase == 0) {
      t[0] = x.in[0];
    } else {
      const V d = x.in[0] - V(row.s[0]);
      t[0] = d * d;
    }
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    if constexpr (phase == 0) row.s[0] = row.sum[0] / row.cols;
    row.value[0] = row.s[0];
    row.value[1] = row.sum[0];
  }
};

// (x - mean) r w + b,  r = 1 / sqrt(mean (x - mean)^2 + eps);  values mean, r
struct layer_norm : has_moments<1> {  // eps
  static constexpr auto name = "layer_norm";
  static constexpr int columns = 2;
  using has_moments<1>::has_moments;

  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    has_moments<1>::finish<phase>(row);
    if constexpr (phase == 1) row.value[1] = S(1) / sqrt(row.sum[0] / row.cols + S(this->p[0]));
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = fma((x.in[0] - V(row.s[0])) * V(row.value[1]), x.col[0], x.col[1]);
  }
};

// x r (w + offset),  r = 1 / sqrt(mean x^2 + eps);  value r
struct rms_norm : row_params<2> {  // eps, offset
  static constexpr auto name = "rms_norm";
  static constexpr int sums = 1, values = 1, columns = 1;
  using row_params<2>::row_params;

  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R&, V* t) const {
    t[0] = x.in[0] * x.in[0];
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    row.value[0] = S(1) / sqrt(row.sum[0] / row.cols + S(this->p[0]));
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = (x.in[0] * V(row.value[0])) * (x.col[0] + V(this->p[1]));
  }
};

// The same of h = x + residual, rounded: inputs x and residual, outputs y and h.
template <class Norm>
struct after_residual : Norm {
  static constexpr auto pass = "add";
  static constexpr int ins = 2, outs = 2;
  static constexpr bool joins = true;
  using Norm::Norm;
};

// With d = dy w and xh = (x - mean) r:   dx = r (d - mean(d) - xh mean(d xh)) [+ dh],   dw = sum dy xh,   db = sum dy
// Inputs dy, x [, dh: what flows into x by another way]; operands per row: mean, r.
template <bool Adds>
struct layer_norm_grad : row_op {
  static constexpr auto name = "layer_norm", pass = Adds ? "grad_add" : "grad";
  static constexpr int ins = Adds ? 3 : 2, sums = 2, scalars = 2, columns = 1, column_sums = 2;
  using row_op::row_op;

  template <class V, class X, class R>
  DLK_FN V normalized(const X& x, const R& row) const {
    return (x.in[1] - V(row.scalar[0])) * V(row.scalar[1]);
  }
  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    t[0] = x.in[0] * x.col[0];
    t[1] = t[0] * normalized<V>(x, row);
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    row.s[0] = row.sum[0] / row.cols;
    row.s[1] = row.sum[1] / row.cols;
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V* column) const {
    const V xh = normalized<V>(x, row);
    const V d = fma(-xh, V(row.s[1]), x.in[0] * x.col[0] - V(row.s[0]));
    if constexpr (Adds) {
      out[0] = fma(d, V(row.scalar[1]), x.in[2]);
    } else {
      out[0] = d * V(row.scalar[1]);
    }
    column[0] = x.in[0] * xh;
    column[1] = x.in[0];
  }
};

// With d = dy (w + offset) and xh = x r:   dx = r (d - xh mean(d xh)) [+ dh],   dw = sum dy xh
template <bool Adds>
struct rms_norm_grad : row_params<2> {  // eps (not used), offset
  static constexpr auto name = "rms_norm", pass = Adds ? "grad_add" : "grad";
  static constexpr int ins = Adds ? 3 : 2, sums = 1, scalars = 1, columns = 1, column_sums = 1;
  using row_params<2>::row_params;

  template <class V, class X>
  DLK_FN V weighted(const X& x) const {
    return x.in[0] * (x.col[0] + V(this->p[1]));
  }
  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    t[0] = weighted<V>(x) * (x.in[1] * V(row.scalar[0]));
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    row.s[0] = row.sum[0] / row.cols;
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V* column) const {
    const V xh = x.in[1] * V(row.scalar[0]);
    const V d = fma(-xh, V(row.s[0]), weighted<V>(x));
    if constexpr (Adds) {
      out[0] = fma(d, V(row.scalar[0]), x.in[2]);
    } else {
      out[0] = d * V(row.scalar[0]);
    }
    column[0] = x.in[0] * xh;
  }
};

}  // namespace ops

using norm_ops =
    list<ops::layer_norm, ops::rms_norm, ops::after_residual<ops::layer_norm>, ops::after_residual<ops::rms_norm>,
         ops::layer_norm_grad<false>, ops::layer_norm_grad<true>, ops::rms_norm_grad<false>, ops::rms_norm_grad<true>>;

DLK_END
