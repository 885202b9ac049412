// The start of a step on a CPU target. Compiled once per instruction set.
#include "../../kernels/step.h"

DLK_BEGIN
int begin(const StepArgs& a) {
  begin_step(a);
  for (std::int64_t r = 0; r < a.rows; ++r) make_row(a, a.row[r]);
  return 0;
}
DLK_END

namespace dlk {
namespace DLK_TARGET {
extern const StepTable step_entries;
const StepTable step_entries = {step_rules_of<all_step_rules>::rows, all_step_rules::size, begin};
}  // namespace DLK_TARGET
}  // namespace dlk
