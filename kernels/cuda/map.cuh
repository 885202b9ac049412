// out[i] = f(in[i], ...) over contiguous elements, in packets of 16 bytes. Every thread first issues the loads of two packets of each
// operand, then computes. Elements before the first 16-byte boundary and after the last packet go one by one; so does everything when
// the arrays do not reach a boundary at the same element. Elements of a walk lie in packets too where each operand's innermost
// dimension is a run of whole packets: halves of a packed array, a bias that repeats.
#pragma once
#include "../ops/op.h"
#include "../philox.h"
#include "storage.cuh"

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

// One copy of the op for each compute type: what the storage is, is asked where packets are loaded and stored.
template <class F, class S>
struct map_span {
  static constexpr int many = kAtOnce<S>, half = many / 2;

  F f;
  const void* in[F::ins];
  void* out[F::outs];
  Dtype dtype;
  int bytes;                      // of a storage element
  std::int64_t n, head, packets;  // elements; of them before the first packet; whole packets
  std::int64_t origin;            // index of element 0 in the whole array
  std::uint64_t seed, offset;
  Walk walk;  // no dimensions: elements lie side by side

  // Where element i of each operand lies: inputs, then outputs.
  struct place {
    std::int64_t at[F::ins + F::outs];
  };
  DLK_DEVICE place place_of(std::int64_t i) const {
    place p;
    if (walk.dims > 0) {
      const walk_index index(walk, i);
      for (int k = 0; k < F::ins; ++k) p.at[k] = index.offset(walk, k) * bytes;
      for (int k = 0; k < F::outs; ++k) p.at[F::ins + k] = index.offset(walk, kMaxIn + k) * bytes;
    } else {
      for (int k = 0; k < F::ins + F::outs; ++k) p.at[k] = i * bytes;
    }
    return p;
  }
  DLK_DEVICE const char* from(int k, const place& p) const { return static_cast<const char*>(in[k]) + p.at[k]; }
  DLK_DEVICE char* to(int k, const place& p) const { return static_cast<char*>(out[k]) + p.at[F::ins + k]; }

  // The op at the neighbors i, i + 1, ...; random ops are told the words that belong to them.
  template <int N>
  DLK_DEVICE void apply(const S (*v)[F::ins], std::int64_t i, S (*r)[F::outs]) const {
    if constexpr (F::random) {
      std::uint32_t word[N];
      consecutive_words(word, seed, offset, std::uint64_t(origin + i));
#pragma unroll
      for (int e = 0; e < N; ++e) f(v[e], r[e], uint_t<S>(word[e]));
    } else {
#pragma unroll
      for (int e = 0; e < N; ++e) f(v[e], r[e]);
    }
  }

  // Packets i and j, if there is one: all loads, then all stores. Each is a half of what the op takes, but of halves each is all of it.
  // Of a walk, packet i alone: it costs divisions to find.
  DLK_DEVICE void whole(std::int64_t i, std::int64_t j) const {
    const bool halves = bytes < int(sizeof(S)), two = j < packets && walk.dims == 0;
    const int each = 16 / bytes;
    const std::int64_t first = head + i * each, second = two ? head + j * each : first;
    const place p = place_of(first);
    place q;
    for (int k = 0; k < F::ins + F::outs; ++k) q.at[k] = p.at[k] + (second - first) * bytes;
    held<S> x[F::ins], y;
#pragma unroll
    for (int k = 0; k < F::ins; ++k) {
      x[k].w[0] = *reinterpret_cast<const word<S>*>(from(k, p));
      x[k].w[1] = *reinterpret_cast<const word<S>*>(from(k, q));
    }
#pragma unroll 1
    for (int turn = 0; turn <= int(halves && two); ++turn) {
      S c[F::ins][many], v[many][F::ins], r[many][F::outs], d[many];
#pragma unroll
      for (int k = 0; k < F::ins; ++k) unpack(c[k], x[k], dtype, turn == 1);
#pragma unroll
      for (int e = 0; e < many; ++e) {
        for (int k = 0; k < F::ins; ++k) v[e][k] = c[k][e];
      }
      const std::int64_t start = turn == 0 ? first : second;
      apply<half>(v, start, r);
      apply<half>(v + half, halves ? start + half : second, r + half);
#pragma unroll
      for (int k = 0; k < F::outs; ++k) {
        for (int e = 0; e < many; ++e) d[e] = r[e][k];
        y = packed(d, dtype);
        *reinterpret_cast<word<S>*>(turn == 0 ? to(k, p) : to(k, q)) = y.w[0];
        if (!halves && two) *reinterpret_cast<word<S>*>(to(k, q)) = y.w[1];
      }
    }
  }

  DLK_DEVICE void one(std::int64_t i) const {
    S v[1][F::ins], r[1][F::outs];
    const place p = place_of(i);
    for (int k = 0; k < F::ins; ++k) v[0][k] = load_one<S>(from(k, p), dtype);
    apply<1>(v, i, r);
    for (int k = 0; k < F::outs; ++k) store_one(to(k, p), dtype, r[0][k]);
  }
};

template <class F, class S>
__global__ void __launch_bounds__(kMapThreads, 2) map_kernel(const map_span<F, S> __grid_constant__ a) {
  const std::int64_t me = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x,
                     all = std::int64_t(gridDim.x) * blockDim.x;
#pragma unroll 1
  for (std::int64_t i = me; i < a.packets; i += a.walk.dims > 0 ? all : 2 * all) a.whole(i, i + all);
  const std::int64_t skip = a.packets * (16 / a.bytes);
#pragma unroll 1
  for (std::int64_t i = me; i < a.n - skip; i += all) a.one(i < a.head ? i : i + skip);
}

// Packets, all of them aligned, and the elements before the first.
struct packing {
  std::int64_t head, packets;
};
inline packing packing_of(const MapArgs& a, int ins, int outs, int bytes) {
  const int each = 16 / bytes;
  std::int64_t head = 0;
  bool fit = true;
  if (a.walk == nullptr) {
    head = std::int64_t((16 - reinterpret_cast<std::uintptr_t>(a.out[0]) % 16) % 16) / bytes;
    fit = head <= a.n;
  }
  for (int k = 0; k < ins + outs; ++k) {
    const void* const p = k < ins ? a.in[k] : a.out[k - ins];
    fit = fit && aligned(static_cast<const char*>(p) + head * bytes);
    if (a.walk == nullptr || a.walk->dims == 0) continue;
    const std::int64_t* const step = a.walk->step[k < ins ? k : kMaxIn + k - ins];
    const int inner = a.walk->dims - 1;
    fit = fit && a.walk->shape[inner] % each == 0 && step[inner] == 1;
    for (int d = 0; d < inner; ++d) fit = fit && step[d] % each == 0;
  }
  return fit ? packing{head, (a.n - head) / each} : packing{0, 0};
}

template <class F, class T>
int map(const MapArgs& a) {
  using S = compute_t<T>;
  constexpr int bytes = int(sizeof(T));
  if (a.n == 0) return 0;
  const packing p = packing_of(a, F::ins, F::outs, bytes);
  map_span<F, S> s{F(a.params), {}, {}, dtype_of<T>(), bytes, a.n, p.head, p.packets, a.first, a.seed, a.offset, {}};
  for (int k = 0; k < F::ins; ++k) s.in[k] = a.in[k];
  for (int k = 0; k < F::outs; ++k) s.out[k] = a.out[k];
  if (a.walk != nullptr) s.walk = *a.walk;
  const device d = current_device();
  const std::int64_t steps = p.packets == 0 ? a.n : a.walk == nullptr ? ceil_div(p.packets, 2) : p.packets;
  const std::int64_t blocks =
      at_most(ceil_div(steps, kMapThreads), std::int64_t(d.sms) * map_policy(d.cc).blocks_per_sm);
  return launch(map_kernel<F, S>, blocks, kMapThreads, {}, a.queue, s);
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
