// The update family of one CPU target. Compiled once per instruction set.
#include "update.h"
#include "../../kernels/ops/optimizers.h"

namespace dlk {
namespace DLK_TARGET {
extern const Table<UpdateArgs> update_entries;
const Table<UpdateArgs> update_entries = {update_table<optimizers>::rows, optimizers::size};
}  // namespace DLK_TARGET
}  // namespace dlk
