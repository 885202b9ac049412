// What row-wise calls and losses over rows share: the operands of a call, and running a kernel over them wherever they lie.
#pragma once
#include "dispatch.h"

namespace dlk {

using RowKernel = int (*)(const RowArgs&);

// Operands of one row call: the inputs, then the outputs (which may be absent).
struct RowOperands {
  const char* op;
  const TensorView* at[kMaxIn + kMaxOut];
  int ins, outs;
  int axis, axes;  // the columns are the dimensions [axis, axis + axes); a 0-d array is one column

  int count() const { return ins + outs; }
  std::int64_t cols() const {
    std::int64_t n = 1;
    for (int d = axis; d < axis + axes && d < at[0]->ndim; ++d) n *= at[0]->shape[d];
    return n;
  }
  std::int64_t item(int k) const { return item_size(at[k]->element); }
};

// to = from, element by element, of one floating dtype and shape.
void copy(const char* op, const TensorView& from, const TensorView& to);
// A small operand (class ids, weights, upstream gradients) as one contiguous run in C order.
const void* contiguous(const TensorView& t, const char* op, const Workspace& workspace);
// The kernel of an op for a device and dtype; an error if that target does not have the op.
RowKernel row_kernel(const char* op, Device device, int index, Dtype dtype);
RowArgs row_args(const RowOperands& o, const double* params, const PerRow* scalar);
// Fills in rows, cols and the places of the operands, and runs. value_size: of the compute type.
void run_rows(RowArgs& a, const RowOperands& o, RowKernel kernel, std::int64_t value_size);

}  // namespace dlk
