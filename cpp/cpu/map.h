// out[i] = f(in[i], ...) over contiguous elements, two vectors at a time. What does not fill two vectors goes through a buffer and then
// the very same code as the rest, so a result never depends on where its element sits, and each op is there once in the object file.
#pragma once
#include "../../kernels/abi.h"
#include "../../kernels/ops/op.h"
#include "vec.h"
#include "words.h"

DLK_BEGIN

template <class F, class T>
struct map_loop {
  using V = lanes<T>;
  static constexpr int width = lane<V>::size, step = 2 * width;

  const F f;
  const MapArgs a;  // a copy: what is stored to the outputs cannot change it, so its pointers stay in registers
  mutable word_tile<V, F::random> words;

  // Elements before the first one at which every output is aligned to a register; -1 if there is none.
  DLK_FN std::int64_t lead() const {
    constexpr std::uintptr_t line = sizeof(packed_t<V, T>);
    const std::uintptr_t past = reinterpret_cast<std::uintptr_t>(a.out[0]) % line;
    for (int k = 1; k < F::outs; ++k) {
      if (reinterpret_cast<std::uintptr_t>(a.out[k]) % line != past) return -1;
    }
    if (past % sizeof(T) != 0) return -1;
    return past == 0 ? 0 : std::int64_t((line - past) / sizeof(T));
  }

  // `step` elements: all loads, then all stores, so that they overlap even when an output is an input. index: of the first in the array;
  // random ops are told the words that belong to their elements.
  DLK_FN void whole(const T* const* from, T* const* to, std::int64_t index, bool past_cache) const {
    V r[2][F::outs];
    for (int u = 0; u < 2; ++u) {
      V x[F::ins];
      for (int k = 0; k < F::ins; ++k) x[k] = load<V>(from[k] + u * width);
      if constexpr (F::random) {
        const std::int64_t at = index + u * width;
        f(x, r[u], words.at(a.seed, a.offset, at, a.first + a.n - at));
      } else {
        f(x, r[u]);
      }
    }
    for (int u = 0; u < 2; ++u) {
      for (int k = 0; k < F::outs; ++k) {
        if (past_cache) {
          stream(to[k] + u * width, r[u][k]);
        } else {
          store(to[k] + u * width, r[u][k]);
        }
      }
    }
  }

  DLK_FN void run() const {
    std::int64_t head = a.stream ? lead() : -1;
    const bool streams = head >= 0;
    std::int64_t count = 0;
    for (std::int64_t i = 0; i < a.n; i += count) {
      T in_tile[F::ins][step], out_tile[F::outs][step];
      const T* from[F::ins];
      T* to[F::outs];
      count = a.n - i < step ? a.n - i : step;
      if (head > 0 && head < count) count = head;
      head = 0;
      const bool full = count == step;
      for (int k = 0; k < F::ins; ++k) {
        from[k] = static_cast<const T*>(a.in[k]) + i;
        if (!full) {
          copy_n(in_tile[k], from[k], count, step);
          from[k] = in_tile[k];
        }
      }
      for (int k = 0; k < F::outs; ++k) to[k] = full ? static_cast<T*>(a.out[k]) + i : out_tile[k];
      whole(from, to, a.first + i, full && streams);
      if (full) continue;
      for (int k = 0; k < F::outs; ++k) copy_n(static_cast<T*>(a.out[k]) + i, out_tile[k], count, count);
    }
    if (streams) stream_fence();
  }
};

template <class F, class T>
int map(const MapArgs& a) {
  map_loop<F, T>{F(a.params), a, {}}.run();
  return 0;
}

// The same bits for a T of eight significant ones, in fewer operations where F has a form for them.
template <class F, class T>
int map_briefly(const MapArgs& a) {
  return brief_holds<F>(a.params, 0) ? map<brief<F>, T>(a) : map<F, T>(a);
}

template <class L>
struct map_table;
template <class... F>
struct map_table<list<F...>> {
  static constexpr Entry<MapArgs> rows[] = {{F::name,
                                             F::pass,
                                             F::ins,
                                             F::outs,
                                             F::count,
                                             F::random ? dlk::random_words : nothing_more,
                                             {map<F, f32>, map<F, f64>, map<F, f16>, map_briefly<F, bf16>}}...};
};

DLK_END
