#include "rescale.h"

#include <algorithm>
#include <vector>

#include "check.h"
#include "device.h"
#include "dispatch.h"
#include "parallel.h"
#include "strided.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kGrain = 32768;  // elements
constexpr std::int64_t kTile = 1024;    // elements gathered at a time
constexpr std::int64_t kRun = 256;      // elements with the same numbers that are worth a call of their own

enum Place { at_out, at_in, at_number };  // of an operand in the layout

// shift, scale and offset as a kernel reads them: one number for each column, the first ones again after the last ones.
struct Columns {
  const RescaleCall& call;
  const Layout& layout;
  std::vector<double> number[3];
  std::int64_t period = 0;

  // `columns` columns, the first of which is element `first`'s.
  void lay(std::int64_t first, std::int64_t columns) {
    period = (kAhead + columns - 1) / columns * columns;
    for (int j = 0; j < 3; ++j) {
      number[j].resize(static_cast<std::size_t>(period + kAhead));
      double* const to = number[j].data();
      gather(layout, at_number + j, call.number[j]->data, sizeof(double), first, columns, to);
      for (std::int64_t k = columns; k < period + kAhead; ++k) to[k] = to[k - columns];
    }
  }
  void point(RescaleArgs& a) const {
    a.shift = number[0].data();
    a.scale = number[1].data();
    a.offset = number[2].data();
    a.period = period;
  }
};

// After how many elements do the numbers repeat, all the way?
std::int64_t period_of(const Layout& layout) {
  std::int64_t period = layout.size;
  for (int d = 0; d < layout.ndim; ++d) {
    for (int j = at_number; j < at_number + 3; ++j) {
      if (layout.stride[j][d] != 0) return period;
    }
    period /= layout.shape[d];
  }
  return period;
}

// How many neighboring elements share their numbers?
std::int64_t run_of(const Layout& layout) {
  if (layout.ndim == 0) return layout.size;
  for (int j = at_number; j < at_number + 3; ++j) {
    if (layout.stride[j][layout.ndim - 1] != 0) return 1;
  }
  return layout.shape[layout.ndim - 1];
}

using Kernel = int (*)(const RescaleArgs&);

void run_on_device(const RescaleCall& c, Kernel kernel) {
  const OnDevice on(c.op, *c.out);
  const TensorView* const operand[] = {c.in, c.out, c.number[0], c.number[1], c.number[2]};
  constexpr int number[] = {0, 1, 2, 3, 4};
  Walk walk{};
  if (!walk_of(shared_layout(operand, 5, true), operand, 5, number, walk)) check::cuda_layout(c.op);
  RescaleArgs a{};
  a.n = size_of(*c.out);
  a.in = c.in->data;
  a.out = c.out->data;
  const double** const at[] = {&a.shift, &a.scale, &a.offset};
  for (int j = 0; j < 3; ++j) {
    const auto* const data = static_cast<const double*>(c.number[j]->data);
    if (c.number[j]->device == Device::cpu) {  // a number of the caller's
      a.same[j] = *data;
    } else {
      *at[j] = data;
    }
  }
  a.low = c.low;
  a.high = c.high;
  a.walk = &walk;
  a.queue = c.out->queue;
  check::device_status(c.op, kernel(a));
}

}  // namespace

void run(const RescaleCall& c) {
  const Target& target = target_for(c.out->device);
  if (target.rescale == nullptr) check::not_on_this_target(c.op, target.name);
  const std::int64_t size = size_of(*c.out);
  if (size == 0) return;
  const int type = c.in->element == Element::u8 ? kDtypes : static_cast<int>(dtype_of(c.in->element));
  const Kernel kernel = target.rescale->entry[type].run[static_cast<int>(dtype_of(c.out->element))];
  if (c.out->device == Device::cuda) {
    run_on_device(c, kernel);
    return;
  }
  const TensorView* const operand[] = {c.out, c.in, c.number[0], c.number[1], c.number[2]};
  const Layout layout = shared_layout(operand, 5, true);
  const std::int64_t in_item = item_size(c.in->element), out_item = item_size(c.out->element);
  const bool in_direct = is_contiguous(*c.in), out_direct = is_contiguous(*c.out);

  RescaleArgs whole{};
  whole.low = c.low;
  whole.high = c.high;
  whole.stream = out_direct && c.in->data != c.out->data && size * (in_item + out_item) > stream_threshold();
  // Long runs are calls of their own; else the numbers are laid out once where they repeat soon, tile by tile where they do not.
  const std::int64_t run = run_of(layout), period = period_of(layout);
  const bool runs = run >= kRun, once = !runs && period <= std::max(kTile, size / 16);
  Columns all{c, layout, {}, 0};
  if (once) all.lay(0, period);

  parallel_for(size, kGrain, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) char in_tile[kTile * 8], out_tile[kTile * 8];
    Columns own{c, layout, {}, 0};
    RescaleArgs a = whole;
    for (std::int64_t first = begin; first < end; first += a.n) {
      a.n = end - first;
      if (runs) a.n = std::min(a.n, run - first % run);
      if (!in_direct || !out_direct || !(runs || once)) a.n = std::min(a.n, kTile);
      if (!once) own.lay(first, runs ? 1 : a.n);
      (once ? all : own).point(a);
      a.first = once ? first : 0;
      a.in = in_direct ? static_cast<const char*>(c.in->data) + first * in_item : in_tile;
      a.out = out_direct ? static_cast<char*>(c.out->data) + first * out_item : out_tile;
      if (!in_direct) gather(layout, at_in, c.in->data, in_item, first, a.n, in_tile);
      kernel(a);
      if (!out_direct) scatter(layout, at_out, c.out->data, out_item, first, a.n, out_tile);
    }
  });
}

}  // namespace dlk
