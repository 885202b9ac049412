// The numbers of every group's rule at a step, and what all gradients are multiplied by. What a step counts (steps, skipped ones not) lies on
// the device and is read by nobody else, so the host never waits, and a graph that holds a step can be launched again and again.
#pragma once
#include "../step.h"
#include "device.cuh"

DLK_BEGIN

constexpr int kRowsPerLaunch = 64;

struct step_batch {
  StepArgs args;  // but row, which is here
  StepRow row[kRowsPerLaunch];
};

// By one thread block.
DLK_DEVICE void begin_step_here(const step_batch& b) {
  if (threadIdx.x == 0) begin_step(b.args);
  __syncthreads();
#pragma unroll 1
  for (int r = int(threadIdx.x); r < int(b.args.rows); r += int(blockDim.x)) make_row(b.args, b.row[r]);
}

__global__ void __launch_bounds__(kRowsPerLaunch, 8) step_kernel(const step_batch __grid_constant__ b) {
  begin_step_here(b);
}

// --- launches ----------------------------------------------------------------------------------------------------------------

// The next rows of a call; returns how many.
inline std::int64_t take_rows(step_batch& b, const StepArgs& a, std::int64_t first) {
  b.args = a;
  b.args.rows = at_most(kRowsPerLaunch, a.rows - first);
  b.args.goes_on = a.goes_on || first > 0;
  for (std::int64_t r = 0; r < b.args.rows; ++r) b.row[r] = a.row[first + r];
  return b.args.rows;
}

// Rows from `first` on, and what all share unless a launch before has found it.
inline int begin_rest(const StepArgs& a, std::int64_t first) {
  step_batch b;
  do {
    const std::int64_t taken = take_rows(b, a, first);
    const int error = launch(step_kernel, 1, kRowsPerLaunch, {}, a.queue, b);
    if (error != 0) return error;
    first += taken;
  } while (first < a.rows);
  return 0;
}
inline int begin(const StepArgs& a) { return begin_rest(a, 0); }

DLK_END
