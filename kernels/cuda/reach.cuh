// How a warp gets at its elements, whatever they are stored as. A thread holds 32 bytes of an operand: two packets of 16 bytes, the
// packets of the warp side by side. Where packets do not fit (the array is not aligned, or ends here, or is a walk) the warp carries single
// elements through a tile of shared memory, and holds the same afterwards.
#pragma once
#include "canonical.cuh"
#include "storage.cuh"

DLK_BEGIN

constexpr int kTileBytes = kHeldBytes * kWarp;
template <class S>
struct warp_tile {
  word<S> w[kTileBytes / 16];
};

// Halves come eight in a packet, the neighbors 8 t ... 8 t + 7 to thread t. What is kept beside them in the compute type is then held
// likewise, `together`: two packets that are neighbors. Else packets are a warp apart, and elements as in lane_of<kPacket<S>>.
template <class S>
DLK_DEVICE int element_of(int r, bool together) {
  return together ? lane_of<kAtOnce<S>>(r, lane_id()) : lane_of<kPacket<S>>(r, lane_id());
}
DLK_DEVICE int word_at(int q, bool together) { return together ? 2 * lane_id() + q : q * kWarp + lane_id(); }

// Words of a thread, from p on.
template <class S>
DLK_DEVICE held<S> load_words(const void* p, bool together, int words = 2) {
  const auto* const from = static_cast<const word<S>*>(p);
  held<S> x{};
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    if (q < words) x.w[q] = from[word_at(q, together)];
  }
  return x;
}
template <class S>
DLK_DEVICE void store_words(void* p, bool together, const held<S>& x, int words = 2) {
  auto* const to = static_cast<word<S>*>(p);
#pragma unroll
  for (int q = 0; q < 2; ++q) {
    if (q < words) to[word_at(q, together)] = x.w[q];
  }
}

// The elements [i, i + count) of an array, one by one, into the tile, where 0 follows up to `room` elements; or from there.
template <class E, class S>
DLK_DEVICE void carry(void* p, const Walk& walk, int operand, std::int64_t i, int count, int room, warp_tile<S>& tile,
                      bool out) {
  constexpr int batch = 4;
  E *const theirs = static_cast<E*>(p), *const mine = reinterpret_cast<E*>(&tile);
  const int end = out ? count : room;
  if (walk.dims > 0) {
#pragma unroll 1
    for (int e = lane_id(); e < end; e += kWarp) {
      const std::int64_t there = e < count ? walk_index(walk, i + e).offset(walk, operand) : 0;
      if (out) {
        theirs[there] = mine[e];
      } else {
        mine[e] = e < count ? theirs[there] : E(0);
      }
    }
    return;
  }
#pragma unroll 1
  for (int first = lane_id(); first < end; first += batch * kWarp) {  // some loads in flight
    E v[batch];
#pragma unroll
    for (int b = 0; b < batch; ++b) {
      const int e = first + b * kWarp;
      v[b] = E(0);
      if (e < count) v[b] = out ? mine[e] : theirs[i + e];
    }
#pragma unroll
    for (int b = 0; b < batch; ++b) {
      const int e = first + b * kWarp;
      if (e < end) (out ? theirs[i + e] : mine[e]) = v[b];
    }
  }
}
template <class S>
DLK_DEVICE void carry(void* p, int bytes, const Walk& walk, int operand, std::int64_t i, int count, warp_tile<S>& tile,
                      bool out) {
  constexpr int room = kAtOnce<S> * kWarp;
  if constexpr (sizeof(S) == 8) {
    carry<std::uint64_t>(p, walk, operand, i, count, room, tile, out);
  } else if (bytes == 4) {
    carry<std::uint32_t>(p, walk, operand, i, count, room, tile, out);
  } else {
    carry<std::uint16_t>(p, walk, operand, i, count, room, tile, out);
  }
}

template <class S, int N>
DLK_DEVICE void fill(S (&x)[N], S v) {
#pragma unroll
  for (int e = 0; e < N; ++e) x[e] = v;
}

DLK_END
