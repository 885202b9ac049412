// What the host asks of the device besides kernels (DeviceCalls). Nothing here waits but `wait` and `wait_for`.
#include <cuda_runtime.h>

#include <cstdio>
#include <map>
#include <mutex>
#include <utility>

#include "../abi.h"
#include "../config.h"
#include "devices.h"
#include "failure.h"

namespace dlk {
namespace DLK_TARGET {

char* failure_text() {
  static thread_local char text[kFailureText] = "";
  return text;
}

void describe_failure(const char* kernel, std::int64_t blocks, int threads, int cluster, int shared_bytes, int code) {
  std::snprintf(failure_text(), kFailureText,
                "kernel %s on a grid of %lld blocks of %d threads (clusters of %d, %d bytes of shared memory): %s",
                kernel, static_cast<long long>(blocks), threads, cluster, shared_bytes,
                cudaGetErrorString(static_cast<cudaError_t>(code)));
}

namespace {

// The numbers of a device; one that does not answer has one multiprocessor and nothing else.
device asked(int id) {
  int major = 0, minor = 0, sms = 0, bytes = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, id);
  cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, id);
  cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, id);
  cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, id);
  return {id, 10 * major + minor, sms > 0 ? sms : 1, bytes};
}

}  // namespace

// They do not change while the process lives, and a launch needs them: a lock and one question in place of five.
device current_device() {
  static std::mutex lock;
  static device known[kMaxDevices];  // cc 0: not asked yet, or without an answer
  int id = 0;
  cudaGetDevice(&id);
  if (id < 0 || id >= kMaxDevices) return asked(id);
  const std::lock_guard<std::mutex> guard(lock);
  if (known[id].cc == 0) known[id] = asked(id);
  return known[id];
}

int allow_shared(const void* kernel, int bytes) {
  static std::mutex lock;
  static std::map<std::pair<const void*, int>, int>* allowed = nullptr;  // lives as long as the process
  int id = 0;
  cudaGetDevice(&id);
  const std::lock_guard<std::mutex> guard(lock);
  if (allowed == nullptr) allowed = new std::map<std::pair<const void*, int>, int>;
  int& most = (*allowed)[{kernel, id}];
  if (bytes <= most) return 0;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error == cudaSuccess) most = bytes;
  return int(error);
}

int largest_cluster(cluster_memory& known, const device& d, const void* kernel, int most, int threads,
                    int shared_bytes) {
  static std::mutex lock;
  std::int8_t unkept = 0;
  const std::lock_guard<std::mutex> guard(lock);
  std::int8_t& size = d.id >= 0 && d.id < kMaxDevices ? known.largest[d.id] : unkept;
  if (size != 0) return size;
  allow_shared(kernel, shared_bytes);
  for (size = std::int8_t(most); size > 1; size = std::int8_t(size / 2)) {
    cudaLaunchConfig_t config = {};
    config.gridDim = dim3(unsigned(size));
    config.blockDim = dim3(unsigned(threads));
    config.dynamicSmemBytes = std::size_t(shared_bytes);
    cudaLaunchAttribute attribute = cluster_of(size);
    config.attrs = &attribute;
    config.numAttrs = 1;
    int clusters = 0;
    if (cudaOccupancyMaxActiveClusters(&clusters, kernel, &config) == cudaSuccess && clusters > 0) break;
  }
  cudaGetLastError();  // a device that cannot say has none
  return size;
}

namespace {

// What fails besides launches has no kernel to name, and must not be found again by somebody else's call.
int result_of(const char* what, cudaError_t error) {
  if (error == cudaSuccess) return 0;
  cudaGetLastError();
  std::snprintf(failure_text(), kFailureText, "%s: %s", what, cudaGetErrorString(error));
  return int(error);
}

int use(int device, int* before) {
  cudaError_t error = cudaGetDevice(before);
  if (error == cudaSuccess && *before != device) error = cudaSetDevice(device);
  return result_of("the device could not be made the current one", error);
}

int clear(void* memory, std::int64_t bytes, void* queue) {
  return result_of("memory could not be cleared",
                   cudaMemsetAsync(memory, 0, std::size_t(bytes), static_cast<cudaStream_t>(queue)));
}

int wait(int device) {
  int before = 0;
  const int unusable = use(device, &before);
  if (unusable != 0) return unusable;
  const int failed = result_of("a kernel that was queued earlier failed", cudaDeviceSynchronize());
  cudaSetDevice(before);
  return failed;
}

const char* failure() { return failure_text(); }

bool no_memory(int code) { return code == int(cudaErrorMemoryAllocation); }

// While any thread captures a graph, calls that could disturb it are refused, and end the capture, unless the thread says that its calls are
// none of the graph's.
class OutsideGraphs {
 public:
  OutsideGraphs() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  ~OutsideGraphs() { cudaThreadExchangeStreamCaptureMode(&mode_); }
  OutsideGraphs(const OutsideGraphs&) = delete;
  OutsideGraphs& operator=(const OutsideGraphs&) = delete;

 private:
  cudaStreamCaptureMode mode_ = cudaStreamCaptureModeRelaxed;
};

// Pinned memory that the device reaches under the same address; made at the first call that needs one, and kept.
BadLabel* mailbox(int device) {
  static std::mutex lock;
  static BadLabel* made[kMaxDevices] = {};
  if (device < 0 || device >= kMaxDevices) return nullptr;
  const std::lock_guard<std::mutex> guard(lock);
  BadLabel*& box = made[device];
  if (box != nullptr) return box;
  const OutsideGraphs outside;
  void* memory = nullptr;
  const cudaError_t error = cudaHostAlloc(&memory, sizeof(BadLabel), cudaHostAllocPortable | cudaHostAllocMapped);
  if (error != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  box = static_cast<BadLabel*>(memory);
  *box = {-1, 0, 0, 0};
  return box;
}

// The legacy stream cannot be asked while another stream that waits for it is captured: it is not captured itself then, and an event in it
// would end that capture. So what is asked in vain counts as captured.
int mark(void* queue, void** marker) {
  *marker = nullptr;
  const auto stream = static_cast<cudaStream_t>(queue);
  const char* const what = "no marker could be put behind the work of a call";
  const OutsideGraphs outside;
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  const cudaError_t asked = cudaStreamIsCapturing(stream, &status);
  if (asked == cudaErrorStreamCaptureImplicit) {
    cudaGetLastError();
    return 0;
  }
  if (asked != cudaSuccess || status != cudaStreamCaptureStatusNone) return result_of(what, asked);
  cudaEvent_t event = nullptr;
  cudaError_t error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  if (error != cudaSuccess) return result_of(what, error);
  error = cudaEventRecord(event, stream);
  if (error == cudaSuccess) {
    *marker = event;
  } else {
    cudaEventDestroy(event);
  }
  return result_of(what, error);
}

bool passed(void* marker) {
  const OutsideGraphs outside;
  const cudaError_t error = cudaEventQuery(static_cast<cudaEvent_t>(marker));
  if (error != cudaSuccess) cudaGetLastError();  // "not yet" is an error too, which nobody else is to find
  return error != cudaErrorNotReady;
}

void wait_for(void* marker) {
  const OutsideGraphs outside;
  if (cudaEventSynchronize(static_cast<cudaEvent_t>(marker)) != cudaSuccess) cudaGetLastError();
}

void drop_marker(void* marker) {
  const OutsideGraphs outside;
  if (cudaEventDestroy(static_cast<cudaEvent_t>(marker)) != cudaSuccess) cudaGetLastError();
}

}  // namespace

extern const DeviceCalls device_calls;
const DeviceCalls device_calls = {use, clear, wait, failure, no_memory, mailbox, mark, passed, wait_for, drop_marker};
}  // namespace DLK_TARGET
}  // namespace dlk
