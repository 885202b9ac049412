// What a row op is: traits, terms that are summed over the row, scalars of the row made from the sums, and outputs per element.
//
//   terms<phase>(x, row, t)         sets t[0..sums) of one register of elements; their canonical sums become row.sum
//   start(row)                      once per row, before phase 0: the maximum, operands per row and the label's logit are known
//   finish<phase>(row)              scalars, once per row and phase; a loss sets row.value[0]
//   outputs(x, row, out, column)    out[0..outs) of one register, and column[0..column_sums), which are summed over rows
//   at_label(out, row)              corrects out[0] at the label's column, before it is rounded (corrects_label)
//   at_max(out, row)                the same at the lowest column that attains the maximum (marks_max)
//   again(row)                      is phase 0 to be repeated? (iterates)
#pragma once
#include "op.h"

DLK_BEGIN
namespace ops {

template <int N>
struct row_params : params<N> {
  using params<N>::params;
  static constexpr auto pass = "";
  static constexpr int ins = 1, outs = 1;
  static constexpr int values = 0;       // numbers per row that are written
  static constexpr int scalars = 0;      // numbers per row that are read
  static constexpr int columns = 0;      // operands with one element per column
  static constexpr int column_sums = 0;  // sums over rows, one per column
  static constexpr int sums = 0, phases = 1;
  static constexpr bool needs_max = false;       // row.max is known to terms: of the first input
  static constexpr bool keeps_term = false;      // x.kept is phase 0's first term: an exponential is not paid for twice
  static constexpr bool labelled = false;        // each row has a class id; rows with the id to ignore are 0
  static constexpr bool corrects_label = false;  // at_label
  static constexpr bool one_hot = false;         // x.hot is 1 at the label's column and 0 elsewhere
  static constexpr bool skips_label = false;     // the maximum leaves the label's column out
  static constexpr bool marks_max = false;       // at_max
  static constexpr bool loss = false;            // row.upstream is known to finish
  static constexpr bool random = false;          // x.word, if the op's draws() says so
  static constexpr bool iterates = false;        // again
  static constexpr bool joins =
      false;  // the loop adds the first two inputs: the sum, rounded to storage, is the last output, and in[0]

  template <class R>
  DLK_FN void start(R&) const {}
};
using row_op = row_params<0>;

constexpr int at_least_one(int n) { return n > 0 ? n : 1; }

// Inputs and outputs as the op's own functions count them.
template <class Op>
constexpr int own_ins = Op::joins ? Op::ins - 1 : Op::ins;
template <class Op>
constexpr int own_outs = Op::joins ? Op::outs - 1 : Op::outs;

// One register of everything that belongs to an element.
template <class Op, class V>
struct cells {
  V in[at_least_one(own_ins<Op>)];
  V col[at_least_one(Op::columns)];  // absent: 1 for the first (a weight), 0 for the second (a bias)
  V hot, kept;
  uint_t<V> word;
};

constexpr int kRowScratch = 12;

template <class Op, class S>
struct row_of {
  S max, cols;
  S sum[at_least_one(Op::sums)];
  S scalar[at_least_one(Op::scalars)];
  S upstream;               // gradient of the row's value, divided by the divisor
  S label_x, label_weight;  // the first input and the first column operand at the label
  S value[at_least_one(Op::values + (Op::loss ? 1 : 0))];
  S s[kRowScratch];  // the op's own
};

}  // namespace ops

DLK_END
