// Normalization of channels: batch, group and instance norm. A row is the part of a channel that lies together; what belongs to the
// channel or to its group (mean, 1/sqrt(var + eps), weight, bias) is an operand per row. The moments of rows are combined in rows of
// their own, of numbers in the compute type.
#pragma once
#include "norms.h"

DLK_BEGIN
namespace ops {

// values: mean, sum of squared deviations
struct moments : has_moments<0> {
  static constexpr auto name = "moments";
  static constexpr int outs = 0;
  using has_moments<0>::has_moments;
};

// The moments of a whole from those of parts of `count` elements each (Chan, Golub & LeVeque 1979): inputs mean, sum of squared
// deviations; values mean, 1 / sqrt(var + eps), var (biased).
struct combine_moments : row_params<2> {  // count, eps
  static constexpr auto name = "combine_moments";
  static constexpr int ins = 2, outs = 0, values = 3, sums = 1, phases = 2;
  using row_params<2>::row_params;

  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    if constexpr (phase == 0) {
      t[0] = x.in[0];
    } else {
      const V d = x.in[0] - V(row.value[0]);
      t[0] = fma(d * d, V(this->p[0]), x.in[1]);
    }
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    if constexpr (phase == 0) {
      row.value[0] = row.sum[0] / row.cols;
    } else {
      row.value[2] = row.sum[0] / (row.cols * S(this->p[0]));
      row.value[1] = S(1) / sqrt(row.value[2] + S(this->p[1]));
    }
  }
};

// y = (x - mean) r w + b, not below `lowest`: 0 is a ReLU, -inf is nothing. Operands per row: mean, r, w, b.
struct normalize : row_params<1> {  // lowest
  static constexpr auto name = "normalize";
  static constexpr int scalars = 4;
  using row_params<1>::row_params;

  template <int phase, class R>
  DLK_FN void finish(R&) const {}
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    const V y = fma((x.in[0] - V(row.scalar[0])) * V(row.scalar[1]), V(row.scalar[2]), V(row.scalar[3]));
    out[0] = select(y < V(this->p[0]), V(this->p[0]), y);
  }
};

// What the gradients share: inputs dy, x; operands per row: mean, r, w, b. A ReLU passes no gradient where y <= 0.
struct normalize_grad_base : row_params<1> {  // lowest
  static constexpr int ins = 2, scalars = 4;
  using row_params<1>::row_params;

  template <class V, class X, class R>
  DLK_FN V normalized(const X& x, const R& row) const {
    return (x.in[1] - V(row.scalar[0])) * V(row.scalar[1]);
  }
  template <class V, class X, class R>
  DLK_FN V passed(const X& x, V xh, const R& row) const {
    return select(fma(xh, V(row.scalar[2]), V(row.scalar[3])) <= V(this->p[0]), V(0), x.in[0]);
  }
};

// values: sum dy, sum dy xh
struct normalize_sums : normalize_grad_base {
  static constexpr auto name = "normalize", pass = "sums";
  static constexpr int outs = 0, sums = 2, values = 2;
  using normalize_grad_base::normalize_grad_base;

  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    const V xh = normalized<V>(x, row);
    t[0] = passed(x, xh, row);
    t[1] = t[0] * xh;
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    row.value[0] = row.sum[0];
    row.value[1] = row.sum[1];
  }
};

// dx = r (dy w - m1 - xh m2);  further operands per row: m1, m2, the means of dy w and of dy w xh (0 if the moments are constants)
struct normalize_grad : normalize_grad_base {
  static constexpr auto name = "normalize", pass = "grad";
  static constexpr int scalars = 6;
  using normalize_grad_base::normalize_grad_base;

  template <int phase, class R>
  DLK_FN void finish(R&) const {}
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    const V xh = normalized<V>(x, row);
    const V d = fma(passed(x, xh, row), V(row.scalar[2]), -V(row.scalar[4]));
    out[0] = fma(-xh, V(row.scalar[5]), d) * V(row.scalar[1]);
  }
};

// values: sum a / count, sum b / count of inputs a, b; the second op's third input is a weight of both.
template <bool Weighted>
struct pair_sums : row_params<1> {  // count
  static constexpr auto name = Weighted ? "pair_sums.weighted" : "pair_sums";
  static constexpr int ins = Weighted ? 3 : 2, outs = 0, values = 2, sums = 2;
  using row_params<1>::row_params;

  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R&, V* t) const {
    for (int k = 0; k < 2; ++k) {
      if constexpr (Weighted) {
        t[k] = x.in[k] * x.in[2];
      } else {
        t[k] = x.in[k];
      }
    }
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    row.value[0] = row.sum[0] / S(this->p[0]);
    row.value[1] = row.sum[1] / S(this->p[0]);
  }
};

// One number per row, of rows of one element: the element in the compute type, and 1 / sqrt(element + eps).
template <bool Root>
struct widen : row_params<Root ? 1 : 0> {  // eps
  static constexpr auto name = Root ? "widen.rsqrt" : "widen";
  static constexpr int outs = 0, values = 1, sums = 1;
  using row_params<Root ? 1 : 0>::row_params;

  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R&, V* t) const {
    t[0] = x.in[0];
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    if constexpr (Root) {
      row.value[0] = S(1) / sqrt(row.sum[0] + S(this->p[0]));
    } else {
      row.value[0] = row.sum[0];
    }
  }
};

}  // namespace ops

using channel_ops = list<ops::moments, ops::combine_moments, ops::normalize, ops::normalize_sums, ops::normalize_grad,
                         ops::pair_sums<false>, ops::pair_sums<true>, ops::widen<false>, ops::widen<true>>;

DLK_END
