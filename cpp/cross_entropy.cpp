#include "cross_entropy.h"

#include <string>

#include "check.h"
#include "target.h"

namespace dlk {

void prepare_cross_entropy(CrossEntropyCall& c, const char* op, const TensorView& input, const TensorView& target,
                           const TensorView* weight, int axis, std::int64_t ignore, double smoothing,
                           Reduction reduction) {
  check::floating(op, "input", input);
  check::same_device(op, "target", target, "input", input);
  const std::int64_t classes = input.ndim == 0 ? 1 : input.shape[axis];
  c.per_row.ndim = 0;
  for (int d = 0; d < input.ndim; ++d) {
    if (d != axis) c.per_row.shape[c.per_row.ndim++] = input.shape[d];
  }
  const bool class_ids = !is_float(target.element);
  if (class_ids) {
    check::class_ids(op, "target", target);
    check::same_shape(op, "target", target, "input without its class axis", c.per_row);
  } else {
    check::same_element(op, "target", target, "input", input.element);
    check::same_shape(op, "target", target, "input", input);
  }
  if (weight != nullptr) {
    check::same_device(op, "weight", *weight, "input", input);
    check::same_element(op, "weight", *weight, "input", input.element);
    if (weight->ndim != 1 || weight->shape[0] != classes) {
      check::fail_value(std::string(op) + ": weight must have shape (" + std::to_string(classes) +
                        ",), one per class, got " + shape_text(*weight) + ".");
    }
  }
  if (!(smoothing >= 0 && smoothing <= 1)) {
    check::fail_value(std::string(op) + ": label_smoothing must be in [0, 1], got " + number_text(smoothing) + ".");
  }
  c.params[0] = smoothing;
  c.call = RowLossCall{};
  c.call.op = op;
  c.call.index = find_rows(!class_ids      ? "cross_entropy.soft"
                           : smoothing > 0 ? "cross_entropy.smooth"
                                           : "cross_entropy",
                           "");
  c.call.dtype = dtype_of(input.element);
  c.call.in[c.call.ins++] = &input;
  if (class_ids) {
    c.call.label = &target;
  } else {
    c.call.in[c.call.ins++] = &target;
  }
  c.call.weight = weight;
  c.call.reduction = reduction;
  c.call.params = c.params;
  c.call.axis = axis;
  c.call.ignore = ignore;
}

}  // namespace dlk
