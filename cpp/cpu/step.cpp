// The start of a step on a CPU target. Compiled once per instruction set.
#include "../../kernels/step.h"

DLK_BEGIN
int begin(const StepArgs& a) {
  begin_step(a);
  for (std::int64_t r = 0; r < a.rows; ++r) make_row(a, a.row[r]);
  return 0;
}
int trust(const TrustArgs& a) {
  for (std::int64_t i = 0; i < a.chunks; ++i) {
    const double sums[kMaxSums] = {a.sums[0][i], a.sums[1][i]};
    own_row(a.rule, a.rows + std::int64_t(a.group[i]) * kRowNumbers, sums, a.own + i * kRowNumbers);
  }
  return 0;
}
DLK_END

namespace dlk {
namespace DLK_TARGET {
extern const StepTable step_entries;
const StepTable step_entries = {step_rules_of<all_step_rules>::rows, all_step_rules::size, begin, trust, nullptr};
}  // namespace DLK_TARGET
}  // namespace dlk
