// The rows family of the CUDA target: the table of its parts, each of which is compiled by itself.
#include "../abi.h"
#include "../dtype.h"
#include "../ops/rows.h"

namespace dlk {
namespace DLK_TARGET {
int run_score_rows(int op, Dtype dtype, const RowArgs& a);
int run_loss_rows(int op, Dtype dtype, const RowArgs& a);
int run_norm_rows(int op, Dtype dtype, const RowArgs& a);
int run_layer_rows(int op, Dtype dtype, const RowArgs& a);

namespace {
using part = int (*)(int op, Dtype dtype, const RowArgs& a);

template <part run, int op, Dtype dtype>
int call(const RowArgs& a) {
  return run(op, dtype, a);
}

template <part run, int op>
constexpr Entry<RowArgs>* add(Entry<RowArgs>* to, list<>) {
  return to;
}
template <part run, int op, class Op, class... Rest>
constexpr Entry<RowArgs>* add(Entry<RowArgs>* to, list<Op, Rest...>) {
  *to = {Op::name,
         Op::pass,
         Op::ins,
         Op::outs,
         Op::count,
         needs_of<Op>(),
         {call<run, op, Dtype::f32>, call<run, op, Dtype::f64>, call<run, op, Dtype::f16>, call<run, op, Dtype::bf16>}};
  return add<run, op + 1>(to + 1, list<Rest...>{});
}

struct row_table {
  Entry<RowArgs> rows[row_ops::size];
};
constexpr row_table folded() {  // in the order of row_ops
  row_table t{};
  Entry<RowArgs>* end = add<run_score_rows, 0>(t.rows, score_rows{});
  end = add<run_loss_rows, 0>(end, loss_rows{});
  end = add<run_norm_rows, 0>(end, norm_rows{});
  add<run_layer_rows, 0>(end, layer_rows{});
  return t;
}
constexpr row_table table = folded();
}  // namespace

extern const Table<RowArgs> rows_entries;
const Table<RowArgs> rows_entries = {table.rows, row_ops::size};
}  // namespace DLK_TARGET
}  // namespace dlk
