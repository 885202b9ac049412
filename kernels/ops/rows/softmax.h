// softmax and log_softmax with their gradients.
#pragma once
#include "../../math.h"
#include "../row_op.h"

DLK_BEGIN
namespace ops {

// What both forward passes, and the cross-entropies, sum: exp(x - max).
template <int N>
struct sums_exponentials : row_params<N> {
  static constexpr int sums = 1;
  static constexpr bool needs_max = true;
  using row_params<N>::row_params;

  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    t[0] = math::exp(x.in[0] - V(row.max));
  }
  template <int phase, class R>
  DLK_FN void finish(R&) const {}
};

// exp(x - max) / sum exp(x - max).   A row of -inf, or with +inf or NaN, is NaN.
struct softmax : sums_exponentials<0> {
  static constexpr auto name = "softmax";
  static constexpr bool keeps_term = true;
  using sums_exponentials<0>::sums_exponentials;

  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = x.kept / V(row.sum[0]);
  }
};

// dx = y (dy - sum(dy y));  inputs dy, y
struct softmax_grad : row_op {
  static constexpr auto name = "softmax", pass = "grad";
  static constexpr int ins = 2, sums = 1;
  using row_op::row_op;

  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R&, V* t) const {
    t[0] = x.in[0] * x.in[1];
  }
  template <int phase, class R>
  DLK_FN void finish(R&) const {}
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = x.in[1] * (x.in[0] - V(row.sum[0]));
  }
};

// (x - max) - log sum exp(x - max)
struct log_softmax : sums_exponentials<0> {
  static constexpr auto name = "log_softmax";
  using sums_exponentials<0>::sums_exponentials;

  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    row.s[0] = math::log(row.sum[0]);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = (x.in[0] - V(row.max)) - V(row.s[0]);
  }
};

// dx = dy - exp(y) sum(dy);  inputs dy, y
struct log_softmax_grad : row_op {
  static constexpr auto name = "log_softmax", pass = "grad";
  static constexpr int ins = 2, sums = 1;
  using row_op::row_op;

  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R&, V* t) const {
    t[0] = x.in[0];
  }
  template <int phase, class R>
  DLK_FN void finish(R&) const {}
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = fma(-math::exp(x.in[1]), V(row.sum[0]), x.in[0]);
  }
};

// max + log sum exp(x - max): a number per row.   An empty row, and one of -inf, is -inf; one with +inf is +inf.
struct logsumexp : sums_exponentials<0> {
  static constexpr auto name = "logsumexp";
  static constexpr int outs = 0, values = 1;
  using sums_exponentials<0>::sums_exponentials;

  template <class R>
  DLK_FN void start(R& row) const {
    using S = decltype(row.max);
    row.max = abs(row.max) < S(__builtin_inf()) ? row.max : S(0);
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    row.value[0] = row.cols == S(0) ? S(-__builtin_inf()) : row.max + math::log(row.sum[0]);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X&, const R&, V*, V*) const {}
};

// dx = dy softmax(x);  input x, row operand dy
struct logsumexp_grad : sums_exponentials<0> {
  static constexpr auto name = "logsumexp", pass = "grad";
  static constexpr int scalars = 1;
  static constexpr bool keeps_term = true;
  using sums_exponentials<0>::sums_exponentials;

  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = V(row.scalar[0]) * (x.kept / V(row.sum[0]));
  }
};

}  // namespace ops

using softmax_ops =
    list<ops::softmax, ops::softmax_grad, ops::log_softmax, ops::log_softmax_grad, ops::logsumexp, ops::logsumexp_grad>;

DLK_END
