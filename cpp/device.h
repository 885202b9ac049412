// What a call on a GPU needs besides kernels: its device made the current one, memory cleared in the queue's turn, and the errors that
// kernels of earlier calls have found. On a CPU nothing of it costs anything.
#pragma once
#include "tensor.h"

namespace dlk {

// For its lifetime the array's device is the current one of this thread.
class OnDevice {
 public:
  explicit OnDevice(const char* op, const TensorView& t);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  bool switched_ = false;
  int before_ = 0;
};

// Sets memory on t's device to 0.
void clear(const char* op, const TensorView& t, void* memory, std::int64_t bytes);

// Where kernels on t's device put a class id that is out of range. Throws if one of an earlier call is there: nobody waited to see it then.
BadLabel* mailbox(const char* op, const TensorView& t);

// Markers: has everything been done that a queue of a device had been given before? (DeviceCalls::mark)  Null: never known to be.
void* mark(int device, void* queue);
bool passed(void* marker);
void wait_for(void* marker);
void drop_marker(void* marker);

// Waits for all work on a device; throws what went wrong with it.
void synchronize(int device);

}  // namespace dlk
