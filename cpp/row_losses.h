// The arrays of a loss over rows, checked; shared by the Python bindings and the C interface.
#pragma once
#include "dispatch.h"

namespace dlk {

// As the caller named them; a view may be null.
struct RowLossArrays {
  struct Named {
    const TensorView* view = nullptr;
    const char* name = nullptr;
  };
  Named row[kMaxIn];  // of one shape and dtype: the first says which
  int rows = 0;
  Named label;    // class ids; or, where `soft`, a distribution for each row
  Named weight;   // one per class
  Named per_row;  // one number per row
  bool soft = false;
};

// Fills in the arrays of a call that has its op, axis and axes. Returns the shape of what there is one of for each row; nothing else of
// it is valid. Throws dlk::Error. The views must outlive the call.
TensorView set_arrays(RowLossCall& call, const RowLossArrays& arrays);

}  // namespace dlk
