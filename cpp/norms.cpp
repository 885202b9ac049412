// layer_norm and rms_norm: a row is read from memory once, forward and backward.
#include "norms.h"

#include <string>

#include "check.h"
#include "rows.h"
#include "strided.h"
#include "target.h"

namespace dlk {
namespace {

struct Kernels {
  int value, value_add, grad, grad_add;
};
const Kernels& kernels_of(const std::string& name) {
  static const auto find = [](const char* op) {
    return Kernels{required(find_rows(op, "")), required(find_rows(op, "add")), required(find_rows(op, "grad")),
                   required(find_rows(op, "grad_add"))};
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

}  // namespace

void run_row_norm(const RowNormCall& c, const TensorView* residual, const TensorView* sum, const TensorView& y,
                  void* const* stats, const Workspace& workspace) {
  const Kernels& k = kernels_of(c.name);
  RowCall r = row_call(c, residual == nullptr ? k.value : k.value_add);
  fill_columns(c, r, workspace);
  r.in[0] = c.x;
  r.in[1] = residual;
  r.ins = residual == nullptr ? 1 : 2;
  r.out[0] = &y;
  r.out[1] = sum;
  r.outs = residual == nullptr ? 1 : 2;
  for (int j = 0; j < 2; ++j) r.value[j] = stats[j];
  run(r);
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
