#include "step.h"

#include <algorithm>

#include "check.h"
#include "target.h"

namespace dlk {
int find_step_rule(const std::string& name) {
  const StepTable& table = *cpu_target().step;
  for (int i = 0; i < table.size; ++i) {
    if (name == table.rule[i].name) return i;
  }
  return -1;
}

const StepRule& step_rule(int index) { return cpu_target().step->rule[index]; }

std::vector<double> step_numbers(int rule, const std::vector<double>& option, double step,
                                 std::vector<double>& carried) {
  StepRow row{};
  row.rule = rule;
  std::copy(option.begin(), option.end(), row.option);
  StepRecord record{step - 1, {}};
  std::copy(carried.begin(), carried.end(), record.carried);
  double numbers[kRowNumbers] = {};
  StepControl control{};
  StepArgs a{};
  a.row = &row;
  a.rows = 1;
  a.record = &record;
  a.numbers = numbers;
  a.control = &control;
  a.scale = 1;
  cpu_target().step->run(a);
  std::copy_n(record.carried, carried.size(), carried.begin());
  return {numbers + 1, numbers + 1 + step_rule(rule).numbers};
}

std::vector<double> trusted_rows(int rule, const std::vector<int>& group, const std::vector<double>& rows,
                                 const std::vector<double>& first, const std::vector<double>& second) {
  std::vector<double> own(group.size() * kRowNumbers);
  TrustArgs a{};
  a.rule = rule;
  a.sums[0] = first.data();
  a.sums[1] = second.data();
  a.rows = rows.data();
  a.own = own.data();
  a.group = group.data();
  a.chunks = static_cast<std::int64_t>(group.size());
  cpu_target().step->trust(a);
  return own;
}

void begin_on_device(const char* op, const std::vector<const KeptTensors*>& parts, StepArgs a, double* squares,
                     double* partial, unsigned* arrived) {
  std::vector<const KeptTensors*> some;
  for (const KeptTensors* part : parts) {
    if (!a.checks || !part->crowded()) continue;
    check::fail_value(
        std::string(op) + ": more than " + std::to_string(kGradientsPerLaunch) +
        " neighboring parameters have less than " + std::to_string(kBlock) +
        " elements together, which the norm of a step on a GPU cannot take. Join them in one array, or step "
        "without max_norm and grad_scale.");
  }
  for (const KeptTensors* part : parts) {
    if (part->any() && a.checks) some.push_back(part);
  }
  a.squares = squares;
  a.parts = static_cast<int>(some.size());
  if (some.empty()) check::device_status(op, target_for(Device::cuda).step->run(a));
  for (std::size_t k = 0; k < some.size(); ++k) {
    some[k]->magnitude(partial, squares + k, arrived, k + 1 == some.size() ? &a : nullptr, a.queue);
  }
}

}  // namespace dlk
