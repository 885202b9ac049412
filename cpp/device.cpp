#include "device.h"

#include <cstring>
#include <string>

#include "check.h"
#include "target.h"

namespace dlk {
namespace {

const DeviceCalls& calls() { return *target_for(Device::cuda).device; }

// `row` is written last and read first.
void raise_found(const char* op, BadLabel& box) {
  if (__atomic_load_n(&box.row, __ATOMIC_ACQUIRE) < 0) return;
  const BadLabel found = box;
  __atomic_store_n(&box.row, std::int64_t{-1}, __ATOMIC_RELEASE);
  check::earlier_label(op, found);
}

}  // namespace

OnDevice::OnDevice(const char* op, const TensorView& t) {
  if (t.device == Device::cpu) return;
  check::device_status(op, calls().use(t.device_id, &before_));
  switched_ = before_ != t.device_id;
}
OnDevice::~OnDevice() {
  int ours = 0;
  if (switched_) calls().use(before_, &ours);
}

void clear(const char* op, const TensorView& t, void* memory, std::int64_t bytes) {
  if (t.device == Device::cpu) {
    std::memset(memory, 0, static_cast<std::size_t>(bytes));
  } else if (bytes > 0) {
    const OnDevice on(op, t);
    check::device_status(op, calls().clear(memory, bytes, t.queue));
  }
}

BadLabel* mailbox(const char* op, const TensorView& t) {
  BadLabel* const box = calls().mailbox(t.device_id);
  if (box == nullptr) check::device_status(op, 2);
  raise_found(op, *box);
  return box;
}

void* mark(int device, void* queue) {
  TensorView there{};
  there.device = Device::cuda;
  there.device_id = device;
  void* marker = nullptr;
  try {
    const OnDevice on("mark", there);
    if (calls().mark(queue, &marker) != 0) return nullptr;
  } catch (const Error&) {  // a device that cannot be used any more
    return nullptr;
  }
  return marker;
}
bool passed(void* marker) { return calls().passed(marker); }
void wait_for(void* marker) { calls().wait_for(marker); }
void drop_marker(void* marker) { calls().drop_marker(marker); }

void synchronize(int device) {
  const char* op = "synchronize";
  const int code = calls().wait(device);
  if (code != 0) check::device_failed(op, code);
  BadLabel* const box = calls().mailbox(device);
  if (box != nullptr) raise_found(op, *box);
}

}  // namespace dlk
