// Losses over rows put several kernels together: scan the class ids, run the rows, sum the rows' values.
#include "check.h"
#include "rows.h"
#include "strided.h"
#include "sums.h"
#include "target.h"

namespace dlk {
namespace {

// Are the class ids in range? Returns where the weight of the rows that count stands.
const void* scan_labels(const RowLossCall& c, const RowArgs& a, std::int64_t rows, std::int64_t cols,
                        std::int64_t value_size, const Workspace& workspace) {
  void* total = workspace(static_cast<std::size_t>(value_size));
  auto* bad = static_cast<std::int64_t*>(workspace(sizeof(std::int64_t)));
  const LabelArgs scan{rows,  cols, c.ignore, a.label, a.label_bytes, c.over_labels ? a.column[0] : nullptr,
                       total, bad,  a.queue};
  const Target& target = target_for(c.in[0]->device);
  check::device_status(c.op, target.labels->entry[0].run[static_cast<int>(c.dtype)](scan));
  if (c.in[0]->device == Device::cpu && *bad >= 0) {
    const std::int64_t y = a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[*bad]
                                              : static_cast<const std::int32_t*>(a.label)[*bad];
    check::label_range(c.op, *bad, y, cols, c.ignore);
  }
  return total;
}

}  // namespace

void run_row_loss(const RowLossCall& c, const Workspace& workspace) {
  const TensorView& input = *c.in[0];
  const std::int64_t value_size = item_size(compute_element(input.element));
  RowOperands o{c.op, {}, c.ins, c.grads, c.axis, c.axes};
  for (int k = 0; k < c.ins; ++k) o.at[k] = c.in[k];
  for (int k = 0; k < c.grads; ++k) o.at[c.ins + k] = c.grad[k];
  const std::int64_t cols = o.cols();
  const std::int64_t rows = row_layout(o.at, 1, c.axis, c.axes).size;
  const bool mean = c.reduction == Reduction::mean;

  RowArgs a = row_args(o, c.params, c.scalar);
  a.count = mean ? static_cast<double>(rows) : 1.0;
  if (c.weight != nullptr) a.column[0] = contiguous(*c.weight, c.op, "weight", workspace);
  if (c.label != nullptr) {
    a.label = contiguous(*c.label, c.op, "target", workspace);
    a.label_bytes = static_cast<int>(item_size(c.label->element));
    a.ignore = c.ignore;
    const void* total = scan_labels(c, a, rows, cols, value_size, workspace);
    if (mean && c.over_labels) a.divisor = total;
  }
  if (c.upstream != nullptr) {
    a.upstream = contiguous(*c.upstream, c.op, "dy", workspace);
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
