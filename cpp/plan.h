// Multi-tensor updates: many tensors cut into self-contained chunks, so that one fork-join (or one launch) serves a whole optimizer
// step, whatever the number and the sizes of the tensors.
#pragma once
#include <vector>

#include "tensor.h"

namespace dlk {

// One tensor of a step: parameter, gradient, state..., all contiguous and of n elements.
struct UpdateTensor {
  void* at[kMaxOperands];
  std::int64_t n;
  int group;  // row of params
};

// index: find_update. params: the entry's number of doubles for each group.
void run_update(int index, Dtype dtype, Device device, void* queue, const std::vector<UpdateTensor>& tensors,
                const double* params);

// A piece of memory that a step writes, and whose it is.
struct MemoryRange {
  std::uintptr_t first, last;
  int owner;
};
// Sorts the ranges; returns a pair of owners that intersect, or {-1, -1}.
std::pair<int, int> find_overlap(std::vector<MemoryRange>& ranges);

}  // namespace dlk
