// Rows of numbers for each tensor, where a rule has a rate of its own for each: that of its group, changed by two sums over the tensor. Its
// units have been added up before; what is left is one number for each 4,096 elements, in canonical order.
#pragma once
#include "magnitude.cuh"

DLK_BEGIN

struct trust_batch {
  table_view table;
  const double* sums[kMaxSums];
  const double* rows;
  double* own;
  int rule;
  std::int64_t first;  // chunk
  std::uint64_t grad[kGradientsPerLaunch];
};
static_assert(sizeof(trust_batch) <= kArgumentBytes);

// A chunk to a thread block. 4,096 numbers of 4,096 units are tensors of 2^36 elements.
__global__ void __launch_bounds__(kReduceThreads) trust_kernel(const trust_batch __grid_constant__ b) {
  constexpr int warps = kReduceThreads / kWarp;
  if (b.grad[blockIdx.x] == 0) return;
  __shared__ double upper[kBlock], total[kMaxSums];
  const std::int64_t chunk = b.first + std::int64_t(blockIdx.x);
  const update_tensor t = b.table.tensor(chunk);
  const std::int64_t units = std::int64_t(t.last() & 0xffffffffu), above = ceil_div(units, kBlock);
  const int warp = int(threadIdx.x) / kWarp;
#pragma unroll 1
  for (int j = 0; j < kMaxSums; ++j) {
    const double* const p = b.sums[j] + (t.last() >> 32);
#pragma unroll 1
    for (std::int64_t k = warp; k < above; k += warps) {
      const double v = combined<magnitude::sum>(p + k * kBlock, at_most(kBlock, units - k * kBlock));
      if (lane_id() == 0) upper[k] = v;
    }
    __syncthreads();
    if (warp == 0) {
      const double v = combined<magnitude::sum>(upper, above);
      if (lane_id() == 0) total[j] = v;
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) own_row(b.rule, b.rows + t.row() * kRowNumbers, total, b.own + chunk * kRowNumbers);
}

inline int trust(const TrustArgs& a) {
  trust_batch b;
  b.table = view_of(a.table);
  for (int j = 0; j < kMaxSums; ++j) b.sums[j] = a.sums[j];
  b.rows = a.rows;
  b.own = a.own;
  b.rule = a.rule;
  for (b.first = 0; b.first < a.table->chunks;) {
    const std::int64_t taken = at_most(kGradientsPerLaunch, a.table->chunks - b.first);
    std::memcpy(b.grad, a.grad + b.first, std::size_t(8 * taken));
    const int error = launch(trust_kernel, taken, kReduceThreads, {}, a.queue, b);
    if (error != 0) return error;
    b.first += taken;
  }
  return 0;
}

DLK_END
