// Squared distances along a line: the lower envelope of the parabolas that stand on its elements, found from left to right in a time
// proportional to the line's length.   Felzenszwalb & Huttenlocher 2012, doi:10.4086/toc.2012.v008a019
//
// The loops say where a line and its stack of parabolas are kept:
//   line.get(q)            the height at element q, as it came;  line.put(p, v): what replaces it. All are put after the last is got.
//   line.count(p), line.count(p, steps)    a number kept for element p
//   stack.get(k), stack.put(k, parabola)
#pragma once
#include "lane.h"

DLK_BEGIN

// A parabola that is lowest somewhere: from element `start` on.
struct parabola {
  double height;
  std::int64_t vertex, start;
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

template <class Line, class Stack>
DLK_FN void lower(const Line& line, std::int64_t n, double spacing, const Stack& stack) {
  const double squared = spacing * spacing;
  std::int64_t count = 0;
  parabola top{0, 0, 0};
  for (std::int64_t q = 0; q < n; ++q) {
    const double height = line.get(q);
    if (height > max_finite<double>) continue;
    std::int64_t from = 0;
    while (count > 0) {
      from = takeover(top.height, top.vertex, height, q, squared, n);
      if (from > top.start) break;
      from = 0;
      if (--count > 0) top = stack.get(count - 1);
    }
    if (from >= n) continue;
    top = {height, q, from};
    stack.put(count++, top);
  }
  if (count == 0) {  // infinitely far
    for (std::int64_t p = 0; p < n; ++p) line.put(p, line.get(p));
    return;
  }
  parabola next = stack.get(0);
  for (std::int64_t k = 0; k < count; ++k) {
    const parabola now = next;
    if (k + 1 < count) next = stack.get(k + 1);
    const std::int64_t end = k + 1 < count ? next.start : n;
    for (std::int64_t p = now.start; p < end; ++p) {
      const double d = spacing * double(p - now.vertex);
      line.put(p, now.height + d * d);
    }
  }
}

// The same for heights of 0 and infinity: the nearest 0 on either side.
template <class Line>
DLK_FN void nearest(const Line& line, std::int64_t n, double spacing) {
  double steps = line.get(0);
  for (std::int64_t p = 0; p < n; ++p) {
    steps = min(line.get(p), steps + 1);
    line.count(p, steps);
  }
  for (std::int64_t p = n - 1; p >= 0; --p) {
    steps = min(line.count(p), steps + 1);
    line.put(p, (spacing * steps) * (spacing * steps));
  }
}

DLK_END
