// Sums over rows, for what is already in the compute type: the second and later levels of every sum over rows, and numbers per row.
#pragma once
#include "../row_op.h"

DLK_BEGIN
namespace ops {

struct sum_over_rows : row_op {
  static constexpr auto name = "sum_over_rows";
  static constexpr int outs = 0, column_sums = 1;
  using row_op::row_op;

  template <int phase, class R>
  DLK_FN void finish(R&) const {}
  template <class X, class R, class V>
  DLK_FN void outputs(const X& x, const R&, V*, V* column) const {
    column[0] = x.in[0];
  }
};

}  // namespace ops

using column_ops = list<ops::sum_over_rows>;

DLK_END
