#include "target.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "check.h"

namespace dlk {

#if defined(DLK_HAVE_AVX512)
namespace avx512 {
extern const Target target;
}
#endif
#if defined(DLK_HAVE_AVX2)
namespace avx2 {
extern const Target target;
}
#endif
#if defined(DLK_HAVE_NEON)
namespace neon {
extern const Target target;
}
#endif
#if defined(DLK_HAVE_BASE)
namespace base {
extern const Target target;
}
#endif

namespace {

// A target cannot probe itself: its code may only run where it is supported.
struct Candidate {
  const Target* target;
  bool (*supported)();
};

[[maybe_unused]] bool always() { return true; }  // unused when only one instruction set is built

#if defined(DLK_HAVE_AVX512)
bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("avx2");
}
#endif
#if defined(DLK_HAVE_AVX2)
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }  // every such CPU has F16C
#endif

const Candidate candidates[] = {
#if defined(DLK_HAVE_AVX512)
    {&avx512::target, has_avx512},
#endif
#if defined(DLK_HAVE_AVX2)
    {&avx2::target, has_avx2},
#endif
#if defined(DLK_HAVE_NEON)
    {&neon::target, always},
#endif
#if defined(DLK_HAVE_BASE)
    {&base::target, always},
#endif
};

std::string joined(const std::vector<std::string>& names) {
  std::string s;
  for (const auto& n : names) s += (s.empty() ? "" : ", ") + n;
  return s;
}

const Target* named(const std::string& name, const char* asked_by) {
  for (const Candidate& c : candidates) {
    if (name == c.target->name && c.supported()) return c.target;
  }
  check::fail_value(std::string(asked_by) + ": target must be one of " + joined(supported_targets()) +
                    " on this machine, got \"" + name + "\" (built: " + joined(built_targets()) + ").");
}

const Target* chosen_at_start() {
  const char* forced = std::getenv("DLKERNELS_TARGET");
  if (forced != nullptr && *forced != '\0') return named(forced, "DLKERNELS_TARGET");
  for (const Candidate& c : candidates) {
    if (c.supported()) return c.target;
  }
  throw Error(Error::Kind::runtime,
              "dlkernels: none of the built targets (" + joined(built_targets()) + ") runs on this machine.");
}

std::atomic<const Target*> cpu{nullptr};
std::atomic<const Target*> cuda{nullptr};

template <class Args>
int find(const Table<Args>& table, const std::string& name, const std::string& pass) {
  for (int i = 0; i < table.size; ++i) {
    if (name == table.entry[i].name && pass == table.entry[i].pass) return i;
  }
  return -1;
}

}  // namespace

std::vector<std::string> built_targets() {
  std::vector<std::string> names;
  for (const Candidate& c : candidates) names.emplace_back(c.target->name);
  return names;
}

const char* build_flags() { return DLK_FLAGS; }

std::vector<std::string> supported_targets() {
  std::vector<std::string> names;
  for (const Candidate& c : candidates) {
    if (c.supported()) names.emplace_back(c.target->name);
  }
  return names;
}

const Target& cpu_target() {
  const Target* t = cpu.load(std::memory_order_acquire);
  if (t == nullptr) {
    t = chosen_at_start();
    cpu.store(t, std::memory_order_release);
  }
  return *t;
}

void set_cpu_target(const std::string& name) { cpu.store(named(name, "set_target"), std::memory_order_release); }

void register_cuda_target(const Target* target) { cuda.store(target, std::memory_order_release); }

const Target& target_for(Device device) {
  if (device == Device::cpu) return cpu_target();
  const Target* t = cuda.load(std::memory_order_acquire);
  if (t == nullptr)
    throw Error(Error::Kind::runtime, "dlkernels: no CUDA target is loaded. `dlkernels info` says why.");
  return *t;
}

int required(int index) {
  if (index < 0) throw std::logic_error("dlkernels: a kernel of the library's own is missing");
  return index;
}

int find_map(const std::string& name, const std::string& pass) { return find(*cpu_target().map, name, pass); }
int find_rows(const std::string& name, const std::string& pass) { return find(*cpu_target().rows, name, pass); }
int find_reduce(const std::string& name, const std::string& pass) { return find(*cpu_target().reduce, name, pass); }
int find_update(const std::string& name) { return find(*cpu_target().update, name, ""); }

}  // namespace dlk
