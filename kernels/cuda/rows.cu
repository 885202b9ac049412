// The rows family of the CUDA target.
#include "../ops/rows.h"

#include "rows.cuh"

namespace dlk {
namespace DLK_TARGET {
extern const Table<RowArgs> rows_entries;
const Table<RowArgs> rows_entries = {row_table<row_ops, row_ops_on_cuda>::rows, row_ops::size};
}  // namespace DLK_TARGET
}  // namespace dlk
