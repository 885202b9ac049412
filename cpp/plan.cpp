#include "plan.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "check.h"
#include "parallel.h"
#include "sums.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kChunk = 16384;       // elements: 64 KB a stream in float32
constexpr std::int64_t kGrain = 4;           // chunks claimed at once
constexpr std::int64_t kMagnitudeGrain = 8;  // blocks
static_assert(kChunk % kBlock == 0 && kChunk % kScaled == 0);

void* ahead(void* p, std::int64_t bytes) { return p == nullptr ? nullptr : static_cast<char*>(p) + bytes; }

std::int64_t state_bytes(Kept kept, Dtype dtype) {
  if (kept == Kept::wide) return dtype == Dtype::f64 ? 8 : 4;
  return kept == Kept::bf16 ? 2 : 1;
}

// Canonical, as if the blocks were those of one array.
double total(std::vector<double>& partial, std::size_t first, std::size_t n) {
  double result = 0;
  ReduceArgs a{};
  a.n = static_cast<std::int64_t>(n);
  a.count = 1;
  a.in[0] = partial.data() + first;
  a.partial = &result;
  std::vector<std::vector<char>> memory;
  const Workspace workspace = [&](std::size_t bytes) {
    memory.emplace_back(bytes);
    return static_cast<void*>(memory.back().data());
  };
  if (n > 0) sum_to_one("magnitude", cpu_target(), static_cast<int>(Dtype::f64), 8, a, workspace);
  return result;
}

bool adds(const char* how) { return std::strcmp(how, "largest") != 0; }

double combined(const char* how, std::vector<double>& partial, std::size_t first, std::size_t n) {
  if (adds(how)) return total(partial, first, n);
  double most = 0;
  for (std::size_t i = first; i < first + n; ++i) {
    if (!(partial[i] <= most)) most = partial[i];
    if (std::isnan(most)) break;
  }
  return most;
}

// Results of blocks, in their order.
std::vector<double> partial_magnitudes(const char* how, Dtype dtype, Device device,
                                       const std::vector<PlainTensor>& tensors, bool join) {
  const Target& target = target_for(device);
  if (device == Device::cuda) check::not_on_this_target("gradient norm", target.name);
  std::int64_t blocks = 0;
  const std::vector<Run> run = runs_of(tensors, join, blocks);
  std::vector<double> partial(static_cast<std::size_t>(blocks));
  const auto kernel = magnitude_entry(target, how).run[static_cast<int>(dtype)];
  parallel_for(blocks, kMagnitudeGrain, [&](std::int64_t first, std::int64_t last) {
    MagnitudeArgs a{};
    // the first run that reaches into these blocks
    const auto from =
        std::partition_point(run.begin(), run.end(), [&](const Run& r) { return r.begin + r.n <= first * kBlock; });
    a.run = run.data() + (from - run.begin());
    a.runs = run.end() - from;
    a.first = first;
    a.blocks = last - first;
    a.partial = partial.data() + first;
    kernel(a);
  });
  return partial;
}

}  // namespace

Chunk piece_of(const UpdateTensor& t, const UpdateCall& c, int states, std::int64_t first, std::int64_t most) {
  Chunk chunk{};
  chunk.param = ahead(t.param, first * bytes_of(c.dtype));
  chunk.grad = ahead(t.grad, first * bytes_of(c.dtype));
  for (int k = 0; k < states; ++k) {
    chunk.state[k] = ahead(t.state[k], first * state_bytes(c.kept[k], c.dtype));
    chunk.scale[k] = t.scale[k] == nullptr ? nullptr : t.scale[k] + first / kScaled;
  }
  const std::int64_t master = c.precision == Precision::remainder ? 2 : c.dtype == Dtype::f64 ? 8 : 4;
  chunk.master = ahead(t.master, first * master);
  chunk.first = t.first + first;
  chunk.n = static_cast<std::int32_t>(std::min(most, t.n - first));
  chunk.group = t.group;
  return chunk;
}

UpdateArgs arguments_of(const UpdateCall& c) {
  UpdateArgs a{};
  a.params = c.params;
  a.control = c.control;
  a.zero_grads = c.zero_grads;
  a.precision = c.precision;
  for (int k = 0; k < kMaxStates; ++k) a.kept[k] = c.kept[k];
  a.seed = c.seed;
  a.offset = c.offset;
  a.queue = c.queue;
  return a;
}

std::vector<Run> runs_of(const std::vector<PlainTensor>& tensors, bool join, std::int64_t& blocks) {
  std::vector<Run> run;
  run.reserve(tensors.size());
  std::int64_t end = 0;
  for (const PlainTensor& t : tensors) {
    if (!join) end = blocks_of(end) * kBlock;
    if (t.n > 0 && t.x != nullptr) run.push_back({t.x, end, t.n});
    end += t.n;
  }
  blocks = blocks_of(end);
  return run;
}

const Entry<MagnitudeArgs>& magnitude_entry(const Target& target, const char* how) {
  if (target.magnitude == nullptr) check::not_on_this_target("gradient norm", target.name);
  int i = 0;
  while (std::strcmp(target.magnitude->entry[i].name, how) != 0) ++i;
  return target.magnitude->entry[i];
}

void run_update(const UpdateCall& c, const std::vector<UpdateTensor>& tensors, double* sums) {
  const Target& target = target_for(c.device);
  const Entry<UpdateArgs>& entry = target.update->entry[c.index];
  const auto kernel = entry.run[static_cast<int>(c.dtype)];
  if (c.device == Device::cuda && sums != nullptr) check::not_on_this_target(entry.name, target.name);
  const std::int64_t most = c.device == Device::cuda ? kLongest : kChunk;
  std::vector<Chunk> chunks;
  std::vector<double> partial;
  if (sums != nullptr) {
    std::int64_t blocks = 0;
    for (const UpdateTensor& t : tensors) blocks += blocks_of(t.n);
    partial.resize(static_cast<std::size_t>(blocks * entry.outs));
  }
  double* at = partial.data();
  for (const UpdateTensor& t : tensors) {
    for (std::int64_t first = 0; first < t.n; first += most) {
      chunks.push_back(piece_of(t, c, entry.ins, first, most));
      for (int j = 0; sums != nullptr && j < entry.outs; ++j) {
        chunks.back().sum[j] = at + j * blocks_of(t.n) + first / kBlock;
      }
    }
    at += blocks_of(t.n) * entry.outs;
  }
  const UpdateArgs a = arguments_of(c);
  const auto count = static_cast<std::int64_t>(chunks.size());
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    UpdateArgs part = a;
    part.chunk = chunks.data() + begin;
    part.chunks = end - begin;
    return kernel(part);
  };
  if (count == 0) return;
  if (c.device == Device::cuda) {
    check::device_status(entry.name, run(0, count));
  } else {
    parallel_for(count, count <= kGrain ? 1 : kGrain, [&](std::int64_t begin, std::int64_t end) { run(begin, end); });
  }
  std::size_t first = 0;
  for (std::size_t t = 0; sums != nullptr && t < tensors.size(); ++t) {
    for (int j = 0; j < entry.outs; ++j) {
      const auto blocks = static_cast<std::size_t>(blocks_of(tensors[t].n));
      sums[t * static_cast<std::size_t>(entry.outs) + static_cast<std::size_t>(j)] = total(partial, first, blocks);
      first += blocks;
    }
  }
}

double magnitude(const char* how, Dtype dtype, Device device, const std::vector<PlainTensor>& tensors) {
  std::vector<double> partial = partial_magnitudes(how, dtype, device, tensors, true);
  return combined(how, partial, 0, partial.size());
}

std::vector<double> magnitude_of_each(const char* how, Dtype dtype, Device device,
                                      const std::vector<PlainTensor>& tensors) {
  std::vector<double> partial = partial_magnitudes(how, dtype, device, tensors, false), all;
  std::size_t first = 0;
  for (const PlainTensor& t : tensors) {
    const auto blocks = static_cast<std::size_t>(blocks_of(t.n));
    all.push_back(combined(how, partial, first, blocks));
    first += blocks;
  }
  return all;
}

std::int64_t magnitude_on_device_room(const std::vector<PlainTensor>& tensors) {
  std::int64_t blocks = 0;
  runs_of(tensors, true, blocks);
  return magnitude_room(blocks) + 2;  // the counter, the result
}

void magnitude_on_device(const char* how, Dtype dtype, const std::vector<PlainTensor>& tensors, double* scratch,
                         void* queue) {
  MagnitudeArgs a{};
  const std::vector<Run> run = runs_of(tensors, true, a.blocks);
  if (a.blocks == 0) return;
  a.run = run.data();
  a.runs = static_cast<std::int64_t>(run.size());
  a.partial = scratch;
  a.arrived = reinterpret_cast<unsigned*>(scratch + magnitude_room(a.blocks));
  a.total = scratch + magnitude_room(a.blocks) + 1;
  a.queue = queue;
  const Entry<MagnitudeArgs>& entry = magnitude_entry(target_for(Device::cuda), how);
  check::device_status(entry.name, entry.run[static_cast<int>(dtype)](a));
}

std::pair<int, int> find_overlap(std::vector<MemoryRange>& ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const MemoryRange& a, const MemoryRange& b) { return a.first < b.first; });
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i].first < ranges[i - 1].last) return {ranges[i - 1].owner, ranges[i].owner};
  }
  return {-1, -1};
}

}  // namespace dlk
