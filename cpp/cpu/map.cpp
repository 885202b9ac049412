// The map family of one CPU target. Compiled once per instruction set.
#include "map.h"
#include "../../kernels/ops/maps.h"

namespace dlk {
namespace DLK_TARGET {
extern const Table<MapArgs> map_entries;
const Table<MapArgs> map_entries = {map_table<map_ops>::rows, map_ops::size};
}  // namespace DLK_TARGET
}  // namespace dlk
