// The checks of a cross-entropy call, shared by the Python bindings and the C interface: which form it is (class ids, smoothed, soft
// targets) and what shape its per-row values have.
#pragma once
#include "dispatch.h"

namespace dlk {

struct CrossEntropyCall {
  RowLossCall call;
  double params[1];    // label smoothing: what call.params points at
  TensorView per_row;  // the shape of what there is one of for each row; nothing else of it is valid
};

// Throws dlk::Error. The views must outlive the call; value, grad and upstream are left to the caller.
void prepare_cross_entropy(CrossEntropyCall& c, const char* op, const TensorView& input, const TensorView& target,
                           const TensorView* weight, int axis, std::int64_t ignore, double smoothing,
                           Reduction reduction);

}  // namespace dlk
