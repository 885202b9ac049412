// Euclidean distance transforms: distances along each of several axes in turn, the other dimensions being a batch.
#pragma once
#include "dispatch.h"

namespace dlk {

struct DistanceCall {
  const char* op;
  const TensorView* mask;  // u8 or b8; 0 is background
  const TensorView* out;   // f32 or f64, of mask's shape
  int axes;
  int axis[kMaxDims];        // ascending
  double spacing[kMaxDims];  // of each of them
};
void run(const DistanceCall& call, const Workspace& workspace);

}  // namespace dlk
