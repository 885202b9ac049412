// What the host has found out about devices: asked once, remembered, shared by all loops of a target (device.cu).
#pragma once
#include <cuda_runtime.h>

#include <cstdint>

#include "../config.h"

namespace dlk {
namespace DLK_TARGET {
constexpr int kMaxDevices = 64;

struct device {
  int id;
  int cc, sms,
      shared_bytes;  // compute capability as in sm_90; multiprocessors; shared memory a thread block may ask for
};
device current_device();

// A kernel's own memory of what largest_cluster found out on each device; 0: not asked yet.
struct cluster_memory {
  std::int8_t largest[kMaxDevices];
};
// The largest cluster, of `most`, half of that, ... or 1 thread blocks, that the device can run of a kernel whose thread blocks have so many
// threads and bytes of shared memory: part of a device (MIG) may have no group of multiprocessors with room for more.
int largest_cluster(cluster_memory& known, const device& d, const void* kernel, int most, int threads,
                    int shared_bytes);
// Lets a kernel's thread blocks have so much shared memory, on the current device. What it has been allowed stays, whatever other threads ask
// for: the driver keeps one number for all. Returns the device's error code.
int allow_shared(const void* kernel, int bytes);
inline cudaLaunchAttribute cluster_of(int blocks) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = unsigned(blocks);
  attribute.val.clusterDim.y = attribute.val.clusterDim.z = 1;
  return attribute;
}
}  // namespace DLK_TARGET
}  // namespace dlk
