// The reduce family of one CPU target. Compiled once per instruction set.
#include "reduce.h"

#include "../../kernels/ops/losses.h"

namespace dlk {
namespace DLK_TARGET {
extern const Table<ReduceArgs> reduce_entries;
extern const Table<LabelArgs> label_entries;
const Table<ReduceArgs> reduce_entries = {reduce_table<losses>::rows, reduce_table<losses>::size};
const Table<LabelArgs> label_entries = {label_rows, 1};
}  // namespace DLK_TARGET
}  // namespace dlk
