// Elementwise and row-wise calls. Losses, which put several kernels together, are in losses.cpp.
#include "dispatch.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <string>

#include "check.h"
#include "device.h"
#include "parallel.h"
#include "strided.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kGrain = 32768;  // elements: some tens of microseconds of work
constexpr std::int64_t kTile = 512;     // elements gathered at a time: 4 KB at most, on the stack
constexpr std::int64_t kRun = 64;       // neighbors that are not worth copying into a tile

const void* ahead(const void* p, std::int64_t bytes) { return static_cast<const char*>(p) + bytes; }
void* ahead(void* p, std::int64_t bytes) { return static_cast<char*>(p) + bytes; }

bool streams(const MapCall& c, std::int64_t n) {
  std::int64_t bytes = 0;
  for (int k = 0; k < c.outs; ++k) bytes += n * item_size(c.out[k]->element);
  for (int k = 0; k < c.ins; ++k) {
    for (int j = 0; j < c.outs; ++j) {
      if (c.in[k]->data == c.out[j]->data) return false;  // its lines are in the cache already
    }
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
  a.queue = c.out[0]->queue;
  for (int k = 0; k < c.ins; ++k) a.in[k] = c.in[k]->data;
  for (int k = 0; k < c.outs; ++k) a.out[k] = c.out[k]->data;
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
    for (int k = 0; k < c.outs; ++k) part.out[k] = ahead(a.out[k], begin * item_size(c.out[k]->element));
    kernel(part);
  });
}

void map_strided(const MapCall& c, MapKernel kernel) {
  const TensorView* operand[kMaxIn + kMaxOut];  // the outputs, then the inputs
  for (int k = 0; k < c.outs; ++k) operand[k] = c.out[k];
  for (int k = 0; k < c.ins; ++k) operand[c.outs + k] = c.in[k];
  const int operands = c.outs + c.ins;
  const Layout layout = shared_layout(operand, operands, c.ordered);
  bool direct[kMaxIn + kMaxOut];
  bool all = true;
  for (int k = 0; k < operands; ++k) all &= direct[k] = layout.contiguous(k, item_size(operand[k]->element));
  if (all) {
    map_contiguous(c, kernel, layout.size);
    return;
  }
  const int inner = layout.ndim - 1;
  bool runs = layout.shape[inner] >= kRun;  // long rows of neighbors, which need no tile: halves of a packed array
  for (int k = 0; k < operands; ++k) runs &= layout.stride[k][inner] == item_size(operand[k]->element);
  if (runs) {
    parallel_for(layout.size, kGrain, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t length = layout.shape[inner];
      for (std::int64_t first = begin, n; first < end; first += n) {
        n = std::min(end - first, length - first % length);
        MapArgs a = map_args(c, n);
        a.first = first;
        for (int k = 0; k < operands; ++k) {
          void* const at = ahead(operand[k]->data, offset_of(layout, k, first));
          if (k < c.outs) {
            a.out[k] = at;
          } else {
            a.in[k - c.outs] = at;
          }
        }
        kernel(a);
      }
    });
    return;
  }
  parallel_for(layout.size, kGrain, [&](std::int64_t begin, std::int64_t end) {
    alignas(64) char tile[kMaxIn + kMaxOut][kTile * 8];
    for (std::int64_t first = begin; first < end; first += kTile) {
      MapArgs a = map_args(c, end - first < kTile ? end - first : kTile);
      a.first = first;
      for (int k = 0; k < operands; ++k) {
        const std::int64_t item = item_size(operand[k]->element);
        void* at = direct[k] ? ahead(operand[k]->data, first * item) : tile[k];
        if (k < c.outs) {
          a.out[k] = at;
          continue;
        }
        if (!direct[k]) gather(layout, k, operand[k]->data, item, first, a.n, at);
        a.in[k - c.outs] = at;
      }
      kernel(a);
      for (int k = 0; k < c.outs; ++k) {
        if (!direct[k]) scatter(layout, k, c.out[k]->data, item_size(c.out[k]->element), first, a.n, tile[k]);
      }
    }
  });
}

void map_on_device(const MapCall& c, MapKernel kernel, bool contiguous) {
  if (kernel == nullptr) check::not_on_this_target(c.op, target_for(Device::cuda).name);
  const OnDevice on(c.op, *c.out[0]);
  MapArgs a = map_args(c, size_of(*c.out[0]));
  Walk walk{};
  if (!contiguous) {
    const TensorView* operand[kMaxIn + kMaxOut];  // the outputs, then the inputs
    int number[kMaxIn + kMaxOut];
    for (int k = 0; k < c.outs; ++k) {
      operand[k] = c.out[k];
      number[k] = kMaxIn + k;
    }
    for (int k = 0; k < c.ins; ++k) {
      operand[c.outs + k] = c.in[k];
      number[c.outs + k] = k;
    }
    const int operands = c.outs + c.ins;
    const Layout layout = shared_layout(operand, operands, c.ordered);
    if (!walk_of(layout, operand, operands, number, walk)) check::cuda_layout(c.op);
    bool one_run = true;
    for (int k = 0; k < operands; ++k) one_run &= layout.contiguous(k, item_size(operand[k]->element));
    if (!one_run) a.walk = &walk;
  }
  check::device_status(c.op, kernel(a));
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
  const TensorView& out = *c.out[0];
  const std::int64_t n = size_of(out);
  if (n == 0) return;
  const MapKernel kernel = target_for(out.device).map->entry[c.index].run[static_cast<int>(c.dtype)];
  bool contiguous = true;
  for (int k = 0; k < c.outs; ++k) contiguous = contiguous && is_contiguous(*c.out[k]);
  for (int k = 0; k < c.ins; ++k) contiguous = contiguous && is_contiguous(*c.in[k]);
  if (out.device == Device::cuda) {
    map_on_device(c, kernel, contiguous);
  } else if (contiguous) {
    map_contiguous(c, kernel, n);
  } else {
    map_strided(c, kernel);
  }
}

}  // namespace dlk
