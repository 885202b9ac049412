// One axis of an exact Euclidean distance transform: every line is replaced by the lower envelope of the parabolas that stand on its
// elements, found from left to right in a time proportional to its length.   Felzenszwalb & Huttenlocher 2012, doi:10.4086/toc.2012.v008a019
//
// Neighboring lines are fetched together, so that lines along an inner axis cost no more memory traffic than contiguous ones; each is
// then worked on alone, in one order, so that its result depends on nothing else.
#pragma once
#include "../../kernels/abi.h"
#include "../../kernels/lane.h"
#include "../../kernels/list.h"

DLK_BEGIN

// The parabolas that are lowest somewhere, from left to right, and the first element at which each of them is.
struct envelope {
  double* height;
  std::int64_t* vertex;
  std::int64_t* start;
};

// The first element at which the parabola on q lies below the one on v < q, or n. That is the first p with
//   2 p > v + q + (height of q - height of v) / (spacing^2 (q - v)),
// whole numbers but for the last term: nothing is lost to the size of p, and with whole squared distances below 2^52 nothing is lost.
DLK_FN std::int64_t takeover(double fv, std::int64_t v, double fq, std::int64_t q, double squared_spacing,
                             std::int64_t n) {
  const double lead = (fq - fv) / (squared_spacing * double(q - v));
  if (!(lead < 2 * double(n))) return n;
  if (lead < -2 * double(n)) return 0;
  std::int64_t whole = std::int64_t(lead);
  whole -= double(whole) > lead ? 1 : 0;
  return ((v + q + whole) >> 1) + 1;
}

DLK_FN void lower(double* line, std::int64_t n, double spacing, const envelope& e) {
  const double squared = spacing * spacing;
  std::int64_t count = 0;
  for (std::int64_t q = 0; q < n; ++q) {
    if (line[q] > max_finite<double>) continue;
    std::int64_t from = 0;
    while (count > 0) {
      from = takeover(e.height[count - 1], e.vertex[count - 1], line[q], q, squared, n);
      if (from > e.start[count - 1]) break;
      from = 0;
      --count;
    }
    if (from >= n) continue;
    e.height[count] = line[q];
    e.vertex[count] = q;
    e.start[count] = from;
    ++count;
  }
  for (std::int64_t k = 0; k < count; ++k) {
    const std::int64_t end = k + 1 < count ? e.start[k + 1] : n;
    for (std::int64_t p = e.start[k]; p < end; ++p) {
      const double d = spacing * double(p - e.vertex[k]);
      line[p] = e.height[k] + d * d;
    }
  }
}

// The same for heights of 0 and infinity: the nearest 0 on either side.
DLK_FN void nearest(double* line, std::int64_t n, double spacing) {
  double steps = line[0];
  for (std::int64_t p = 0; p < n; ++p) line[p] = steps = min(line[p], steps + 1);
  for (std::int64_t p = n - 1; p >= 0; --p) {
    steps = min(line[p], steps + 1);
    line[p] = (spacing * steps) * (spacing * steps);
  }
}

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
    double* const spare = tile + lines * a.n;
    const envelope e{spare, reinterpret_cast<std::int64_t*>(spare + a.n),
                     reinterpret_cast<std::int64_t*>(spare + 2 * a.n)};
    if (a.mask) {
      each_element(a, first, lines,
                   [&](std::int64_t t, std::int64_t i) { tile[t] = mask[i] == 0 ? 0 : __builtin_inf(); });
      for (std::int64_t l = 0; l < lines; ++l) nearest(tile + l * a.n, a.n, a.spacing);
    } else {
      each_element(a, first, lines, [&](std::int64_t t, std::int64_t i) { tile[t] = in[i]; });
      for (std::int64_t l = 0; l < lines; ++l) lower(tile + l * a.n, a.n, a.spacing, e);
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
