// The one order in which every sum is added (DESIGN.md 3.2), on a warp. A block of 4,096 elements is 16 chunks of 256 lanes; lane j adds
// its elements j, j + 256, ... in order, then the lanes are halved: lane[j] + lane[j + w] for w = 128 ... 1.
//
// The 32 threads of a warp hold the 256 lanes, eight each, in one of two layouts: P consecutive lanes per packet (16-byte accesses), or,
// for arrays that are not aligned to 16 bytes, single lanes 32 apart (coalesced accesses of one element). Absent elements are -0, the
// identity of addition.
#pragma once
#include "device.cuh"

DLK_BEGIN

constexpr int kHeld = kLanes / kWarp;  // lanes a thread holds

DLK_DEVICE int lane_id() { return int(threadIdx.x % kWarp); }

// The lane that register r of thread t holds: layout<1> is the one for single elements.
template <int P>
DLK_DEVICE int lane_of(int r, int t) {
  return (r / P * kWarp + t) * P + r % P;
}

template <class S>
DLK_DEVICE S from_thread(S v, int distance) {
  return __shfl_xor_sync(kAllThreads, v, distance);
}

// The sum of 256 lanes in layout P, in every thread. While a thread holds several values, it keeps half of them and sends the other half
// to the thread that keeps those: the additions of the canonical tree, with 12 shuffles in place of 40 (P = 8).
template <int P, class S>
DLK_DEVICE S fold(S (&v)[kHeld]) {
#pragma unroll
  for (int half = kHeld / 2; half >= P; half /= 2) {
#pragma unroll
    for (int r = 0; r < half; ++r) v[r] = v[r] + v[r + half];
  }
  int held = P;
#pragma unroll
  for (int distance = kWarp / 2; distance >= 1; distance /= 2) {
    if (held == 1) {
      v[0] = v[0] + from_thread(v[0], distance);
      continue;
    }
    held /= 2;
    const bool upper = (lane_id() & distance) != 0;
#pragma unroll
    for (int r = 0; r < held; ++r) {
      const S keep = upper ? v[r + held] : v[r], send = upper ? v[r] : v[r + held];
      v[r] = keep + from_thread(send, distance);
    }
  }
#pragma unroll
  for (int w = P / 2, distance = kWarp / 2; w >= 1; w /= 2, distance /= 2) v[0] = v[0] + from_thread(v[0], distance);
  return v[0];
}

// The sum of up to 32 lanes, one a thread.
template <class S>
DLK_DEVICE S fold_warp(S v) {
#pragma unroll
  for (int distance = kWarp / 2; distance >= 1; distance /= 2) v = v + from_thread(v, distance);
  return v;
}

template <class S>
DLK_DEVICE S warp_maximum(S v) {
#pragma unroll
  for (int distance = kWarp / 2; distance >= 1; distance /= 2) v = max(v, from_thread(v, distance));
  return v;
}

// The levels above the block, in shared memory, owned by one warp: batches of up to 32 block results, in order, the batch a power of two
// wide. Two levels are enough for 4,096^3 elements.
template <class S>
struct ladder {
  S at[2][kLanes];

  DLK_DEVICE void clear(int level) {
    for (int j = lane_id(); j < kLanes; j += kWarp) at[level][j] = S(-0.0);
    __syncwarp();
  }
  DLK_DEVICE void begin() {
    clear(0);
    clear(1);
  }
  DLK_DEVICE S folded(int level) {
    __syncwarp();
    S v[kHeld];
#pragma unroll
    for (int r = 0; r < kHeld; ++r) v[r] = at[level][lane_of<1>(r, lane_id())];
    return fold<1>(v);
  }
  DLK_DEVICE void raise(std::int64_t block) {  // level 0 becomes one element of level 1
    const S v = folded(0);
    if (lane_id() == 0) {
      S& lane = at[1][block / kBlock % kLanes];
      lane = lane + v;
    }
    __syncwarp();
    clear(0);
  }
  // block results first .. first + width; v is that of this thread's, -0 where there is none. A lane always belongs to the same thread.
  DLK_DEVICE void push(std::int64_t first, int width, S v) {
    if (lane_id() < width) {
      S& lane = at[0][(first + lane_id()) % kLanes];
      lane = lane + v;
    }
    if ((first + width) % kBlock == 0) raise(first);
  }
  DLK_DEVICE S total(std::int64_t blocks) {
    if (blocks < kBlock) return folded(0);
    if (blocks % kBlock != 0) raise(blocks);
    return folded(1);
  }
};

DLK_END
