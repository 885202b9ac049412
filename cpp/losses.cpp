// Elementwise losses: per element, or summed in canonical order with the gradient in the same pass.
#include <algorithm>
#include <atomic>
#include <memory>

#include "check.h"
#include "parallel.h"
#include "strided.h"
#include "sums.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kGrain = 8 * kBlock;  // whole blocks: a range boundary never cuts one

using ReduceKernel = int (*)(const ReduceArgs&);

std::int64_t blocks(std::int64_t n) { return (n + kBlock - 1) / kBlock; }

void reduce_contiguous(const ReduceArgs& a, ReduceKernel kernel, std::int64_t item, std::int64_t value_size) {
  parallel_for(a.n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    ReduceArgs part = a;
    part.n = end - begin;
    for (int k = 0; k < 2; ++k) part.in[k] = static_cast<const char*>(a.in[k]) + begin * item;
    if (a.out != nullptr) part.out = static_cast<char*>(a.out) + begin * item;
    part.partial = static_cast<char*>(a.partial) + begin / kBlock * value_size;
    kernel(part);
  });
}

void reduce_strided(const ReduceArgs& a, ReduceKernel kernel, const TensorView* const* operand, const Layout& layout,
                    std::int64_t value_size) {
  const std::int64_t item = item_size(operand[0]->element);
  // Tiles of a block for each thread, on the heap (a caller's stack may be small) and allocated before any work begins.
  const std::int64_t slots = std::min<std::int64_t>(num_threads(), blocks(a.n));
  const std::unique_ptr<char[]> tiles(new char[static_cast<std::size_t>(slots * 3 * kBlock * item)]);
  std::atomic<std::int64_t> next{0};
  parallel_for(slots, 1, [&](std::int64_t slot, std::int64_t) {
    char* const tile[3] = {tiles.get() + slot * 3 * kBlock * item, tiles.get() + (slot * 3 + 1) * kBlock * item,
                           tiles.get() + (slot * 3 + 2) * kBlock * item};
    for (std::int64_t first; (first = next.fetch_add(kBlock)) < a.n;) {
      ReduceArgs part = a;
      part.n = std::min(kBlock, a.n - first);
      for (int k = 0; k < 2; ++k) {
        gather(layout, k, operand[k]->data, item, first, part.n, tile[k]);
        part.in[k] = tile[k];
      }
      if (a.out != nullptr) part.out = tile[2];
      part.stream = false;
      part.partial = static_cast<char*>(a.partial) + first / kBlock * value_size;
      kernel(part);
      if (a.out != nullptr) scatter(layout, 2, operand[2]->data, item, first, part.n, tile[2]);
    }
  });
}

// One pass over input and target: a partial sum per block, and the gradient if c.grad is there.
void one_pass(const LossCall& c, const Target& target, ReduceArgs& a, std::int64_t value_size) {
  const ReduceKernel kernel = target.reduce->entry[c.index].run[static_cast<int>(c.dtype)];
  const TensorView* operand[] = {c.input, c.target, c.grad};
  const int operands = c.grad == nullptr ? 2 : 3;
  bool contiguous = true;
  for (int k = 0; k < operands; ++k) contiguous = contiguous && is_contiguous(*operand[k]);
  a.in[0] = c.input->data;
  a.in[1] = c.target->data;
  if (c.grad != nullptr) {
    a.out = c.grad->data;
    const std::int64_t bytes = 3 * a.n * item_size(c.input->element);
    a.stream = a.out != a.in[0] && a.out != a.in[1] && bytes > stream_threshold();
  }
  if (c.input->device == Device::cuda) {
    if (!contiguous) check::cuda_layout(c.op, "every array");
    check::device_status(c.op, kernel(a));
  } else if (contiguous) {
    reduce_contiguous(a, kernel, item_size(c.input->element), value_size);
  } else {
    reduce_strided(a, kernel, operand, shared_layout(operand, operands, true), value_size);
  }
}

}  // namespace

void sum_to_one(const char* op, const Target& target, int dtype, std::int64_t value_size, ReduceArgs a,
                const Workspace& workspace) {
  const ReduceKernel sum = target.reduce->entry[0].run[dtype];
  void* const result = a.partial;
  while (a.n > kBlock) {
    a.partial = workspace(static_cast<std::size_t>(blocks(a.n) * value_size));
    check::device_status(op, sum(a));
    a.in[0] = a.partial;
    a.n = blocks(a.n);
  }
  a.partial = result;
  check::device_status(op, sum(a));
}

void run_elementwise_loss(const LossCall& c, const Workspace& workspace) {
  const Target& target = target_for(c.input->device);
  const std::int64_t value_size = item_size(compute_element(c.input->element));
  const std::int64_t n = size_of(*c.input);
  const bool none = c.reduction == Reduction::none;

  if (none && c.value != nullptr) run(MapCall{c.op, c.map_value, c.dtype, {c.input, c.target}, 2, c.value, c.params});
  if (none && c.upstream != nullptr) {
    run(MapCall{c.op, c.map_grad, c.dtype, {c.upstream, c.input, c.target}, 3, c.grad, c.params});
    return;
  }
  if (none && c.grad == nullptr) return;

  ReduceArgs a{};
  a.n = n;
  a.params = c.params;
  a.queue = c.input->queue;
  a.count = c.reduction == Reduction::mean ? static_cast<double>(n) : 1.0;
  if (c.upstream != nullptr) a.upstream = c.upstream->data;
  a.partial = workspace(static_cast<std::size_t>((blocks(n) + 1) * value_size));
  if (n > 0) one_pass(c, target, a, value_size);
  if (none || c.value == nullptr) return;
  ReduceArgs s{};
  s.n = blocks(n);
  s.in[0] = a.partial;
  s.partial = c.value->data;
  s.count = a.count;
  s.queue = a.queue;
  sum_to_one(c.op, target, static_cast<int>(c.dtype), value_size, s, workspace);
}

}  // namespace dlk
