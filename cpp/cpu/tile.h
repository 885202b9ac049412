// The ways in which an optimizer's numbers are stored, between memory and a tile of the compute type. Out of line: all rules share them.
#pragma once
#include "../../kernels/abi.h"
#include "../../kernels/philox.h"
#include "../../kernels/quantize.h"
#include "canonical.h"

DLK_BEGIN

constexpr int kTile = 512;  // two blocks of bytes
static_assert(kTile % kScaled == 0 && kBlock % kTile == 0);

#define DLK_TILE [[maybe_unused]] static __attribute__((noinline))

template <class T>
inline constexpr Dtype dtype_of = same<T, f32>::value   ? Dtype::f32
                                  : same<T, f64>::value ? Dtype::f64
                                  : same<T, f16>::value ? Dtype::f16
                                                        : Dtype::bf16;
DLK_FN int size_of(Dtype d) { return d == Dtype::f64 ? 8 : d == Dtype::f32 ? 4 : 2; }

struct tile_place {
  std::int64_t first;  // index of the tile's first element among all of the call
  int n;
};

// n elements of a type from place i on; the rest of the last vector becomes 0.
template <class T>
DLK_FN void widened(compute_t<T>* tile, const void* from, int i, int n) {
  using V = lanes<T>;
  const T* const p = static_cast<const T*>(from) + i;
  int j = 0;
  for (; j + lane<V>::size <= n; j += lane<V>::size) store(tile + j, load<V>(p + j));
  if (j < n) store(tile + j, load_n<V>(p + j, n - j));
}
template <class T>
DLK_FN void narrowed(void* to, const compute_t<T>* tile, int i, int n) {
  using V = lanes<T>;
  T* const p = static_cast<T*>(to) + i;
  int j = 0;
  for (; j + lane<V>::size <= n; j += lane<V>::size) store(p + j, load<V>(tile + j));
  if (j < n) store_n(p + j, load<V>(tile + j), n - j);
}

DLK_TILE void read_tile(float* tile, const void* from, Dtype dtype, int i, int n) {
  if (dtype == Dtype::f32) return widened<f32>(tile, from, i, n);
  return dtype == Dtype::f16 ? widened<f16>(tile, from, i, n) : widened<bf16>(tile, from, i, n);
}
DLK_TILE void read_tile(double* tile, const void* from, Dtype, int i, int n) { widened<f64>(tile, from, i, n); }
DLK_TILE void write_tile(void* to, const float* tile, Dtype dtype, int i, int n) {
  if (dtype == Dtype::f32) return narrowed<f32>(to, tile, i, n);
  return dtype == Dtype::f16 ? narrowed<f16>(to, tile, i, n) : narrowed<bf16>(to, tile, i, n);
}
DLK_TILE void write_tile(void* to, const double* tile, Dtype, int i, int n) { narrowed<f64>(to, tile, i, n); }

// bfloat16, rounded at random. `stream`: numbers of their own for the parameter (0) and for each state.
DLK_TILE void write_at_random(void* to, const float* tile, std::uint64_t seed, std::uint64_t offset, int stream, int i,
                              tile_place at) {
  using V = lanes<f32>;
  bf16* const p = static_cast<bf16*>(to) + i;
  for (int j = 0; j < at.n; j += lane<V>::size) {
    const int n = at.n - j < lane<V>::size ? at.n - j : lane<V>::size;
    const uint_t<V> word = random_words<V>(seed, offset * (1 + kMaxStates) + std::uint64_t(stream),
                                           std::uint64_t(at.first + j), iota<V>());
    const V v = rounded_at_random(load<V>(tile + j), word >> 16);
    if (n == lane<V>::size) {
      store(p + j, v);
    } else {
      store_n(p + j, v, n);
    }
  }
}

// --- parameters that are not what they are stored as ----------------------------------------------------------------------------

template <class S>
DLK_FN void read_weights(S* tile, Precision precision, Dtype dtype, const Chunk& c, int i, int n) {
  if constexpr (sizeof(S) == 4) {
    if (precision == Precision::remainder) {
      const auto* const upper = static_cast<const std::uint16_t*>(c.param) + i;
      const auto* const lower = static_cast<const std::uint16_t*>(c.master) + i;
      for (int j = 0; j < n; ++j) tile[j] = joined(upper[j], lower[j]);
      for (int j = n; j % kLanes != 0; ++j) tile[j] = 0;
      return;
    }
  }
  read_tile(tile, c.param, dtype, i, n);
}
template <class S>
DLK_FN void write_weights(const S* w, const UpdateArgs& a, Dtype dtype, const Chunk& c, int i, tile_place at) {
  if constexpr (sizeof(S) == 4) {
    if (a.precision == Precision::remainder) {
      auto* const upper = static_cast<std::uint16_t*>(c.param) + i;
      auto* const lower = static_cast<std::uint16_t*>(c.master) + i;
      for (int j = 0; j < at.n; ++j) split(w[j], upper[j], lower[j]);
      return;
    }
    if (a.precision == Precision::stochastic) return write_at_random(c.param, w, a.seed, a.offset, 0, i, at);
  }
  write_tile(c.param, w, dtype, i, at.n);
}

// --- state ----------------------------------------------------------------------------------------------------------------------

inline constexpr levels kLevels(false), kPositiveLevels(true);

DLK_TILE void read_bytes(float* tile, const void* from, const float* scale, bool positive, int i, int n) {
  const auto* const code = static_cast<const std::uint8_t*>(from) + i;
  const float* const level = positive ? kPositiveLevels.of : kLevels.of;
  for (int j = 0; j < n; ++j) tile[j] = level[code[j]] * scale[(i + j) / kScaled];
  for (int j = n; j % kLanes != 0; ++j) tile[j] = 0;
}

template <bool positive>
DLK_FN void write_block(std::uint8_t* to, const float* x, float& scale, int n) {
  using V = lanes<f32>;
  constexpr int width = lane<V>::size;
  // the number of largest magnitude, with its sign: it is kept exactly
  float largest = 0;
  for (int j = 0; j < n; ++j) {
    const float m = abs(x[j]);
    if (!(m <= abs(largest))) largest = x[j];
    if (largest != largest) break;
  }
  scale = largest;
  for (int j = 0; j < n; j += width) {
    const V r = largest == 0 ? V(0) : load<V>(x + j) / V(largest);
    std::uint32_t code[width];
    const uint_t<V> c = encoded<positive>(r);
    std::memcpy(code, &c, sizeof code);
    for (int k = 0; k < width && j + k < n; ++k) to[j + k] = std::uint8_t(code[k]);
  }
}
DLK_TILE void write_bytes(void* to, const float* tile, float* scale, bool positive, int i, int n) {
  auto* const code = static_cast<std::uint8_t*>(to) + i;
  for (int j = 0; j < n; j += kScaled) {
    const int some = n - j < kScaled ? n - j : kScaled;
    if (positive) {
      write_block<true>(code + j, tile + j, scale[(i + j) / kScaled], some);
    } else {
      write_block<false>(code + j, tile + j, scale[(i + j) / kScaled], some);
    }
  }
}

template <class S>
DLK_FN void read_state(S* tile, Kept kept, const void* from, const float* scale, int i, int n) {
  if constexpr (sizeof(S) == 4) {
    if (kept >= Kept::bytes) return read_bytes(tile, from, scale, kept == Kept::positive_bytes, i, n);
    return read_tile(tile, from, kept == Kept::wide ? Dtype::f32 : Dtype::bf16, i, n);
  } else {
    read_tile(tile, from, Dtype::f64, i, n);
  }
}
template <class S>
DLK_FN void write_state(const S* tile, const UpdateArgs& a, int k, void* to, float* scale, int i, tile_place at) {
  if constexpr (sizeof(S) == 4) {
    const Kept kept = a.kept[k];
    if (kept >= Kept::bytes) return write_bytes(to, tile, scale, kept == Kept::positive_bytes, i, at.n);
    if (kept == Kept::bf16) return write_at_random(to, tile, a.seed, a.offset, 1 + k, i, at);
    write_tile(to, tile, Dtype::f32, i, at.n);
  } else {
    write_tile(to, tile, Dtype::f64, i, at.n);
  }
}

DLK_END
