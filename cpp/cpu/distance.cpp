// The distance transform of one CPU target. Compiled once per instruction set.
#include "distance.h"

namespace dlk {
namespace DLK_TARGET {
extern const Table<DistanceArgs> distance_entries;
namespace {
const Entry<DistanceArgs> distance_rows[] = {
    {"distance", "", 1, 1, 0, more_operands, {distance<float>, distance<double>, nullptr, nullptr}}};
}
const Table<DistanceArgs> distance_entries = {distance_rows, 1};
}  // namespace DLK_TARGET
}  // namespace dlk
