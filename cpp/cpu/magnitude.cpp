// The magnitude family of one CPU target. Compiled once per instruction set.
#include "magnitude.h"

namespace dlk {
namespace DLK_TARGET {
extern const Table<MagnitudeArgs> magnitude_entries;
const Table<MagnitudeArgs> magnitude_entries = {magnitude_rows, 3};
}  // namespace DLK_TARGET
}  // namespace dlk
