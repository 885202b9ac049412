// Numbers that decide speed and never bits, as functions from a compute capability (90 for sm_90) to plain structs. Kernels read them at
// compile time for the architecture that is being compiled (DLK_CUDA_ARCH), launches at run time for the device that is there.
//
// Every number here is an estimate from published figures (field/gpu-peers.md section 2): NOT YET RUN ON A GPU. A number that has been
// measured gets its measurement written beside it.
#pragma once
#include "../config.h"

DLK_BEGIN

// Elementwise loops: map, update.
struct MapPolicy {
  int loads;          // of 16 bytes in flight per thread
  int blocks_per_sm;  // upper bound of the grid; a thread then loops
};
constexpr int packets_in_flight(MapPolicy p, int inputs) { return p.loads > inputs ? p.loads / inputs : 1; }
constexpr int kMapThreads = 256;
constexpr MapPolicy map_policy(int cc) {
  if (cc >= 100) return {4, 32};  // 8 TB/s over 148 SMs: about 43 KB in flight on each
  return {2, 32};
}

// Sums over whole arrays: a warp owns a block of 4,096 elements.
constexpr int kReduceThreads = 256;
constexpr int kReduceBlocksPerSm = 8;
constexpr int kLabelThreads = 1024;

// Rows: a warp holds up to 32 elements per thread (16 of float64); longer rows go to groups of 256 threads with 16 elements each, that
// is one canonical block of 4,096 columns a group. A row is resident (read once) while it has no more blocks than groups.
struct RowPolicy {
  int cluster;        // thread blocks that share a row through distributed shared memory; 1: there is none before sm_90
  int blocks_per_sm;  // of the grid
};
constexpr int kRowWarpThreads = 256;
constexpr RowPolicy row_policy(int cc) {
  if (cc >= 90) return {8, 4};  // 8 is the largest portable cluster; 16 needs an opt-in that nobody has measured here
  return {1, 4};
}
template <class S>
constexpr int kRowWarpElements = 128 / int(sizeof(S));
template <class S>
constexpr int kRowGroups = sizeof(S) == 8 ? 1 : 2;  // per thread block: 48 KB of shared memory hold the terms of so many

DLK_END
