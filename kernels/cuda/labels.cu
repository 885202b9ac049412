// Class ids on the CUDA target.
#include "labels.cuh"

namespace dlk {
namespace DLK_TARGET {
extern const Table<LabelArgs> label_entries;
const Table<LabelArgs> label_entries = {label_rows, 1};
}  // namespace DLK_TARGET
}  // namespace dlk
