// The ways in which an optimizer's numbers are stored (kernels/quantize.h) and that are no plain array of a float type, eight elements a
// thread: bfloat16 that is rounded at random, halves of a float32, bytes that share a scale with the rest of the warp's 256.
//
// Each is one copy of code for all eight elements and for all tensors of state: loops that turn registers round.
#pragma once
#include "../philox.h"
#include "../quantize.h"
#include "eights.cuh"

DLK_BEGIN

// Random words of the elements index ... index + 7. Twelve words of three counters cover them, wherever they begin.
struct random_stream {
  std::uint64_t seed, offset;  // a stream of its own for the parameter (0) and for each state

  DLK_DEVICE random_stream(std::uint64_t s, std::uint64_t updates, int stream)
      : seed(s), offset(updates * (1 + kMaxStates) + std::uint64_t(stream)) {}

  DLK_DEVICE void words(std::uint32_t (&w)[kEight], std::uint64_t index) const {
    std::uint32_t all[12];
#pragma unroll 1
    for (std::uint64_t block = index / 4; block < index / 4 + 3; ++block) {
      std::uint32_t c[4] = {std::uint32_t(block), std::uint32_t(block >> 32), std::uint32_t(offset),
                            std::uint32_t(offset >> 32)};
      philox4x32_10(c, seed);
#pragma unroll
      for (int e = 0; e < 8; ++e) all[e] = all[e + 4];
#pragma unroll
      for (int e = 0; e < 4; ++e) all[8 + e] = c[e];
    }
    const int skip = int(index % 4);
#pragma unroll
    for (int e = 0; e < kEight; ++e) {
      const std::uint32_t low = skip % 2 == 0 ? all[e] : all[e + 1];
      const std::uint32_t high = skip % 2 == 0 ? all[e + 2] : all[e + 3];
      w[e] = skip < 2 ? low : high;
    }
  }
};

DLK_DEVICE void write_at_random(void* to, std::int64_t i, const float (&values)[kEight], int n,
                                const random_stream& random, std::uint64_t index) {
  std::uint32_t word[kEight];
  random.words(word, index);
  float x[kEight];
#pragma unroll
  for (int e = 0; e < kEight; ++e) x[e] = rounded_at_random(values[e], word[e] >> 16);
  write_eight(to, Dtype::bf16, i, x, n);
}

// --- halves of a float32 -----------------------------------------------------------------------------------------------------

// Eight numbers of 16 bits.
DLK_DEVICE void read_halves(std::uint32_t (&h)[kEight], const void* from, std::int64_t i, int n) {
  const auto* const p = static_cast<const std::uint16_t*>(from) + i;
  if (n == kEight && aligned(p)) {
    const packet<std::uint16_t, kEight> raw = load_packet<kEight>(p);
#pragma unroll
    for (int e = 0; e < kEight; ++e) h[e] = raw.v[e];
    return;
  }
#pragma unroll 1
  for (int e = 0; e < kEight; ++e) rotate(h, e < n ? std::uint32_t(p[e]) : 0u);
}
DLK_DEVICE void write_halves(void* to, std::int64_t i, const std::uint32_t (&h)[kEight], int n) {
  auto* const p = static_cast<std::uint16_t*>(to) + i;
  if (n == kEight && aligned(p)) {
    packet<std::uint16_t, kEight> raw;
#pragma unroll
    for (int e = 0; e < kEight; ++e) raw.v[e] = std::uint16_t(h[e]);
    store_packet(p, raw);
    return;
  }
  std::uint32_t x[kEight];
#pragma unroll
  for (int e = 0; e < kEight; ++e) x[e] = h[e];
#pragma unroll 1
  for (int e = 0; e < n; ++e) {
    p[e] = std::uint16_t(x[0]);
    rotate(x, 0u);
  }
}
DLK_DEVICE void read_joined(float (&x)[kEight], const void* upper, const void* lower, std::int64_t i, int n) {
  std::uint32_t high[kEight], low[kEight];
  read_halves(high, upper, i, n);
  read_halves(low, lower, i, n);
#pragma unroll
  for (int e = 0; e < kEight; ++e) x[e] = joined<float>(high[e], low[e]);
}
DLK_DEVICE void write_split(void* upper, void* lower, std::int64_t i, const float (&x)[kEight], int n) {
  std::uint32_t high[kEight], low[kEight];
#pragma unroll
  for (int e = 0; e < kEight; ++e) split(x[e], high[e], low[e]);
  write_halves(upper, i, high, n);
  write_halves(lower, i, low, n);
}

// --- bytes with a scale for each 256 -----------------------------------------------------------------------------------------

// Eight bytes are one access where they can be.
DLK_DEVICE void read_codes(std::uint32_t (&c)[kEight], const std::uint8_t* p, int n) {
  if (n == kEight && reinterpret_cast<std::uintptr_t>(p) % 8 == 0) {
    const std::uint64_t raw = *reinterpret_cast<const std::uint64_t*>(p);
#pragma unroll
    for (int e = 0; e < kEight; ++e) c[e] = std::uint32_t(raw >> (8 * e)) & 0xffu;
    return;
  }
#pragma unroll 1
  for (int e = 0; e < kEight; ++e) rotate(c, e < n ? std::uint32_t(p[e]) : 0u);
}
DLK_DEVICE void write_codes(std::uint8_t* p, std::uint32_t (&c)[kEight], int n) {
  if (n == kEight && reinterpret_cast<std::uintptr_t>(p) % 8 == 0) {
    std::uint64_t raw = 0;
#pragma unroll
    for (int e = 0; e < kEight; ++e) raw |= std::uint64_t(c[e]) << (8 * e);
    *reinterpret_cast<std::uint64_t*>(p) = raw;
    return;
  }
#pragma unroll 1
  for (int e = 0; e < n; ++e) {
    p[e] = std::uint8_t(c[0]);
    rotate(c, 0u);
  }
}

DLK_DEVICE void read_bytes(float (&x)[kEight], const void* from, const float* scale, bool positive, std::int64_t i,
                           int n) {
  std::uint32_t code[kEight];
  read_codes(code, static_cast<const std::uint8_t*>(from) + i, n);
  const float of_block = n > 0 ? scale[i / kScaled] : 0.0f;
#pragma unroll 1
  for (int e = 0; e < kEight; ++e) {
    const float c = float(code[0]);
    rotate(x, (positive ? decoded<true>(c) : decoded<false>(c)) * of_block);
    rotate(code, 0u);
  }
}

// The largest magnitude of the warp's 256, with the sign of a number that has it: such a number is kept exactly. NaN if there is one.
DLK_DEVICE float largest_of(const float (&x)[kEight], int n) {
  float most = 0, spoilt = 0;
#pragma unroll
  for (int e = 0; e < kEight; ++e) {
    const float m = abs(e < n ? x[e] : 0.0f);
    spoilt = select(m == m, spoilt, m);
    most = select(m > most, m, most);
  }
  spoilt = spoilt != spoilt ? 1.0f : 0.0f;
  most = warp_maximum(most);
  float above = 0;
#pragma unroll
  for (int e = 0; e < kEight; ++e) above = select((e < n ? x[e] : 0.0f) == most, 1.0f, above);
  above = warp_maximum(above);
  if (warp_maximum(spoilt) != 0) return from_bits<float>(0x7fc00000u);
  return above != 0 ? most : -most;
}

// The elements lie at i on, and so does the thread's part of a block of 256.
DLK_DEVICE void write_bytes(void* to, float* scale, bool positive, std::int64_t i, const float (&values)[kEight], int n,
                            const random_stream& random, std::uint64_t index) {
  const float largest = largest_of(values, n);
  __syncwarp();  // others have read the scale before
  if (lane_id() == 0 && n > 0) scale[i / kScaled] = largest;
  std::uint32_t word[kEight];
  random.words(word, index);
  float x[kEight];
#pragma unroll
  for (int e = 0; e < kEight; ++e) x[e] = values[e];
#pragma unroll 1
  for (int e = 0; e < kEight; ++e) {
    const float r = largest == 0 ? 0.0f : x[0] / largest;
    const std::uint32_t code = positive ? encoded<true>(r, word[0]) : encoded<false>(r, word[0]);
    rotate(x, 0.0f);
    rotate(word, code);
  }
  write_codes(static_cast<std::uint8_t*>(to) + i, word, n);
}

DLK_END
