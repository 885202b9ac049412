// What the CUDA loops are written from: the device as a launch sees it, and memory as a thread sees it, in packets of 16 bytes.
//
// The loops are compiled twice from this one text: by nvcc for the GPU, and by g++ for the tests, where tests/simt/ stands first on the
// include path and provides a <cuda_runtime.h> whose threads are fibers. So a loop uses only what both provide: the built-in variables,
// __shared__ variables, __syncthreads, __syncwarp, __shfl_xor_sync, the __cluster_* intrinsics and cudaLaunchKernelEx (never <<< >>>).
#pragma once
#include <cuda_runtime.h>

#include "../abi.h"
#include "../dtype.h"
#include "../list.h"
#include "devices.h"
#include "failure.h"
#include "tuning.h"

#define DLK_DEVICE __device__ __forceinline__

// CUDA declares its cluster intrinsics from sm_90 on only. Before, these templates are what a call finds: a cluster is one block.
template <class = void>
DLK_DEVICE unsigned __clusterSizeInBlocks() {
  return 1;
}
template <class = void>
DLK_DEVICE unsigned __clusterRelativeBlockRank() {
  return 0;
}
template <class = void>
DLK_DEVICE void __cluster_barrier_arrive() {}
template <class = void>
DLK_DEVICE void __cluster_barrier_wait() {}
template <class = void>
DLK_DEVICE void* __cluster_map_shared_rank(const void* p, unsigned) {
  return const_cast<void*>(p);
}

DLK_BEGIN

constexpr int kWarp = 32;
constexpr unsigned kAllThreads = 0xffffffffu;

template <class T>
constexpr Dtype dtype_of() {
  return same<T, f32>::value   ? Dtype::f32
         : same<T, f64>::value ? Dtype::f64
         : same<T, f16>::value ? Dtype::f16
                               : Dtype::bf16;
}

// --- memory ----------------------------------------------------------------------------------------------------------------

// P elements side by side, at an address that is a multiple of their size or of 16: they move in 16-byte accesses, or in one that is smaller.
template <class T, int P>
struct packet {
  T v[P];
};
template <class T>
constexpr int kPacket = 16 / int(sizeof(T));

// What moves 16 bytes: of a type as wide as the elements, or the compiler takes the access apart.
template <int Bytes>
struct word_of {
  using type = uint4;
};
template <>
struct word_of<8> {
  using type = ulonglong2;
};
template <class T>
using word = typename word_of<int(sizeof(T))>::type;

// What moves a packet of so many bytes, of elements T, in one or several accesses.
template <class T, int Bytes>
struct access_of {
  static_assert(Bytes % 16 == 0, "a packet is made of 16-byte words, or smaller than one");
  using type = word<T>;
};
template <class T>
struct access_of<T, 1> {
  using type = std::uint8_t;
};
template <class T>
struct access_of<T, 2> {
  using type = std::uint16_t;
};
template <class T>
struct access_of<T, 4> {
  using type = std::uint32_t;
};
template <class T>
struct access_of<T, 8> {
  using type = std::uint64_t;
};
template <class T, int P>
using access = typename access_of<T, int(sizeof(packet<T, P>))>::type;

template <int P, class T>
DLK_DEVICE packet<T, P> load_packet(const T* p) {
  using W = access<T, P>;
  constexpr int words = int(sizeof(packet<T, P>) / sizeof(W));
  W raw[words];
#pragma unroll
  for (int w = 0; w < words; ++w) raw[w] = reinterpret_cast<const W*>(p)[w];
  packet<T, P> x;
  std::memcpy(&x, raw, sizeof x);
  return x;
}
template <class T, int P>
DLK_DEVICE void store_packet(T* p, const packet<T, P>& x) {
  using W = access<T, P>;
  constexpr int words = int(sizeof(packet<T, P>) / sizeof(W));
  W raw[words];
  std::memcpy(raw, &x, sizeof x);
#pragma unroll
  for (int w = 0; w < words; ++w) reinterpret_cast<W*>(p)[w] = raw[w];
}

// A pointer to the device's memory that was read from memory: the compiler takes those of kernel arguments for such, others for any kind.
template <class T>
DLK_DEVICE T* in_global(T* p) {
  __builtin_assume(__isGlobal(p));
  return p;
}

DLK_FN bool aligned(const void* p) { return reinterpret_cast<std::uintptr_t>(p) % 16 == 0; }

// Elements of a T array before its first 16-byte boundary.
template <class T>
DLK_FN std::int64_t lead(const T* p) {
  return std::int64_t((16 - reinterpret_cast<std::uintptr_t>(p) % 16) % 16 / sizeof(T));
}

// i / n of numbers that are not negative: 32-bit division, of which a 64-bit one takes several times as many instructions, where both fit.
DLK_DEVICE std::int64_t quotient(std::int64_t i, std::int64_t n) {
  if ((i | n) >> 32 == 0) return std::uint32_t(i) / std::uint32_t(n);
  return std::int64_t(std::uint64_t(i) / std::uint64_t(n));
}

// Index i of a walk, taken apart once for all its operands; then where it lies, in elements after the pointer of operand k.
struct walk_index {
  std::int64_t at[kWalkDims];

  DLK_DEVICE walk_index(const Walk& w, std::int64_t i) {
#pragma unroll
    for (int d = kWalkDims - 1; d >= 1; --d) {
      at[d] = 0;
      if (d >= w.dims) continue;
      const std::int64_t outer = quotient(i, w.shape[d]);
      at[d] = i - outer * w.shape[d];
      i = outer;
    }
    at[0] = i;
  }
  DLK_DEVICE std::int64_t offset(const Walk& w, int k) const {
    std::int64_t sum = 0;
#pragma unroll
    for (int d = 0; d < kWalkDims; ++d) {
      if (d < w.dims) sum += at[d] * w.step[k][d];
    }
    return sum;
  }
};

// The same for one operand, in few registers and instructions.
DLK_DEVICE std::int64_t walk_offset(const Walk& w, int k, std::int64_t i) {
  std::int64_t sum = 0;
#pragma unroll 1
  for (int d = w.dims - 1; d >= 1; --d) {
    const std::int64_t outer = quotient(i, w.shape[d]);
    sum += (i - outer * w.shape[d]) * w.step[k][d];
    i = outer;
  }
  return sum + i * w.step[k][0];
}

template <class S, class Args>
DLK_DEVICE S divisor(const Args& a) {
  return a.divisor == nullptr ? S(a.count) : *static_cast<const S*>(a.divisor);
}

// The same number, which the compiler cannot follow: what is made from it inside a loop is not made before the loop, where it would
// hold registers all the time.
DLK_DEVICE int afresh(int v) {
  asm volatile("" : "+r"(v));
  return v;
}

// --- thread blocks that work together ----------------------------------------------------------------------------------------

struct block_cluster {
  int size = int(__clusterSizeInBlocks()), rank = int(__clusterRelativeBlockRank());

  // All threads of the cluster meet; with one block, only if it is more than a block's own __syncthreads would order anyway.
  DLK_DEVICE void meet_others() const {
    if (size == 1) return;
    __cluster_barrier_arrive();
    __cluster_barrier_wait();
  }
  DLK_DEVICE void meet() const {
    if (size == 1) {
      __syncthreads();
    } else {
      meet_others();
    }
  }
  // the same variable in the shared memory of another block
  template <class T>
  DLK_DEVICE T* peer(T* mine, int block) const {
    return size == 1 ? mine : static_cast<T*>(__cluster_map_shared_rank(mine, unsigned(block)));
  }
};

// --- launches --------------------------------------------------------------------------------------------------------------

DLK_FN std::int64_t at_most(std::int64_t a, std::int64_t b) { return a < b ? a : b; }
DLK_FN std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

constexpr int kSharedForAll = 40 * 1024;  // a kernel need not ask for 48 KB; what its own variables take counts too

// What a launch may want besides threads.
struct extras {
  int cluster = 1;       // thread blocks to a cluster
  int shared_bytes = 0;  // dynamic shared memory
};

// Runs kernel(args) on the caller's stream and returns the error of the launch, 0 for none. Never waits.
template <class... P, class... A>
int launch(void (*kernel)(P...), std::int64_t blocks, int threads, extras more, void* queue, const A&... args) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(unsigned(blocks));
  config.blockDim = dim3(unsigned(threads));
  config.dynamicSmemBytes = std::size_t(more.shared_bytes);
  config.stream = static_cast<cudaStream_t>(queue);
  cudaLaunchAttribute attribute = cluster_of(more.cluster);
  if (more.cluster > 1) {
    config.attrs = &attribute;
    config.numAttrs = 1;
  }
  cudaError_t error = cudaSuccess;
  if (more.shared_bytes > kSharedForAll)
    error = static_cast<cudaError_t>(allow_shared(reinterpret_cast<const void*>(kernel), more.shared_bytes));
  if (error == cudaSuccess) error = cudaLaunchKernelEx(&config, kernel, args...);
  cudaGetLastError();  // a failed launch must not be found again by somebody else's call
  if (error != cudaSuccess) {
    const char* name = "";
    cudaFuncGetName(&name, reinterpret_cast<const void*>(kernel));
    describe_failure(name, blocks, threads, more.cluster, more.shared_bytes, int(error));
  }
  return int(error);
}

DLK_END
