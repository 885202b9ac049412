// Row-wise calls: rows that lie as the kernel wants them, or gathered into tiles; and sums over rows. Losses are in row_losses.cpp.
#include "rows.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "check.h"
#include "device.h"
#include "parallel.h"
#include "strided.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kGrain = 32768;     // elements in a range of rows
constexpr std::int64_t kTileRows = 16;     // rows gathered at a time: a cache line of neighbors along an inner axis
constexpr std::int64_t kTileColumns = 64;  // columns between two visits of the same lines

void point(RowArgs& a, const RowOperands& o, int k, const void* data, std::int64_t step) {
  if (k < o.ins) {
    a.in[k] = data;
    a.in_step[k] = step;
  } else {
    a.out[k - o.ins] = const_cast<void*>(data);
    a.out_step[k - o.ins] = step;
  }
}

bool sums_rows(const RowArgs& a) {
  bool any = false;
  for (const void* p : a.column_sum) any = any || p != nullptr;
  return any;
}

// The part of a call that begins at row `first`: per-row arrays move along. Sums over rows need a `first` that begins a block of rows.
RowArgs from_row(const RowArgs& a, const RowOperands& o, std::int64_t first, std::int64_t rows,
                 std::int64_t value_size) {
  const auto ahead = [&](void* p, std::int64_t bytes) { return p == nullptr ? p : static_cast<char*>(p) + bytes; };
  RowArgs part = a;
  part.rows = rows;
  part.first = a.first + first;
  for (int k = 0; k < o.count(); ++k) {
    const char* data = static_cast<const char*>(k < o.ins ? a.in[k] : a.out[k - o.ins]);
    const std::int64_t step = k < o.ins ? a.in_step[k] : a.out_step[k - o.ins];
    point(part, o, k, data + first * step * o.item(k), step);
  }
  if (a.label != nullptr) part.label = static_cast<const char*>(a.label) + first * a.label_bytes;
  for (void*& value : part.value) value = ahead(value, first * value_size);
  for (void*& sum : part.column_sum) sum = ahead(sum, first / kRowBlock * a.cols * value_size);
  if (a.upstream != nullptr)
    part.upstream = static_cast<const char*>(a.upstream) + first * a.upstream_step * value_size;
  return part;
}

// Rows whose elements are neighbors and that lie evenly apart need no tile.
bool place(RowArgs& a, const RowOperands& o, const Layout& layout, const Layout& columns) {
  for (int k = 0; k < o.count(); ++k) {
    if (!columns.contiguous(k, o.item(k))) return false;
    std::int64_t apart = a.cols * o.item(k);
    if (layout.size > 1) {
      if (layout.ndim != 1 || layout.stride[k][0] % o.item(k) != 0) return false;
      apart = layout.stride[k][0];
    }
    point(a, o, k, o.at[k]->data, apart / o.item(k));
  }
  return true;
}

// Rows and columns that a kernel walks itself.
void walk_rows(RowArgs& a, const RowOperands& o, const Layout& layout, const Layout& columns, Walk& of_rows,
               Walk& of_columns) {
  int number[kMaxIn + kMaxOut];
  for (int k = 0; k < o.count(); ++k) {
    number[k] = k < o.ins ? k : kMaxIn + k - o.ins;
    point(a, o, k, o.at[k]->data, 0);
  }
  if (!walk_of(layout, o.at, o.count(), number, of_rows) || !walk_of(columns, o.at, o.count(), number, of_columns))
    check::cuda_layout(o.op);
}

// rows x cols between an array and a tile whose rows are contiguous: copy(offset in the array, offset in the tile, stride, n). Evenly
// spaced columns go block by block, so that each line is visited once.
template <class Copy>
void each_piece(const RowOperands& o, const Layout& layout, const Layout& columns, int k, std::int64_t first,
                std::int64_t rows, std::int64_t cols, Copy copy) {
  std::int64_t offset[kRowBlock];
  for (std::int64_t r = 0; r < rows; ++r) offset[r] = offset_of(layout, k, first + r);
  const std::int64_t item = o.item(k), inner = columns.ndim == 0 ? 1 : columns.shape[columns.ndim - 1];
  const std::int64_t stride = columns.ndim == 0 ? item : columns.stride[k][columns.ndim - 1];
  for (std::int64_t run = 0; run < cols; run += inner) {
    const std::int64_t begin = offset_of(columns, k, run);
    for (std::int64_t c = 0; c < inner; c += kTileColumns) {
      const std::int64_t n = inner - c < kTileColumns ? inner - c : kTileColumns;
      for (std::int64_t r = 0; r < rows; ++r) {
        copy(offset[r] + begin + c * stride, (r * cols + run + c) * item, stride, n);
      }
    }
  }
}

void run_tiled(const RowArgs& a, const RowOperands& o, const Layout& layout, const Layout& columns, RowKernel kernel,
               std::int64_t value_size) {
  // Tiles are allocated before any work begins: running out of memory must not leave a half-written output.
  const std::int64_t tile_rows = std::min(sums_rows(a) ? std::int64_t{kRowBlock} : kTileRows, a.rows);
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
        if (k >= o.ins) continue;
        each_piece(o, layout, columns, k, first, rows, a.cols,
                   [&](std::int64_t from, std::int64_t at, std::int64_t stride, std::int64_t n) {
                     const char* const data = static_cast<const char*>(o.at[k]->data);
                     copy_run(to + at, o.item(k), data + from, stride, o.item(k), n);
                   });
      }
      kernel(part);
      for (int k = o.ins; k < o.count(); ++k) {
        each_piece(o, layout, columns, k, first, rows, a.cols,
                   [&](std::int64_t to, std::int64_t at, std::int64_t stride, std::int64_t n) {
                     char* const data = static_cast<char*>(o.at[k]->data);
                     copy_run(data + to, stride, tile + k * plane + at, o.item(k), o.item(k), n);
                   });
      }
    }
  });
}

RowKernel kernel_of(const char* op, Device device, int index, Dtype dtype) {
  const RowKernel kernel = target_for(device).rows->entry[index].run[static_cast<int>(dtype)];
  if (kernel == nullptr) check::not_on_this_target(op, target_for(device).name);
  return kernel;
}

std::int64_t blocks_of_rows(std::int64_t rows) { return (rows + kRowBlock - 1) / kRowBlock; }

// `rows` runs of `cols` partial sums of a call into one: the same rule, level by level.
void sum_blocks(const RowCall& c, const void* partial, std::int64_t rows, std::int64_t cols, void* result,
                Element element, const Workspace& workspace) {
  static const int index = required(find_rows("sum_over_rows", ""));
  const TensorView& like = *c.in[0];
  const RowKernel kernel = kernel_of(c.op, like.device, index, dtype_of(element));
  const std::int64_t item = item_size(element);
  for (;;) {
    const std::int64_t blocks = blocks_of_rows(rows);
    void* const to = blocks == 1 ? result : workspace(static_cast<std::size_t>(blocks * cols * item));
    const auto sum = [&](std::int64_t begin, std::int64_t end) {
      RowArgs a{};
      a.rows = end - begin;
      a.cols = cols;
      a.in[0] = static_cast<const char*>(partial) + begin * cols * item;
      a.in_step[0] = cols;
      a.column_sum[0] = static_cast<char*>(to) + begin / kRowBlock * cols * item;
      a.queue = like.queue;
      return kernel(a);
    };
    if (like.device == Device::cuda) {
      const OnDevice on(c.op, like);
      check::device_status(c.op, sum(0, rows));
    } else {
      parallel_for(rows, kRowBlock, [&](std::int64_t begin, std::int64_t end) { sum(begin, end); });
    }
    if (blocks == 1) return;
    partial = to;
    rows = blocks;
  }
}

}  // namespace

void run_rows(RowArgs& a, const RowOperands& o, RowKernel kernel, std::int64_t value_size) {
  const Layout layout = row_layout(o.at, o.count(), o.axis, o.axes);
  const Layout columns = column_layout(o.at, o.count(), o.axis, o.axes);
  a.rows = layout.size;
  a.cols = o.cols();
  if (a.rows == 0 || (a.cols == 0 && a.value[0] == nullptr)) return;
  const bool placed = place(a, o, layout, columns);
  if (o.at[0]->device == Device::cuda) {
    const OnDevice on(o.op, *o.at[0]);
    Walk of_rows{}, of_columns{};
    if (!placed) {
      walk_rows(a, o, layout, columns, of_rows, of_columns);
      a.row_walk = &of_rows;
      a.column_walk = &of_columns;
    }
    const int code = kernel(a);
    a.row_walk = a.column_walk = nullptr;
    check::device_status(o.op, code);
  } else if (placed) {
    std::int64_t grain = a.cols >= kGrain ? 1 : kGrain / (a.cols + 1) + 1;
    if (sums_rows(a)) grain = blocks_of_rows(grain) * kRowBlock;
    parallel_for(a.rows, grain,
                 [&](std::int64_t begin, std::int64_t end) { kernel(from_row(a, o, begin, end - begin, value_size)); });
  } else {
    run_tiled(a, o, layout, columns, kernel, value_size);
  }
}

void copy(const char* op, const TensorView& from, const TensorView& to) {
  static const int index = required(find_map("copy", ""));
  MapCall m{};
  m.op = op;
  m.index = index;
  m.dtype = dtype_of(from.element);
  m.in[0] = &from;
  m.ins = 1;
  m.out[0] = &to;
  run(m);
}

namespace {

// The elements of t in C order. They are moved as floats of their size, bit for bit.
void copy_on_device(const TensorView& t, const char* op, void* to) {
  TensorView from = t;
  from.element = item_size(t.element) == 8 ? Element::f64 : item_size(t.element) == 4 ? Element::f32 : t.element;
  TensorView run_of_all = from;
  run_of_all.data = to;
  std::int64_t step = item_size(from.element);
  for (int d = t.ndim - 1; d >= 0; --d) {
    run_of_all.stride[d] = step;
    step *= t.shape[d];
  }
  copy(op, from, run_of_all);
}

}  // namespace

const void* contiguous(const TensorView& t, const char* op, const Workspace& workspace) {
  if (is_contiguous(t)) return t.data;
  const TensorView* one = &t;
  const Layout layout = shared_layout(&one, 1, true);
  const std::int64_t item = item_size(t.element);
  void* run_of_all = workspace(static_cast<std::size_t>(layout.size * item));
  if (t.device == Device::cuda) {
    copy_on_device(t, op, run_of_all);
  } else {
    gather(layout, 0, t.data, item, 0, layout.size, run_of_all);
  }
  return run_of_all;
}

RowArgs row_args(const RowOperands& o, const double* params, const PerRow* scalar) {
  RowArgs a{};
  a.params = params;
  a.count = 1;
  a.queue = o.at[0]->queue;
  for (int k = 0; k < kMaxScalars; ++k) {
    a.scalar[k] = scalar[k].data;
    a.scalar_div[k] = scalar[k].div;
    a.scalar_mod[k] = scalar[k].mod;
  }
  return a;
}

RowKernel row_kernel(const char* op, Device device, int index, Dtype dtype) {
  return kernel_of(op, device, index, dtype);
}

void run(const RowCall& c, const Workspace& workspace) {
  RowOperands o{c.op, {}, c.ins, c.out[0] == nullptr ? 0 : c.outs, c.axis, c.axes};
  for (int k = 0; k < c.ins; ++k) o.at[k] = c.in[k];
  for (int k = 0; k < o.outs; ++k) o.at[c.ins + k] = c.out[k];
  RowArgs a = row_args(o, c.params, c.scalar);
  a.seed = c.seed;
  a.offset = c.offset;
  for (int k = 0; k < kMaxOut; ++k) a.value[k] = c.value[k];
  const Element element = compute_element(c.in[0]->element);
  const std::int64_t value_size = item_size(element), cols = o.cols();
  const std::int64_t rows = row_layout(o.at, 1, c.axis, c.axes).size;
  const std::int64_t blocks = blocks_of_rows(rows);
  for (int k = 0; k < kMaxColumns; ++k) {
    a.column[k] = c.column[k];
    if (c.column_sum[k] == nullptr) continue;
    if (rows == 0) clear(c.op, *c.in[0], c.column_sum[k], cols * value_size);
    a.column_sum[k] = blocks <= 1 ? c.column_sum[k] : workspace(static_cast<std::size_t>(blocks * cols * value_size));
  }
  run_rows(a, o, kernel_of(c.op, c.in[0]->device, c.index, c.dtype), value_size);
  for (int k = 0; k < kMaxColumns && blocks > 1; ++k) {
    if (c.column_sum[k] != nullptr) sum_blocks(c, a.column_sum[k], blocks, cols, c.column_sum[k], element, workspace);
  }
}

}  // namespace dlk
