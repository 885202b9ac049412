// Losses of the overlap of two sets, given as memberships p (the prediction) and t in [0, 1] along a row. 1 - ratio is formed from sums of
// what differs, not by subtraction: a small loss keeps its digits.
#pragma once
#include "../../math.h"
#include "../row_op.h"

DLK_BEGIN
namespace ops {

// D = P + T + smooth + eps,  N = 2 sum p t + smooth,  P = sum p, T = sum t (squared: sum p^2, sum t^2; Milletari et al. 2016)
//   value  1 - N / D = (sum d + eps) / D,  d = p (1 - t) + t (1 - p), squared (p - t)^2
//   dp     (u' N / D - 2 t) / D g,  u' = 1, squared 2 p
struct dice_loss : row_params<3> {  // smooth, eps, squared_denominator
  static constexpr auto name = "dice_loss";
  static constexpr int ins = 2, sums = 3;
  static constexpr bool loss = true;
  using row_params<3>::row_params;

  template <int, class X, class R, class V>
  DLK_FN void terms(const X& x, const R&, V* t) const {
    const V a = x.in[0], b = x.in[1], e = a - b;
    t[0] = a * b;
    if (p[2] != 0) {
      t[1] = fma(a, a, b * b);
      t[2] = e * e;
    } else {
      t[1] = a + b;
      t[2] = fma(a, V(1) - b, b * (V(1) - a));
    }
  }
  template <int, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    const S d = row.sum[1] + S(p[0] + p[1]);
    const S ratio = fma(S(2), row.sum[0], S(p[0])) / d;
    row.value[0] = (row.sum[2] + S(p[1])) / d;
    row.s[0] = S(2) * row.upstream / d;
    row.s[1] = (p[2] != 0 ? S(2) : S(1)) * ratio * row.upstream / d;
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    const V along = p[2] != 0 ? V(row.s[1]) * x.in[0] : V(row.s[1]);
    out[0] = fma(-x.in[1], V(row.s[0]), along);
  }
};

// N = sum p t + smooth,  E = alpha sum p (1 - t) + beta sum (1 - p) t,  D = N + E + eps   (Salehi et al. 2017, arXiv:1706.05721)
//   value  L^gamma,  L = 1 - N / D = (E + eps) / D
//   dp     gamma L^(gamma - 1) (alpha N - t ((alpha + beta) N + E + eps)) / D^2 g;  0 where L = 0
// With eps: d(E + eps) D - (E + eps) dD, where dN = t, dE = alpha (1 - t) - beta t, dD = dN + dE.
struct tversky_loss : row_params<5> {  // alpha, beta, smooth, eps, gamma
  static constexpr auto name = "tversky_loss";
  static constexpr int ins = 2, sums = 3;
  static constexpr bool loss = true;
  using row_params<5>::row_params;

  template <int, class X, class R, class V>
  DLK_FN void terms(const X& x, const R&, V* t) const {
    t[0] = x.in[0] * x.in[1];
    t[1] = x.in[0] * (V(1) - x.in[1]);
    t[2] = (V(1) - x.in[0]) * x.in[1];
  }
  template <int, class R>
  DLK_FN void finish(R& row) const {
    using S = decltype(row.max);
    const S n = row.sum[0] + S(p[2]), e = fma(S(p[0]), row.sum[1], fma(S(p[1]), row.sum[2], S(p[3]))), d = n + e;
    const S miss = e / d;
    const S power = p[4] == 1 ? miss : math::pow(miss, p[4]);
    const S slope = p[4] == 1 ? S(1) : select(miss == S(0), S(0), S(p[4]) * math::pow(miss, p[4] - 1));
    row.value[0] = power;
    const S c = slope * row.upstream / d;
    row.s[0] = c * (S(p[0]) * n / d);
    row.s[1] = c * (fma(S(p[0] + p[1]), n, e) / d);
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R& row, V* out, V*) const {
    out[0] = fma(-x.in[1], V(row.s[1]), V(row.s[0]));
  }
};

}  // namespace ops

using overlap_ops = list<ops::dice_loss, ops::tversky_loss>;

DLK_END
