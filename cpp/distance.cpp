#include "distance.h"

#include <algorithm>
#include <atomic>
#include <memory>

#include "check.h"
#include "parallel.h"
#include "strided.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kGrain = 32768;  // elements

using Memory = std::unique_ptr<char[]>;

Memory allocated(std::int64_t bytes) { return Memory(new char[static_cast<std::size_t>(bytes)]); }

// Elements of an array in C order, between the array and contiguous memory.
template <class Move>
void each_range(const TensorView& t, Move move) {
  const TensorView* one = &t;
  const Layout layout = shared_layout(&one, 1, true);
  parallel_for(layout.size, kGrain, [&](std::int64_t begin, std::int64_t end) { move(layout, begin, end - begin); });
}

void along(DistanceArgs a, int (*kernel)(const DistanceArgs&)) {
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

}  // namespace

void run(const DistanceCall& c) {
  const Target& target = target_for(c.mask->device);
  if (target.distance == nullptr) check::not_on_this_target(c.op, target.name);
  const std::int64_t size = size_of(*c.out);
  if (size == 0) return;
  const auto& run = target.distance->entry[0].run;

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
    DistanceArgs a{};
    a.n = c.mask->shape[c.axis[k]];
    a.lines = size / a.n;
    a.inner = 1;
    for (int d = c.axis[k] + 1; d < c.mask->ndim; ++d) a.inner *= c.mask->shape[d];
    a.mask = k == 0;
    a.root = k + 1 == c.axes;
    a.in = k > 0 ? squared : is_contiguous(*c.mask) ? c.mask->data : bytes.get();
    a.out = a.root ? out : squared;
    a.spacing = c.spacing[k];
    along(a, run[static_cast<int>(a.root ? dtype_of(c.out->element) : Dtype::f64)]);
  }
  if (direct) return;
  each_range(*c.out, [&](const Layout& layout, std::int64_t first, std::int64_t n) {
    scatter(layout, 0, c.out->data, item, first, n, result.get() + first * item);
  });
}

}  // namespace dlk
