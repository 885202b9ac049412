// layer_norm and rms_norm: a row is read from memory once, forward and backward.
#include "norms.h"

#include <string>

#include "check.h"
#include "parallel.h"
#include "rows.h"
#include "strided.h"
#include "target.h"

namespace dlk {
namespace {

struct Kernels {
  int value, grad, grad_add;
};
const Kernels& kernels_of(const std::string& name) {
  static const auto find = [](const char* op) {
    return Kernels{required(find_rows(op, "")), required(find_rows(op, "grad")), required(find_rows(op, "grad_add"))};
  };
  static const Kernels layer = find("layer_norm"), rms = find("rms_norm");
  return name == "layer_norm" ? layer : rms;
}

RowCall row_call(const RowNormCall& c, int index) {
  RowCall r{};
  r.op = c.op;
  r.index = index;
  r.dtype = dtype_of(c.x->element);
  r.axis = c.x->ndim - c.axes;
  r.axes = c.axes;
  r.params = c.params;
  return r;
}

void fill_columns(const RowNormCall& c, RowCall& r, const Workspace& workspace) {
  if (c.weight != nullptr) r.column[0] = contiguous(*c.weight, c.op, workspace);
  if (c.bias != nullptr) r.column[1] = contiguous(*c.bias, c.op, workspace);
}

bool has_mean(const RowNormCall& c) { return std::string(c.name) == "layer_norm"; }

// The rows [first, first + n) along the first dimension.
TensorView slice(const TensorView& t, std::int64_t first, std::int64_t n) {
  TensorView part = t;
  part.data = static_cast<char*>(t.data) + first * t.stride[0];
  part.shape[0] = n;
  return part;
}

// The first n dimensions of a contiguous array as one.
void merge_leading(TensorView& t, int n) {
  for (int d = 1; d < n; ++d) t.shape[0] *= t.shape[d];
  for (int d = n; d < t.ndim; ++d) {
    t.shape[d - n + 1] = t.shape[d];
    t.stride[d - n + 1] = t.stride[d];
  }
  t.ndim -= n - 1;
  t.stride[0] = item_size(t.element);
  for (int d = 1; d < t.ndim; ++d) t.stride[0] *= t.shape[d];
}

}  // namespace

void run_row_norm(const RowNormCall& c, const TensorView* residual, const TensorView* sum, const TensorView& y,
                  void* const* stats, const Workspace& workspace) {
  RowCall r = row_call(c, kernels_of(c.name).value);
  fill_columns(c, r, workspace);
  r.ins = 1;
  const auto norm = [&](const TensorView& x, const TensorView& out, std::int64_t first_row) {
    RowCall part = r;
    const std::int64_t item = item_size(compute_element(x.element));
    part.in[0] = &x;
    part.out[0] = &out;
    for (int k = 0; k < 2; ++k) {
      if (stats[k] != nullptr) part.value[k] = static_cast<char*>(stats[k]) + first_row * item;
    }
    run(part);
  };
  if (residual == nullptr) {
    norm(*c.x, y, 0);
    return;
  }
  // The sum is rounded to the storage type before its statistics, so that backward sees what forward saw. A piece of it is still in the
  // cache when it is normalized.
  static const int add = required(find_map("residual_add", ""));
  const auto both = [&](const TensorView& x, const TensorView& res, const TensorView& h, const TensorView& out,
                        std::int64_t first_row) {
    MapCall m{};
    m.op = c.op;
    m.index = add;
    m.dtype = r.dtype;
    m.in[0] = &x;
    m.in[1] = &res;
    m.ins = 2;
    m.out[0] = &h;
    run(m);
    norm(h, out, first_row);
  };
  if (c.x->ndim == c.axes || size_of(*c.x) == 0 || c.x->device == Device::cuda) {
    both(*c.x, *residual, *sum, y, 0);
    return;
  }
  TensorView view[] = {*c.x, *residual, *sum, y};
  bool together = true;
  for (const TensorView& t : view) together = together && is_contiguous(t);
  for (TensorView& t : view) {  // pieces of a few rows, whatever dimensions the rows have
    if (together) merge_leading(t, t.ndim - c.axes);
  }
  r.axis = view[0].ndim - c.axes;
  const std::int64_t outer = view[0].shape[0], each = size_of(view[0]) / outer;
  std::int64_t rows_each = 1;
  for (int d = 1; d < view[0].ndim - c.axes; ++d) rows_each *= view[0].shape[d];
  constexpr std::int64_t piece = 32768;  // elements
  parallel_for(outer, each >= piece ? 1 : piece / each, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t n = end - begin;
    both(slice(view[0], begin, n), slice(view[1], begin, n), slice(view[2], begin, n), slice(view[3], begin, n),
         begin * rows_each);
  });
}

void run_row_norm_grad(const RowNormCall& c, const TensorView& dy, const void* const* stats, const TensorView* added,
                       const TensorView& dx, void* dweight, void* dbias, const Workspace& workspace) {
  const Kernels& k = kernels_of(c.name);
  const int numbers = has_mean(c) ? 2 : 1;
  void* computed[2] = {};
  if (stats[numbers - 1] == nullptr) {
    std::int64_t rows = 1;
    for (int d = 0; d < c.x->ndim - c.axes; ++d) rows *= c.x->shape[d];
    RowCall r = row_call(c, k.value);
    r.in[0] = c.x;
    r.ins = 1;
    for (int j = 0; j < numbers; ++j) {
      computed[j] = workspace(static_cast<std::size_t>(rows * item_size(compute_element(c.x->element))));
      r.value[j] = computed[j];
    }
    run(r);
  }
  RowCall r = row_call(c, added == nullptr ? k.grad : k.grad_add);
  if (c.weight != nullptr) r.column[0] = contiguous(*c.weight, c.op, workspace);
  r.in[0] = &dy;
  r.in[1] = c.x;
  r.in[2] = added;
  r.ins = added == nullptr ? 2 : 3;
  r.out[0] = &dx;
  for (int j = 0; j < numbers; ++j) r.scalar[j].data = computed[j] != nullptr ? computed[j] : stats[j];
  r.column_sum[0] = dweight;
  r.column_sum[1] = dbias;
  run(r, workspace);
}

}  // namespace dlk
