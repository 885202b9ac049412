// The update family of the CUDA target.
#include "../ops/optimizers.h"
#include "update_launch.cuh"

namespace dlk {
namespace DLK_TARGET {
extern const Table<UpdateArgs> update_entries;
const Table<UpdateArgs> update_entries = {update_table<optimizers>::rows, optimizers::size};
}  // namespace DLK_TARGET
}  // namespace dlk
