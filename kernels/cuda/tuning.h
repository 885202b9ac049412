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

// Rows live in shared memory: short ones belong to a warp; longer ones to groups of 128 threads with a canonical block of 4,096 columns
// (16 KB of float32) each. A row is resident (read once) while it has no more blocks than groups, over all thread blocks of a cluster.
struct RowPolicy {
  int warp_columns;   // rows up to this length belong to a warp
  int cluster;        // thread blocks that may share a row through distributed shared memory; 1: there is none before sm_90
  int blocks_per_sm;  // upper bound of the grid; a team then loops
};
constexpr RowPolicy row_policy(int cc) {
  if (cc >= 90) return {1024, 8, 16};  // 8 is the largest portable cluster; 16 needs an opt-in that nobody has measured here
  return {1024, 1, 16};
}
constexpr int kRowWarpThreads = 128;
constexpr int kRowGroupThreads = 128;
constexpr int kRowGroups = 4;  // at most, per thread block
constexpr int kMaxCluster = 8;

DLK_END
