// A part of the rows family of the CUDA target.
#include "../ops/rows.h"
#include "rows.cuh"

namespace dlk {
namespace DLK_TARGET {
int run_layer_rows(int op, Dtype dtype, const RowArgs& a);
int run_layer_rows(int op, Dtype dtype, const RowArgs& a) { return row_part<layer_rows>::run(op, dtype, a); }
}  // namespace DLK_TARGET
}  // namespace dlk
