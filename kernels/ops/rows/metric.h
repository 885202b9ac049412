// Losses of distances and angles between rows, and of the length of a row.
//
// The square of a number may overflow or vanish where the length does not. A sum that did is taken again with the row scaled by a power of
// two (`iterates`): in the common case nothing is paid for this.
#pragma once
#include "../../math.h"
#include "../row_op.h"

DLK_BEGIN
namespace ops {

// How many times a sum may be taken: enough to cross the whole range of a format in steps of 2^96 (float64: 2^960).
DLK_FN int attempts(double p) { return 3 + int(p * 1.5); }

// Is this sum of p-th powers out of range? Then scale becomes one that moves it towards 1 by such a step. Rows of zeros, or with an
// infinity or NaN, stay what they are: the caller counts.
template <class S>
DLK_FN bool rescaled(S sum, double p, S& scale) {
  constexpr int range = is_f32<S> ? 96 : 960;
  const bool large = sum == S(__builtin_inf()), small = sum < (is_f32<S> ? S(0x1p-80) : S(0x1p-800));
  if (!large && !small) return false;
  const int k = range > p ? int(range / p) : 1;
  const S next = scale * math::power_of_two<S>(uint_t<S>(math::ieee<S>::bias + (large ? -k : k)));
  if (next == S(0) || next == S(__builtin_inf())) return false;
  scale = next;
  return true;
}

// cos = x1 x2 / (n1 n2), n_k^2 = sum x_k^2 + 1e-12 (PyTorch's); inputs x1, x2, a row operand y
//   y = 1: value 1 - cos, dx1 = -dcos;   y = -1: value max(0, cos - margin), dx1 = dcos where cos >= margin;   else 0
//   dcos / dx1 = x2 / (n1 n2) - cos x1 / n1^2
struct cosine_embedding_loss : row_params<1> {  // margin
  static constexpr auto name = "cosine_embedding_loss";
  static constexpr int ins = 2, outs = 2, scalars = 1, sums = 3;
  static constexpr bool iterates = true, loss = true;
  using row_params<1>::row_params;
  enum { scale1, scale2, left, other, first, second };

  template <class R>
  DLK_FN void start(R& row) const {
    row.s[scale1] = row.s[scale2] = decltype(row.max)(1);
    row.s[left] = decltype(row.max)(attempts(2));
  }
  template <class X, class R, class V>
  DLK_FN void scaled(const X& x, const R& row, V& a, V& b) const {
    a = x.in[0] * V(row.s[scale1]);
    b = x.in[1] * V(row.s[scale2]);
  }
  template <int, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    V a, b;
    scaled(x, row, a, b);
    t[0] = a * a;
    t[1] = b * b;
    t[2] = a * b;
  }
  template <int, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    const S a = row.s[scale1], b = row.s[scale2], y = row.scalar[0], tiny = S(1e-12);
    const S n1 = fma(tiny * a, a, row.sum[0]), n2 = fma(tiny * b, b, row.sum[1]);  // never too small
    const bool out1 = rescaled(n1, 2, row.s[scale1]), out2 = rescaled(n2, 2, row.s[scale2]);
    row.s[left] = out1 || out2 ? row.s[left] - S(1) : S(0);
    if (row.s[left] <= S(0)) row.s[scale1] = a, row.s[scale2] = b;
    const S lengths = sqrt(n1) * sqrt(n2), cos = row.sum[2] / lengths, over = cos - S(p[0]);
    row.value[0] = y == S(1) ? S(1) - cos : y == S(-1) ? select(over <= S(0), S(0), over) : S(0) * y;  // NaN stays
    const S g = y == S(1) ? -row.upstream : y == S(-1) && over >= S(0) ? row.upstream : S(0);
    row.s[other] = g / lengths;
    row.s[first] = g * cos / n1;
    row.s[second] = g * cos / n2;
  }
  template <class R>
  DLK_FN bool again(const R& row) const {
    return row.s[left] > decltype(row.max)(0);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    V a, b;
    scaled(x, row, a, b);
    out[0] = V(row.s[scale1]) * fma(b, V(row.s[other]), -(a * V(row.s[first])));
    out[1] = V(row.s[scale2]) * fma(a, V(row.s[other]), -(b * V(row.s[second])));
  }
};

// d(x, z) = (sum |x - z + eps|^p)^(1/p);  inputs a, p, n (anchor, positive, negative)
//   value  max(0, v),  v = margin + d(a, p) - d(a, n);  swap: the smaller of d(a, n) and d(p, n) instead (Balntas et al. 2016)
//   gradients where v >= 0:  dd / dx = sgn(u) (|u| / d)^(p - 1),  u = x - z + eps;  0 where d = 0;  a tie of swap counts half each
struct triplet_margin_loss : row_params<4> {  // margin, p, eps, swap
  static constexpr auto name = "triplet_margin_loss";
  static constexpr int ins = 3, outs = 3, sums = 3;
  static constexpr bool iterates = true, loss = true;
  using row_params<4>::row_params;
  enum { scale, left = 3, share };  // scale[3], one for each distance, and so share[3]

  template <class V>
  DLK_FN V powered(V u) const {
    if (p[1] == 2) return u * u;
    if (p[1] == 1) return abs(u);
    return math::pow(abs(u), p[1]);
  }
  // d of a distance after its u, which comes scaled like its root
  template <class V>
  DLK_FN V slope(V u, V inverse_root) const {
    if (p[1] == 2) return u * inverse_root;
    if (p[1] == 1) return select(abs(u) > V(0), copysign(V(1), u), u);
    return copysign(math::pow(abs(u) * inverse_root, p[1] - 1), u);
  }
  template <class X, class R, class V>
  DLK_FN void differences(const X& x, const R& row, V* u) const {
    const V eps = V(p[2]);
    u[0] = (x.in[0] - x.in[1] + eps) * V(row.s[scale]);
    u[1] = (x.in[0] - x.in[2] + eps) * V(row.s[scale + 1]);
    u[2] = p[3] != 0 ? (x.in[1] - x.in[2] + eps) * V(row.s[scale + 2]) : V(1);
  }

  template <class R>
  DLK_FN void start(R& row) const {
    for (int k = 0; k < 3; ++k) row.s[scale + k] = decltype(row.max)(1);
    row.s[left] = decltype(row.max)(attempts(p[1]));
  }
  template <int, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    V u[3];
    differences(x, row, u);
    for (int k = 0; k < 3; ++k) t[k] = powered(u[k]);
  }
  template <int, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    const S none = S(0), one = S(1);
    S d[3];
    bool out = false;
    for (int k = 0; k < 3; ++k) {
      const S used = row.s[scale + k], sum = row.sum[k];
      const S root = p[1] == 2 ? sqrt(sum) : p[1] == 1 ? sum : math::pow(sum, 1 / p[1]);
      d[k] = root / used;
      out = rescaled(sum, p[1], row.s[scale + k]) || out;
      if (row.s[left] <= one) row.s[scale + k] = used;  // the last attempt
      row.sum[k] = root == none ? none : one / root;
    }
    row.s[left] = out ? row.s[left] - one : none;
    const bool swap = p[3] != 0;
    const S v = S(p[0]) + d[0] - (swap && (d[2] < d[1] || d[2] != d[2]) ? d[2] : d[1]);
    row.value[0] = select(v <= none, none, v);
    const S g = v >= none ? row.upstream : none;
    row.s[share] = g;
    row.s[share + 2] = !swap || d[1] < d[2] ? none : d[1] == d[2] ? S(-0.5) * g : -g;
    row.s[share + 1] = -g - row.s[share + 2];
  }
  template <class R>
  DLK_FN bool again(const R& row) const {
    return row.s[left] > decltype(row.max)(0);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    V u[3];
    differences(x, row, u);
    for (int k = 0; k < 3; ++k) u[k] = V(row.s[share + k]) * slope(u[k], V(row.sum[k]));
    out[0] = u[0] + u[1];
    out[1] = u[2] - u[0];
    out[2] = -(u[1] + u[2]);
  }
};

// Of the gradient v of a critic at a point (WGAN-GP: Gulrajani et al. 2017, arXiv:1704.00028), n = sqrt(sum v^2 + eps)
//   value  lambda (n - 1)^2, one-sided lambda max(0, n - 1)^2;   dv = 2 lambda (n - 1) / n v, 0 where n = 0
struct gradient_penalty : row_params<3> {  // lambda, one_sided, eps
  static constexpr auto name = "gradient_penalty";
  static constexpr int sums = 1;
  static constexpr bool iterates = true, loss = true;
  using row_params<3>::row_params;
  enum { scale, left, along, towards };

  template <class R>
  DLK_FN void start(R& row) const {
    row.s[scale] = decltype(row.max)(1);
    row.s[left] = decltype(row.max)(attempts(2));
  }
  template <int, class X, class R, class V>
  DLK_FN void terms(const X& x, const R& row, V* t) const {
    const V v = x.in[0] * V(row.s[scale]);
    t[0] = v * v;
  }
  template <int, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    const S used = row.s[scale], sum = fma(S(p[2]) * used, used, row.sum[0]), root = sqrt(sum);
    row.s[left] = rescaled(sum, 2, row.s[scale]) ? row.s[left] - S(1) : S(0);
    if (row.s[left] <= S(0)) row.s[scale] = used;
    const S over = root / used - S(1), out = p[1] != 0 ? select(over <= S(0), S(0), over) : over;
    row.value[0] = S(p[0]) * out * out;
    const S g = out == S(0) ? S(0) : S(2 * p[0]) * row.upstream;
    row.s[along] = g;
    row.s[towards] = root == S(0) ? S(0) : g / root;
  }
  template <class R>
  DLK_FN bool again(const R& row) const {
    return row.s[left] > decltype(row.max)(0);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = fma(x.in[0], V(row.s[along]), -(x.in[0] * V(row.s[scale]) * V(row.s[towards])));
  }
};

}  // namespace ops

using metric_ops = list<ops::cosine_embedding_loss, ops::triplet_margin_loss, ops::gradient_penalty>;

DLK_END
