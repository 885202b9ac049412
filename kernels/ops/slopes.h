// Activations with a number that is learned, one for all elements or one for each channel: an operand that repeats over the array, and
// the terms whose sums are its gradient.
#pragma once
#include "activations.h"
#include "row_op.h"

DLK_BEGIN
namespace ops {

// x > 0 ? x : w x.   He et al. 2015, arXiv:1502.01852
struct prelu {
  static constexpr auto name = "prelu";
  template <class V>
  static DLK_FN V value(V x, V w) {
    const V vanish = select(w == V(0), V(0), V(-__builtin_inf()));  // a slope of 0 is relu, also at -inf
    return select(x > V(0), x, select(x < vanish, V(0), w * x));
  }
  template <class V>
  static DLK_FN V grad(V dy, V x, V w) {
    return select(x > V(0), dy, dy * w);
  }
  // dy times the derivative in w
  template <class V>
  static DLK_FN V term(V dy, V x, V) {
    return select(x > V(0), V(0), dy * x);
  }
};

// x sigma(b x).   Ramachandran, Zoph & Le 2017, arXiv:1710.05941
struct swish {
  static constexpr auto name = "swish";

  // x sigma(b x) = -(-x) sigma((-b)(-x)): with the sign of b put to x, b is positive.
  template <class V>
  static DLK_FN math::pair<V> size(V b) {
    return {abs(b), V(0)};
  }
  template <class V>
  static DLK_FN V turned(V x, V b) {
    return from_bits<V>(bits(x) ^ (bits(b) & uint_t<V>(sign_bit<V>)));
  }

  template <class V>
  static DLK_FN V value(V x, V b) {
    return turned(math::swish(turned(x, b), size(b)), b);
  }
  template <class V>
  static DLK_FN V grad(V dy, V x, V b) {
    return dy * math::swish_grad(turned(x, b), size(b));
  }
  // x^2 s (1 - s) with s = sigma(b x); no larger |x| than where it has become 0
  template <class V>
  static DLK_FN V term(V dy, V x, V b) {
    const V z = math::magnitude_over(x, abs(b));
    return dy * (z * (z * math::sigmoid_grad(z * b)));
  }
};

// The same with a number that is not learned.
struct swish_by_number : params<1> {
  static constexpr auto name = "swish";
  using params<1>::params;
  template <class V>
  DLK_FN V operator()(V x) const {
    return swish::value(x, V(p[0]));
  }
  template <class V>
  DLK_FN V grad(V dy, V x) const {
    return swish::grad(dy, x, V(p[0]));
  }
};

}  // namespace ops

namespace pass {

// in: x, the number
template <class Op>
struct scaled : params<0>, takes<2> {
  static constexpr auto name = Op::name, pass = "scaled";
  using params<0>::params;
  template <class V>
  DLK_FN void operator()(const V* in, V* out) const {
    out[0] = Op::value(in[0], in[1]);
  }
};

// in: dy, x, the number
template <class Op>
struct scaled_grad : params<0>, takes<3> {
  static constexpr auto name = Op::name, pass = "scaled_grad";
  using params<0>::params;
  template <class V>
  DLK_FN void operator()(const V* in, V* out) const {
    out[0] = Op::grad(in[0], in[1], in[2]);
  }
};

// The sum of the terms of a row. in: dy, x, the number
template <class Op>
struct slope_of_rows : ops::row_op {
  static constexpr auto name = Op::name, pass = "rows";
  static constexpr int ins = 3, outs = 0, sums = 1, values = 1;
  using ops::row_op::row_op;
  template <int phase, class X, class R, class V>
  DLK_FN void terms(const X& x, const R&, V* t) const {
    t[0] = Op::term(x.in[0], x.in[1], x.in[2]);
  }
  template <int phase, class R>
  DLK_FN void finish(R& row) const {
    row.value[0] = row.sum[0];
  }
  template <class X, class R, class V>
  DLK_FN void outputs(const X&, const R&, V*, V*) const {}
};

// The sums of the terms of columns, which are the channels. in: dy, x; column: the number
template <class Op>
struct slope_of_columns : ops::row_op {
  static constexpr auto name = Op::name, pass = "columns";
  static constexpr int ins = 2, outs = 0, columns = 1, column_sums = 1;
  using ops::row_op::row_op;
  template <int phase, class R>
  DLK_FN void finish(R&) const {}
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R&, V*, V* column) const {
    column[0] = Op::term(x.in[0], x.in[1], x.col[0]);
  }
};

}  // namespace pass

using slopes = list<ops::prelu, ops::swish>;
using slope_maps = join<each<pass::scaled, slopes>, each<pass::scaled_grad, slopes>,
                        list<pass::value<ops::swish_by_number>, pass::grad<ops::swish_by_number>>>;
using slope_rows = join<each<pass::slope_of_rows, slopes>, each<pass::slope_of_columns, slopes>>;

DLK_END
