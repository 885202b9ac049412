// The map family of one CPU target. Compiled once per instruction set.
#include "../../kernels/ops/maps.h"
#include "map.h"

namespace dlk {
namespace DLK_TARGET {
extern const Table<MapArgs> map_entries;
const Table<MapArgs> map_entries = {map_table<map_ops>::rows, map_ops::size};
}  // namespace DLK_TARGET
}  // namespace dlk
