// The sum is taken in two steps, each in canonical order: over what lies together, then over the results.
#include "slopes.h"

#include "device.h"
#include "rows.h"
#include "target.h"

namespace dlk {

TensorView repeated(const TensorView& number, const TensorView& x) {
  TensorView t = x;
  t.data = number.data;
  for (int d = 0; d < t.ndim; ++d) t.stride[d] = 0;
  if (size_of(number) > 1) t.stride[1] = number.stride[0];
  return t;
}

namespace {

// result[c] = sum over r of part[r, c]
void sum_parts(const SlopeCall& c, void* part, std::int64_t rows, std::int64_t cols, const Workspace& workspace) {
  static const int index = required(find_rows("sum_over_rows", ""));
  TensorView t = *c.x;
  t.data = part;
  t.element = compute_element(c.x->element);
  t.ndim = 2;
  t.shape[0] = rows;
  t.shape[1] = cols;
  t.stride[1] = item_size(t.element);
  t.stride[0] = cols * t.stride[1];
  RowCall call{};
  call.op = c.op;
  call.index = index;
  call.dtype = dtype_of(t.element);
  call.in[0] = &t;
  call.ins = 1;
  call.axis = 1;
  call.column_sum[0] = c.result;
  run(call, workspace);
}

}  // namespace

void run_slope(const SlopeCall& c, const Workspace& workspace) {
  const std::int64_t numbers = size_of(*c.number), item = item_size(compute_element(c.x->element));
  if (size_of(*c.x) == 0) {
    clear(c.op, *c.x, c.result, numbers * item);
    return;
  }
  RowCall call{};
  call.op = c.op;
  call.dtype = dtype_of(c.x->element);
  TensorView dy = *c.dy, x = *c.x;
  if (x.ndim == 0) {
    for (TensorView* t : {&dy, &x}) {
      t->ndim = 1;
      t->shape[0] = 1;
      t->stride[0] = item_size(t->element);
    }
  }
  call.in[0] = &dy;
  call.in[1] = &x;
  if (numbers > 1 && x.ndim == 2) {  // a column is a channel
    call.index = c.columns_index;
    call.ins = 2;
    call.axis = 1;
    call.column[0] = contiguous(*c.number, c.op, workspace);
    call.column_sum[0] = c.result;
    run(call, workspace);
    return;
  }
  const TensorView number = repeated(*c.number, x);
  call.index = c.rows_index;
  call.in[2] = &number;
  call.ins = 3;
  call.axis = numbers > 1 ? 2 : x.ndim - 1;
  call.axes = x.ndim - call.axis;
  std::int64_t rows = 1;
  for (int d = 0; d < call.axis; ++d) rows *= x.shape[d];
  call.value[0] = workspace(static_cast<std::size_t>(rows * item));
  run(call, workspace);
  sum_parts(c, call.value[0], rows / numbers, numbers, workspace);
}

}  // namespace dlk
