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

void begin_on_device(const char* op, const std::vector<GradientPart>& parts, StepArgs a, double* squares,
                     double* partial, unsigned* arrived) {
  const Target& target = target_for(Device::cuda);
  std::vector<const GradientPart*> some;
  for (const GradientPart& part : parts) {
    bool any = false;
    for (const PlainTensor& t : part.tensors) any = any || t.n > 0;
    if (any && a.checks) some.push_back(&part);
  }
  a.squares = squares;
  a.parts = static_cast<int>(some.size());
  if (some.empty()) check::device_status(op, target.step->run(a));
  for (std::size_t k = 0; k < some.size(); ++k) {
    MagnitudeArgs m{};
    std::int64_t blocks = 0;
    const std::vector<Run> run = runs_of(some[k]->tensors, true, blocks);
    m.run = run.data();
    m.runs = static_cast<std::int64_t>(run.size());
    m.blocks = blocks;
    m.partial = partial;
    m.total = squares + k;
    m.arrived = arrived;
    m.then = k + 1 == some.size() ? &a : nullptr;
    m.queue = a.queue;
    check::device_status(op, magnitude_entry(target, "squares").run[static_cast<int>(some[k]->dtype)](m));
  }
}

}  // namespace dlk
