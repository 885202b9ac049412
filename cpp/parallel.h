// The only threads of the library: one fork-join over ranges of [0, n).
//
// Range boundaries are multiples of `grain` whatever the number of threads, so they cannot change a result.
// Ranges are claimed one by one from an atomic counter, and a worker that comes late is not waited for: a
// descheduled core costs its share of the speed, never a stall. No OpenMP: nothing to clash with in the
// caller's process. Nothing starts before the first call that needs a second thread.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>

namespace dlk {

// Works on [begin, end); called on any thread, in any order, with the caller's floating-point control bits.
using RangeBody = void (*)(void* context, std::int64_t begin, std::int64_t end);

// Runs `body` over disjoint ranges covering [0, n), each starting at a multiple of `grain` and at most
// `grain` long, and returns when all have ended. The calling thread works too.
//  - Serial, on the calling thread and in order: n <= grain, num_threads() == 1, a call from inside a range,
//    and a call made while another thread has the pool (concurrent callers never wait for each other).
//  - An exception thrown by a range stops the ranges not yet started; the first one is rethrown here, and the
//    pool stays usable.
//  - After fork() the child starts workers of its own at its first parallel call. A body itself must not
//  fork.
//  - Throws std::invalid_argument when n < 0 or grain < 1.
void parallel_for(std::int64_t n, std::int64_t grain, RangeBody body, void* context);

// The same for any callable (begin, end), taken by reference: no copy, no allocation.
template <class Body>
void parallel_for(std::int64_t n, std::int64_t grain, Body&& body) {
  auto* callee = std::addressof(body);
  const RangeBody call = [](void* context, std::int64_t begin, std::int64_t end) {
    (**static_cast<std::remove_reference_t<Body>**>(context))(begin, end);
  };
  parallel_for(n, grain, call, &callee);
}

inline constexpr int kMaxThreads = 1024;

// Threads that a parallel_for may use, the caller included. May be set at any time from any thread, takes
// effect at the next parallel_for, and may exceed the number of cores. std::invalid_argument outside [1,
// kMaxThreads].
int num_threads();
void set_num_threads(int threads);

// What num_threads() is until set: min(cores this process may run on, floor(cgroup CPU quota) but at least 1,
// DLKERNELS_NUM_THREADS if that is a positive integer). The variable can lower the number, never raise it.
int default_num_threads();

}  // namespace dlk
