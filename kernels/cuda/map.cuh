// out[i] = f(in[i], ...) over contiguous elements, in packets of 16 bytes of the storage type. Every thread first issues the loads of several
// packets, then computes. Elements before the first 16-byte boundary and after the last packet go one by one; so does everything when
// the arrays do not reach a boundary at the same element.
#pragma once
#include "../philox.h"
#include "device.cuh"

DLK_BEGIN

// The random words of elements index, index + 1, ... : four come from each counter, so a counter is computed once, not once an element.
template <int many>
DLK_DEVICE void consecutive_words(std::uint32_t (&word)[many], std::uint64_t seed, std::uint64_t offset,
                                  std::uint64_t index) {
  constexpr int counters = (many + 6) / 4;  // of elements that begin anywhere in a counter
  const int skip = int(index % 4);
  std::uint32_t all[4 * counters];
#pragma unroll
  for (int k = 0; k < counters; ++k) {
    const std::uint64_t block = index / 4 + k;
    std::uint32_t* const c = all + 4 * k;
    c[0] = std::uint32_t(block);
    c[1] = std::uint32_t(block >> 32);
    c[2] = std::uint32_t(offset);
    c[3] = std::uint32_t(offset >> 32);
    if (4 * k < skip + many) philox4x32_10(c, seed);
  }
#pragma unroll
  for (int e = 0; e < many; ++e) {
    std::uint32_t w = all[e];
#pragma unroll
    for (int s = 1; s < 4; ++s) w = skip == s && e + s < 4 * counters ? all[e + s] : w;
    word[e] = w;
  }
}

template <class F, class T>
struct map_span {
  using S = compute_t<T>;
  static constexpr int P = kPacket<T>;

  F f;
  const T* in[F::ins];
  T* out[F::outs];
  std::int64_t n, head, packets;  // elements; of them before the first packet; whole packets
  std::int64_t origin;            // index of element 0 in the whole array
  std::uint64_t seed, offset;

  // The op at `many` elements from i on; random ops are told the words that belong to them.
  template <int many>
  DLK_DEVICE void apply(S (&v)[many][F::ins], std::int64_t i, S (&r)[many][F::outs]) const {
    if constexpr (F::random) {
      std::uint32_t word[many];
      consecutive_words(word, seed, offset, std::uint64_t(origin + i));
#pragma unroll
      for (int e = 0; e < many; ++e) f(v[e], r[e], uint_t<S>(word[e]));
    } else {
#pragma unroll
      for (int e = 0; e < many; ++e) f(v[e], r[e]);
    }
  }

  // packets i, i + stride, ... : all loads, then all stores
  template <int many>
  DLK_DEVICE void whole(std::int64_t i, std::int64_t stride) const {
    packet<T, P> x[many][F::ins];
#pragma unroll
    for (int u = 0; u < many; ++u) {
      const std::int64_t at = i + u * stride;
      if (at >= packets) break;
      for (int k = 0; k < F::ins; ++k) x[u][k] = load_packet<P>(in[k] + head + at * P);
    }
#pragma unroll
    for (int u = 0; u < many; ++u) {
      const std::int64_t at = i + u * stride;
      if (at >= packets) break;
      S v[P][F::ins], r[P][F::outs];
#pragma unroll
      for (int e = 0; e < P; ++e) {
        for (int k = 0; k < F::ins; ++k) v[e][k] = to_compute(x[u][k].v[e]);
      }
      apply(v, head + at * P, r);
      for (int k = 0; k < F::outs; ++k) {
        packet<T, P> y;
#pragma unroll
        for (int e = 0; e < P; ++e) y.v[e] = to_storage<T>(r[e][k]);
        store_packet(out[k] + head + at * P, y);
      }
    }
  }

  DLK_DEVICE void one(std::int64_t i) const {
    S v[1][F::ins], r[1][F::outs];
    for (int k = 0; k < F::ins; ++k) v[0][k] = to_compute(in[k][i]);
    apply(v, i, r);
    for (int k = 0; k < F::outs; ++k) out[k][i] = to_storage<T>(r[0][k]);
  }
};

template <class F, class T>
__global__ void __launch_bounds__(kMapThreads) map_kernel(const map_span<F, T> __grid_constant__ a) {
  constexpr int many = packets_in_flight(F::ins);
  const std::int64_t me = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x,
                     all = std::int64_t(gridDim.x) * blockDim.x;
#pragma unroll 1
  for (std::int64_t i = me; i < a.packets; i += many * all) a.template whole<many>(i, all);
  const std::int64_t skip = a.packets * a.P;
#pragma unroll 1
  for (std::int64_t i = me; i < a.n - skip; i += all) a.one(i < a.head ? i : i + skip);
}

template <class F, class T>
int map(const MapArgs& a) {
  using Span = map_span<F, T>;
  if (a.n == 0) return 0;
  Span s{F(a.params), {}, {}, a.n, 0, 0, a.first, a.seed, a.offset};
  for (int k = 0; k < F::ins; ++k) s.in[k] = static_cast<const T*>(a.in[k]);
  for (int k = 0; k < F::outs; ++k) s.out[k] = static_cast<T*>(a.out[k]);
  s.head = lead(s.out[0]);
  bool congruent = s.head <= a.n;
  for (int k = 0; k < F::ins; ++k) congruent = congruent && aligned(s.in[k] + s.head);
  for (int k = 0; k < F::outs; ++k) congruent = congruent && aligned(s.out[k] + s.head);
  if (congruent) {
    s.packets = (a.n - s.head) / Span::P;
  } else {
    s.head = 0;
  }
  const device d = current_device();
  const std::int64_t steps = s.packets > 0 ? ceil_div(s.packets, packets_in_flight(F::ins)) : a.n;
  const std::int64_t blocks =
      at_most(ceil_div(steps, kMapThreads), std::int64_t(d.sms) * map_policy(d.cc).blocks_per_sm);
  return launch(map_kernel<F, T>, blocks, kMapThreads, {}, a.queue, s);
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
                                             {map<F, f32>, map<F, f64>, map<F, f16>, map<F, bf16>}}...};
};

DLK_END
