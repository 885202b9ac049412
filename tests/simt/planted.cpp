// The checks of the emulation on kernels with planted mistakes: each must be found, and its corrected twin must pass.
// `planted deadlock` and `planted misaligned` run mistakes that nobody can go on from: they end the process with status 3.
#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "simt.h"

extern __shared__ uint4 dlk_dynamic_shared[];

namespace {

int* const out = new int[4096]();

__global__ void neighbors(bool correct) {
  __shared__ int s[64];
  s[threadIdx.x] = int(threadIdx.x);
  if (correct) __syncthreads();
  out[threadIdx.x] = s[(threadIdx.x + 1) % 64];
}

__global__ void neighbors_in_a_warp(bool correct) {
  __shared__ int s[32];
  s[threadIdx.x] = int(threadIdx.x);
  if (correct) {
    __syncwarp();
  } else {
    __shfl_xor_sync(0xffffffffu, 1, 1);  // meets, but orders no memory
  }
  out[threadIdx.x] = s[threadIdx.x ^ 1];
}

__global__ void overwritten_too_early(bool correct) {
  __shared__ int s[64];
  for (int turn = 0; turn < 2; ++turn) {
    s[threadIdx.x] = turn;
    __syncthreads();
    out[threadIdx.x] = s[63 - threadIdx.x];
    if (correct) __syncthreads();
  }
}

__global__ void same_global_word(bool correct) { out[correct ? blockIdx.x * 64 + threadIdx.x : threadIdx.x] = 1; }

__global__ void uninitialized(bool correct) {
  __shared__ int s[64];
  if (correct || threadIdx.x != 5 || blockIdx.x == 0) s[threadIdx.x] = 1;  // the block before has left its own there
  __syncthreads();
  out[blockIdx.x * 64 + threadIdx.x] = s[63 - threadIdx.x];
}

__global__ void misaligned(bool correct) {
  const int* from = out + (correct ? 4 : 5);
  reinterpret_cast<uint4*>(out + 1024)[threadIdx.x] = *reinterpret_cast<const uint4*>(from);
}

__global__ void beyond_dynamic_shared(bool correct) {  // the launch asks for 64 * 16 bytes
  dlk_dynamic_shared[threadIdx.x + (correct ? 0 : 1)] = uint4{1, 2, 3, 4};
}

__global__ void peers(bool correct) {
  __shared__ int s[64];
  s[threadIdx.x] = 0;
  __cluster_barrier_arrive();
  __cluster_barrier_wait();
  const unsigned other = __clusterRelativeBlockRank() ^ 1u;
  static_cast<int*>(__cluster_map_shared_rank(s, other))[threadIdx.x] = 7;
  if (correct) {
    __cluster_barrier_arrive();
    __cluster_barrier_wait();
  } else {
    __syncthreads();
  }
  out[blockIdx.x * 64 + threadIdx.x] = s[threadIdx.x];
}

// The block that comes last reads what all have written; the counter is one of the launch.
unsigned arrived = 0;
__device__ void last_of_two(bool waits, bool fences) {
  __shared__ bool last;
  out[128 + blockIdx.x * 64 + threadIdx.x] = 1;
  if (waits) __syncthreads();
  if (threadIdx.x == 0) {
    if (fences) __threadfence();
    last = atomicAdd(&arrived, 1u) % 2 == 1;
  }
  __syncthreads();
  if (last) out[threadIdx.x] = out[128 + threadIdx.x] + out[192 + threadIdx.x];
}
__global__ void counted_without_fence(bool correct) { last_of_two(true, correct); }
__global__ void counted_before_all_wrote(bool correct) { last_of_two(correct, true); }

__global__ void deadlock(bool correct) {
  if (correct || threadIdx.x % 2 == 0) __syncthreads();
  __shfl_xor_sync(0xffffffffu, 1, 1);
}

struct Plant {
  const char* name;
  void (*kernel)(bool);
  unsigned blocks, threads, cluster;
  const char* words;  // of the report
};
const Plant plants[] = {
    {"neighbors", neighbors, 1, 64, 1, "race"},
    {"neighbors_in_a_warp", neighbors_in_a_warp, 1, 32, 1, "race"},
    {"overwritten_too_early", overwritten_too_early, 1, 64, 1, "race"},
    {"same_global_word", same_global_word, 2, 64, 1, "race"},
    {"uninitialized", uninitialized, 2, 64, 1, "uninitialized"},
    {"beyond_dynamic_shared", beyond_dynamic_shared, 1, 64, 1, "beyond"},
    {"peers", peers, 4, 64, 2, "race"},
    {"counted_without_fence", counted_without_fence, 2, 64, 1, "race"},
    {"counted_before_all_wrote", counted_before_all_wrote, 2, 64, 1, "race"},
};

bool mentions(const std::vector<std::string>& lines, const char* words) {
  for (const std::string& line : lines) {
    if (line.find(words) != std::string::npos) return true;
  }
  return false;
}

std::vector<std::string> run(void (*kernel)(bool), unsigned blocks, unsigned threads, unsigned cluster, bool correct) {
  cudaLaunchConfig_t config;
  config.gridDim = blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = 64 * 16;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {cluster, 1, 1};
  config.attrs = &attribute;
  config.numAttrs = cluster > 1 ? 1 : 0;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, correct);
  std::vector<std::string> reports = simt::take_reports();
  if (error != cudaSuccess) reports.push_back("the launch failed");
  return reports;
}

}  // namespace

int main(int argc, char** argv) {
  simt::device.watch = true;
  if (argc > 1) {
    const auto kernel = std::strcmp(argv[1], "deadlock") == 0 ? deadlock : misaligned;
    std::printf("corrected: %s\n", run(kernel, 1, 32, 1, true).empty() ? "clean" : "FAILED");
    std::fflush(stdout);
    run(kernel, 1, 32, 1, false);
    return 0;  // not reached
  }
  int wrong = 0;
  for (const bool backwards : {false, true}) {
    simt::device.backwards = backwards;
    for (const Plant& p : plants) {
      const std::vector<std::string> found = run(p.kernel, p.blocks, p.threads, p.cluster, false);
      const std::vector<std::string> clean = run(p.kernel, p.blocks, p.threads, p.cluster, true);
      const bool good = mentions(found, p.words) && clean.empty();
      wrong += good ? 0 : 1;
      std::printf("%s: %s; corrected: %s%s\n", p.name, found.empty() ? "NOT FOUND" : found[0].c_str(),
                  clean.empty() ? "clean" : clean[0].c_str(), good ? "" : "  <-- FAILED");
    }
  }
  return wrong;
}
