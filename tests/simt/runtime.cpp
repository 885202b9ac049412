// The functions of the CUDA runtime that the host calls, for the one emulated device.
#include "cuda_runtime.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "simt.h"

// A device does not change: one with other numbers is another one.
cudaError_t cudaGetDevice(int* id) {
  static std::vector<simt::Device> devices;
  const simt::Device& now = simt::device;
  const auto same = [&](const simt::Device& d) {
    return d.cc == now.cc && d.sms == now.sms && d.shared_bytes == now.shared_bytes && d.cluster == now.cluster;
  };
  const auto found = std::find_if(devices.begin(), devices.end(), same);
  *id = int(found - devices.begin());
  if (found == devices.end()) devices.push_back(now);
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  ++simt::counts.questions;
  if (attribute == cudaDevAttrMultiProcessorCount) *value = simt::device.sms;
  if (attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin) *value = simt::device.shared_bytes;
  if (attribute == cudaDevAttrComputeCapabilityMajor) *value = simt::device.cc / 10;
  if (attribute == cudaDevAttrComputeCapabilityMinor) *value = simt::device.cc % 10;
  return cudaSuccess;
}
cudaError_t cudaOccupancyMaxActiveClusters(int* clusters, const void*, const cudaLaunchConfig_t* config) {
  ++simt::counts.questions;
  const int size = int(config->attrs[0].val.clusterDim.x), bytes = int(config->dynamicSmemBytes);
  const bool fits = simt::device.cc >= 90 && size <= simt::device.cluster && bytes <= simt::device.shared_bytes;
  *clusters = fits ? 1 : 0;
  return cudaSuccess;
}
cudaError_t cudaGetLastError() { return cudaSuccess; }
cudaError_t cudaSetDevice(int id) { return id == 0 ? cudaSuccess : cudaErrorInvalidDevice; }
cudaError_t cudaDeviceSynchronize() { return cudaSuccess; }
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t) {
  const simt::OpenMemory open;
  std::memset(memory, value, bytes);
  return cudaSuccess;
}
const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorMemoryAllocation ? "out of memory" : "an error of the emulated device";
}
cudaError_t cudaFuncGetName(const char** name, const void*) {
  *name = "emulated_kernel";
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }
cudaError_t cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  *memory = std::malloc(bytes);
  return *memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

// Kernels run at once, so that an event is always behind finished work; while the device is `behind` it says otherwise.
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = static_cast<cudaEvent_t>(std::malloc(1));
  ++simt::device.events;
  return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) {
  simt::device.launches_at_event = simt::counts.launches;
  return simt::device.captured ? cudaErrorInvalidValue : cudaSuccess;  // it would become part of the graph
}
cudaError_t cudaEventQuery(cudaEvent_t) { return simt::device.behind ? cudaErrorNotReady : cudaSuccess; }
cudaError_t cudaEventSynchronize(cudaEvent_t) {
  ++simt::device.waits;
  return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  std::free(event);
  --simt::device.events;
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = simt::device.captured ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
