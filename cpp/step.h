// The start of a step: what depends on the step count, and what all gradients are multiplied by. On a CPU at once; on a GPU queued, with
// everything that is found out left on the device.
#pragma once
#include <string>
#include <vector>

#include "plan.h"

namespace dlk {

// Index of a step rule in the tables of every target; -1 if there is none.
int find_step_rule(const std::string& name);
const StepRule& step_rule(int index);

// A rule's numbers at a step, counted from 1. carried: as it hands them on from step to step.
std::vector<double> step_numbers(int rule, const std::vector<double>& option, double step,
                                 std::vector<double>& carried);

// Gradients of one dtype; where the sum of their squares goes is StepArgs::squares, one after the other.
struct GradientPart {
  Dtype dtype;
  std::vector<PlainTensor> tensors;
};
// The start of a step on a GPU, in one launch for each part. partial and arrived: memory of the device, for magnitude_room numbers of the
// largest part, and 0.
void begin_on_device(const char* op, const std::vector<GradientPart>& parts, StepArgs a, double* squares,
                     double* partial, unsigned* arrived);

}  // namespace dlk
