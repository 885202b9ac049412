// The map family of the CUDA target.
#include "../ops/maps.h"
#include "map.cuh"

namespace dlk {
namespace DLK_TARGET {
extern const Table<MapArgs> map_entries;
const Table<MapArgs> map_entries = {map_table<map_ops>::rows, map_ops::size};
}  // namespace DLK_TARGET
}  // namespace dlk
