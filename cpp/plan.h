// Multi-tensor calls: many tensors cut into self-contained pieces, so that one fork-join (or one launch) serves a whole optimizer step,
// whatever the number and the sizes of the tensors. Neither the cuts nor the number of threads change a bit.
#pragma once
#include <vector>

#include "tensor.h"

namespace dlk {

// One tensor of a step: parameter, gradient, state ..., all contiguous and of n elements.
struct UpdateTensor {
  void* param;
  void* grad;
  void* state[kMaxStates];
  float* scale[kMaxStates];
  void* master;
  std::int64_t n;
  std::int64_t first;  // index of its first element among all of the optimizer: random numbers count by it
  int group;           // row of params
};

struct UpdateCall {
  int index;  // find_update
  Dtype dtype;
  Device device;
  void* queue;
  const double* params;  // for each group: what its gradients are multiplied by, then the rule's numbers
  const StepControl* control = nullptr;  // of a GPU, where params then lie: UpdateArgs
  bool zero_grads;
  Precision precision;
  Kept kept[kMaxStates];
  std::uint64_t seed, offset;
};

// How a tensor is cut up: chunks of a CPU stay in its caches; a GPU takes a tensor whole.
constexpr std::int64_t kLongest = (std::int64_t{1} << 31) - kBlock;
Chunk piece_of(const UpdateTensor& t, const UpdateCall& call, int states, std::int64_t first, std::int64_t most);
constexpr std::int64_t blocks_of(std::int64_t n) { return (n + kBlock - 1) / kBlock; }
constexpr std::int64_t bytes_of(Dtype d) { return d == Dtype::f64 ? 8 : d == Dtype::f32 ? 4 : 2; }
UpdateArgs arguments_of(const UpdateCall& call);  // but the tensors

// sums: receives the rule's sums of each tensor, one tensor after the other; null if it has none.
void run_update(const UpdateCall& call, const std::vector<UpdateTensor>& tensors, double* sums = nullptr);

// The sum of squares ("squares"), the sum of magnitudes ("sum") or the largest magnitude ("largest") of a list of contiguous tensors: of all
// as if they were one, or of each. A tensor at null counts as zeros.
struct PlainTensor {
  const void* x;
  std::int64_t n;
};
// Where tensors lie in their concatenation, and how many blocks that is; without `join` each of them begins a block.
std::vector<Run> runs_of(const std::vector<PlainTensor>& tensors, bool join, std::int64_t& blocks);
const Entry<MagnitudeArgs>& magnitude_entry(const Target& target, const char* how);
double magnitude(const char* how, Dtype dtype, Device device, const std::vector<PlainTensor>& tensors);
std::vector<double> magnitude_of_each(const char* how, Dtype dtype, Device device,
                                      const std::vector<PlainTensor>& tensors);

// The same on a GPU: queued. scratch is memory of the device for magnitude_on_device_room(tensors) numbers, all 0; the last one is the result.
std::int64_t magnitude_on_device_room(const std::vector<PlainTensor>& tensors);
void magnitude_on_device(const char* how, Dtype dtype, const std::vector<PlainTensor>& tensors, double* scratch,
                         void* queue);

// A piece of memory that a step writes, and whose it is.
struct MemoryRange {
  std::uintptr_t first, last;
  int owner;
};
// Sorts the ranges; returns a pair of owners that intersect, or {-1, -1}.
std::pair<int, int> find_overlap(std::vector<MemoryRange>& ranges);

}  // namespace dlk
