// What surrounds an update on the CUDA target: tables of tensors, magnitudes of lists of them, the numbers of the rules.
#include "trust.cuh"

namespace dlk {
namespace DLK_TARGET {
extern const Table<MagnitudeArgs> magnitude_entries;
const Table<MagnitudeArgs> magnitude_entries = {magnitude_rows, 3};

extern const StepTable step_entries;
const StepTable step_entries = {step_rules_of<all_step_rules>::rows, all_step_rules::size, begin, trust, keep};
}  // namespace DLK_TARGET
}  // namespace dlk
