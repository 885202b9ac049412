// One axis of an exact Euclidean distance transform (kernels/envelope.h), a thread to a line. What a thread keeps for its line lies
// line by line beside its neighbors': they go along in step, mostly, and their accesses meet in the same cache lines. So do those to
// the arrays themselves along an inner axis; along the last axis a thread walks through cache lines of its own.
#include "../envelope.h"
#include "device.cuh"

DLK_BEGIN

template <class S>
struct device_line {
  const DistanceArgs& a;
  const Walk& walk;
  std::int64_t first, slot;  // its element 0 in the array; its place among the lines of the call

  DLK_DEVICE std::int64_t at(std::int64_t p, int operand) const {
    const std::int64_t i = first + p * a.inner;
    return walk.dims > 0 ? walk_index(walk, i).offset(walk, operand) : i;
  }
  DLK_DEVICE double get(std::int64_t p) const {
    if (a.mask) return static_cast<const unsigned char*>(a.in)[at(p, 0)] == 0 ? 0 : __builtin_inf();
    return static_cast<const double*>(a.in)[at(p, 0)];
  }
  DLK_DEVICE void put(std::int64_t p, double v) const { static_cast<S*>(a.out)[at(p, 1)] = S(a.root ? sqrt(v) : v); }
  DLK_DEVICE double count(std::int64_t p) const { return kept()[p * a.lines + slot]; }
  DLK_DEVICE void count(std::int64_t p, double steps) const { kept()[p * a.lines + slot] = steps; }
  DLK_DEVICE double* kept() const { return static_cast<double*>(a.scratch); }
};

struct device_stack {
  double* height;
  std::int64_t *vertex, *start;
  std::int64_t lines, slot;

  DLK_DEVICE device_stack(const DistanceArgs& a, std::int64_t l)
      : height(static_cast<double*>(a.scratch)),
        vertex(reinterpret_cast<std::int64_t*>(height + a.lines * a.n)),
        start(vertex + a.lines * a.n),
        lines(a.lines),
        slot(l) {}
  DLK_DEVICE parabola get(std::int64_t k) const {
    const std::int64_t i = k * lines + slot;
    return {height[i], vertex[i], start[i]};
  }
  DLK_DEVICE void put(std::int64_t k, const parabola& v) const {
    const std::int64_t i = k * lines + slot;
    height[i] = v.height;
    vertex[i] = v.vertex;
    start[i] = v.start;
  }
};

template <class S>
__global__ void __launch_bounds__(kDistanceThreads, 8)
    distance_kernel(const DistanceArgs __grid_constant__ a, const Walk __grid_constant__ walk) {
  const std::int64_t l = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x, all = a.first + l;
  if (l >= a.lines) return;
  const device_line<S> line{a, walk, all / a.inner * a.n * a.inner + all % a.inner, l};
  if (a.mask) {
    nearest(line, a.n, a.spacing);
  } else {
    lower(line, a.n, a.spacing, device_stack(a, l));
  }
}

template <class S>
int distance(const DistanceArgs& a) {
  if (a.lines == 0 || a.n == 0) return 0;
  return launch(distance_kernel<S>, ceil_div(a.lines, kDistanceThreads), kDistanceThreads, {}, a.queue, a,
                a.walk == nullptr ? Walk{} : *a.walk);
}

DLK_END

namespace dlk {
namespace DLK_TARGET {
extern const Table<DistanceArgs> distance_entries;
namespace {
const Entry<DistanceArgs> distance_rows[] = {
    {"distance", "", 1, 1, 0, more_operands, {distance<float>, distance<double>, nullptr, nullptr}}};
}
const Table<DistanceArgs> distance_entries = {distance_rows, 1};
}  // namespace DLK_TARGET
}  // namespace dlk
