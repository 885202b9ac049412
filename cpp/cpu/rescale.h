// out[i] = (in[i] - shift[c]) scale[c] + offset[c] over contiguous elements, c = i mod period, from any storage type or bytes to any
// storage type. One float32 register of elements at a time, computed as two of float64. What does not fill a register goes through a
// buffer and then the very same code, so that a result never depends on where its element sits.
#pragma once
#include "../../kernels/abi.h"
#include "vec.h"

DLK_BEGIN

template <class In, class Out>
struct rescale_loop {
  using V = lanes<f32>;
  using D = lanes<f64>;
  static constexpr int width = lane<V>::size, half = lane<D>::size;
  static_assert(width == 2 * half && width <= kAhead, "two registers of float64 for one of float32");

  const RescaleArgs a;
  const bool bounded;

  DLK_FN static void get(const In* from, D* x) {
    if constexpr (same<In, f64>::value) {
      for (int u = 0; u < 2; ++u) x[u] = load<D>(from + u * half);
    } else {
      widen(load<V>(from), x);
    }
  }

  DLK_FN static void put(Out* to, const D* y, bool past_cache) {
    if constexpr (same<Out, f64>::value) {
      for (int u = 0; u < 2; ++u) past_cache ? stream(to + u * half, y[u]) : store(to + u * half, y[u]);
    } else {
      const V v = narrow(y);
      past_cache ? stream(to, v) : store(to, v);
    }
  }

  DLK_FN void whole(const In* from, Out* to, std::int64_t c, bool past_cache) const {
    D x[2];
    get(from, x);
    for (int u = 0; u < 2; ++u) {
      const std::int64_t at = c + u * half;
      x[u] = fma(x[u] - load<D>(a.shift + at), load<D>(a.scale + at), load<D>(a.offset + at));
      if (bounded) x[u] = min(D(a.high), max(D(a.low), x[u]));  // the second operand if it is NaN
    }
    put(to, x, past_cache);
  }

  DLK_FN void run() const {
    const In* const in = static_cast<const In*>(a.in);
    Out* const out = static_cast<Out*>(a.out);
    constexpr std::uintptr_t line = width * sizeof(Out);
    const std::uintptr_t past = reinterpret_cast<std::uintptr_t>(out) % line;
    const bool streams = a.stream && past % sizeof(Out) == 0;
    std::int64_t head = streams && past != 0 ? std::int64_t((line - past) / sizeof(Out)) : 0;
    std::int64_t count = 0;
    for (std::int64_t i = 0, c = a.first % a.period; i < a.n; i += count, c += count) {
      if (c >= a.period) c -= a.period;
      count = a.n - i < width ? a.n - i : width;
      if (head > 0 && head < count) count = head;
      head = 0;
      if (count == width) {
        whole(in + i, out + i, c, streams);
        continue;
      }
      In from[width];
      Out to[width];
      copy_n(from, in + i, count, width);
      whole(from, to, c, false);
      copy_n(out + i, static_cast<const Out*>(to), count, count);
    }
    if (streams) stream_fence();
  }
};

template <class In, class Out>
int rescale(const RescaleArgs& a) {
  const bool bounded = a.low >= -max_finite<double> || a.high <= max_finite<double>;
  rescale_loop<In, Out>{a, bounded}.run();
  return 0;
}

DLK_END
