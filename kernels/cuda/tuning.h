// Numbers that decide speed and never bits. What a launch can choose is a function from the device's compute capability (90 for sm_90)
// to a plain struct; what the compiler has to know is a constant, one for all architectures.
//
// Every number here is an estimate from published figures (field/gpu-peers.md section 2): NOT YET RUN ON A GPU. A number that has been
// measured gets its measurement written beside it.
#pragma once
#include "../config.h"

DLK_BEGIN

// Elementwise loops: map, update. 256 threads with two 16-byte loads in flight each, at 64 registers, are 32 KB in flight on a
// multiprocessor; at 700 ns of latency an H200 (4.8 TB/s, 132 of them) asks for 25 KB.
struct MapPolicy {
  int blocks_per_sm;  // upper bound of the grid; a thread then loops
};
constexpr MapPolicy map_policy(int) { return {32}; }
constexpr int kMapThreads = 256;

// Sums over whole arrays: a warp owns a block of 4,096 elements. Each thread has 32 bytes of every input on their way while it works on as
// many: with two inputs and 512 threads, 32 KB on a multiprocessor. Losses of a few operations take 120 registers or fewer, which is 512
// threads; the others, which wait for arithmetic and not for memory, up to 168. float64 may take 255, and so may losses with two gradients:
// told to keep to 168, nvcc 13.0 spills 8 and 12 bytes of js_div_log in float32 for compute_100 and compute_120; told nothing, it takes 168
// and 167 (js_div 151 to 158, gaussian_nll_loss 156 to 167), so that three blocks fit all the same.
constexpr int kReduceThreads = 128;
template <class Op, class S>
constexpr int kReduceBlocks = sizeof(S) == 8 || Op::outs > 1 ? 2 : 3;  // at least, on a multiprocessor
constexpr int kReduceBlocksPerSm = 16;

// Class ids: 256 threads with 16 ids of 4 or 8 bytes in flight each, eight times on a multiprocessor: 128 KB or more.
constexpr int kLabelBlocksPerSm = 8;

// Distance transforms: a thread to a line, waiting for one access after the other: as many multiprocessors as there are lines for.
constexpr int kDistanceThreads = 64;

// Rows live in shared memory: short ones belong to a warp; longer ones to groups of 128 threads with a canonical block of 4,096 columns
// (16 KB of float32) each. A row is resident (read once) while it has no more blocks than groups, over all thread blocks of a cluster.
struct RowPolicy {
  int warp_columns;  // rows up to this length belong to a warp
  int cluster;  // thread blocks that may share a row through distributed shared memory; 1: there is none before sm_90
  int blocks_per_sm;  // upper bound of the grid; a team then loops
};
constexpr RowPolicy row_policy(int cc) {
  if (cc >= 90)
    return {1024, 8, 16};  // 8 is the largest portable cluster; 16 needs an opt-in that nobody has measured here
  return {1024, 1, 16};
}
constexpr int kRowWarpThreads = 128;
constexpr int kRowGroupThreads = 128;
constexpr int kRowGroups = 4;  // at most, per thread block
constexpr int kMaxCluster = 8;

DLK_END
