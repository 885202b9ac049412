#include "distance.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "check.h"
#include "device.h"
#include "parallel.h"
#include "strided.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kGrain = 32768;  // elements

using Kernel = int (*)(const DistanceArgs&);
using Memory = std::unique_ptr<char[]>;

Memory allocated(std::int64_t bytes) { return Memory(new char[static_cast<std::size_t>(bytes)]); }

// Elements of an array in C order, between the array and contiguous memory.
template <class Move>
void each_range(const TensorView& t, Move move) {
  const TensorView* one = &t;
  const Layout layout = shared_layout(&one, 1, true);
  parallel_for(layout.size, kGrain, [&](std::int64_t begin, std::int64_t end) { move(layout, begin, end - begin); });
}

void along(DistanceArgs a, Kernel kernel) {
  const std::int64_t all = a.lines;
  // As many lines at a time as make a range worth its while, whole groups of neighbors. Scratch is allocated before any work begins.
  const std::int64_t step = (kGrain / (kNeighbors * a.n) + 1) * kNeighbors;
  const std::int64_t slots = std::min<std::int64_t>(num_threads(), (all + step - 1) / step);
  const std::int64_t scratch = distance_scratch(all, a.n);
  const Memory memory = allocated(slots * scratch);
  std::atomic<std::int64_t> next{0};
  parallel_for(slots, 1, [&](std::int64_t slot, std::int64_t) {
    DistanceArgs part = a;
    part.scratch = memory.get() + slot * scratch;
    while ((part.first = next.fetch_add(step)) < all) {
      part.lines = std::min(step, all - part.first);
      kernel(part);
    }
  });
}

// Axis k of the call, from `in` to `out`.
DistanceArgs axis_args(const DistanceCall& c, int k, const void* in, void* out) {
  DistanceArgs a{};
  a.n = c.mask->shape[c.axis[k]];
  a.lines = size_of(*c.mask) / a.n;
  a.inner = 1;
  for (int d = c.axis[k] + 1; d < c.mask->ndim; ++d) a.inner *= c.mask->shape[d];
  a.mask = k == 0;
  a.root = k + 1 == c.axes;
  a.in = in;
  a.out = out;
  a.spacing = c.spacing[k];
  a.queue = c.mask->queue;
  return a;
}
Kernel kernel_of(const DistanceCall& c, const Target& target, bool root) {
  return target.distance->entry[0].run[static_cast<int>(root ? dtype_of(c.out->element) : Dtype::f64)];
}

// `like` as a contiguous array of squared distances.
TensorView squares(const TensorView& like, void* data) {
  TensorView t = like;
  t.data = data;
  t.element = Element::f64;
  std::int64_t stride = item_size(t.element);
  for (int d = t.ndim - 1; d >= 0; --d) {
    t.stride[d] = stride;
    stride *= t.shape[d];
  }
  return t;
}

// All lines at a time would want three numbers of memory for every element: as many as fit into kScratch.
constexpr std::int64_t kScratch = std::int64_t{1} << 28;

void run_on_device(const DistanceCall& c, const Target& target, const Workspace& workspace) {
  const OnDevice on(c.op, *c.out);
  const bool in_place = is_contiguous(*c.out) && c.out->element == Element::f64;
  void* const kept = in_place      ? c.out->data
                     : c.axes == 1 ? nullptr
                                   : workspace(static_cast<std::size_t>(8 * size_of(*c.out)));
  const TensorView squared = squares(*c.mask, kept);
  std::int64_t scratch = 0;
  const auto lines_of = [](const DistanceArgs& a) {
    return std::min(a.lines, std::max<std::int64_t>(1, kScratch / distance_scratch_gpu(1, a.n)));
  };
  for (int k = 0; k < c.axes; ++k) {
    const DistanceArgs a = axis_args(c, k, nullptr, nullptr);
    scratch = std::max(scratch, distance_scratch_gpu(lines_of(a), a.n));
  }
  void* const memory = workspace(static_cast<std::size_t>(scratch));
  for (int k = 0; k < c.axes; ++k) {
    const TensorView* const operand[] = {k == 0 ? c.mask : &squared, k + 1 == c.axes ? c.out : &squared};
    DistanceArgs a = axis_args(c, k, operand[0]->data, operand[1]->data);
    Walk walk{};
    if (!is_contiguous(*operand[0]) || !is_contiguous(*operand[1])) {
      constexpr int number[] = {0, 1};
      if (!walk_of(shared_layout(operand, 2, true), operand, 2, number, walk)) check::cuda_layout(c.op);
      a.walk = &walk;
    }
    a.scratch = memory;
    const std::int64_t all = a.lines, step = lines_of(a);
    for (a.first = 0; a.first < all; a.first += step) {
      a.lines = std::min(step, all - a.first);
      check::device_status(c.op, kernel_of(c, target, a.root)(a));
    }
  }
}

}  // namespace

void run(const DistanceCall& c, const Workspace& workspace) {
  const Target& target = target_for(c.mask->device);
  if (target.distance == nullptr) check::not_on_this_target(c.op, target.name);
  const std::int64_t size = size_of(*c.out);
  if (size == 0) return;
  if (c.mask->device == Device::cuda) {
    run_on_device(c, target, workspace);
    return;
  }

  // Squared distances stay in float64: in `out` itself where it can hold them.
  const bool direct = is_contiguous(*c.out);
  const std::int64_t item = item_size(c.out->element);
  const bool in_place = direct && c.out->element == Element::f64;
  const Memory kept = allocated(in_place || c.axes == 1 ? 0 : 8 * size);
  void* const squared = in_place ? c.out->data : kept.get();
  const Memory result = allocated(direct ? 0 : item * size);
  void* const out = direct ? c.out->data : result.get();
  const Memory bytes = allocated(is_contiguous(*c.mask) ? 0 : size);
  if (!is_contiguous(*c.mask)) {
    each_range(*c.mask, [&](const Layout& layout, std::int64_t first, std::int64_t n) {
      gather(layout, 0, c.mask->data, 1, first, n, bytes.get() + first);
    });
  }

  for (int k = 0; k < c.axes; ++k) {
    const bool root = k + 1 == c.axes;
    const void* const in = k > 0 ? squared : is_contiguous(*c.mask) ? c.mask->data : bytes.get();
    along(axis_args(c, k, in, root ? out : squared), kernel_of(c, target, root));
  }
  if (direct) return;
  each_range(*c.out, [&](const Layout& layout, std::int64_t first, std::int64_t n) {
    scatter(layout, 0, c.out->data, item, first, n, result.get() + first * item);
  });
}

}  // namespace dlk
