// Finds races, reads of uninitialized shared memory and misaligned 16-byte accesses in the emulated kernels. The kernels are compiled with
// -fsanitize=thread, which puts a call before every access to memory; instead of ThreadSanitizer's library they are linked with the
// functions below, which know what a barrier of a GPU orders:
//
//   two accesses to a byte, one of them a write, are ordered if they are of one thread; or of one block with a __syncthreads between
//   them, of one warp with a __syncwarp, of one cluster with a cluster barrier; of blocks that met at a counter (the one wrote, fenced and
//   added to it before the other one did); or of different launches. Otherwise they race.
//
// Shuffles order nothing in memory, as in CUDA's memory model.
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "simt.h"

namespace {

using simt::Where;

// The last write and the last two readers (of different threads) of two neighboring bytes: no storage type is smaller.
struct Cell {
  Where write, read[2];
};
constexpr std::uintptr_t kPage = 4096, kCells = kPage / 2;
struct Page {
  Cell cell[kCells];
};
std::unordered_map<std::uintptr_t, std::unique_ptr<Page>> pages;

Page& page_of(std::uintptr_t address) {  // called by the one block that holds the baton
  static std::uintptr_t last = ~std::uintptr_t(0);
  static Page* found = nullptr;
  if (address / kPage != last) {
    std::unique_ptr<Page>& p = pages[address / kPage];
    if (!p) p.reset(new Page());
    last = address / kPage;
    found = p.get();
  }
  return *found;
}

// How thread blocks met at a counter in the launch that runs: who has released what it knew by then (a fence, then an atomic), and who has
// looked at the counter afterwards. Blocks run one after the other, so what comes later has seen all that came before.
struct Meeting {
  std::uint32_t launch = 0;
  std::map<std::pair<std::uint32_t, std::uint16_t>, Where> fence;
  std::map<std::uint32_t, std::pair<Where, int>> released, acquired;
  int turn = 0;
};
Meeting meeting;
Meeting& meeting_of(const Where& now) {
  if (meeting.launch != now.launch) meeting = Meeting{now.launch, {}, {}, {}, 0};
  return meeting;
}

bool same_thread(const Where& a, const Where& b) { return a.block == b.block && a.thread == b.thread; }
// Is this before or at the meeting, in the eyes of the thread that met?
bool within(const Where& earlier, const Where& later) {
  return same_thread(earlier, later) || earlier.block_clock != later.block_clock;
}
bool met(const Where& before, const Where& now) {
  Meeting& m = meeting_of(now);
  const auto gave = m.released.find(before.block), took = m.acquired.find(now.block);
  if (gave == m.released.end() || took == m.acquired.end()) return false;
  if (gave->second.second > took->second.second) return false;
  return before.block_clock <= gave->second.first.block_clock && within(before, gave->second.first) &&
         took->second.first.block_clock <= now.block_clock && within(took->second.first, now);
}
bool ordered(const Where& before, const Where& now, bool shared) {
  if (shared && before.cluster != now.cluster) return true;  // the same place, but another block's memory
  if (before.launch != now.launch || same_thread(before, now)) return true;
  if (before.block == now.block) {
    if (before.block_clock != now.block_clock) return true;
    return before.thread / 32 == now.thread / 32 && before.warp_clock != now.warp_clock;
  }
  if (!shared && met(before, now)) return true;
  return before.cluster == now.cluster && before.cluster_clock != now.cluster_clock;
}

void found_race(const char* what, const Where& before, const Where& now, std::uintptr_t address) {
  char line[200];
  std::snprintf(line, sizeof line, "race: %s by thread %u of block %u and thread %u of block %u, address ...%05lx%s",
                what, before.thread, before.block, now.thread, now.block, (unsigned long)(address & 0xfffff),
                simt::is_shared(reinterpret_cast<void*>(address)) ? " (shared)" : "");
  simt::report(line);
}

void watch(void* p, std::size_t size, bool write) {
  if (!simt::device.watch || !simt::running() || simt::is_stack(p)) return;
  ++simt::counts.accesses;
  const Where now = simt::here();
  const bool shared = simt::is_shared(p);
  if (shared && simt::is_beyond_shared(p)) simt::report("access beyond the dynamic shared memory of the launch");
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(p);
  for (std::uintptr_t a = first & ~std::uintptr_t(1); a < first + size; a += 2) {
    Cell& c = page_of(a).cell[a % kPage / 2];
    if (c.write.launch != 0 && !ordered(c.write, now, shared))
      found_race(write ? "write and write" : "write and read", c.write, now, a);
    if (write) {
      for (const Where& r : c.read) {
        if (r.launch != 0 && !ordered(r, now, shared)) found_race("read and write", r, now, a);
      }
      c.write = now;
    } else {
      if (shared &&
          (c.write.launch != now.launch || c.write.cluster != now.cluster)) {  // it begins undefined in every block
        simt::report("uninitialized shared memory is read by thread " + std::to_string(now.thread) + " of block " +
                     std::to_string(now.block));
      }
      if (!same_thread(c.read[0], now)) c.read[1] = c.read[0];
      c.read[0] = now;
    }
  }
}

void aligned(void* p, std::size_t size) {
  if (reinterpret_cast<std::uintptr_t>(p) % size == 0 || !simt::running()) return;
  std::fprintf(stderr, "simt: misaligned access of %zu bytes\n", size);
  std::_Exit(3);  // the access itself would fault
}

}  // namespace

namespace simt {
void note_fence() {
  if (!device.watch) return;
  const Where now = here();
  meeting_of(now).fence[{now.block, now.thread}] = now;
}
void note_atomic() {
  if (!device.watch) return;
  const Where now = here();
  Meeting& m = meeting_of(now);
  ++m.turn;
  m.acquired[now.block] = {now, m.turn};
  const auto fenced = m.fence.find({now.block, now.thread});
  if (fenced != m.fence.end()) m.released[now.block] = {fenced->second, m.turn};
}
}  // namespace simt

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
#define ACCESS(size)                                                   \
  void __tsan_read##size(void* p) {                                    \
    aligned(p, size);                                                  \
    watch(p, size, false);                                             \
  }                                                                    \
  void __tsan_write##size(void* p) {                                   \
    aligned(p, size);                                                  \
    watch(p, size, true);                                              \
  }                                                                    \
  void __tsan_unaligned_read##size(void* p) { watch(p, size, false); } \
  void __tsan_unaligned_write##size(void* p) { watch(p, size, true); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
#undef ACCESS
void __tsan_read_range(void* p, unsigned long size) { watch(p, size, false); }
void __tsan_write_range(void* p, unsigned long size) { watch(p, size, true); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
