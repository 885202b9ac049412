// Gradients of a learned number of an activation (PReLU's slope, swish's beta): one for all elements, or one for each channel.
#pragma once
#include "dispatch.h"

namespace dlk {

struct SlopeCall {
  const char* op;
  int rows_index, columns_index;  // find_rows: of passes "rows" and "columns"
  const TensorView* dy;
  const TensorView* x;
  const TensorView* number;  // of one element, or of as many as x has channels (dimension 1)
  void* result;              // compute type, contiguous, one per number
};
void run_slope(const SlopeCall& call, const Workspace& workspace);

// The number seen with the shape of x: it repeats.
TensorView repeated(const TensorView& number, const TensorView& x);

}  // namespace dlk
