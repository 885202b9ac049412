// The ways in which an optimizer's numbers are stored, between memory and a tile of the compute type. Out of line: all rules share them.
#pragma once
#include "../../kernels/abi.h"
#include "../../kernels/quantize.h"
#include "canonical.h"
#include "words.h"

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

// Random words of the elements of a tile. `stream`: numbers of their own for the parameter (0) and for each state.
struct tile_words {
  alignas(64) std::uint32_t word[kTile + 4 * DLK_VECTOR_BYTES / 4 + 4];
  int skip;

  DLK_FN tile_words(const UpdateArgs& a, int stream, tile_place at)
      : skip(draw_words(word, a.seed, a.offset * (1 + kMaxStates) + std::uint64_t(stream), std::uint64_t(at.first),
                        at.n)) {}
  DLK_FN uint_t<lanes<f32>> at(int j) const {
    uint_t<lanes<f32>> r;
    std::memcpy(&r, word + skip + j, sizeof r);
    return r;
  }
};

// bfloat16, rounded at random.
DLK_TILE void write_at_random(void* to, const float* tile, const UpdateArgs& a, int stream, int i, tile_place at) {
  using V = lanes<f32>;
  bf16* const p = static_cast<bf16*>(to) + i;
  const tile_words words(a, stream, at);
  for (int j = 0; j < at.n; j += lane<V>::size) {
    const V v = rounded_at_random(load<V>(tile + j), words.at(j) >> 16);
    if (at.n - j >= lane<V>::size) {
      store(p + j, v);
    } else {
      store_n(p + j, v, at.n - j);
    }
  }
}

// --- parameters that are not what they are stored as ----------------------------------------------------------------------------

// Numbers of 16 bits in lanes of 32.
DLK_FN uint_t<lanes<f32>> halves_at(const std::uint16_t* p, int n) {
  std::uint16_t part[lane<lanes<f32>>::size];
  if (n < lane<lanes<f32>>::size) {
    copy_n(part, p, n, lane<lanes<f32>>::size);
    p = part;
  }
  packed_t<lanes<f32>, bf16> raw;
  std::memcpy(&raw, p, sizeof raw);
  return widen<lanes<f32>>(raw);
}
DLK_FN void put_halves(std::uint16_t* p, uint_t<lanes<f32>> v, int n) {
  const auto raw = __builtin_convertvector(v.v, packed_t<lanes<f32>, bf16>);
  if (n >= lane<lanes<f32>>::size) {
    std::memcpy(p, &raw, sizeof raw);
    return;
  }
  std::uint16_t part[lane<lanes<f32>>::size];
  std::memcpy(part, &raw, sizeof raw);
  copy_n(p, static_cast<const std::uint16_t*>(part), n, n);
}

DLK_TILE void read_halves(float* tile, const void* upper, const void* lower, int i, int n) {
  using V = lanes<f32>;
  for (int j = 0; j < n; j += lane<V>::size) {
    store(tile + j, joined<V>(halves_at(static_cast<const std::uint16_t*>(upper) + i + j, n - j),
                              halves_at(static_cast<const std::uint16_t*>(lower) + i + j, n - j)));
  }
}
DLK_TILE void write_halves(void* upper, void* lower, const float* tile, int i, int n) {
  using V = lanes<f32>;
  for (int j = 0; j < n; j += lane<V>::size) {
    uint_t<V> high, low;
    split(load<V>(tile + j), high, low);
    put_halves(static_cast<std::uint16_t*>(upper) + i + j, high, n - j);
    put_halves(static_cast<std::uint16_t*>(lower) + i + j, low, n - j);
  }
}

template <class S>
DLK_FN void read_weights(S* tile, Precision precision, Dtype dtype, const Chunk& c, int i, int n) {
  if constexpr (sizeof(S) == 4) {
    if (precision == Precision::remainder) {
      return read_halves(tile, c.param, c.master, i, n);
    }
  }
  read_tile(tile, c.param, dtype, i, n);
}
template <class S>
DLK_FN void write_weights(const S* w, const UpdateArgs& a, Dtype dtype, const Chunk& c, int i, tile_place at) {
  if constexpr (sizeof(S) == 4) {
    if (a.precision == Precision::remainder) {
      return write_halves(c.param, c.master, w, i, at.n);
    }
    if (a.precision == Precision::stochastic) return write_at_random(c.param, w, a, 0, i, at);
  }
  write_tile(c.param, w, dtype, i, at.n);
}

// --- state ----------------------------------------------------------------------------------------------------------------------

template <bool positive>
DLK_FN void read_blocks(float* tile, const std::uint8_t* code, const float* scale, int n) {
  using V = lanes<f32>;
  constexpr int width = lane<V>::size;
  for (int j = 0; j < n; j += width) {
    const auto* const from = reinterpret_cast<const u8*>(code + j);
    const V c = n - j < width ? load_n<V>(from, n - j) : load<V>(from);
    store(tile + j, decoded<positive>(c) * V(scale[j / kScaled]));
  }
}
DLK_TILE void read_bytes(float* tile, const void* from, const float* scale, bool positive, int i, int n) {
  const auto* const code = static_cast<const std::uint8_t*>(from) + i;
  positive ? read_blocks<true>(tile, code, scale + i / kScaled, n)
           : read_blocks<false>(tile, code, scale + i / kScaled, n);
}

// The largest magnitude, with the sign of a number that has it: such a number is kept exactly. NaN if there is one.
DLK_FN float largest_of(const float* x, int n) {
  using V = lanes<f32>;
  constexpr int width = lane<V>::size;
  V most = V(0), spoilt = V(0);
  for (int j = 0; j < n; j += width) {
    V v = load<V>(x + j);
    if (n - j < width) v = keep_n(v, n - j, V(0));
    const V m = abs(v);
    spoilt = select(m == m, spoilt, m);
    most = select(m > most, m, most);
  }
  float m[width], s[width], size = 0;
  store(m, most);
  store(s, spoilt);
  for (int k = 0; k < width; ++k) {
    if (s[k] != s[k]) return s[k];
    size = m[k] > size ? m[k] : size;
  }
  V above = V(0);
  for (int j = 0; j < n; j += width) {
    V v = load<V>(x + j);
    if (n - j < width) v = keep_n(v, n - j, V(0));
    above = select(v == V(size), V(1), above);
  }
  store(m, above);
  for (int k = 0; k < width; ++k) {
    if (m[k] != 0) return size;
  }
  return -size;
}

template <bool positive>
DLK_FN void write_block(std::uint8_t* to, const float* x, float& scale, int n, const tile_words& words, int first) {
  using V = lanes<f32>;
  using U = uint_t<V>;
  constexpr int width = lane<V>::size;
  typedef std::uint8_t raw __attribute__((vector_size(width)));
  const float largest = largest_of(x, n);
  scale = largest;
  for (int j = 0; j < n; j += width) {
    const V r = largest == 0 ? V(0) : load<V>(x + j) / V(largest);
    const U c = encoded<positive>(r, words.at(first + j));
    const raw bytes = __builtin_convertvector(c.v, raw);
    if (n - j >= width) {
      std::memcpy(to + j, &bytes, sizeof bytes);
      continue;
    }
    std::uint8_t part[width];
    std::memcpy(part, &bytes, sizeof bytes);
    copy_n(to + j, static_cast<const std::uint8_t*>(part), n - j, n - j);
  }
}
DLK_TILE void write_bytes(void* to, const float* tile, float* scale, const UpdateArgs& a, int k, int i, tile_place at) {
  auto* const code = static_cast<std::uint8_t*>(to) + i;
  const tile_words words(a, 1 + k, at);
  for (int j = 0; j < at.n; j += kScaled) {
    const int some = at.n - j < kScaled ? at.n - j : kScaled;
    float& of_block = scale[(i + j) / kScaled];
    if (a.kept[k] == Kept::positive_bytes) {
      write_block<true>(code + j, tile + j, of_block, some, words, j);
    } else {
      write_block<false>(code + j, tile + j, of_block, some, words, j);
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
    if (kept >= Kept::bytes) return write_bytes(to, tile, scale, a, k, i, at);
    if (kept == Kept::bf16) return write_at_random(to, tile, a, 1 + k, i, at);
    write_tile(to, tile, Dtype::f32, i, at.n);
  } else {
    write_tile(to, tile, Dtype::f64, i, at.n);
  }
}

DLK_END
