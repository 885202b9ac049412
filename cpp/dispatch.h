// From checked tensors to kernel calls: pick the target by device and the entry by dtype, cut the work into ranges, run them.
// Arguments are checked before they come here (bindings and C ABI do it with check.h); nothing is checked twice.
#pragma once
#include <cstddef>
#include <functional>

#include "tensor.h"

namespace dlk {

// Memory for intermediate results on the call's device, valid until the call's work is done. A CPU call brings its own.
using Workspace = std::function<void*(std::size_t bytes)>;

struct MapCall {
  const char* op;
  int index;                     // find_map
  Dtype dtype;                   // T of the entry
  const TensorView* in[kMaxIn];  // of the outputs' shape; a stride may be 0 (broadcast)
  int ins;
  const TensorView* out[kMaxOut];
  int outs = 1;
  const double* params = nullptr;
  std::uint64_t seed = 0, offset = 0;
  bool ordered = false;  // random ops: elements are counted in C order
};
void run(const MapCall& call);

// An operand of a row op with one number per row: a contiguous run of the compute type, of which row r takes r / div % mod.
struct PerRow {
  const void* data = nullptr;
  std::int64_t div = 1, mod = std::int64_t{1} << 62;
};

struct RowCall {
  const char* op;
  int index;  // find_rows
  Dtype dtype;
  const TensorView* in[kMaxIn];
  int ins;
  const TensorView* out[kMaxOut] = {};  // the first may be null: only the values are wanted
  int outs = 1;
  int axis, axes = 1;  // the columns are the dimensions [axis, axis + axes)
  const double* params = nullptr;
  const void* column[kMaxColumns] = {};  // contiguous, storage type, one element per column; null: the op's default
  PerRow scalar[kMaxScalars];
  void* value[kMaxOut] = {};           // contiguous, compute type, one per row in C order; each may be null
  void* column_sum[kMaxColumns] = {};  // contiguous, compute type, one per column: complete sums; each may be null
  std::uint64_t seed = 0, offset = 0;
};
// workspace: for column sums only
void run(const RowCall& call, const Workspace& workspace = {});

enum class Reduction { none, mean, sum, batchmean };

// Elementwise losses. value: one number, or one per element for `none`, contiguous. upstream: likewise; may be null.
struct LossCall {
  const char* op;
  int value_index, grad_index;  // find_reduce
  Dtype dtype;
  const TensorView* in[kMaxIn];  // of one shape; a stride may be 0 (broadcast); an optional one may be null
  int ins;
  const TensorView* weight = nullptr;  // likewise
  const TensorView* upstream = nullptr;
  const TensorView* value = nullptr;  // may be null
  const TensorView* grad[kMaxOut] = {};
  int grads = 0;  // 0: only the value is wanted
  Reduction reduction = Reduction::mean;
  bool over_weight = false;  // a mean divides by the sum of the weights
  const double* params = nullptr;
};
void run_elementwise_loss(const LossCall& call, const Workspace& workspace);

// Losses over rows, with class ids or without. value and upstream as above, one per row for `none`. row_losses.h checks the arrays.
struct RowLossCall {
  const char* op;
  int index;  // find_rows
  Dtype dtype;
  const TensorView* in[kMaxIn];
  int ins;
  const TensorView* label = nullptr;  // class ids
  const char* label_name = nullptr;
  const TensorView* weight = nullptr;   // one per class, storage type
  const TensorView* per_row = nullptr;  // the row operand, compute type
  const TensorView* upstream = nullptr;
  const TensorView* value = nullptr;  // may be null
  const TensorView* grad[kMaxOut] = {};
  int grads = 0;
  Reduction reduction = Reduction::mean;
  bool over_weight =
      true;  // a mean over rows with class ids divides by the weights of the rows that count; else by their number
  const double* params = nullptr;
  int axis = 0, axes = 1;
  std::int64_t ignore = 0;
};
void run_row_loss(const RowLossCall& call, const Workspace& workspace);

// Bytes above which a call's output bypasses the cache: DLKERNELS_STREAM_BYTES, else three quarters of the last-level cache.
std::int64_t stream_threshold();

}  // namespace dlk
