// y[i] = f(x[i], ...) over contiguous elements. Two vectors are kept in flight. The partial last vector goes through a buffer and then
// the same path as the others, so a result never depends on where its element sits.
#pragma once
#include "../../kernels/abi.h"
#include "../../kernels/list.h"
#include "../../kernels/philox.h"
#include "vec.h"

DLK_BEGIN

template <class F, class T>
struct map_loop {
  using V = lanes<T>;
  using In0 = kept_t<F::wide_first, T>;
  using Out = kept_t<F::wide_result, T>;
  static constexpr int width = lane<V>::size;

  const F f;
  const MapArgs a;  // a copy: what is stored to y cannot change it, so its pointers stay in registers
  Out* const y;

  // The op at elements i, i + 1, ...; random ops are told the words that belong to them.
  DLK_FN V apply(const V* x, std::int64_t i) const {
    if constexpr (F::random) {
      return f(x, random_words<V>(a.seed, a.offset, std::uint64_t(a.first + i), iota<V>()));
    } else {
      (void)i;
      return f(x);
    }
  }

  template <class L>
  DLK_FN void load_each(V* x, L load_from) const {
    x[0] = load_from(static_cast<const In0*>(a.in[0]));
    for (int k = 1; k < F::ins; ++k) x[k] = load_from(static_cast<const T*>(a.in[k]));
  }

  // `vectors` whole vectors at i: all loads, then all stores, so that they overlap even when y is an input
  template <int vectors, bool past_cache>
  DLK_FN void whole(std::int64_t i) const {
    V r[vectors];
    for (int u = 0; u < vectors; ++u) {
      V x[F::ins];
      load_each(x, [&](auto* p) { return load<V>(p + i + u * width); });
      r[u] = apply(x, i + u * width);
    }
    for (int u = 0; u < vectors; ++u) {
      if constexpr (past_cache) {
        stream(y + i + u * width, r[u]);
      } else {
        store(y + i + u * width, r[u]);
      }
    }
  }

  DLK_FN void partial(std::int64_t i, std::int64_t n) const {
    V x[F::ins];
    load_each(x, [&](auto* p) { return load_n<V>(p + i, n); });
    store_n(y + i, apply(x, i), n);
  }

  template <bool past_cache>
  DLK_FN void span(std::int64_t i, std::int64_t n) const {
    for (; i + 2 * width <= n; i += 2 * width) whole<2, past_cache>(i);
    for (; i + width <= n; i += width) whole<1, past_cache>(i);
    if (i < n) partial(i, n - i);
  }
};

template <class F, class T>
int map(const MapArgs& a) {
  using L = map_loop<F, T>;
  using Out = typename L::Out;
  const L loop{F(a.params), a, static_cast<Out*>(a.out)};
  constexpr std::uintptr_t line = sizeof(packed_t<typename L::V, Out>);
  const std::uintptr_t past = reinterpret_cast<std::uintptr_t>(a.out) % line;
  if (a.stream && past % sizeof(Out) == 0) {
    const std::int64_t lead = past == 0 ? 0 : std::int64_t((line - past) / sizeof(Out));
    const std::int64_t head = lead < a.n ? lead : a.n;
    if (head > 0) loop.partial(0, head);
    loop.template span<true>(head, a.n);
    stream_fence();
  } else {
    loop.template span<false>(0, a.n);
  }
  return 0;
}

template <class L>
struct map_table;
template <class... F>
struct map_table<list<F...>> {
  static constexpr Entry<MapArgs> rows[] = {
      {F::name, F::pass, F::ins, F::count, {map<F, f32>, map<F, f64>, map<F, f16>, map<F, bf16>}}...};
};

DLK_END
