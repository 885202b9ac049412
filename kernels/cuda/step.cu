// The start of a step on the CUDA target: magnitudes of lists of tensors, and the numbers of the rules.
#include "step.cuh"

namespace dlk {
namespace DLK_TARGET {
extern const Table<MagnitudeArgs> magnitude_entries;
const Table<MagnitudeArgs> magnitude_entries = {magnitude_rows, 3};

extern const StepTable step_entries;
const StepTable step_entries = {step_rules_of<all_step_rules>::rows, all_step_rules::size, begin};
}  // namespace DLK_TARGET
}  // namespace dlk
