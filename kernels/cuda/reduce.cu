// The reduce family of the CUDA target: all losses, and the sums above them.
#include "reduce.cuh"

#include "../ops/losses.h"

namespace dlk {
namespace DLK_TARGET {
extern const Table<ReduceArgs> reduce_entries;
const Table<ReduceArgs> reduce_entries = {reduce_table<losses>::rows, reduce_table<losses>::size};
}  // namespace DLK_TARGET
}  // namespace dlk
