// The emulated device as a shared library for tests in Python (tests/emulated.py): the CUDA target's address, and device memory that the
// host can only reach through this file: a page fault ends whoever reads a device pointer on the host.
#include <sys/mman.h>

#include <mutex>

#include "../../kernels/abi.h"
#include "simt.h"

namespace dlk {
namespace simt {
extern const Target target;
}
}  // namespace dlk

namespace {
constexpr std::size_t kMemory = std::size_t{1} << 30;  // of addresses; a page costs nothing until it is used
std::mutex lock;
int users = 0;
void* memory = nullptr;

void gate(bool open) {
  const std::lock_guard<std::mutex> guard(lock);
  users += open ? 1 : -1;
  if (users == (open ? 1 : 0)) mprotect(memory, kMemory, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}
}  // namespace

extern "C" {
// The device's memory, closed to the host from now on.
void* dlk_device_memory(std::size_t* bytes) {
  if (memory == nullptr) {
    void* const made = mmap(nullptr, kMemory, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) return nullptr;
    memory = made;
    simt::memory_gate = gate;
  }
  *bytes = kMemory;
  return memory;
}
void dlk_device_gate(bool open) { gate(open); }
const void* dlk_device_target() { return &dlk::simt::target; }
std::uint64_t dlk_device_launches() { return simt::counts.launches; }
std::uint64_t dlk_device_launches_at_event() { return simt::device.launches_at_event; }
void dlk_device_idle(bool idle) { simt::device.idle = idle; }
void dlk_device_fails(int code) { simt::device.fails = code; }
void dlk_device_behind(bool yes) { simt::device.behind = yes; }
void dlk_device_captured(bool yes) { simt::device.captured = yes; }
int dlk_device_events() { return simt::device.events; }
int dlk_device_waits() { return simt::device.waits; }
std::uint64_t dlk_device_questions() { return simt::counts.questions; }
}
