// Class ids: are all of them in range, and what do the rows that count weigh together? 256 threads own a block of 4,096 rows, a lane each, so
// that the ids of a block, and then their weights, are all on their way at once; one warp adds the blocks. Both in the canonical order.
#pragma once
#include "canonical.cuh"
#include "storage.cuh"

DLK_BEGIN

template <class S>
struct label_block {
  S weight;
  long long valid, bad;  // how many rows count; the first row whose id is out of range, or kNoRow
};
constexpr long long kNoRow = 0x7fffffffffffffffll;
static_assert(sizeof(label_block<float>) <= label_scratch(1) && sizeof(label_block<double>) <= label_scratch(1), "");

DLK_DEVICE std::int64_t label_at(const LabelArgs& a, std::int64_t row) {
  return a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[row]
                            : static_cast<const std::int32_t*>(a.label)[row];
}
// The counts of a warp's threads, in each of them.
DLK_DEVICE void join_counts(long long& valid, long long& bad) {
  for (int distance = kWarp / 2; distance >= 1; distance /= 2) {
    const long long other = from_thread(bad, distance);
    valid += from_thread(valid, distance);
    bad = other < bad ? other : bad;
  }
}

template <class S>
__global__ void __launch_bounds__(kLanes)
    label_blocks_kernel(const LabelArgs __grid_constant__ a, Dtype dtype, int bytes) {
  constexpr int chunks = int(kBlock) / kLanes, warps = kLanes / kWarp;
  __shared__ S lane[kLanes];
  __shared__ long long some_valid[warps], some_bad[warps];
  const int j = int(threadIdx.x);
#pragma unroll 1
  for (std::int64_t b = blockIdx.x; b * kBlock < a.n; b += gridDim.x) {
    const std::int64_t first = b * kBlock + j;
    std::int64_t y[chunks];
#pragma unroll
    for (int c = 0; c < chunks; ++c) y[c] = first + c * kLanes < a.n ? label_at(a, first + c * kLanes) : a.ignore;
    S w[chunks];
    long long valid = 0, bad = kNoRow;
#pragma unroll
    for (int c = 0; c < chunks; ++c) {
      const bool wanted = y[c] != a.ignore, legal = y[c] >= 0 && y[c] < a.classes;
      valid += wanted && legal;
      if (wanted && !legal && bad == kNoRow) bad = first + c * kLanes;
      w[c] = wanted && legal && a.weight != nullptr
                 ? load_one<S>(static_cast<const char*>(a.weight) + y[c] * bytes, dtype)
                 : S(-0.0);
    }
    S sum = w[0];
#pragma unroll
    for (int c = 1; c < chunks; ++c) sum = sum + w[c];
    lane[j] = sum;
    join_counts(valid, bad);
    if (lane_id() == 0) {
      some_valid[j / kWarp] = valid;
      some_bad[j / kWarp] = bad;
    }
    __syncthreads();
    if (j < kWarp) {
      S v[kHeld];
#pragma unroll
      for (int r = 0; r < kHeld; ++r) v[r] = lane[lane_of<1>(r, j)];
      valid = j < warps ? some_valid[j] : 0;
      bad = j < warps ? some_bad[j] : kNoRow;
      join_counts(valid, bad);
      const S weight = fold<1>(v);
      if (j == 0) static_cast<label_block<S>*>(a.scratch)[b] = {weight, valid, bad};
    }
    __syncthreads();
  }
}

// With an id out of range, the total is NaN and `bad` the first such row.
template <class S>
__global__ void __launch_bounds__(kWarp) label_total_kernel(const LabelArgs __grid_constant__ a) {
  __shared__ ladder<S> above;
  const auto* const block = static_cast<const label_block<S>*>(a.scratch);
  const std::int64_t blocks = ceil_div(a.n, kBlock);
  long long valid = 0, bad = kNoRow;
  above.begin();
#pragma unroll 1
  for (std::int64_t b = 0; b < blocks; b += kWarp) {
    const bool some = b + lane_id() < blocks;
    const label_block<S> mine = some ? block[b + lane_id()] : label_block<S>{S(-0.0), 0, kNoRow};
    valid += mine.valid;
    bad = mine.bad < bad ? mine.bad : bad;
    above.push(b, kWarp, mine.weight);
  }
  const S weighed = above.total(blocks);
  join_counts(valid, bad);
  if (lane_id() != 0) return;
  const bool good = bad == kNoRow;
  S* const total = static_cast<S*>(a.total);
  total[0] = !good ? S(__builtin_nan("")) : valid == 0 ? S(0) : a.weight == nullptr ? S(valid) : weighed;
  total[1] = good ? S(valid) : S(__builtin_nan(""));
  total[2] = total[0] / total[1];
  if (good) return;
  a.bad->label = label_at(a, bad);
  a.bad->classes = a.classes;
  a.bad->ignore = a.ignore;
  __threadfence_system();  // who sees the row sees the rest
  a.bad->row = bad;
}

template <class T>
int labels(const LabelArgs& a) {
  using S = compute_t<T>;
  if (a.n > 0) {
    const std::int64_t most = std::int64_t(current_device().sms) * kLabelBlocksPerSm;
    const int error = launch(label_blocks_kernel<S>, at_most(ceil_div(a.n, kBlock), most), kLanes, {}, a.queue, a,
                             dtype_of<T>(), int(sizeof(T)));
    if (error != 0) return error;
  }
  return launch(label_total_kernel<S>, 1, kWarp, {}, a.queue, a);
}

inline constexpr Entry<LabelArgs> label_rows[] = {
    {"labels", "", 1, 0, 0, more_operands, {labels<f32>, labels<f64>, labels<f16>, labels<bf16>}}};

DLK_END
