// Random words for many elements at a time: a block of Philox serves four elements, so a call is made for 64 at once (AVX-512) and not for
// 16. Out of line: all ops that draw share it.
#pragma once
#include "../../kernels/philox.h"
#include "vec.h"

DLK_BEGIN

constexpr int kWords = 512;

// The words of elements index .. index + n, n <= kWords: those of a whole block of four from words[0] on. Returns the place of the first.
[[maybe_unused]] static __attribute__((noinline)) int draw_words(std::uint32_t* words, std::uint64_t seed,
                                                                 std::uint64_t offset, std::uint64_t index,
                                                                 std::int64_t n) {
  using U = uint_t<lanes<f32>>;
  constexpr int width = lane<lanes<f32>>::size;
  const int skip = int(index % 4);
  std::uint64_t block = index / 4;
  for (std::int64_t done = 0; done < n + skip; done += 4 * width, block += width) {
    const U low = U(std::uint32_t(block)) + iota<lanes<f32>>();
    const U carry = select(low < U(std::uint32_t(block)), U(1u), U(0u));
    U c[4] = {low, U(std::uint32_t(block >> 32)) + carry, U(std::uint32_t(offset)), U(std::uint32_t(offset >> 32))};
    philox4x32_10(c, seed);
    std::uint32_t* const to = words + done;
    for (int w = 0; w < 4; ++w) {
      for (int b = 0; b < width; ++b) to[4 * b + w] = c[w].v[b];
    }
  }
  return skip;
}

// The words of a run of elements, drawn ahead.
template <class V, bool wanted = true>
struct word_tile {
  alignas(64) std::uint32_t words[kWords + 4 * DLK_VECTOR_BYTES / 4 + 4];
  std::int64_t first = 0, last = 0;  // elements that are there
  int skip = 0;

  // Of the elements from `index` on; `ahead`: how many there are, from there on, that will be asked for.
  DLK_FN uint_t<V> at(std::uint64_t seed, std::uint64_t offset, std::int64_t index, std::int64_t ahead) {
    if (index < first || index + lane<V>::size > last) {
      const std::int64_t n = ahead < kWords ? (ahead < lane<V>::size ? lane<V>::size : ahead) : kWords;
      skip = draw_words(words, seed, offset, std::uint64_t(index), n);
      first = index;
      last = index + n;
    }
    const std::uint32_t* const p = words + (index - first) + skip;
    uint_t<V> r;
    if constexpr (sizeof(scalar_t<V>) == 4) {
      std::memcpy(&r, p, sizeof r);
    } else {
      for (int k = 0; k < lane<V>::size; ++k) r.v[k] = p[k];
    }
    return r;
  }
};
template <class V>
struct word_tile<V, false> {};

DLK_END
