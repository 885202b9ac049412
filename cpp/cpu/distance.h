// One axis of an exact Euclidean distance transform (kernels/envelope.h).
//
// Neighboring lines are fetched together, so that lines along an inner axis cost no more memory traffic than contiguous ones; each is
// then worked on alone, in one order, so that its result depends on nothing else.
#pragma once
#include "../../kernels/abi.h"
#include "../../kernels/envelope.h"
#include "../../kernels/list.h"

DLK_BEGIN

// A line of the tile, and the parabolas of the line that is being worked on.
struct tile_line {
  double* at;
  DLK_FN double get(std::int64_t p) const { return at[p]; }
  DLK_FN void put(std::int64_t p, double v) const { at[p] = v; }
  DLK_FN double count(std::int64_t p) const { return at[p]; }
  DLK_FN void count(std::int64_t p, double steps) const { at[p] = steps; }
};
struct tile_stack {
  parabola* at;
  DLK_FN parabola get(std::int64_t k) const { return at[k]; }
  DLK_FN void put(std::int64_t k, const parabola& v) const { at[k] = v; }
};

// visit(place in the tile, place in the array) for the elements of `lines` lines, in an order in which neighbors share a cache line.
template <class Visit>
DLK_FN void each_element(const DistanceArgs& a, std::int64_t first, std::int64_t lines, Visit visit) {
  std::int64_t at[kNeighbors];
  for (std::int64_t l = 0; l < lines; ++l) {
    at[l] = (first + l) / a.inner * a.n * a.inner + (first + l) % a.inner;
  }
  for (std::int64_t p = 0; p < a.n; ++p) {
    for (std::int64_t l = 0; l < lines; ++l) visit(l * a.n + p, at[l] + p * a.inner);
  }
}

template <class S>
int distance(const DistanceArgs& a) {
  const auto* mask = static_cast<const unsigned char*>(a.in);
  const auto* in = static_cast<const double*>(a.in);
  auto* out = static_cast<S*>(a.out);
  auto* const tile = static_cast<double*>(a.scratch);
  for (std::int64_t first = a.first, lines; first < a.first + a.lines; first += lines) {
    const std::int64_t left = a.first + a.lines - first;
    lines = left < kNeighbors ? left : kNeighbors;
    const tile_stack stack{reinterpret_cast<parabola*>(tile + lines * a.n)};
    if (a.mask) {
      each_element(a, first, lines,
                   [&](std::int64_t t, std::int64_t i) { tile[t] = mask[i] == 0 ? 0 : __builtin_inf(); });
      for (std::int64_t l = 0; l < lines; ++l) nearest(tile_line{tile + l * a.n}, a.n, a.spacing);
    } else {
      each_element(a, first, lines, [&](std::int64_t t, std::int64_t i) { tile[t] = in[i]; });
      for (std::int64_t l = 0; l < lines; ++l) lower(tile_line{tile + l * a.n}, a.n, a.spacing, stack);
    }
    if (a.root) {
      each_element(a, first, lines, [&](std::int64_t t, std::int64_t i) { out[i] = S(sqrt(tile[t])); });
    } else {
      each_element(a, first, lines, [&](std::int64_t t, std::int64_t i) { out[i] = S(tile[t]); });
    }
  }
  return 0;
}

DLK_END
