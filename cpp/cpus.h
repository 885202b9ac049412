// How many CPUs this process may really use: its affinity mask and the quotas of its cgroups, not what the machine has.
#pragma once

namespace dlk {

// min(cores of the affinity mask, floor of the tightest cgroup CPU quota), at least 1.
int usable_cpus();

namespace detail {

// Whole CPUs granted by the cgroup quotas (v1 or v2; this process's group and all its ancestors), at least 1;
// INT_MAX without a quota. `root` is put before /proc and /sys: "" for this machine, a folder in tests.
int quota_threads(const char* root);

}  // namespace detail
}  // namespace dlk
