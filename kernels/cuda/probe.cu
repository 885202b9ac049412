// Can this machine run the CUDA target? Asks for a device, then for this module's machine code on it, and starts nothing.
#include <cuda_runtime.h>

namespace dlk {
namespace cuda {
namespace {
__global__ void nothing() {}
}  // namespace

// 0, or CUDA's error code: 35 the driver is missing or older than this build, 100 no device, 209 no machine code for the device.
// devices: how many there are. On success the current device is the one that was asked about.
int probe(int* devices, const char** text) {
  *devices = 0;
  cudaError_t error = cudaGetDeviceCount(devices);
  cudaFuncAttributes attributes;
  if (error == cudaSuccess && *devices > 0) error = cudaFuncGetAttributes(&attributes, nothing);
  if (error == cudaSuccess && *devices == 0) error = cudaErrorNoDevice;
  if (error != cudaSuccess) cudaGetLastError();
  *text = cudaGetErrorString(error);
  return int(error);
}

int built_with() { return CUDART_VERSION; }
}  // namespace cuda
}  // namespace dlk
