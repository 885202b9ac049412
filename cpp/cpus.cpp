#include "cpus.h"

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

namespace dlk {
namespace {

// The quota of one cgroup folder: v2 cpu.max is "250000 100000" or "max 100000"; v1 has two files, -1 is
// none.
int quota_of(const std::string& folder) {
  std::string quota, period;
  if (!(std::ifstream(folder + "/cpu.max") >> quota >> period)) {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  const long long used = std::atoll(quota.c_str()), of = std::atoll(period.c_str());  // "max" reads as 0
  return used > 0 && of > 0 ? static_cast<int>(std::clamp<long long>(used / of, 1, INT_MAX)) : INT_MAX;
}

// The tightest quota from the group `path` up to the mount point: its ancestors' quotas hold a group too.
int tightest_quota(const std::string& mount, std::string path) {
  // "/../x" lies outside our cgroup namespace: only the mount point itself can be looked at.
  if (path.empty() || path[0] != '/' || path.find("/..") != std::string::npos) path.clear();
  int threads = quota_of(mount + path);
  while (!path.empty()) {
    path.erase(path.find_last_of('/'));
    threads = std::min(threads, quota_of(mount + path));
  }
  return threads;
}

int affinity_threads() {
#if defined(__linux__)
  for (std::size_t sets = 1; sets <= 64; sets *= 2) {  // one cpu_set_t holds 1024 cores; machines have more
    std::vector<cpu_set_t> cores(sets);
    if (sched_getaffinity(0, sets * sizeof(cpu_set_t), cores.data()) == 0)
      return CPU_COUNT_S(sets * sizeof(cpu_set_t), cores.data());
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace

int detail::quota_threads(const char* root) {
  const std::string mount = std::string(root) + "/sys/fs/cgroup";
  int threads = INT_MAX;
  const auto look = [&](const char* folder, const std::string& path) {
    threads = std::min(threads, tightest_quota(mount + folder, path));
  };
  look("", "/");  // what a container sees, also without a /proc
  look("/cpu", "/");
  std::ifstream groups(std::string(root) + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "id:controllers:path"
    const auto first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (controllers.empty()) {  // v2: the only hierarchy, or one beside those of v1
      look("", path);
      look("/unified", path);
    } else if (("," + controllers + ",").find(",cpu,") != std::string::npos) {  // v1: "cpu" or "cpu,cpuacct"
      look("/cpu", path);
      look(("/" + controllers).c_str(), path);
    }
  }
  return threads;
}

int usable_cpus() { return std::min(affinity_threads(), detail::quota_threads("")); }

}  // namespace dlk
