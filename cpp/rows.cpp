// Row-wise calls, and the losses over rows that put several kernels together: scan the class ids, run the rows, sum the rows' values.
#include <algorithm>
#include <atomic>
#include <memory>

#include "check.h"
#include "dispatch.h"
#include "parallel.h"
#include "strided.h"
#include "sums.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kGrain = 32768;     // elements in a range of rows
constexpr std::int64_t kTileRows = 16;     // rows gathered at a time: a cache line of neighbors along an inner axis
constexpr std::int64_t kTileColumns = 64;  // columns between two visits of the same lines

using RowKernel = int (*)(const RowArgs&);

// Operands of one row call: the inputs, then the output (which may be absent).
struct RowOperands {
  const char* op;
  const TensorView* at[kMaxIn + 1];
  int ins;
  bool has_out;
  int axis;

  int count() const { return ins + (has_out ? 1 : 0); }
  std::int64_t cols() const { return at[0]->ndim == 0 ? 1 : at[0]->shape[axis]; }
  std::int64_t stride(int k) const { return at[k]->ndim == 0 ? item(k) : at[k]->stride[axis]; }
  std::int64_t item(int k) const { return item_size(at[k]->element); }
};

void point(RowArgs& a, const RowOperands& o, int k, const void* data, std::int64_t step) {
  if (k < o.ins) {
    a.in[k] = data;
    a.in_step[k] = step;
  } else {
    a.out = const_cast<void*>(data);
    a.out_step = step;
  }
}

// The part of a call that begins at row `first`: per-row arrays move along.
RowArgs from_row(const RowArgs& a, const RowOperands& o, std::int64_t first, std::int64_t rows,
                 std::int64_t value_size) {
  RowArgs part = a;
  part.rows = rows;
  for (int k = 0; k < o.count(); ++k) {
    const char* data = static_cast<const char*>(k < o.ins ? a.in[k] : a.out);
    const std::int64_t step = k < o.ins ? a.in_step[k] : a.out_step;
    point(part, o, k, data + first * step * o.item(k), step);
  }
  if (a.label != nullptr) part.label = static_cast<const char*>(a.label) + first * a.label_bytes;
  if (a.value != nullptr) part.value = static_cast<char*>(a.value) + first * value_size;
  if (a.upstream != nullptr)
    part.upstream = static_cast<const char*>(a.upstream) + first * a.upstream_step * value_size;
  return part;
}

// Rows whose elements are neighbors and that lie evenly apart need no tile.
bool place(RowArgs& a, const RowOperands& o, const Layout& layout) {
  for (int k = 0; k < o.count(); ++k) {
    if (a.cols > 1 && o.stride(k) != o.item(k)) return false;
    std::int64_t apart = a.cols * o.item(k);
    if (layout.size > 1) {
      if (layout.ndim != 1 || layout.stride[k][0] % o.item(k) != 0) return false;
      apart = layout.stride[k][0];
    }
    point(a, o, k, o.at[k]->data, apart / o.item(k));
  }
  return true;
}

// rows x cols between an array and a tile whose rows are contiguous; block of columns by block, so that each line is visited once.
template <class Copy>
void each_piece(const RowOperands& o, const Layout& layout, int k, std::int64_t first, std::int64_t rows,
                std::int64_t cols, Copy copy) {
  std::int64_t offset[kTileRows];
  for (std::int64_t r = 0; r < rows; ++r) offset[r] = offset_of(layout, k, first + r);
  for (std::int64_t c = 0; c < cols; c += kTileColumns) {
    const std::int64_t n = cols - c < kTileColumns ? cols - c : kTileColumns;
    for (std::int64_t r = 0; r < rows; ++r) copy(offset[r] + c * o.stride(k), (r * cols + c) * o.item(k), n);
  }
}

void run_tiled(const RowArgs& a, const RowOperands& o, const Layout& layout, RowKernel kernel,
               std::int64_t value_size) {
  // Tiles are allocated before any work begins: running out of memory must not leave a half-written output.
  const std::int64_t tile_rows = std::min(kTileRows, a.rows);
  const std::int64_t slots = std::min<std::int64_t>(num_threads(), (a.rows + tile_rows - 1) / tile_rows);
  const std::int64_t plane = tile_rows * a.cols * o.item(0);  // every operand of a row call has the same item size
  const std::unique_ptr<char[]> tiles(new char[static_cast<std::size_t>(slots * o.count() * plane)]);
  std::atomic<std::int64_t> next{0};
  parallel_for(slots, 1, [&](std::int64_t slot, std::int64_t) {
    char* const tile = tiles.get() + slot * o.count() * plane;
    for (std::int64_t first; (first = next.fetch_add(tile_rows)) < a.rows;) {
      const std::int64_t rows = std::min(tile_rows, a.rows - first);
      RowArgs part = from_row(a, o, first, rows, value_size);
      for (int k = 0; k < o.count(); ++k) {
        char* const to = tile + k * plane;
        point(part, o, k, to, a.cols);
        if (k == o.ins) continue;
        each_piece(o, layout, k, first, rows, a.cols, [&](std::int64_t from, std::int64_t at, std::int64_t n) {
          copy_run(to + at, o.item(k), static_cast<const char*>(o.at[k]->data) + from, o.stride(k), o.item(k), n);
        });
      }
      kernel(part);
      if (!o.has_out) continue;
      each_piece(o, layout, o.ins, first, rows, a.cols, [&](std::int64_t to, std::int64_t at, std::int64_t n) {
        copy_run(static_cast<char*>(o.at[o.ins]->data) + to, o.stride(o.ins), tile + o.ins * plane + at, o.item(o.ins),
                 o.item(o.ins), n);
      });
    }
  });
}

void run_rows(RowArgs& a, const RowOperands& o, RowKernel kernel, std::int64_t value_size) {
  const Layout layout = row_layout(o.at, o.count(), o.axis);
  a.rows = layout.size;
  a.cols = o.cols();
  if (a.rows == 0 || (a.cols == 0 && a.value == nullptr)) return;
  const bool placed = place(a, o, layout);
  if (o.at[0]->device == Device::cuda) {
    if (!placed) check::cuda_layout(o.op, "every array");
    check::device_status(o.op, kernel(a));
  } else if (placed) {
    const std::int64_t grain = a.cols >= kGrain ? 1 : kGrain / (a.cols + 1) + 1;
    parallel_for(a.rows, grain,
                 [&](std::int64_t begin, std::int64_t end) { kernel(from_row(a, o, begin, end - begin, value_size)); });
  } else {
    run_tiled(a, o, layout, kernel, value_size);
  }
}

// A small operand (class ids, weights, upstream gradients) as one contiguous run in C order.
const void* contiguous(const TensorView& t, const char* op, const char* arg, const Workspace& workspace) {
  if (is_contiguous(t)) return t.data;
  if (t.device == Device::cuda) check::cuda_layout(op, arg);
  const TensorView* one = &t;
  const Layout layout = shared_layout(&one, 1, true);
  const std::int64_t item = item_size(t.element);
  void* run = workspace(static_cast<std::size_t>(layout.size * item));
  gather(layout, 0, t.data, item, 0, layout.size, run);
  return run;
}

}  // namespace

void run(const RowCall& c) {
  RowOperands o{c.op, {}, c.ins, c.out != nullptr, c.axis};
  for (int k = 0; k < c.ins; ++k) o.at[k] = c.in[k];
  o.at[c.ins] = c.out;
  RowArgs a{};
  a.params = c.params;
  a.count = 1;
  a.queue = c.in[0]->queue;
  run_rows(a, o, target_for(c.in[0]->device).rows->entry[c.index].run[static_cast<int>(c.dtype)], 0);
}

void run_row_loss(const LossCall& c, const Workspace& workspace) {
  const Target& target = target_for(c.input->device);
  const int dtype = static_cast<int>(c.dtype);
  const std::int64_t value_size = item_size(compute_element(c.input->element));
  RowOperands o{c.op, {c.input}, 1, c.grad != nullptr, c.axis};
  if (!c.class_ids) o.at[o.ins++] = c.target;
  o.at[o.ins] = c.grad;
  const std::int64_t cols = o.cols();
  const std::int64_t rows = row_layout(o.at, 1, c.axis).size;

  RowArgs a{};
  a.params = c.params;
  a.queue = c.input->queue;
  a.count = c.reduction == Reduction::mean ? static_cast<double>(rows) : 1.0;
  if (c.weight != nullptr) a.weight = contiguous(*c.weight, c.op, "weight", workspace);
  if (c.class_ids) {
    a.label = contiguous(*c.target, c.op, "target", workspace);
    a.label_bytes = static_cast<int>(item_size(c.target->element));
    a.ignore = c.ignore;
    void* total = workspace(static_cast<std::size_t>(value_size));
    auto* bad = static_cast<std::int64_t*>(workspace(sizeof(std::int64_t)));
    const LabelArgs scan{rows, cols, c.ignore, a.label, a.label_bytes, a.weight, total, bad, a.queue};
    check::device_status(c.op, target.labels->entry[0].run[dtype](scan));
    if (c.input->device == Device::cpu && *bad >= 0) {
      const std::int64_t y = a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[*bad]
                                                : static_cast<const std::int32_t*>(a.label)[*bad];
      check::label_range(c.op, *bad, y, cols, c.ignore);
    }
    if (c.reduction == Reduction::mean) a.divisor = total;
  }
  if (c.upstream != nullptr) {
    a.upstream = contiguous(*c.upstream, c.op, "dy", workspace);
    a.upstream_step = c.reduction == Reduction::none ? 1 : 0;
  }
  const bool total_wanted = c.value != nullptr && c.reduction != Reduction::none;
  if (c.value != nullptr)
    a.value = total_wanted ? workspace(static_cast<std::size_t>(rows * value_size)) : c.value->data;

  run_rows(a, o, target.rows->entry[c.index].run[dtype], value_size);
  if (!total_wanted) return;
  ReduceArgs s{};
  s.n = rows;
  s.in[0] = a.value;
  s.partial = c.value->data;
  s.divisor = a.divisor;
  s.count = a.count;
  s.queue = a.queue;
  sum_to_one(c.op, target, dtype, value_size, s, workspace);
}

}  // namespace dlk
