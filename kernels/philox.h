// Philox4x32-10, a counter-based generator (Salmon et al. 2011): four 32-bit words are a pure function of a 128-bit counter and a
// 64-bit key. The word for element i of an array is word i % 4 of counter (i / 4, offset): it depends on nothing else, so a mask is
// recomputed in the backward pass instead of being stored, and is the same on every device.
//
// U is an unsigned lane of 32 bits, or of 64 bits whose upper half stays zero (the lanes of float64).
#pragma once
#include "lane.h"

DLK_BEGIN

// The two halves of the 64-bit product of 32-bit values. cpp/cpu/vec.h has the overload for 32-bit vector lanes.
DLK_FN void multiply_wide(std::uint32_t a, std::uint32_t b, std::uint32_t& high, std::uint32_t& low) {
  const std::uint64_t product = std::uint64_t(a) * b;
  high = std::uint32_t(product >> 32);
  low = std::uint32_t(product);
}
template <class U>
DLK_FN void multiply_wide(U a, std::uint32_t b, U& high, U& low) {
  const U product = a * U(b);
  high = product >> 32;
  low = product & U(0xffffffffu);
}

template <class U>
DLK_FN void philox4x32_10(U* c, std::uint64_t key) {
  std::uint32_t k0 = std::uint32_t(key), k1 = std::uint32_t(key >> 32);
  for (int round = 0; round < 10; ++round) {
    U high0, low0, high1, low1;
    multiply_wide(c[0], 0xd2511f53u, high0, low0);
    multiply_wide(c[2], 0xcd9e8d57u, high1, low1);
    c[0] = high1 ^ c[1] ^ U(k0);
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ U(k1);
    c[3] = low0;
    k0 += 0x9e3779b9u;
    k1 += 0xbb67ae85u;
  }
}

// Random words of elements index, index + 1, ...: one per lane of V, which lie `position` (0, 1, ...) after the first.
template <class V>
DLK_FN uint_t<V> random_words(std::uint64_t key, std::uint64_t offset, std::uint64_t index, uint_t<V> position) {
  using U = uint_t<V>;
  const std::uint64_t block = index / 4;
  const U place = position + U(std::uint32_t(index % 4));
  const U low = (U(std::uint32_t(block)) + (place >> 2)) & U(0xffffffffu);
  const U carry = select(low < U(std::uint32_t(block)), U(1u), U(0u));
  U c[4] = {low, U(std::uint32_t(block >> 32)) + carry, U(std::uint32_t(offset)), U(std::uint32_t(offset >> 32))};
  philox4x32_10(c, key);
  const U word = place & U(3u);
  return select(word == U(0u), c[0], select(word == U(1u), c[1], select(word == U(2u), c[2], c[3])));
}

DLK_END
