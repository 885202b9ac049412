#include "plan.h"

#include <algorithm>

#include "check.h"
#include "parallel.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kChunk = 16384;  // elements: 64 KB a stream in float32
constexpr std::int64_t kGrain = 4;      // chunks claimed at once

}  // namespace

void run_update(int index, Dtype dtype, Device device, void* queue, const std::vector<UpdateTensor>& tensors,
                const double* params) {
  const Target& target = target_for(device);
  const Entry<UpdateArgs>& entry = target.update->entry[index];
  const std::int64_t stored = dtype == Dtype::f64 ? 8 : dtype == Dtype::f32 ? 4 : 2;
  const std::int64_t state = dtype == Dtype::f64 ? 8 : 4;
  std::vector<Chunk> chunks;
  for (const UpdateTensor& t : tensors) {
    for (std::int64_t first = 0; first < t.n; first += kChunk) {
      Chunk c{};
      for (int k = 0; k < 2 + entry.ins; ++k) c.at[k] = static_cast<char*>(t.at[k]) + first * (k < 2 ? stored : state);
      c.n = static_cast<std::int32_t>(std::min(kChunk, t.n - first));
      c.group = t.group;
      chunks.push_back(c);
    }
  }
  if (chunks.empty()) return;
  const auto kernel = entry.run[static_cast<int>(dtype)];
  const auto count = static_cast<std::int64_t>(chunks.size());
  if (device == Device::cuda) {
    check::device_status(entry.name, kernel(UpdateArgs{chunks.data(), count, params, queue}));
    return;
  }
  parallel_for(count, count <= kGrain ? 1 : kGrain, [&](std::int64_t begin, std::int64_t end) {
    kernel(UpdateArgs{chunks.data() + begin, end - begin, params, nullptr});
  });
}

std::pair<int, int> find_overlap(std::vector<MemoryRange>& ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const MemoryRange& a, const MemoryRange& b) { return a.first < b.first; });
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].last) return {ranges[i - 1].owner, ranges[i].owner};
  }
  return {-1, -1};
}

}  // namespace dlk
