// Runs a grid on the host. Each thread of a block is a fiber; a fiber runs until it waits at a barrier or ends, so threads that never wait
// cost a function call. Blocks run one after the other; the blocks of a cluster each in an operating-system thread (their __shared__
// variables are thread_local), of which only the one that holds the baton runs.
#include "simt.h"

#include <link.h>
#include <setjmp.h>
#include <ucontext.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "cuda_runtime.h"

thread_local uint4 dlk_dynamic_shared[simt::kMaxShared / sizeof(uint4)];  // kernels/cuda/rows.cuh

namespace simt {

Device device;
Counts counts;
void (*memory_gate)(bool open) = nullptr;

namespace {

constexpr int kWarp = 32;
constexpr std::size_t kStack = 64 * 1024;

enum class State { fresh, ready, at_warp, at_block, at_cluster, done };

// A stack that runs one device thread after the other.
struct Worker {
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStack);
  jmp_buf parked;
  bool started = false;
};

struct Fiber {
  State state = State::fresh;
  jmp_buf context;
  Worker* worker = nullptr;
};

struct Warp {
  int waiting = 0, done = 0;
  unsigned mask = 0;
  bool shuffling = false;
  std::uint32_t clock = 0, turn = 0;
  std::uint64_t slot[2][kWarp];  // alternating: a fast thread's next shuffle spares what a slow one still reads
};

struct Cluster {
  unsigned size = 1;
  std::mutex baton;  // held by the block that runs
  std::condition_variable changed;
  unsigned starting = 0, arrived = 0, gone = 0;
  std::uint32_t clock = 0;
  std::vector<char*> shared;  // of each block
};

struct Grid {
  unsigned blocks, threads;
  std::size_t dynamic_bytes;
  void (*call)(const void*);
  const void* what;
  std::uint32_t launch;
};

// The __shared__ variables of this operating-system thread: its copy of the program's thread-local segment.
struct Segment {
  char* base;
  std::size_t size;
};
// the object that this code belongs to: the program, or a library
int find_segment(dl_phdr_info* info, std::size_t, void* out) {
  const auto here = reinterpret_cast<std::uintptr_t>(&find_segment);
  bool mine = false;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    const std::uintptr_t begin = info->dlpi_addr + part.p_vaddr;
    mine = mine || (part.p_type == PT_LOAD && here >= begin && here < begin + part.p_memsz);
  }
  if (!mine) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    if (info->dlpi_phdr[i].p_type == PT_TLS && info->dlpi_tls_data != nullptr) {
      *static_cast<Segment*>(out) = {static_cast<char*>(info->dlpi_tls_data), info->dlpi_phdr[i].p_memsz};
    }
  }
  return 1;
}
Segment shared_segment() {
  *reinterpret_cast<volatile char*>(dlk_dynamic_shared) = 0;  // a library's segment is made when it is first touched
  Segment s{nullptr, 0};
  dl_iterate_phdr(find_segment, &s);
  if (s.base == nullptr) std::abort();
  return s;
}

struct Workers {
  std::vector<std::unique_ptr<Worker>> all;
  std::vector<Worker*> free;
  Worker* take() {
    if (free.empty()) {
      all.push_back(std::make_unique<Worker>());
      free.push_back(all.back().get());
    }
    Worker* w = free.back();
    free.pop_back();
    return w;
  }
};
thread_local Workers workers;

struct Block {
  const Grid* grid;
  Cluster* cluster;
  Segment shared;
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::vector<int> ready;
  std::size_t next = 0;
  unsigned index = 0;
  std::uint32_t number = 0, clock = 0;
  unsigned rank = 0;
  int waiting = 0, at_cluster = 0, done = 0, current = -1;
  jmp_buf scheduler;

  int threads() const { return int(grid->threads); }
  Fiber& self() { return fibers[std::size_t(current)]; }
  Warp& warp() { return warps[std::size_t(current / kWarp)]; }
};

thread_local Block* block = nullptr;
std::uint32_t launches = 0, blocks_started = 0;
std::vector<std::string> reports;
std::mutex report_lock;

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "simt: %s (block %u, thread %d)\n", why.c_str(), block->index, block->current);
  std::_Exit(3);
}

void end_thread(Block& b);
bool next_is_fresh(Block& b);

// Runs the current thread to its end, then fresh ones on the same stack, as long as they are next.
void run_threads() {
  Block& b = *block;
  Worker* w = b.self().worker;
  for (;;) {
    b.grid->call(b.grid->what);
    end_thread(b);
    if (!next_is_fresh(b)) break;
    b.current = b.ready[b.next++];
    b.self().worker = w;
  }
  workers.free.push_back(w);
  if (_setjmp(w->parked) == 0) _longjmp(b.scheduler, 1);
}
void worker_main() {
  for (;;) run_threads();
}

// Back to the scheduler, until the scheduler comes back.
void wait_as(State state) {
  Block& b = *block;
  Fiber& f = b.self();
  f.state = state;
  if (_setjmp(f.context) == 0) _longjmp(b.scheduler, 1);
}

void wake(Block& b, int first, int last, State which) {
  for (int i = first; i < last; ++i) {
    const int t = device.backwards ? first + last - 1 - i : i;
    if (b.fibers[std::size_t(t)].state == which) {
      b.fibers[std::size_t(t)].state = State::ready;
      b.ready.push_back(t);
    }
  }
}

void check_block_barrier(Block& b) {
  if (b.waiting > 0 && b.waiting + b.done == b.threads()) {
    b.waiting = 0;
    ++b.clock;
    wake(b, 0, b.threads(), State::at_block);
  }
}

bool next_is_fresh(Block& b) {
  return b.next < b.ready.size() && b.fibers[std::size_t(b.ready[b.next])].state == State::fresh;
}
void end_thread(Block& b) {
  b.self().state = State::done;
  ++b.done;
  ++b.warp().done;
  if (b.warp().waiting > 0) die("a thread ended while others of its warp wait for it");
  check_block_barrier(b);
}

void start(Block& b, int t) {
  Worker* w = b.fibers[std::size_t(t)].worker = workers.take();
  if (_setjmp(b.scheduler) != 0) return;
  if (w->started) _longjmp(w->parked, 1);
  w->started = true;
  ucontext_t fresh;
  getcontext(&fresh);
  fresh.uc_stack.ss_sp = w->stack.get();
  fresh.uc_stack.ss_size = kStack;
  fresh.uc_link = nullptr;
  makecontext(&fresh, worker_main, 0);
  setcontext(&fresh);
}
void resume(Block& b, int t) {
  if (_setjmp(b.scheduler) == 0) _longjmp(b.fibers[std::size_t(t)].context, 1);
}

// All threads that have not ended wait at the cluster barrier: wait for the other blocks.
void cross_cluster_barrier(Block& b, std::unique_lock<std::mutex>& baton) {
  Cluster& c = *b.cluster;
  ++counts.cluster_barriers;
  const std::uint32_t clock = c.clock;
  if (++c.arrived == c.size) {
    c.arrived = 0;
    ++c.clock;
    c.changed.notify_all();
  } else {
    if (c.arrived + c.gone == c.size) die("a block of the cluster ended, others wait at the cluster barrier");
    c.changed.wait(baton, [&] { return c.clock != clock; });
  }
  b.at_cluster = 0;
  ++b.clock;
  wake(b, 0, b.threads(), State::at_cluster);
}

void run_block(Block& b, std::unique_lock<std::mutex>& baton) {
  const int n = b.threads();
  b.fibers.assign(std::size_t(n), Fiber{});
  b.warps.assign(std::size_t((n + kWarp - 1) / kWarp), Warp{});
  b.ready.clear();
  b.next = 0;
  b.waiting = b.at_cluster = b.done = 0;
  b.clock = 0;
  b.number = ++blocks_started;
  ++counts.blocks;
  counts.threads += std::uint64_t(n);
  block = &b;
  for (int i = 0; i < n; ++i) b.ready.push_back(device.backwards ? n - 1 - i : i);
  while (b.done < n) {
    if (b.next == b.ready.size()) {
      if (b.at_cluster == 0 || b.at_cluster + b.done != n)
        die("deadlock: some threads wait at a barrier that the others never reach");
      b.ready.clear();
      b.next = 0;
      cross_cluster_barrier(b, baton);
      continue;
    }
    const int t = b.ready[b.next++];
    b.current = t;
    Fiber& f = b.fibers[std::size_t(t)];
    if (f.state == State::fresh) {
      start(b, t);
    } else {
      resume(b, t);
    }
    if (b.next > 4096) {
      b.ready.erase(b.ready.begin(), b.ready.begin() + std::ptrdiff_t(b.next));
      b.next = 0;
    }
  }
  b.current = -1;
  block = nullptr;
}

void run_share(const Grid& grid, Cluster& cluster, unsigned rank) {
  Block b{};
  b.grid = &grid;
  b.cluster = &cluster;
  b.shared = shared_segment();
  b.rank = rank;
  std::unique_lock<std::mutex> baton(cluster.baton);
  cluster.shared[rank] = b.shared.base;
  for (unsigned first = 0; first < grid.blocks; first += cluster.size) {
    // All blocks of a cluster start together.
    const std::uint32_t clock = cluster.clock;
    if (++cluster.starting == cluster.size) {
      cluster.starting = cluster.arrived = cluster.gone = 0;
      ++cluster.clock;
      cluster.changed.notify_all();
    } else {
      cluster.changed.wait(baton, [&] { return cluster.clock != clock; });
    }
    b.index = first + rank;
    run_block(b, baton);
    ++cluster.gone;
  }
}

// The operating-system threads of clusters. They stay, and with them their fibers' stacks.
class Crew {
 public:
  void run(unsigned size, const std::function<void(unsigned)>& job) {
    std::unique_lock<std::mutex> lock(mutex_);
    while (started_ < size) std::thread(&Crew::work, this, started_++).detach();
    job_ = &job;
    size_ = left_ = size;
    ++number_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return left_ == 0; });
  }

 private:
  void work(unsigned rank) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (std::uint64_t done = 0;;) {
      changed_.wait(lock, [&] { return number_ != done; });
      done = number_;
      if (rank >= size_) continue;
      lock.unlock();
      (*job_)(rank);
      lock.lock();
      if (--left_ == 0) changed_.notify_all();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void(unsigned)>* job_ = nullptr;
  unsigned started_ = 0, size_ = 0, left_ = 0;
  std::uint64_t number_ = 0;
};

// Where the warp meets: everybody's `arrived` work is done when the last one arrives.
void meet(unsigned mask, bool shuffling) {
  Block& b = *block;
  Warp& w = b.warp();
  const int lanes = b.threads() - b.current / kWarp * kWarp < kWarp ? b.threads() % kWarp : kWarp;
  if (mask != 0xffffffffu) die("only full warps meet here");
  if (w.done > 0) die("a shuffle or __syncwarp names a thread that has ended");
  if (w.waiting > 0 && w.shuffling != shuffling) die("threads of a warp wait at different instructions");
  w.shuffling = shuffling;
  if (++w.waiting < lanes) {
    wait_as(State::at_warp);
    return;
  }
  w.waiting = 0;
  ++w.turn;
  if (!shuffling) ++w.clock;
  const int first = b.current / kWarp * kWarp;
  wake(b, first, first + lanes, State::at_warp);
}

}  // namespace

// --- called by kernels -------------------------------------------------------------------------------------------------------

unsigned thread_index() { return unsigned(block->current); }
unsigned block_index() { return block->index; }
unsigned block_size() { return block->grid->threads; }
unsigned grid_size() { return block->grid->blocks; }
unsigned cluster_rank() { return block->rank; }
unsigned cluster_size() { return block->cluster->size; }

std::uint64_t shuffle_xor(unsigned mask, std::uint64_t bits, int distance) {
  Block& b = *block;
  Warp& w = b.warp();
  ++counts.shuffles;
  const int lane = b.current % kWarp;
  std::uint64_t* slot = w.slot[w.turn % 2];
  slot[lane] = bits;
  meet(mask, true);
  return slot[lane ^ distance];
}
void warp_barrier(unsigned mask) { meet(mask, false); }

void block_barrier() {
  Block& b = *block;
  ++counts.block_barriers;
  ++b.waiting;
  if (b.waiting + b.done < b.threads()) {
    wait_as(State::at_block);
  } else {
    check_block_barrier(b);
  }
}
void cluster_barrier() {
  ++block->at_cluster;
  wait_as(State::at_cluster);
}
void* in_peer(const void* mine, unsigned rank) {
  Block& b = *block;
  const char* p = static_cast<const char*>(mine);
  if (rank >= b.cluster->size) die("a rank outside the cluster");
  if (p < b.shared.base || p >= b.shared.base + b.shared.size)
    die("mapped to a peer, but not this block's shared memory");
  return b.cluster->shared[rank] + (p - b.shared.base);
}

void fence() { note_fence(); }
unsigned add(unsigned* p, unsigned v) {
  note_atomic();
  const unsigned before = *p;
  *p = before + v;
  return before;
}

cudaError_t run_grid(const cudaLaunchConfig_t& config, void (*call)(const void*), const void* what) {
  if (device.idle) {
    ++counts.launches;
    return cudaSuccess;
  }
  Grid grid{config.gridDim.x, config.blockDim.x, config.dynamicSmemBytes, call, what, ++launches};
  Cluster cluster;
  for (unsigned i = 0; i < config.numAttrs; ++i) cluster.size = config.attrs[i].val.clusterDim.x;
  cluster.shared.resize(cluster.size);
  if (device.fails != 0) return static_cast<cudaError_t>(std::exchange(device.fails, 0));
  if (grid.blocks == 0 || grid.blocks % cluster.size != 0 || grid.threads == 0 || grid.threads > 1024)
    return cudaErrorInvalidConfiguration;
  if (cluster.size > 1 && (int(cluster.size) > device.cluster || device.cc < 90)) return cudaErrorInvalidConfiguration;
  ++counts.launches;
  const OpenMemory open;
  if (cluster.size == 1) {
    run_share(grid, cluster, 0);
    return cudaSuccess;
  }
  ++counts.cluster_launches;
  static Crew& crew = *new Crew;  // never destroyed: its threads wait until the process ends
  crew.run(cluster.size, [&](unsigned rank) { run_share(grid, cluster, rank); });
  return cudaSuccess;
}

// --- called by the checks and the test programs ------------------------------------------------------------------------------

bool running() { return block != nullptr && block->current >= 0; }
Where here() {
  const Block& b = *block;
  return {b.grid->launch,
          b.number,
          b.index / b.cluster->size,
          b.clock,
          b.warps[std::size_t(b.current / kWarp)].clock,
          b.cluster->clock,
          std::uint16_t(b.current)};
}
bool is_stack(const void* p) {
  const char* s = block->self().worker->stack.get();
  return p >= s && p < s + kStack;
}
bool is_beyond_shared(const void* p) {
  const char* end = reinterpret_cast<const char*>(dlk_dynamic_shared) + block->grid->dynamic_bytes;
  return p >= end && p < reinterpret_cast<const char*>(dlk_dynamic_shared) + kMaxShared;
}
bool is_shared(const void* p) {
  for (const char* base : block->cluster->shared) {
    if (p >= base && p < base + block->shared.size) return true;
  }
  return false;
}

void report(const std::string& line) {
  const std::lock_guard<std::mutex> guard(report_lock);
  if (reports.size() < 8) reports.push_back(line);
}
std::vector<std::string> take_reports() {
  const std::lock_guard<std::mutex> guard(report_lock);
  return std::move(reports);
}

}  // namespace simt
