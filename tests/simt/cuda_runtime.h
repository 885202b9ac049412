// A <cuda_runtime.h> for the host: what kernels/cuda/ uses of CUDA, with a fiber for every thread of a block. The CUDA loops are compiled
// from their own text by g++ with this directory first on the include path; simt.cpp runs them.
//
// A __shared__ variable is a thread_local one: every thread block of a cluster runs in an operating-system thread of its own, one at a time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#define __host__
#define __device__
#define __global__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__ &  // arguments that nobody changes: no copy for each of ten thousand fibers
#define __shared__ thread_local

#define CUDART_VERSION 13000

#define __builtin_assume(condition) static_cast<void>(condition)
inline bool __isGlobal(const void*) { return true; }

struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) ulonglong2 {
  unsigned long long x, y;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

// --- what a thread sees ------------------------------------------------------------------------------------------------------

namespace simt {
constexpr int kMaxShared = 227 * 1024;  // dynamic shared memory, as on sm_90
unsigned thread_index();
unsigned block_index();
unsigned block_size();
unsigned grid_size();
std::uint64_t shuffle_xor(unsigned mask, std::uint64_t bits, int distance);
void warp_barrier(unsigned mask);
void block_barrier();
void cluster_barrier();
unsigned cluster_rank();
unsigned cluster_size();
void* in_peer(const void* mine, unsigned rank);
void fence();
unsigned add(unsigned* p, unsigned v);
}  // namespace simt

// The built-in variables; grids and blocks have one dimension here.
template <unsigned (*now)()>
struct Dimension {
  operator unsigned() const { return now(); }
};
template <unsigned (*now)()>
struct BuiltIn {
  Dimension<now> x;
};
constexpr BuiltIn<simt::thread_index> threadIdx{};
constexpr BuiltIn<simt::block_index> blockIdx{};
constexpr BuiltIn<simt::block_size> blockDim{};
constexpr BuiltIn<simt::grid_size> gridDim{};

inline void __syncthreads() { simt::block_barrier(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { simt::warp_barrier(mask); }
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int distance) {
  static_assert(sizeof(T) <= 8, "a register or a pair");
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = simt::shuffle_xor(mask, bits, distance);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline void __threadfence_system() {}  // fibers see each other's writes in order
inline void __cluster_barrier_arrive() {}
inline void __cluster_barrier_wait() { simt::cluster_barrier(); }
inline unsigned __clusterRelativeBlockRank() { return simt::cluster_rank(); }
inline unsigned __clusterSizeInBlocks() { return simt::cluster_size(); }
inline void* __cluster_map_shared_rank(const void* p, unsigned rank) { return simt::in_peer(p, rank); }

inline void __threadfence() { simt::fence(); }
inline unsigned atomicAdd(unsigned* p, unsigned v) { return simt::add(p, v); }

// --- what the host sees ------------------------------------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidDevice = 101,
  cudaErrorNotReady = 600,
  cudaErrorStreamCaptureImplicit = 906
};
using cudaStream_t = struct CUstream_st*;

enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaGetLastError();
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream);
const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaFuncGetName(const char** name, const void* kernel);

enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed = 2 };
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode);
constexpr unsigned cudaHostAllocPortable = 1, cudaHostAllocMapped = 2;
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void* memory);

// Kernels run at once; an event still has not passed while a test says that the device is behind (simt.h).
using cudaEvent_t = struct CUevent_st*;
constexpr unsigned cudaEventDisableTiming = 2;
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventDestroy(cudaEvent_t event);
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 };
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status);

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
inline cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int bytes) {
  return bytes <= simt::kMaxShared ? cudaSuccess : cudaErrorInvalidValue;
}
template <class... P>
cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int bytes) {
  return cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), attribute, bytes);
}

enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  union {
    struct {
      unsigned x, y, z;
    } clusterDim;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  std::size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
  cudaLaunchAttribute* attrs = nullptr;
  unsigned numAttrs = 0;
};
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void* kernel, const cudaLaunchConfig_t* config);

namespace simt {
cudaError_t run_grid(const cudaLaunchConfig_t& config, void (*call)(const void*), const void* what);
}

template <class... P, class... A>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(P...), A&&... args) {
  auto call = [&] { kernel(args...); };
  return simt::run_grid(*config, [](const void* f) { (*static_cast<decltype(call)*>(const_cast<void*>(f)))(); }, &call);
}
