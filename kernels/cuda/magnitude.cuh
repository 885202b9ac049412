// The start of a step in one launch: how large the gradients are together, are all of them finite, what they are multiplied by, and every
// group's numbers. The thread block that arrives last concludes: sums have one order, so it does not matter which one that is.
#pragma once
#include "eights.cuh"
#include "step.cuh"
#include "tensors.cuh"

DLK_BEGIN

// The words are runs, three each; or the gradients of the chunks of a table from `first_run` on.
struct magnitude_batch {
  static constexpr int words = 3000, room = words / 3;
  table_view table;
  bool each, values;
  std::uint64_t word[words];
  std::int64_t first_run;
  std::int64_t runs;
  std::int64_t first, blocks, all;  // [first, first + blocks) here, of all
  double *partial, *total;
  unsigned *arrived, expected;  // thread blocks of all launches
  Dtype dtype;
  bool goes_on;  // into the start of a step
  step_batch then;
};
static_assert(sizeof(magnitude_batch) <= kArgumentBytes && kGradientsPerLaunch <= magnitude_batch::words);

// Run k of a launch; without a gradient it has none.
DLK_DEVICE Run run_at(const magnitude_batch& b, std::int64_t k) {
  if (b.table.word == nullptr) {
    const std::uint64_t* const w = b.word + 3 * k;
    return {reinterpret_cast<const void*>(w[0]), std::int64_t(w[1]), std::int64_t(w[2])};
  }
  const update_tensor t = b.table.tensor(b.first_run + k);
  const std::uint64_t grad = b.word[k];
  const void* const x = b.values ? t.at(b.table.master_at) : reinterpret_cast<const void*>(grad);
  return {x, b.each ? t.units_before() * kBlock : std::int64_t(t.first()), grad == 0 ? 0 : t.n()};
}
// The first one that reaches beyond the beginning of a block.
DLK_DEVICE std::int64_t first_run(const magnitude_batch& b, std::int64_t block) {
  if (b.table.word != nullptr) {
    const std::int64_t chunk = (b.each ? b.table.chunk_of_unit() : b.table.chunk_of_block())[block];
    return chunk < b.first_run ? 0 : chunk - b.first_run;
  }
  std::int64_t k = 0;
  for (std::int64_t above = b.runs; k < above;) {
    const std::int64_t middle = (k + above) / 2;
    const Run run = run_at(b, middle);
    if (run.begin + run.n <= block * kBlock) {
      k = middle + 1;
    } else {
      above = middle;
    }
  }
  return k;
}

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
DLK_DEVICE double block_magnitude(const magnitude_batch& b, std::int64_t block) {
  const std::int64_t begin = block * kBlock;
  double lane[kEight] = {};
#pragma unroll 1
  for (std::int64_t k = first_run(b, block); k < b.runs; ++k) {
    const Run run = run_at(b, k);
    if (run.begin >= begin + kBlock) break;
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
        read_eight(x, in_global(run.x), b.dtype, mine - run.begin, end);
      } else {
        read_some(x, at_element(in_global(run.x), b.dtype, mine - run.begin), b.dtype, first, end);
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

template <magnitude how, class S>
__global__ void __launch_bounds__(kReduceThreads, 3) magnitude_kernel(const magnitude_batch __grid_constant__ b) {
  constexpr int warps = kReduceThreads / kWarp;
  const int warp = int(threadIdx.x) / kWarp;
  const std::int64_t block = std::int64_t(blockIdx.x) * warps + warp;
  if (block < b.blocks) {
    const double found = block_magnitude<how, S>(b, b.first + block);
    if (lane_id() == 0) b.partial[b.first + block] = found;
  }
  if (b.each || !arrives_last(b.arrived, b.expected)) return;
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

// --- launches ----------------------------------------------------------------------------------------------------------------

// Where run k of a call lies.
inline Run place_of(const MagnitudeArgs& a, std::int64_t k, std::int64_t units) {
  if (a.table == nullptr) return a.run[k];
  const Chunk& c = a.table->chunk[k];
  return {nullptr, a.each ? units * kBlock : c.first, c.n};
}

// Which runs a launch takes, and how many whole blocks they are.
template <magnitude how, class S>
int magnitude_as(const MagnitudeArgs& a, Dtype dtype) {
  constexpr int warps = kReduceThreads / kWarp;
  magnitude_batch b;
  b.table = view_of(a.table);
  b.each = a.each;
  b.values = a.values;
  b.all = a.blocks;
  b.partial = a.partial;
  b.total = a.total;
  b.arrived = a.arrived;
  b.dtype = dtype;
  b.goes_on = a.then != nullptr;
  const std::int64_t rows_taken = b.goes_on ? take_rows(b.then, *a.then, 0) : 0;
  const std::int64_t runs = a.table == nullptr ? a.runs : a.table->chunks;
  const std::int64_t most = a.table == nullptr ? magnitude_batch::room : kGradientsPerLaunch;
  // the blocks from `first` on that the runs from `run` on hold; the others are another launch's
  std::int64_t units = 0;  // before `run`
  const auto pass = [&](std::int64_t& run) {
    units += ceil_div(place_of(a, run, units).n, kBlock);
    ++run;
  };
  const auto fill = [&](std::int64_t first, std::int64_t& run) {
    for (Run r; run < runs && (r = place_of(a, run, units)).begin + r.n <= first * kBlock;) pass(run);
    b.runs = at_most(most, runs - run);
    if (run + b.runs == runs) return a.blocks - first;
    const std::int64_t before = units;
    std::int64_t next = run;
    while (next < run + b.runs) pass(next);
    const Run r = place_of(a, next, units);
    units = before;
    return r.begin / kBlock - first;
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
  units = 0;
  for (std::int64_t first = 0, run = 0; first < a.blocks; first += b.blocks) {
    b.first = first;
    b.blocks = fill(first, run);
    b.first_run = run;
    if (a.table == nullptr) {
      std::memcpy(b.word, a.run + run, std::size_t(b.runs) * sizeof(Run));
    } else {
      std::memcpy(b.word, a.grad + run, std::size_t(b.runs) * 8);
    }
    const int error = launch(magnitude_kernel<how, S>, ceil_div(b.blocks, warps), kReduceThreads, {}, a.queue, b);
    if (error != 0) {  // those that were launched have counted themselves
      if (!a.each) cudaMemsetAsync(a.arrived, 0, sizeof(unsigned), static_cast<cudaStream_t>(a.queue));
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
