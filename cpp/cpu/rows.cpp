// The rows family of one CPU target. Compiled once per instruction set.
#include "../../kernels/ops/rows.h"
#include "rows.h"

namespace dlk {
namespace DLK_TARGET {
extern const Table<RowArgs> rows_entries;
const Table<RowArgs> rows_entries = {row_table<row_ops>::rows, row_ops::size};
}  // namespace DLK_TARGET
}  // namespace dlk
