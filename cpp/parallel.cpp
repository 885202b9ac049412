// The pool behind parallel_for. A region is opened by putting seats on the gate, one for each worker that may
// help; a worker takes a seat, claims ranges until none is left, and leaves. Whoever finds the ranges
// exhausted removes the seats nobody took, and the caller waits only for those inside. So helping is
// optional, and a missed wakeup, a slow start or a refused thread costs time and nothing else.
//
// The pool is one constant-initialized object with a trivial destructor: nothing runs at load time, nothing
// is destroyed at exit, and a static destructor may still call parallel_for. Workers are detached; process
// exit ends them where they sleep. (Hence the library must stay loaded: link it with -z nodelete.)
#include "parallel.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

#include "cpus.h"

#if defined(__linux__) && !defined(DLK_NO_FUTEX)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <condition_variable>
#include <mutex>
#include <new>
#endif

namespace dlk {
namespace {

// ---- waiting ----------------------------------------------------------------------------------------------

using Word = std::atomic<std::uint32_t>;
using Microseconds = std::chrono::microseconds;

// Longer than the gap between two calls of a training loop, too short for an idle process to show in `top`.
// A time, not a count: a `pause` takes from 4 to 140 cycles depending on the processor.
constexpr Microseconds kSpin{50};

template <class Ready>
bool spin_until(Ready ready, Microseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  do {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return true;
#if defined(__SSE__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      asm volatile("isb");  // `yield` is a no-op on most cores
#endif
    }
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// sleep_while() returns when woken, and at once when `word` no longer holds `value`; it may return early.
#if defined(__linux__) && !defined(DLK_NO_FUTEX)
static_assert(sizeof(Word) == 4 && Word::is_always_lock_free);
void sleep_while(Word& word, std::uint32_t value) {
  syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, value, nullptr, nullptr, 0);
}
void wake(Word& word, int sleepers) { syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, sleepers, nullptr, nullptr, 0); }
void renew_parking() {}
#else
// One lock for all words, in raw storage: never destroyed, and a forked child can make it anew, unlocked.
struct Parking {
  std::mutex lock;
  std::condition_variable bell;
};
alignas(Parking) unsigned char parking_bytes[sizeof(Parking)];
Parking& parking() { return *std::launder(reinterpret_cast<Parking*>(parking_bytes)); }
void sleep_while(Word& word, std::uint32_t value) {
  std::unique_lock<std::mutex> hold(parking().lock);
  if (word.load() == value) parking().bell.wait(hold);
}
void wake(Word&, int) {
  std::lock_guard<std::mutex> hold(parking().lock);  // a sleeper saw the new value, or is in wait() by now
  parking().bell.notify_all();
}
void renew_parking() { new (parking_bytes) Parking; }
#endif

// ---- floating-point control -------------------------------------------------------------------------------

// Workers adopt the caller's rounding mode, flush modes and trap masks for each region, so that a result does
// not depend on the thread that made it. Status flags are left out: those raised on a worker stay there.
#if defined(__SSE__)
using FloatControl = unsigned;
FloatControl float_control() { return __builtin_ia32_stmxcsr() & ~0x3fu; }
void adopt(FloatControl control) { __builtin_ia32_ldmxcsr(control); }
#elif defined(__aarch64__)
using FloatControl = std::uint64_t;
FloatControl float_control() {
  FloatControl control;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  return control;
}
void adopt(FloatControl control) { asm volatile("msr fpcr, %0" ::"r"(control)); }
#else
#error "parallel.cpp: say how to read and set the floating-point control register of this architecture"
#endif

// ---- the pool ---------------------------------------------------------------------------------------------

thread_local bool inside_range = false;

struct InsideRange {
  const bool before = inside_range;
  InsideRange() { inside_range = true; }
  ~InsideRange() { inside_range = before; }
};

// One parallel_for in flight; lives on the caller's stack.
struct Region {
  const std::int64_t n, grain, ranges;
  const RangeBody body;
  void* const context;
  const FloatControl control = float_control();
  std::atomic<bool> failed{false};
  std::exception_ptr error{};
  alignas(64) std::atomic<std::int64_t> next{0};  // every claim writes it: a cache line of its own

  void work() {
    for (std::int64_t i; (i = next.fetch_add(1)) < ranges;) {
      const std::int64_t begin = i * grain;
      try {
        body(context, begin, begin + std::min(grain, n - begin));
      } catch (...) {
        if (!failed.exchange(true)) error = std::current_exception();
        next.store(ranges);
      }
    }
  }
};

constexpr std::uint32_t kSeat = 1u << 16, kInside = kSeat - 1;

// Every atomic is sequentially consistent. The sleep/wake pairs need it (each side writes its own word, then
// reads the other's), and nothing else here is hot enough to deserve a proof for less.
struct Pool {
  alignas(64) Word gate{0};  // kSeat * free seats + workers inside the open region
  alignas(64) Word caller_sleeps{0};
  std::atomic<int> sleepers{0};
  std::atomic<Microseconds> patience{kSpin};
  std::atomic<bool> owned{false};
  // The rest is the owner's; a worker reads `region` only while it has a seat.
  Region* region = nullptr;
  int started = 0, startable = kMaxThreads - 1, cpus = 1;
  bool fork_handled = false;

  bool take_seat() {
    std::uint32_t now = gate.load();
    while (now >= kSeat)
      if (gate.compare_exchange_weak(now, now - kSeat + 1)) return true;
    return false;
  }

  [[noreturn]] void serve() {
    inside_range = true;
    for (;;) {
      if (!spin_until([this] { return gate.load() >= kSeat; }, patience.load())) {
        ++sleepers;
        const std::uint32_t now = gate.load();
        if (now < kSeat) sleep_while(gate, now);
        --sleepers;
      }
      if (!take_seat()) continue;
      adopt(region->control);
      region->work();
      gate.fetch_and(kInside);
      if ((gate.fetch_sub(1) & kInside) == 1 && caller_sleeps.exchange(0) == 1) wake(caller_sleeps, 1);
    }
  }

  // Makes `wanted` workers exist, or as many as the system grants. A refusal is remembered: asking is slow.
  void staff(int wanted) {
    if (!fork_handled) {
      if (pthread_atfork(nullptr, nullptr, forget_workers) != 0) return;
      renew_parking();
      fork_handled = true;
    }
    if (started == 0) cpus = usable_cpus();
    // Signals belong to the application's threads, but its handlers (faulthandler) must still see our faults.
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS}) sigdelset(&blocked, fault);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    try {
      for (; started < std::min(wanted, startable); ++started) std::thread([this] { serve(); }).detach();
    } catch (const std::exception&) {
      startable = started;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  void run(Region& open, int threads) {
    if (started < threads - 1) staff(threads - 1);
    // On more threads than CPUs, one that spins holds up one that works.
    patience.store(threads <= cpus ? kSpin : Microseconds{0});
    const int seats = std::min(threads - 1, started);
    region = &open;
    gate.store(static_cast<std::uint32_t>(seats) * kSeat);
    const int awake = started - sleepers.load();
    if (awake < seats) wake(gate, seats - awake);
    open.work();
    gate.fetch_and(kInside);
    const auto empty = [this] { return gate.load() == 0; };
    if (spin_until(empty, patience.load())) return;
    while (!empty()) {
      caller_sleeps.store(1);
      if (!empty()) sleep_while(caller_sleeps, 1);
    }
    caller_sleeps.store(0);
  }

  static void forget_workers();
};

Pool pool;
static_assert(std::is_trivially_destructible_v<Pool> && kMaxThreads < static_cast<int>(kSeat));

// In a forked child the only thread is the one that called fork(): workers, and an owner if any, are gone.
void Pool::forget_workers() {
  pool.gate.store(0);
  pool.caller_sleeps.store(0);
  pool.sleepers.store(0);
  pool.started = 0;
  pool.startable = kMaxThreads - 1;
  pool.owned.store(false);
  renew_parking();
}

struct Ownership {
  const bool mine = !pool.owned.load() && !pool.owned.exchange(true);
  ~Ownership() {
    if (mine) pool.owned.store(false);
  }
};

std::atomic<int> chosen_threads{0};  // 0: nobody has asked yet

}  // namespace

int default_num_threads() {
  const int cpus = usable_cpus();
  const char* text = std::getenv("DLKERNELS_NUM_THREADS");
  char* end = nullptr;
  const long wanted = text ? std::strtol(text, &end, 10) : 0;
  return wanted >= 1 && *end == '\0' ? static_cast<int>(std::min<long>(cpus, wanted)) : cpus;
}

int num_threads() {
  if (chosen_threads.load() == 0) {
    int unset = 0;  // a set_num_threads() that comes in between wins
    chosen_threads.compare_exchange_strong(unset, default_num_threads());
  }
  return chosen_threads.load();
}

void set_num_threads(int threads) {
  if (threads < 1 || threads > kMaxThreads)
    throw std::invalid_argument("set_num_threads: threads must be from 1 to " + std::to_string(kMaxThreads) + ", got " +
                                std::to_string(threads) + ".");
  chosen_threads.store(threads);
}

void parallel_for(std::int64_t n, std::int64_t grain, RangeBody body, void* context) {
  if (n < 0 || grain < 1)
    throw std::invalid_argument("parallel_for: n must be at least 0 and grain at least 1, got n = " +
                                std::to_string(n) + " and grain = " + std::to_string(grain) + ".");
  if (n > grain && !inside_range && num_threads() > 1) {
    if (Ownership pool_is; pool_is.mine) {
      const std::int64_t ranges = n / grain + (n % grain != 0);
      Region region{n, grain, ranges, body, context};
      InsideRange mark;
      pool.run(region, static_cast<int>(std::min<std::int64_t>(num_threads(), ranges)));
      if (region.error) std::rethrow_exception(std::move(region.error));
      return;
    }
  }
  InsideRange mark;
  for (std::int64_t begin = 0, size; begin < n; begin += size) {  // begin + grain might overflow
    size = std::min(grain, n - begin);
    body(context, begin, begin + size);
  }
}

}  // namespace dlk
