// out = (in - shift) scale + offset, kept in [low, high]: any storage types, the three operands in float64.
#pragma once
#include "tensor.h"

namespace dlk {

struct RescaleCall {
  const char* op;
  const TensorView* in;   // u8 or a storage type, of out's shape
  const TensorView* out;  // a storage type
  const TensorView* number
      [3];  // shift, scale, offset: f64, of out's shape; a stride may be 0 (broadcast). Single ones lie on the CPU.
  double low, high;
};
void run(const RescaleCall& call);

}  // namespace dlk
