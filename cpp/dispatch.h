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
  int index;    // find_map
  Dtype dtype;  // T of the entry
  const TensorView* in[kMaxIn];
  int ins;
  const TensorView* out;
  const double* params;
  std::uint64_t seed = 0, offset = 0;
  bool ordered = false;  // random ops: elements are counted in C order
};
void run(const MapCall& call);

struct RowCall {
  const char* op;
  int index;  // find_rows
  Dtype dtype;
  const TensorView* in[kMaxIn];
  int ins;
  const TensorView* out;  // may be null
  int axis;
  const double* params;
};
void run(const RowCall& call);

enum class Reduction { none, mean, sum };

// value: one number, or one per row / element for `none`. grad: may be null. upstream: scalar or one per row / element; may be null.
struct LossCall {
  const char* op;
  int index;                          // find_reduce, or find_rows
  int map_value = -1, map_grad = -1;  // find_map: elementwise losses without reduction
  Dtype dtype;
  const TensorView* input;
  const TensorView* target;
  const TensorView* weight = nullptr;
  const TensorView* upstream = nullptr;
  const TensorView* value = nullptr;
  const TensorView* grad = nullptr;
  Reduction reduction;
  const double* params = nullptr;
  int axis = 0;
  std::int64_t ignore = 0;
  bool class_ids = false;
};
void run_elementwise_loss(const LossCall& call, const Workspace& workspace);
void run_row_loss(const LossCall& call, const Workspace& workspace);

// Bytes above which a call's output bypasses the cache: DLKERNELS_STREAM_BYTES, else three quarters of the last-level cache.
std::int64_t stream_threshold();

}  // namespace dlk
