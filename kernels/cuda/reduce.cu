// The reduce family of the CUDA target.
#include "reduce.cuh"

#include "../ops/losses.h"

namespace dlk {
namespace DLK_TARGET {
extern const Table<ReduceArgs> reduce_entries;
extern const Table<LabelArgs> label_entries;
const Table<ReduceArgs> reduce_entries = {reduce_table<losses, losses_on_cuda>::rows,
                                          reduce_table<losses, losses_on_cuda>::size};
const Table<LabelArgs> label_entries = {label_rows, 1};
}  // namespace DLK_TARGET
}  // namespace dlk
