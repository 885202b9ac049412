// Losses over rows put several kernels together: scan the class ids, run the rows, sum the rows' values.
#include "row_losses.h"

#include <string>

#include "check.h"
#include "device.h"
#include "rows.h"
#include "strided.h"
#include "sums.h"
#include "target.h"

namespace dlk {

namespace {

// Are the class ids in range? Returns LabelArgs::total.
char* scan_labels(const RowLossCall& c, const RowArgs& a, std::int64_t rows, std::int64_t cols, std::int64_t value_size,
                  const Workspace& workspace) {
  void* total = workspace(static_cast<std::size_t>(3 * value_size));
  const bool cpu = c.in[0]->device == Device::cpu;
  BadLabel here{-1, 0, 0, 0};
  BadLabel* const bad = cpu ? &here : mailbox(c.op, *c.in[0]);
  void* const scratch = cpu ? nullptr : workspace(static_cast<std::size_t>(label_scratch(rows)));
  const LabelArgs scan{rows, cols, c.ignore, a.label, a.label_bytes, a.column[0], total, bad, a.queue, scratch};
  const Target& target = target_for(c.in[0]->device);
  check::device_status(c.op, target.labels->entry[0].run[static_cast<int>(c.dtype)](scan));
  if (here.row >= 0) check::label_range(c.op, c.label_name, here);
  return static_cast<char*>(total);
}

}  // namespace

TensorView set_arrays(RowLossCall& c, const RowLossArrays& arrays) {
  const char* const first = arrays.row[0].name;
  const TensorView& input = *arrays.row[0].view;
  TensorView per_row;
  per_row.ndim = 0;
  std::int64_t classes = 1;
  for (int d = 0; d < input.ndim; ++d) {
    if (d >= c.axis && d < c.axis + c.axes) {
      classes *= input.shape[d];
    } else {
      per_row.shape[per_row.ndim++] = input.shape[d];
    }
  }
  const auto like_input = [&](const RowLossArrays::Named& a) {
    check::same_stream(c.op, a.name, *a.view, first, input);
    check::same_element(c.op, a.name, *a.view, first, input.element);
    check::same_shape(c.op, a.name, *a.view, first, input);
    c.in[c.ins++] = a.view;
  };
  const std::string without_axis = std::string(first) + " without its " + (arrays.label.view ? "class " : "") + "axis";

  check::floating(c.op, first, input);
  c.dtype = dtype_of(input.element);
  c.in[c.ins++] = &input;
  for (int k = 1; k < arrays.rows; ++k) like_input(arrays.row[k]);
  if (const auto& label = arrays.label; label.view != nullptr) {
    if (arrays.soft && is_float(label.view->element)) {
      like_input(label);
    } else {
      check::same_stream(c.op, label.name, *label.view, first, input);
      check::class_ids(c.op, label.name, *label.view);
      check::same_shape(c.op, label.name, *label.view, without_axis.c_str(), per_row);
      c.label = label.view;
      c.label_name = label.name;
    }
  }
  if (const auto& weight = arrays.weight; weight.view != nullptr) {
    check::same_stream(c.op, weight.name, *weight.view, first, input);
    check::same_element(c.op, weight.name, *weight.view, first, input.element);
    if (weight.view->ndim != 1 || weight.view->shape[0] != classes) {
      check::fail_value(std::string(c.op) + ": " + weight.name + " must have shape (" + std::to_string(classes) +
                        ",), one per class, got " + shape_text(*weight.view) + ".");
    }
    c.weight = weight.view;
  }
  if (const auto& operand = arrays.per_row; operand.view != nullptr) {
    check::same_stream(c.op, operand.name, *operand.view, first, input);
    check::same_element(c.op, operand.name, *operand.view, "the loss (float64 for float64 input, else float32)",
                        compute_element(input.element));
    check::same_shape(c.op, operand.name, *operand.view, without_axis.c_str(), per_row);
    c.per_row = operand.view;
  }
  return per_row;
}

void run_row_loss(const RowLossCall& c, const Workspace& workspace) {
  const TensorView& input = *c.in[0];
  const OnDevice on(c.op, input);
  const std::int64_t value_size = item_size(compute_element(input.element));
  RowOperands o{c.op, {}, c.ins, c.grads, c.axis, c.axes};
  for (int k = 0; k < c.ins; ++k) o.at[k] = c.in[k];
  for (int k = 0; k < c.grads; ++k) o.at[c.ins + k] = c.grad[k];
  const std::int64_t cols = o.cols();
  const std::int64_t rows = row_layout(o.at, 1, c.axis, c.axes).size;
  const bool mean = c.reduction == Reduction::mean;

  PerRow scalar[kMaxScalars];
  if (c.per_row != nullptr) scalar[0].data = contiguous(*c.per_row, c.op, workspace);
  RowArgs a = row_args(o, c.params, scalar);
  a.count = mean ? static_cast<double>(rows) : 1.0;
  if (c.weight != nullptr) a.column[0] = contiguous(*c.weight, c.op, workspace);
  if (c.label != nullptr) {
    a.label = contiguous(*c.label, c.op, workspace);
    a.label_bytes = static_cast<int>(item_size(c.label->element));
    a.ignore = c.ignore;
    char* const total = scan_labels(c, a, rows, cols, value_size, workspace);
    if (mean) {
      a.divisor = c.over_weight ? total : total + value_size;
      if (c.over_weight) {  // what a term that is not weighted is to be multiplied by
        a.scalar[0] = total + 2 * value_size;
        a.scalar_mod[0] = 1;
      }
    }
  }
  if (c.upstream != nullptr) {
    a.upstream = contiguous(*c.upstream, c.op, workspace);
    a.upstream_step = c.reduction == Reduction::none ? 1 : 0;
  }
  const bool total_wanted = c.value != nullptr && c.reduction != Reduction::none;
  if (c.value != nullptr)
    a.value[0] = total_wanted ? workspace(static_cast<std::size_t>(rows * value_size)) : c.value->data;

  run_rows(a, o, row_kernel(c.op, input.device, c.index, c.dtype), value_size);
  if (!total_wanted) return;
  ReduceArgs s{};
  s.n = rows;
  s.in[0] = a.value[0];
  s.partial = c.value->data;
  s.divisor = a.divisor;
  s.count = a.count;
  s.queue = a.queue;
  sum_to_one(c.op, target_for(input.device), static_cast<int>(c.dtype), value_size, s, workspace);
}

}  // namespace dlk
