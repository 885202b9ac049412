// The emulated device, as the test programs steer and question it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace simt {

struct Device {
  int cc = 90, sms = 3, shared_bytes = 227 * 1024;
  int cluster = 8;                      // thread blocks of the largest cluster that there is room for
  int fails = 0;                        // the next launch fails with this error code
  std::uint64_t launches_at_event = 0;  // launches before the last event was recorded
  bool idle = false;       // launches are counted, and nothing runs: what does the host's part of a call cost?
  bool backwards = false;  // threads of a block run in descending order
  bool watch = false;      // look for races, uninitialized shared memory and misaligned packets (slow)
  bool behind = false;     // no event passes, as if the work before it were still to be done
  bool captured = false;   // every stream is being captured in a graph
  int events = 0;          // that have been made and not destroyed
  int waits = 0;           // for an event
};
extern Device device;

// What went wrong on the device since the last call: races, divergent barriers, misaligned accesses. At most a few lines.
std::vector<std::string> take_reports();
void report(const std::string& line);

// How often each thing was used: a test that never saw a cluster has not tested clusters.
struct Counts {
  std::uint64_t launches, blocks, threads, cluster_launches, shuffles, block_barriers, cluster_barriers, accesses,
      questions;
};
extern Counts counts;

// Who keeps the device's memory where the host cannot reach it (python_device.cpp) opens it while the device works.
extern void (*memory_gate)(bool open);
struct OpenMemory {
  OpenMemory() {
    if (memory_gate != nullptr) memory_gate(true);
  }
  ~OpenMemory() {
    if (memory_gate != nullptr) memory_gate(false);
  }
};

// For race.cpp: where the running thread stands. Barriers passed so far are its clocks.
struct Where {
  std::uint32_t launch, block, cluster;
  std::uint32_t block_clock, warp_clock, cluster_clock;
  std::uint16_t thread;
};
// Thread blocks meet at a counter: what was written before the fence of one is known to those that add to the counter after it.
void note_fence();
void note_atomic();
bool running();  // is a device thread running in this operating-system thread?
Where here();
bool is_stack(const void* p);
bool is_shared(const void* p);
bool is_beyond_shared(const void* p);  // in dynamic shared memory that this launch has not asked for

}  // namespace simt
