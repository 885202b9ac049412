// Elementwise and row-wise calls. Losses, which put several kernels together, are in losses.cpp.
#include "dispatch.h"

#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>

#include "check.h"
#include "parallel.h"
#include "strided.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kGrain = 32768;  // elements: some tens of microseconds of work
constexpr std::int64_t kTile = 512;     // elements gathered at a time: 4 KB at most, on the stack

const void* ahead(const void* p, std::int64_t bytes) { return static_cast<const char*>(p) + bytes; }
void* ahead(void* p, std::int64_t bytes) { return static_cast<char*>(p) + bytes; }

bool streams(const MapCall& c, std::int64_t n) {
  std::int64_t bytes = n * item_size(c.out->element);
  for (int k = 0; k < c.ins; ++k) {
    if (c.in[k]->data == c.out->data) return false;  // its lines are in the cache already
    bytes += n * item_size(c.in[k]->element);
  }
  return bytes > stream_threshold();
}

MapArgs map_args(const MapCall& c, std::int64_t n) {
  MapArgs a{};
  a.n = n;
  a.params = c.params;
  a.seed = c.seed;
  a.offset = c.offset;
  a.queue = c.out->queue;
  for (int k = 0; k < c.ins; ++k) a.in[k] = c.in[k]->data;
  a.out = c.out->data;
  return a;
}

using MapKernel = int (*)(const MapArgs&);

void map_contiguous(const MapCall& c, MapKernel kernel, std::int64_t n) {
  MapArgs a = map_args(c, n);
  if (n <= kGrain) {
    kernel(a);
    return;
  }
  a.stream = streams(c, n);
  parallel_for(n, kGrain, [&](std::int64_t begin, std::int64_t end) {
    MapArgs part = a;
    part.n = end - begin;
    part.first = begin;
    for (int k = 0; k < c.ins; ++k) part.in[k] = ahead(a.in[k], begin * item_size(c.in[k]->element));
    part.out = ahead(a.out, begin * item_size(c.out->element));
    kernel(part);
  });
}

void map_strided(const MapCall& c, MapKernel kernel) {
  const TensorView* operand[kMaxIn + 1] = {c.out};
  for (int k = 0; k < c.ins; ++k) operand[k + 1] = c.in[k];
  const Layout layout = shared_layout(operand, c.ins + 1, c.ordered);
  bool direct[kMaxIn + 1];
  bool all = true;
  for (int k = 0; k <= c.ins; ++k) all &= direct[k] = layout.contiguous(k, item_size(operand[k]->element));
  if (all) {
    map_contiguous(c, kernel, layout.size);
    return;
  }
  parallel_for(layout.size, kGrain, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) char tile[kMaxIn + 1][kTile * 8];
    for (std::int64_t first = begin; first < end; first += kTile) {
      MapArgs a = map_args(c, end - first < kTile ? end - first : kTile);
      a.first = first;
      for (int k = 0; k < c.ins; ++k) {
        const std::int64_t item = item_size(c.in[k]->element);
        if (direct[k + 1]) {
          a.in[k] = ahead(c.in[k]->data, first * item);
        } else {
          gather(layout, k + 1, c.in[k]->data, item, first, a.n, tile[k + 1]);
          a.in[k] = tile[k + 1];
        }
      }
      const std::int64_t item = item_size(c.out->element);
      a.out = direct[0] ? ahead(c.out->data, first * item) : tile[0];
      kernel(a);
      if (!direct[0]) scatter(layout, 0, c.out->data, item, first, a.n, tile[0]);
    }
  });
}

}  // namespace

std::int64_t stream_threshold() {
  static const std::int64_t bytes = [] {
    const char* set = std::getenv("DLKERNELS_STREAM_BYTES");
    if (set != nullptr && *set != '\0') {
      char* end = nullptr;
      const long long value = std::strtoll(set, &end, 10);
      if (*end != '\0' || value < 0) {
        check::fail_value(std::string("DLKERNELS_STREAM_BYTES must be a number of bytes, got \"") + set + "\".");
      }
      return static_cast<std::int64_t>(value);
    }
#if defined(_SC_LEVEL3_CACHE_SIZE)
    const long cache = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (cache > 0) return static_cast<std::int64_t>(cache) / 4 * 3;
#endif
    return std::int64_t{24} << 20;
  }();
  return bytes;
}

void run(const MapCall& c) {
  const std::int64_t n = size_of(*c.out);
  if (n == 0) return;
  const MapKernel kernel = target_for(c.out->device).map->entry[c.index].run[static_cast<int>(c.dtype)];
  bool contiguous = is_contiguous(*c.out);
  for (int k = 0; k < c.ins; ++k) contiguous = contiguous && is_contiguous(*c.in[k]);
  if (c.out->device == Device::cuda) {
    if (!contiguous) check::cuda_layout(c.op, "every array");
    check::device_status(c.op, kernel(map_args(c, n)));
  } else if (contiguous) {
    map_contiguous(c, kernel, n);
  } else {
    map_strided(c, kernel);
  }
}

}  // namespace dlk
