// The thread pool (cpp/parallel.h), without Python: every promise of the header is a case here.
//
//   test_parallel          run every case in this process, print each check and "N passed, N failed"
//   test_parallel NAME...  run only these (test_parallel_native.py gives a process and a time limit to each
//   risky one)
#include "../../cpp/parallel.h"

#include "../../cpp/cpus.h"

#include <dirent.h>
#include <fenv.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using dlk::parallel_for;
using i64 = std::int64_t;
using Clock = std::chrono::steady_clock;

int passed = 0, failed = 0;

void check(bool good, const std::string& what) {
  std::printf("%s %s\n", good ? "  ok  " : "FAILED", what.c_str());
  std::fflush(stdout);
  ++(good ? passed : failed);
}

template <class T>
void check_equal(const T& got, const T& wanted, const std::string& what) {
  check(got == wanted, what + ": wanted " + std::to_string(wanted) + ", got " + std::to_string(got));
}

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void pass_time(int microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }

// True when `threads` ranges were all inside their bodies at one moment: so many threads worked at once.
bool all_meet(int threads, double limit_ms = 10000) {
  std::atomic<int> here{0}, met{0};
  parallel_for(threads, 1, [&](i64, i64) {
    ++here;
    for (const auto start = Clock::now(); here < threads && milliseconds_since(start) < limit_ms;)
      std::this_thread::yield();
    if (here == threads) ++met;
  });
  return met == threads;
}

// The ranges of one call, sorted; empty when one was out of place or a number was visited twice or never.
std::vector<std::pair<i64, i64>> ranges_of(i64 n, i64 grain) {
  std::vector<std::pair<i64, i64>> ranges(static_cast<std::size_t>((n + grain - 1) / grain), {-1, -1});
  std::vector<std::atomic<int>> visits(static_cast<std::size_t>(n));
  std::atomic<bool> good{true};
  parallel_for(n, grain, [&](i64 begin, i64 end) {
    if (begin % grain != 0 || end <= begin || end - begin > grain || end > n) good = false;
    ranges[static_cast<std::size_t>(begin / grain)] = {begin, end};
    for (i64 i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
  });
  for (auto& v : visits)
    if (v != 1) good = false;
  if (!good) ranges.clear();
  return ranges;
}

int tasks_of_this_process() {
  int tasks = 0;
  DIR* folder = opendir("/proc/self/task");
  while (const dirent* entry = readdir(folder)) tasks += entry->d_name[0] != '.';
  closedir(folder);
  return tasks;
}

// Runs `body` in a forked child; its exit status, -1 when a signal ended it, -2 when 20 s did (it is killed).
int in_child(const std::function<int()>& body, pid_t (*make_child)() = fork) {
  std::fflush(stdout);
  const pid_t child = make_child();
  if (child == 0) _exit(body());
  for (const auto start = Clock::now(); milliseconds_since(start) < 20000; pass_time(500)) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return -2;
}

// ---- cases ----------------------------------------------------------------------------------------------

void lazy() {                 // first: it looks at a process in which nothing has run yet
  std::thread([] {}).join();  // ThreadSanitizer starts a helper of its own with the first thread
  const int before = tasks_of_this_process();
  dlk::num_threads();
  dlk::set_num_threads(3);
  parallel_for(100, 100, [](i64, i64) {});
  check_equal(tasks_of_this_process(), before, "threads before the first call that needs a second one");
  parallel_for(100, 1, [](i64, i64) {});
  check_equal(tasks_of_this_process(), before + 2, "threads after it, on 3 threads");
}

void ranges() {
  int wrong = 0, differing = 0;
  for (i64 n : {0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 1000, 4097})
    for (i64 grain : {1, 2, 3, 8, 64, 1000, 5000}) {
      dlk::set_num_threads(1);
      const auto serial = ranges_of(n, grain);
      wrong += n > 0 && serial.empty();
      for (int threads : {2, 3, 8}) {
        dlk::set_num_threads(threads);
        differing += ranges_of(n, grain) != serial;
      }
    }
  check_equal(wrong, 0, "calls whose ranges do not cover [0, n) once, in steps of grain");
  check_equal(differing, 0, "calls whose ranges depend on the number of threads");

  dlk::set_num_threads(4);
  i64 calls = 0, last = 0;
  parallel_for(INT64_MAX, INT64_MAX - 1, [&](i64 begin, i64 end) {
    static std::atomic_flag one = ATOMIC_FLAG_INIT;
    while (one.test_and_set()) std::this_thread::yield();
    ++calls, last = std::max(last, end - begin > 0 ? end : 0);
    one.clear();
  });
  check(calls == 2 && last == INT64_MAX, "n and grain near the largest integer do not overflow");

  struct {
    i64 total = 0;
    void operator()(i64 begin, i64 end) { total += end - begin; }
  } counter;
  parallel_for(5, 10, counter);
  check_equal(counter.total, i64{5}, "a callable is taken by reference, not copied");
}

void arguments() {
  const auto message = [](const std::function<void()>& call) -> std::string {
    try {
      call();
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "nothing thrown";
  };
  const auto nothing = [](i64, i64) {};
  const std::string want = "parallel_for: n must be at least 0 and grain at least 1, got n = ";
  check(message([&] { parallel_for(-1, 1, nothing); }) == want + "-1 and grain = 1.", "n = -1 is refused");
  check(message([&] { parallel_for(4, 0, nothing); }) == want + "4 and grain = 0.", "grain = 0 is refused");
  dlk::set_num_threads(2);
  for (int threads : {0, -3, dlk::kMaxThreads + 1})
    check(message([&] { dlk::set_num_threads(threads); }) ==
              "set_num_threads: threads must be from 1 to 1024, got " + std::to_string(threads) + ".",
          "set_num_threads(" + std::to_string(threads) + ") is refused");
  check_equal(dlk::num_threads(), 2, "num_threads() after refused calls");
}

void concurrency() {
  for (int threads : {2, 3, 8, 2}) {
    dlk::set_num_threads(threads);
    check(all_meet(threads), std::to_string(threads) + " threads work at once");
  }
}

void serial() {
  const auto stays_here = [](i64 n, i64 grain) {
    const auto here = std::this_thread::get_id();
    bool good = true;
    i64 at = 0;
    parallel_for(n, grain, [&](i64 begin, i64 end) {
      good = good && std::this_thread::get_id() == here && begin == at;
      at = end;
    });
    return good && at == n;
  };
  dlk::set_num_threads(4);
  check(stays_here(1000, 1000), "n <= grain runs on the calling thread");
  dlk::set_num_threads(1);
  check(stays_here(1000, 10), "one thread runs the ranges in order on the calling thread");
  dlk::set_num_threads(4);
  std::atomic<int> strayed{0};
  parallel_for(64, 1, [&](i64, i64) { strayed += !stays_here(100, 10); });
  check_equal(strayed.load(), 0, "nested calls that left their thread");
  parallel_for(1, 1, [&](i64, i64) { strayed += !stays_here(100, 10); });
  check_equal(strayed.load(), 0, "nested calls in a serial call that left their thread");
  dlk::set_num_threads(2);
  check(all_meet(2), "a call after nested ones is parallel again");
}

void exceptions() {
  for (int threads : {1, 2, 8}) {
    dlk::set_num_threads(threads);
    const std::string on = " (on " + std::to_string(threads) + " threads)";
    int wrong = 0;
    for (i64 thrower : {0, 1, 17, 99}) {
      std::string got;
      try {
        parallel_for(100, 1, [&](i64 begin, i64) {
          if (begin == thrower) throw std::runtime_error("range " + std::to_string(begin));
        });
      } catch (const std::runtime_error& error) {
        got = error.what();
      }
      wrong += got != "range " + std::to_string(thrower);
      wrong += ranges_of(1000, 10).size() != 100;
    }
    check_equal(wrong, 0, "exceptions lost, changed, or followed by a broken call" + on);

    std::atomic<i64> begun{0};
    try {
      parallel_for(1000000, 1, [&](i64, i64) {
        ++begun;
        throw 7;
      });
      check(false, "all ranges throw: something is rethrown" + on);
    } catch (int value) {
      check_equal(value, 7, "all ranges throw: one exception arrives, of any type" + on);
    }
    check(begun <= threads, "ranges not yet started when one throws never start" + on);
  }
  // The thrower is not the caller: a range that sees the caller's thread waits until another one has thrown.
  dlk::set_num_threads(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<bool> thrown{false};
  std::string got;
  try {
    parallel_for(2, 1, [&](i64, i64) {
      if (std::this_thread::get_id() != caller) {
        thrown = true;
        throw std::runtime_error("from a worker");
      }
      for (const auto start = Clock::now(); !thrown && milliseconds_since(start) < 10000;) std::this_thread::yield();
    });
  } catch (const std::runtime_error& error) {
    got = error.what();
  }
  check(got == "from a worker", "an exception thrown on a worker arrives in the caller");
  check(all_meet(2), "the pool is parallel afterwards");
}

void callers() {  // four threads call at once while a fifth changes the number of threads
  std::atomic<int> wrong{0}, running{4};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int round = 0; round < 500; ++round) {
        const i64 n = 1 + (round * 37 + t * 101) % 3000;
        std::vector<i64> y(static_cast<std::size_t>(n), 0);
        parallel_for(n, 16, [&](i64 begin, i64 end) {
          for (i64 i = begin; i < end; ++i) y[static_cast<std::size_t>(i)] += i * t + round;
        });
        for (i64 i = 0; i < n; ++i) wrong += y[static_cast<std::size_t>(i)] != i * t + round;
        if (round % 50 == 0) try {
            parallel_for(n, 1, [](i64, i64) { throw 1; });
            ++wrong;
          } catch (int) {
          }
      }
      --running;
    });
  for (int k = 0; running > 0; ++k) dlk::set_num_threads(1 + k % 5);
  for (auto& thread : threads) thread.join();
  check_equal(wrong.load(), 0, "wrong elements with four callers and a changing number of threads");
  dlk::set_num_threads(2);
  check(all_meet(2), "the pool is free afterwards");
}

void oversubscribed() {
  const auto start = Clock::now();
  int wrong = 0;
  for (int threads : {8, 64, 200, 8, 1, 2}) {
    dlk::set_num_threads(threads);
    for (int round = 0; round < 50; ++round) wrong += ranges_of(2000, 7).empty();
  }
  check_equal(wrong, 0, "wrong calls on up to 200 threads");
  check(milliseconds_since(start) < 20000, "300 calls on up to 200 threads end soon");
}

void wakeups() {  // pauses of 0 to 140 us between calls: some workers spin, some sleep, some are on the way
  dlk::set_num_threads(2);
  int missed = 0;
  for (int round = 0; round < 2000; ++round) {
    for (const auto start = Clock::now(); milliseconds_since(start) < (round % 15) * 0.01;) {
    }
    missed += !all_meet(2);
  }
  check_equal(missed, 0, "calls whose worker never came, in 2000 with random pauses");

  // The other direction: the caller waits long enough to sleep, and must be woken.
  std::atomic<int> slow{0};
  const auto caller = std::this_thread::get_id();
  for (int round = 0; round < 30; ++round)
    parallel_for(2, 1, [&](i64, i64) {
      if (std::this_thread::get_id() == caller) return pass_time(100);
      pass_time(500);
      ++slow;
    });
  check(slow > 0, "a sleeping caller is woken by the last worker (" + std::to_string(slow) + " times)");
}

void idle() {
  dlk::set_num_threads(4);
  parallel_for(100, 1, [](i64, i64) {});
  pass_time(20000);
  timespec before, after;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
  pass_time(200000);
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
  const double ms = double(after.tv_sec - before.tv_sec) * 1e3 + double(after.tv_nsec - before.tv_nsec) * 1e-6;
  check(ms < 20, "an idle pool sleeps: " + std::to_string(ms) + " ms of CPU time in 200 ms");
}

void float_environment() {
  dlk::set_num_threads(2);
  const auto caller = std::this_thread::get_id();
  volatile float one = 1.0f, tiny = 1e-10f;
  for (int mode : {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST}) {
    fesetround(mode);
    const float expected = one + tiny, negative = -one - tiny;
    int same = 0;
    for (int round = 0; round < 20; ++round) {
      std::atomic<int> here{0}, worker_same{0};
      parallel_for(2, 1, [&](i64, i64) {
        ++here;
        for (const auto start = Clock::now(); here < 2 && milliseconds_since(start) < 10000;) std::this_thread::yield();
        if (std::this_thread::get_id() != caller) worker_same = one + tiny == expected && -one - tiny == negative;
      });
      same += worker_same;
    }
    check_equal(same, 20, "calls whose worker rounds as the caller does, mode " + std::to_string(mode));
  }
}

void signals() {
  dlk::set_num_threads(2);
  std::atomic<int> blocked{-1};
  const auto caller = std::this_thread::get_id();
  std::atomic<int> here{0};
  parallel_for(2, 1, [&](i64, i64) {
    ++here;
    for (const auto start = Clock::now(); here < 2 && milliseconds_since(start) < 10000;) std::this_thread::yield();
    if (std::this_thread::get_id() == caller) return;
    sigset_t set;
    pthread_sigmask(SIG_BLOCK, nullptr, &set);
    blocked = sigismember(&set, SIGINT) * 2 + sigismember(&set, SIGSEGV);
  });
  check_equal(blocked.load(), 2, "a worker blocks SIGINT and not SIGSEGV");
  sigset_t mine;
  pthread_sigmask(SIG_BLOCK, nullptr, &mine);
  check(!sigismember(&mine, SIGINT), "the caller's signal mask is as before");
}

void forks() {
  dlk::set_num_threads(2);
  const auto works = [] { return all_meet(2) && !ranges_of(1000, 10).empty(); };
  check(works(), "the parent works before fork");
  check_equal(in_child([&] { return works() ? 7 : 1; }), 7, "a child works, on threads of its own");
  check(works(), "the parent works after fork");
  check_equal(in_child([&] { return works() && in_child([&] { return works() ? 7 : 1; }) == 7 ? 8 : 1; }), 8,
              "a grandchild works");
  int wrong = 0;
  for (int k = 0; k < 10; ++k) wrong += in_child([&] { return works() ? 7 : 1; }) != 7;
  check_equal(wrong, 0, "failures in ten children in a row");

  // Fork while another thread has the pool: the child must not wait for an owner that does not exist there.
  // (Detached: in a child, ThreadSanitizer takes a joinable thread that is gone for one that still runs.)
  static std::atomic<bool> stop{false}, stopped{false};
  static std::atomic<i64> regions{0};
  std::thread([] {
    for (; !stop; ++regions) parallel_for(64, 1, [](i64, i64) { pass_time(20); });
    stopped = true;
  }).detach();
  for (int k = 0; k < 10; ++k) wrong += in_child([&] { return works() ? 7 : 1; }) != 7;
  const i64 before = regions;
  pass_time(100000);
  stop = true;
  while (!stopped) pass_time(100);
  check_equal(wrong, 0, "failures in ten children forked while another thread has the pool");
  check(regions > before, "that thread went on");
  check(works(), "the parent works after all forks");
}

// A child made by the bare system call runs no atfork handler: its pool counts on a worker that will never come.
void absent_workers() {
  dlk::set_num_threads(2);
  check(all_meet(2), "there is a worker");
  pass_time(5000);
  const auto bare_fork = [] { return static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)); };
  const auto body = [] { return ranges_of(1000, 10).size() == 100 ? 7 : 1; };
  check_equal(in_child(body, bare_fork), 7, "a call does not wait for a worker that has not come");
}

void refused_threads() {  // a child of its own: the limit cannot be lifted again
  const int status = in_child([] {
    // Room for a few 8 MB stacks only. (Reserved address space counts, so this cannot work under a
    // sanitizer.)
    std::ifstream sizes("/proc/self/statm");
    rlim_t pages = 0;
    sizes >> pages;
    const rlimit limit{pages * rlim_t(getpagesize()) + (40u << 20), RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &limit);
    dlk::set_num_threads(200);
    const int good = !ranges_of(1000, 10).empty() && !ranges_of(1000, 10).empty();
    return good * 100 + std::min(tasks_of_this_process(), 99);
  });
  check(status >= 101 && status < 150,
        "threads the system refuses are done without (status " + std::to_string(status) + ": 100 + threads)");
}

void write_file(const std::string& path, const std::string& text) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    mkdir(path.substr(0, at).c_str(), 0700);
  std::ofstream(path) << text;
}

void cgroups() {
  char folder[] = "/tmp/dlk_cgroup_XXXXXX";
  const std::string top = mkdtemp(folder);
  int number = 0;
  using Files = std::vector<std::pair<std::string, std::string>>;
  const auto expect = [&](int wanted, const std::string& what, const Files& files) {
    const std::string root = top + "/" + std::to_string(number++);
    for (const auto& [path, text] : files) write_file(root + path, text);
    check_equal(dlk::detail::quota_threads(root.c_str()), wanted, what);
  };
  const std::string v2 = "/sys/fs/cgroup", v1 = v2 + "/cpu,cpuacct", self = "/proc/self/cgroup";
  expect(INT_MAX, "no files at all", {});
  expect(INT_MAX, "v2 max", {{v2 + "/cpu.max", "max 100000\n"}});
  expect(2, "v2 2.5 CPUs", {{v2 + "/cpu.max", "250000 100000\n"}});
  expect(1, "v2 0.5 CPU", {{v2 + "/cpu.max", "50000 100000\n"}});
  expect(3, "v2 with another period", {{v2 + "/cpu.max", "30000 10000\n"}});
  expect(INT_MAX, "v2 empty file", {{v2 + "/cpu.max", ""}});
  expect(INT_MAX, "v2 without a period", {{v2 + "/cpu.max", "250000\n"}});
  expect(INT_MAX, "v2 period 0", {{v2 + "/cpu.max", "250000 0\n"}});
  expect(INT_MAX, "v2 nonsense", {{v2 + "/cpu.max", "lots of it\n"}});
  expect(2, "v2 nested group", {{self, "0::/a/b\n"}, {v2 + "/a/b/cpu.max", "200000 100000\n"}});
  expect(2, "v2 quota of an ancestor",
         {{self, "0::/a/b\n"}, {v2 + "/a/b/cpu.max", "max 100000\n"}, {v2 + "/a/cpu.max", "200000 100000\n"}});
  expect(1, "v2 tightest of two",
         {{self, "0::/a/b\n"}, {v2 + "/a/b/cpu.max", "400000 100000\n"}, {v2 + "/a/cpu.max", "100000 100000\n"}});
  expect(INT_MAX, "v2 quota of a sibling", {{self, "0::/a\n"}, {v2 + "/b/cpu.max", "100000 100000\n"}});
  expect(4, "v2 path outside the namespace",
         {{self, "0::/../../x\n"}, {v2 + "/cpu.max", "400000 100000\n"}, {"/sys/x/cpu.max", "100000 100000\n"}});
  expect(4, "v2 beside v1", {{self, "1:cpu:/\n0::/a\n"}, {v2 + "/unified/a/cpu.max", "400000 100000\n"}});
  expect(2, "v1 in a container",
         {{v2 + "/cpu/cpu.cfs_quota_us", "200000\n"}, {v2 + "/cpu/cpu.cfs_period_us", "100000\n"}});
  expect(INT_MAX, "v1 no quota", {{v2 + "/cpu/cpu.cfs_quota_us", "-1\n"}, {v2 + "/cpu/cpu.cfs_period_us", "100000\n"}});
  const std::string v1_groups = "12:memory:/docker/y\n4:cpu,cpuacct:/docker/x:1\n3:cpuset:/\nbroken line\n";
  expect(3, "v1 nested group under a joint mount",
         {{self, v1_groups},
          {v1 + "/docker/x:1/cpu.cfs_quota_us", "350000\n"},
          {v1 + "/docker/x:1/cpu.cfs_period_us", "100000\n"}});
  expect(2, "v1 mount shows only our group",
         {{self, v1_groups}, {v1 + "/cpu.cfs_quota_us", "200000\n"}, {v1 + "/cpu.cfs_period_us", "100000\n"}});
  expect(INT_MAX, "v1 other controllers do not count",
         {{self, "3:cpuset:/z\n"},
          {v2 + "/cpuset/z/cpu.cfs_quota_us", "100000\n"},
          {v2 + "/cpuset/z/cpu.cfs_period_us", "100000\n"}});
  check(dlk::detail::quota_threads("") >= 1, "this machine: at least 1");
  if (std::system(("rm -r " + top).c_str()) != 0) check(false, "the scratch folder is removed");
}

void defaults() {
  const auto with = [](const char* text) {
    text ? setenv("DLKERNELS_NUM_THREADS", text, 1) : unsetenv("DLKERNELS_NUM_THREADS");
    return dlk::default_num_threads();
  };
  const int all = with(nullptr);
  cpu_set_t before, one;
  sched_getaffinity(0, sizeof before, &before);
  check_equal(all, std::min(CPU_COUNT(&before), dlk::detail::quota_threads("")), "the default number of threads");
  check_equal(with("1"), 1, "DLKERNELS_NUM_THREADS=1");
  for (const char* text : {"100000", "99999999999999999999", "0", "-2", "two", "1x", "", " "})
    check_equal(with(text), all, std::string("DLKERNELS_NUM_THREADS='") + text + "'");
  with(nullptr);
  int core = 0;
  while (!CPU_ISSET(core, &before)) ++core;
  CPU_ZERO(&one);
  CPU_SET(core, &one);
  sched_setaffinity(0, sizeof one, &one);
  check_equal(dlk::default_num_threads(), 1, "allowed one core");
  sched_setaffinity(0, sizeof before, &before);
  dlk::set_num_threads(5);
  check_equal(dlk::num_threads(), 5, "set_num_threads may exceed the cores");
}

// ---- ways to end a process: each is its own run, and the runner looks at the exit status -----------------

struct AtExit {
  std::function<void()> last;
  ~AtExit() {
    if (last) last();
  }
} at_exit;

void exit_with_workers() {
  dlk::set_num_threads(4);
  check(all_meet(4), "workers live when main returns");
}

void exit_static() {
  dlk::set_num_threads(2);
  parallel_for(10, 1, [](i64, i64) {});
  at_exit.last = [] {
    if (!all_meet(2) || ranges_of(1000, 10).empty()) _exit(3);
    std::printf("  ok   a static destructor calls parallel_for\n");
    std::fflush(stdout);
  };
}

void exit_while_busy() {  // a daemon thread is inside a call when main returns
  dlk::set_num_threads(4);
  static std::atomic<int> rounds{0};
  std::thread([] {
    for (;; ++rounds) parallel_for(1000, 1, [](i64, i64) {});
  }).detach();
  while (rounds < 10) std::this_thread::yield();
  check(true, "main returns while another thread is inside parallel_for");
}

const std::pair<const char*, void (*)()> kCases[] = {
    {"lazy", lazy},           {"ranges", ranges},
    {"arguments", arguments}, {"concurrency", concurrency},
    {"serial", serial},       {"exceptions", exceptions},
    {"callers", callers},     {"oversubscribed", oversubscribed},
    {"wakeups", wakeups},     {"idle", idle},
    {"signals", signals},     {"float_environment", float_environment},
    {"forks", forks},         {"cgroups", cgroups},
    {"defaults", defaults},   {"absent_workers", absent_workers},
};
const std::pair<const char*, void (*)()> kOnlyByName[] = {
    // they end the process, or need one without a sanitizer
    {"exit_with_workers", exit_with_workers},
    {"exit_static", exit_static},
    {"exit_while_busy", exit_while_busy},
    {"refused_threads", refused_threads},
};

}  // namespace

int main(int argc, char** argv) {
  for (const auto& [name, run] : kCases)
    if (argc == 1) std::printf("%s\n", name), run();
  for (int k = 1; k < argc; ++k) {
    bool found = false;
    const auto look = [&](const auto& cases) {
      for (const auto& [name, run] : cases)
        if (std::strcmp(name, argv[k]) == 0) found = true, run();
    };
    look(kCases);
    look(kOnlyByName);
    check(found, std::string("there is a case named ") + argv[k]);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
