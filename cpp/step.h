// The start of a step: what depends on the step count, and what all gradients are multiplied by. On a CPU at once; on a GPU queued, with
// everything that is found out left on the device.
#pragma once
#include <string>
#include <vector>

#include "kept_tensors.h"

namespace dlk {

// Index of a step rule in the tables of every target; -1 if there is none.
int find_step_rule(const std::string& name);
const StepRule& step_rule(int index);

// A rule's numbers at a step, counted from 1. carried: as it hands them on from step to step.
std::vector<double> step_numbers(int rule, const std::vector<double>& option, double step,
                                 std::vector<double>& carried);

// What a step has found out of sums over each tensor: the row of numbers of each, from that of its group (kRowNumbers each).
std::vector<double> trusted_rows(int rule, const std::vector<int>& group, const std::vector<double>& rows,
                                 const std::vector<double>& first, const std::vector<double>& second);

// The start of a step on a GPU, in one launch for each part that has a gradient. squares, partial and arrived: memory of the device for a
// number of each part, for magnitude_room(blocks) numbers of the largest, and 0.
void begin_on_device(const char* op, const std::vector<const KeptTensors*>& parts, StepArgs a, double* squares,
                     double* partial, unsigned* arrived);

}  // namespace dlk
