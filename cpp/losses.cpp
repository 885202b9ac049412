// Elementwise losses: per element, or summed in canonical order, with the gradients in the same pass.
#include <algorithm>
#include <atomic>
#include <memory>

#include "check.h"
#include "device.h"
#include "parallel.h"
#include "strided.h"
#include "sums.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kGrain = 8 * kBlock;  // whole blocks: a range boundary never cuts one

using ReduceKernel = int (*)(const ReduceArgs&);

std::int64_t blocks(std::int64_t n) { return (n + kBlock - 1) / kBlock; }

// The arrays of a call that have one element per element of the input, and their places in the arguments.
class Operands {
 public:
  explicit Operands(const LossCall& c) : c_(c) {
    for (int k = 0; k < c.ins; ++k) {
      if (c.in[k] != nullptr) add(c.in[k], Place::in, k);
    }
    if (c.weight != nullptr) add(c.weight, Place::weight, 0);
    const bool none = c.reduction == Reduction::none;
    if (none && c.upstream != nullptr) add(c.upstream, Place::upstream, 0);
    for (int k = 0; k < c.grads; ++k) add(c.grad[k], Place::grad, k);
    if (none && c.value != nullptr) add(c.value, Place::value, 0);
  }

  int count() const { return count_; }
  const TensorView* const* views() const { return view_; }
  int number(int k) const {  // in a walk
    switch (place_[k].kind) {
      case Place::in:
        return place_[k].index;
      case Place::grad:
        return kMaxIn + place_[k].index;
      case Place::weight:
        return kMaxIn + kMaxOut;
      case Place::upstream:
        return kMaxIn + kMaxOut + 1;
      default:
        return kMaxIn + kMaxOut + 2;
    }
  }
  std::int64_t item(int k) const { return item_size(view_[k]->element); }
  void* data(int k) const { return view_[k]->data; }
  bool written(int k) const { return place_[k].kind == Place::grad || place_[k].kind == Place::value; }

  void point(ReduceArgs& a, int k, void* at) const {
    switch (place_[k].kind) {
      case Place::in:
        a.in[place_[k].index] = at;
        break;
      case Place::weight:
        a.weight = at;
        break;
      case Place::upstream:
        a.upstream = at;
        break;
      case Place::grad:
        a.out[place_[k].index] = at;
        break;
      case Place::value:
        a.value = at;
        break;
    }
  }
  // Elements from `first` on of contiguous arrays.
  void point_all(ReduceArgs& a, std::int64_t first) const {
    for (int k = 0; k < count_; ++k) point(a, k, static_cast<char*>(data(k)) + first * item(k));
  }
  bool streams(std::int64_t n) const {
    std::int64_t bytes = 0;
    for (int k = 0; k < count_; ++k) {
      bytes += n * item(k);
      for (int j = 0; j < k; ++j) {
        if (written(k) && data(j) == data(k)) return false;
      }
    }
    return bytes > stream_threshold();
  }

 private:
  struct Place {
    enum Kind { in, weight, upstream, grad, value } kind;
    int index;
  };
  void add(const TensorView* view, typename Place::Kind kind, int index) {
    view_[count_] = view;
    place_[count_++] = {kind, index};
  }

  const LossCall& c_;
  int count_ = 0;
  const TensorView* view_[kMaxShared];
  Place place_[kMaxShared];
};
static_assert(kMaxIn + 1 + 1 + kMaxOut + 1 <= kMaxShared);

void* partial_at(const ReduceArgs& a, std::int64_t first, std::int64_t value_size) {
  return a.partial == nullptr ? nullptr : static_cast<char*>(a.partial) + first / kBlock * value_size;
}

void reduce_contiguous(const ReduceArgs& a, ReduceKernel kernel, const Operands& o, std::int64_t value_size) {
  parallel_for(a.n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    ReduceArgs part = a;
    part.n = end - begin;
    o.point_all(part, begin);
    part.partial = partial_at(a, begin, value_size);
    kernel(part);
  });
}

void reduce_strided(const ReduceArgs& a, ReduceKernel kernel, const Operands& o, std::int64_t value_size) {
  const Layout layout = shared_layout(o.views(), o.count(), true);
  // Tiles of a block for each thread, on the heap (a caller's stack may be small) and allocated before any work begins.
  const std::int64_t slots = std::min<std::int64_t>(num_threads(), blocks(a.n));
  const std::unique_ptr<char[]> tiles(new char[static_cast<std::size_t>(slots * o.count() * kBlock * 8)]);
  std::atomic<std::int64_t> next{0};
  parallel_for(slots, 1, [&](std::int64_t slot, std::int64_t) {
    for (std::int64_t first; (first = next.fetch_add(kBlock)) < a.n;) {
      ReduceArgs part = a;
      part.n = std::min(kBlock, a.n - first);
      part.stream = false;
      part.partial = partial_at(a, first, value_size);
      for (int k = 0; k < o.count(); ++k) {
        char* tile = tiles.get() + (slot * o.count() + k) * kBlock * 8;
        if (layout.contiguous(k, o.item(k))) {
          tile = static_cast<char*>(o.data(k)) + first * o.item(k);
        } else if (!o.written(k)) {
          gather(layout, k, o.data(k), o.item(k), first, part.n, tile);
        }
        o.point(part, k, tile);
      }
      kernel(part);
      for (int k = 0; k < o.count(); ++k) {
        if (!o.written(k) || layout.contiguous(k, o.item(k))) continue;
        scatter(layout, k, o.data(k), o.item(k), first, part.n, tiles.get() + (slot * o.count() + k) * kBlock * 8);
      }
    }
  });
}

// One pass over the arrays: a partial sum per block if `a` has room for it, values and gradients where they are wanted.
void one_pass(const LossCall& c, const Target& target, ReduceArgs& a, std::int64_t value_size) {
  const int index = c.grads > 0 ? c.grad_index : c.value_index;
  const ReduceKernel kernel = target.reduce->entry[index].run[static_cast<int>(c.dtype)];
  if (kernel == nullptr) check::not_on_this_target(c.op, target.name);
  const Operands o(c);
  bool contiguous = true;
  for (int k = 0; k < o.count(); ++k) contiguous = contiguous && is_contiguous(*o.views()[k]);
  if (c.in[0]->device == Device::cuda) {
    o.point_all(a, 0);
    Walk walk{};
    if (!contiguous) {
      int number[kMaxShared];
      for (int k = 0; k < o.count(); ++k) number[k] = o.number(k);
      if (!walk_of(shared_layout(o.views(), o.count(), true), o.views(), o.count(), number, walk))
        check::cuda_layout(c.op);
      a.walk = &walk;
    }
    const int code = kernel(a);
    a.walk = nullptr;
    check::device_status(c.op, code);
  } else if (contiguous) {
    a.stream = c.grads > 0 && o.streams(a.n);
    reduce_contiguous(a, kernel, o, value_size);
  } else {
    reduce_strided(a, kernel, o, value_size);
  }
}

// Sums what one_pass left in a.partial into `result`, divided as a mean is; with `rooted`, the root of that (abi.h).
void finish_sum(const LossCall& c, const Target& target, const ReduceArgs& a, void* result, std::int64_t value_size,
                const Workspace& workspace, void* rooted = nullptr) {
  ReduceArgs s{};
  s.n = blocks(a.n);
  s.in[0] = a.partial;
  s.partial = result;
  s.value = rooted;
  s.scale = a.scale;
  s.again = a.again;
  s.divisor = a.divisor;
  s.count = a.count;
  s.queue = a.queue;
  sum_to_one(c.op, target, static_cast<int>(c.dtype), value_size, s, workspace);
}

void* partial_sums(std::int64_t n, std::int64_t value_size, const Workspace& workspace) {
  return workspace(static_cast<std::size_t>((blocks(n) + 1) * value_size));
}

// The sum of the weights, which a mean divides by.
const void* total_weight(const LossCall& c, const Target& target, std::int64_t n, std::int64_t value_size,
                         const Workspace& workspace) {
  static const int index = required(find_reduce("plain_sum", ""));
  LossCall sum{};
  sum.op = c.op;
  sum.value_index = sum.grad_index = index;
  sum.dtype = c.dtype;
  sum.in[0] = c.weight;
  sum.ins = 1;
  ReduceArgs a{};
  a.n = n;
  a.count = 1;
  a.queue = c.in[0]->queue;
  a.partial = partial_sums(n, value_size, workspace);
  if (n > 0) one_pass(sum, target, a, value_size);
  void* total = workspace(static_cast<std::size_t>(value_size));
  finish_sum(sum, target, a, total, value_size, workspace);
  return total;
}

double number_at(const void* p, bool wide) {
  return wide ? *static_cast<const double*>(p) : static_cast<double>(*static_cast<const float*>(p));
}
// The root of a mean r = sqrt(sum w e^2 / d). Its gradient w e / (d r) needs r first: a second pass over the arrays.
void run_root(const LossCall& c, const Target& target, ReduceArgs a, std::int64_t value_size,
              const Workspace& workspace) {
  if (c.reduction != Reduction::mean) check::fail_value(std::string(c.op) + ": reduction must be \"mean\".");
  LossCall value = c;
  value.grads = 0;
  void* root = c.value != nullptr ? c.value->data : workspace(static_cast<std::size_t>(value_size));
  char* const numbers = static_cast<char*>(workspace(static_cast<std::size_t>(2 * value_size)));
  const void *const steepness = numbers, *const scale = numbers + value_size;
  void* const partial = partial_sums(a.n, value_size, workspace);
  const auto take = [&] {
    a.partial = partial;
    if (a.n > 0) one_pass(value, target, a, value_size);
    finish_sum(value, target, a, root, value_size, workspace, numbers);
  };
  take();
  a.scale = scale;
  // Squares that overflowed or vanished are taken again of scaled errors. A GPU is not waited for to find out: its kernels look themselves.
  if (c.in[0]->device != Device::cpu || number_at(scale, value_size == 8) != 1) {
    a.again = true;
    take();
    a.again = false;
  }
  if (c.grads == 0 || a.n == 0) return;
  a.partial = nullptr;
  a.divisor = steepness;
  if (c.upstream != nullptr) a.upstream = c.upstream->data;
  one_pass(c, target, a, value_size);
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
  const TensorView& input = *c.in[0];
  const OnDevice on(c.op, input);
  const Target& target = target_for(input.device);
  const std::int64_t value_size = item_size(compute_element(input.element));
  const bool none = c.reduction == Reduction::none;

  ReduceArgs a{};
  a.n = size_of(input);
  a.params = c.params;
  a.queue = input.queue;
  a.count = 1;
  if (c.reduction == Reduction::mean) {
    a.count = static_cast<double>(a.n);
    if (c.over_weight && c.weight != nullptr) a.divisor = total_weight(c, target, a.n, value_size, workspace);
  } else if (c.reduction == Reduction::batchmean) {
    a.count = input.ndim == 0 ? 1 : static_cast<double>(input.shape[0]);
  }
  static const int rooted = required(find_reduce("rmse_loss", ""));
  if (c.value_index == rooted) {
    run_root(c, target, a, value_size, workspace);
    return;
  }
  a.upstream_step = none ? 1 : 0;
  if (!none && c.upstream != nullptr) a.upstream = c.upstream->data;
  if (!none && c.value != nullptr) a.partial = partial_sums(a.n, value_size, workspace);
  if (a.n > 0) one_pass(c, target, a, value_size);
  if (!none && c.value != nullptr) finish_sum(c, target, a, c.value->data, value_size, workspace);
}

}  // namespace dlk
