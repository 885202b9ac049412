// The start of a step in one launch: how large the gradients are together, are all of them finite, what they are multiplied by, and every
// group's numbers. The thread block that arrives last concludes: sums have one order, so it does not matter which one that is.
//
// What a step counts (steps, skipped ones not) lies on the device and is read by nobody else, so the host never waits, and a graph that
// holds a step can be launched again and again.
#pragma once
#include "../step.h"
#include "eights.cuh"

DLK_BEGIN

constexpr int kRunsPerLaunch = 1024;
constexpr int kRowsPerLaunch = 64;

struct step_batch {
  StepArgs args;  // but row, which is here
  StepRow row[kRowsPerLaunch];
};
struct magnitude_batch {
  Run run[kRunsPerLaunch];
  int runs;
  std::int64_t first, blocks, all;  // [first, first + blocks) here, of all
  double *partial, *total;
  unsigned *arrived, expected;  // thread blocks of all launches
  Dtype dtype;
  bool goes_on;  // into the start of a step
  step_batch then;
};
static_assert(sizeof(magnitude_batch) <= 32764, "what a kernel may be given");

enum class magnitude { squares, sum, largest };

template <magnitude how>
DLK_DEVICE double with(double sum, double x) {
  if constexpr (how == magnitude::squares) return fma(x, x, sum);
  if constexpr (how == magnitude::sum) return sum + abs(x);
  const double m = abs(x);
  return m <= sum || sum != sum ? sum : m;  // NaN wins, and stays
}

// The largest of a warp's, NaN if there is one.
DLK_DEVICE double warp_largest(double v) {
#pragma unroll
  for (int distance = kWarp / 2; distance >= 1; distance /= 2) {
    const double other = from_thread(v, distance);
    v = other <= v || v != v ? v : other;
  }
  return v;
}

// The block of 4,096 elements that begins at `begin` in the concatenation, on a warp: thread t has the lanes 8t ... 8t + 7.
template <magnitude how, class S>
DLK_DEVICE double block_magnitude(const magnitude_batch& b, std::int64_t begin) {
  double lane[kEight] = {};
  int k = 0;  // the first run that reaches beyond the beginning
  for (int above = b.runs; k < above;) {
    const int middle = (k + above) / 2;
    if (b.run[middle].begin + b.run[middle].n <= begin) {
      k = middle + 1;
    } else {
      above = middle;
    }
  }
#pragma unroll 1
  for (; k < b.runs && b.run[k].begin < begin + kBlock; ++k) {
    const Run& run = b.run[k];
    const std::int64_t from = run.begin > begin ? run.begin : begin;
    const std::int64_t to = at_most(run.begin + run.n, begin + kBlock);
#pragma unroll 1
    for (std::int64_t row = from / kLanes * kLanes; row < to; row += kLanes) {
      const std::int64_t mine = row + lane_id() * kEight;  // in the concatenation
      const int first = mine < from ? int(at_most(from - mine, kEight)) : 0;
      const int end = to - mine < kEight ? (to < mine ? 0 : int(to - mine)) : kEight;
      if (first >= end) continue;
      S x[kEight];
      if (first == 0) {
        read_eight(x, run.x, b.dtype, mine - run.begin, end);
      } else {
        read_some(x, at_element(run.x, b.dtype, mine - run.begin), b.dtype, first, end);
      }
#pragma unroll
      for (int e = 0; e < kEight; ++e) lane[e] = with<how>(lane[e], double(x[e]));
    }
  }
  if constexpr (how == magnitude::largest) {
    double most = 0;
#pragma unroll
    for (int e = 0; e < kEight; ++e) most = with<how>(most, lane[e]);
    return warp_largest(most);
  } else {
    return fold<kEight>(lane);
  }
}

// Up to 4,096 results of other thread blocks, in canonical order, on a warp.
template <magnitude how>
DLK_DEVICE double combined(const volatile double* p, std::int64_t n) {
  double v[kHeld];
#pragma unroll
  for (int r = 0; r < kHeld; ++r) v[r] = how == magnitude::largest ? 0 : -0.0;
#pragma unroll 2
  for (std::int64_t row = 0; row < n; row += kLanes) {
#pragma unroll
    for (int r = 0; r < kHeld; ++r) {
      const std::int64_t i = row + lane_of<1>(r, lane_id());
      if (i >= n) continue;
      v[r] = how == magnitude::largest ? with<magnitude::largest>(v[r], p[i]) : v[r] + p[i];
    }
  }
  if constexpr (how == magnitude::largest) {
#pragma unroll
    for (int r = 1; r < kHeld; ++r) v[0] = with<how>(v[0], v[r]);
    return warp_largest(v[0]);
  } else {
    return fold<1>(v);
  }
}

// Everybody of the thread block has written what it found. Have all others, too?
DLK_DEVICE bool arrives_last(unsigned* arrived, unsigned expected) {
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    last = atomicAdd(arrived, 1u) + 1 == expected;
    __threadfence();
  }
  __syncthreads();
  return last;
}

// By one thread block.
DLK_DEVICE void begin_step_here(const step_batch& b) {
  if (threadIdx.x == 0) begin_step(b.args);
  __syncthreads();
#pragma unroll 1
  for (int r = int(threadIdx.x); r < int(b.args.rows); r += int(blockDim.x)) make_row(b.args, b.row[r]);
}

template <magnitude how, class S>
__global__ void __launch_bounds__(kReduceThreads, 3) magnitude_kernel(const magnitude_batch __grid_constant__ b) {
  constexpr int warps = kReduceThreads / kWarp;
  const int warp = int(threadIdx.x) / kWarp;
  const std::int64_t block = std::int64_t(blockIdx.x) * warps + warp;
  if (block < b.blocks) {
    const double found = block_magnitude<how, S>(b, (b.first + block) * kBlock);
    if (lane_id() == 0) b.partial[b.first + block] = found;
  }
  if (!arrives_last(b.arrived, b.expected)) return;
  if (threadIdx.x == 0) *b.arrived = 0;
  const std::int64_t above = ceil_div(b.all, kBlock);
  double* const upper = above == 1 ? b.total : b.partial + b.all;
#pragma unroll 1
  for (std::int64_t k = warp; k < above; k += warps) {
    const double v = combined<how>(b.partial + k * kBlock, at_most(kBlock, b.all - k * kBlock));
    if (lane_id() == 0) upper[k] = v;
  }
  __syncthreads();
  if (above > 1) {
    if (warp == 0) {
      const double v = combined<how>(upper, above);
      if (lane_id() == 0) *b.total = v;
    }
    __syncthreads();
  }
  if (b.goes_on) begin_step_here(b.then);
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

// Which runs a launch takes, and how many whole blocks they are.
template <magnitude how, class S>
int magnitude_as(const MagnitudeArgs& a, Dtype dtype) {
  constexpr int warps = kReduceThreads / kWarp;
  magnitude_batch b;
  b.all = a.blocks;
  b.partial = a.partial;
  b.total = a.total;
  b.arrived = a.arrived;
  b.dtype = dtype;
  b.goes_on = a.then != nullptr;
  const std::int64_t rows_taken = b.goes_on ? take_rows(b.then, *a.then, 0) : 0;
  // the blocks from `first` on that the runs from `run` on hold; the others are another launch's
  const auto fill = [&](std::int64_t first, std::int64_t& run) {
    while (run < a.runs && a.run[run].begin + a.run[run].n <= first * kBlock) ++run;
    b.runs = int(at_most(kRunsPerLaunch, a.runs - run));
    const bool rest = run + b.runs == a.runs;
    return (rest ? a.blocks : a.run[run + b.runs].begin / kBlock) - first;
  };
  b.expected = 0;
  for (std::int64_t first = 0, run = 0, n; first < a.blocks; first += n) {
    n = fill(first, run);
    if (n == 0) {
      describe_failure("magnitude_kernel, for more tensors within 4,096 elements than its arguments hold", 1,
                       kReduceThreads, 1, 0, int(cudaErrorInvalidValue));
      return int(cudaErrorInvalidValue);
    }
    b.expected += unsigned(ceil_div(n, warps));
  }
  for (std::int64_t first = 0, run = 0; first < a.blocks; first += b.blocks) {
    b.first = first;
    b.blocks = fill(first, run);
    std::memcpy(b.run, a.run + run, std::size_t(b.runs) * sizeof(Run));
    const int error = launch(magnitude_kernel<how, S>, ceil_div(b.blocks, warps), kReduceThreads, {}, a.queue, b);
    if (error != 0) {  // those that were launched have counted themselves
      cudaMemsetAsync(a.arrived, 0, sizeof(unsigned), static_cast<cudaStream_t>(a.queue));
      return error;
    }
  }
  return b.goes_on && rows_taken < a.then->rows ? begin_rest(*a.then, rows_taken) : 0;
}
template <magnitude how, class T>
int magnitudes(const MagnitudeArgs& a) {
  return magnitude_as<how, compute_t<T>>(a, dtype_of<T>());
}

template <magnitude how>
constexpr Entry<MagnitudeArgs> magnitude_row(const char* name) {
  return {name,
          "",
          1,
          0,
          0,
          more_operands,
          {magnitudes<how, f32>, magnitudes<how, f64>, magnitudes<how, f16>, magnitudes<how, bf16>}};
}
inline constexpr Entry<MagnitudeArgs> magnitude_rows[] = {magnitude_row<magnitude::squares>("squares"),
                                                          magnitude_row<magnitude::sum>("sum"),
                                                          magnitude_row<magnitude::largest>("largest")};

DLK_END
