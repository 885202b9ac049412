// vec<T, N>: N lanes of T in one register, with the primitives of kernels/lane.h, on the compiler's vector types.
// Intrinsics appear only where the language has no spelling: fma, sqrt, hardware f16, streaming stores.
// Loads and stores never assume alignment. A partial vector goes through a small buffer and then takes the same path as a full one,
// so a value never depends on its position in the array.
#pragma once
#include "../../kernels/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define DLK_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define DLK_VECTOR_BYTES 32
#else
#define DLK_VECTOR_BYTES 16
#endif

DLK_BEGIN

template <int Bytes>
struct int_of;
template <>
struct int_of<4> {
  using type = std::int32_t;
};
template <>
struct int_of<8> {
  using type = std::int64_t;
};

// Lane-wise truth: all ones or all zeros per lane, as comparisons of vector types give it.
template <int Bytes, int N>
struct vmask {
  typedef typename int_of<Bytes>::type raw __attribute__((vector_size(N * Bytes)));
  raw m;
  DLK_FN friend vmask operator&(vmask a, vmask b) { return {a.m & b.m}; }
  DLK_FN friend vmask operator|(vmask a, vmask b) { return {a.m | b.m}; }
  DLK_FN friend vmask operator!(vmask a) { return {~a.m}; }
};

template <class T, int N>
struct vec {
  typedef T raw __attribute__((vector_size(N * sizeof(T))));
  using element = T;
  using mask = vmask<int(sizeof(T)), N>;
  raw v;

  vec() = default;
  DLK_FN vec(raw r) : v(r) {}
  DLK_FN explicit vec(float s) : v(T(s) - raw{}) {}  // x - 0 keeps -0, 0 + x would not
  DLK_FN explicit vec(double s) : v(T(s) - raw{}) {}
  DLK_FN explicit vec(int s) : v(T(s) - raw{}) {}
  DLK_FN explicit vec(std::uint32_t s) : v(T(s) - raw{}) {}
  DLK_FN explicit vec(std::uint64_t s) : v(T(s) - raw{}) {}

  DLK_FN friend vec operator+(vec a, vec b) { return {a.v + b.v}; }
  DLK_FN friend vec operator-(vec a, vec b) { return {a.v - b.v}; }
  DLK_FN friend vec operator*(vec a, vec b) { return {a.v * b.v}; }
  DLK_FN friend vec operator/(vec a, vec b) { return {a.v / b.v}; }
  DLK_FN friend vec operator-(vec a) { return {-a.v}; }
  DLK_FN friend vec operator&(vec a, vec b) { return {a.v & b.v}; }
  DLK_FN friend vec operator|(vec a, vec b) { return {a.v | b.v}; }
  DLK_FN friend vec operator^(vec a, vec b) { return {a.v ^ b.v}; }
  DLK_FN friend vec operator~(vec a) { return {~a.v}; }
  DLK_FN friend vec operator<<(vec a, int s) { return {a.v << s}; }
  DLK_FN friend vec operator>>(vec a, int s) { return {a.v >> s}; }
  DLK_FN friend mask operator<(vec a, vec b) { return {a.v < b.v}; }
  DLK_FN friend mask operator<=(vec a, vec b) { return {a.v <= b.v}; }
  DLK_FN friend mask operator>(vec a, vec b) { return {a.v > b.v}; }
  DLK_FN friend mask operator>=(vec a, vec b) { return {a.v >= b.v}; }
  DLK_FN friend mask operator==(vec a, vec b) { return {a.v == b.v}; }
  DLK_FN friend mask operator!=(vec a, vec b) { return {a.v != b.v}; }
};

template <int N>
struct lane<vec<float, N>> {
  using scalar = float;
  using uint = vec<std::uint32_t, N>;
  using mask = typename vec<float, N>::mask;
  static constexpr int size = N;
};
template <int N>
struct lane<vec<double, N>> {
  using scalar = double;
  using uint = vec<std::uint64_t, N>;
  using mask = typename vec<double, N>::mask;
  static constexpr int size = N;
};

template <class T, int N>
DLK_FN vec<T, N> select(vmask<int(sizeof(T)), N> m, vec<T, N> a, vec<T, N> b) {
  return {m.m ? a.v : b.v};
}
template <class T, int N>
DLK_FN uint_t<vec<T, N>> bits(vec<T, N> a) {
  return {(typename uint_t<vec<T, N>>::raw)a.v};
}

// The native registers of this target. min and max are spelled out because GCC 12 compiles a < b ? a : b on vectors to a compare and a
// blend; the instructions mean the same, the second operand when either is NaN.
#if defined(__AVX512F__)
// The forms without a mask name an undefined register in GCC's header, of which no two are the same: a minimum that is written twice would
// be computed twice, and so would everything that follows from it.
constexpr __mmask16 kAllLanes = 0xffff;
DLK_FN vec<float, 16> fma(vec<float, 16> a, vec<float, 16> b, vec<float, 16> c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
DLK_FN vec<double, 8> fma(vec<double, 8> a, vec<double, 8> b, vec<double, 8> c) {
  return {_mm512_fmadd_pd(a.v, b.v, c.v)};
}
DLK_FN vec<float, 16> sqrt(vec<float, 16> a) { return {_mm512_maskz_sqrt_ps(kAllLanes, a.v)}; }
DLK_FN vec<double, 8> sqrt(vec<double, 8> a) { return {_mm512_maskz_sqrt_pd(__mmask8(kAllLanes), a.v)}; }
DLK_FN vec<float, 16> min(vec<float, 16> a, vec<float, 16> b) { return {_mm512_maskz_min_ps(kAllLanes, a.v, b.v)}; }
DLK_FN vec<double, 8> min(vec<double, 8> a, vec<double, 8> b) {
  return {_mm512_maskz_min_pd(__mmask8(kAllLanes), a.v, b.v)};
}
DLK_FN vec<float, 16> max(vec<float, 16> a, vec<float, 16> b) { return {_mm512_maskz_max_ps(kAllLanes, a.v, b.v)}; }
DLK_FN vec<double, 8> max(vec<double, 8> a, vec<double, 8> b) {
  return {_mm512_maskz_max_pd(__mmask8(kAllLanes), a.v, b.v)};
}
#elif defined(__AVX2__)
DLK_FN vec<float, 8> fma(vec<float, 8> a, vec<float, 8> b, vec<float, 8> c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
DLK_FN vec<double, 4> fma(vec<double, 4> a, vec<double, 4> b, vec<double, 4> c) {
  return {_mm256_fmadd_pd(a.v, b.v, c.v)};
}
DLK_FN vec<float, 8> sqrt(vec<float, 8> a) { return {_mm256_sqrt_ps(a.v)}; }
DLK_FN vec<double, 4> sqrt(vec<double, 4> a) { return {_mm256_sqrt_pd(a.v)}; }
DLK_FN vec<float, 8> min(vec<float, 8> a, vec<float, 8> b) { return {_mm256_min_ps(a.v, b.v)}; }
DLK_FN vec<double, 4> min(vec<double, 4> a, vec<double, 4> b) { return {_mm256_min_pd(a.v, b.v)}; }
DLK_FN vec<float, 8> max(vec<float, 8> a, vec<float, 8> b) { return {_mm256_max_ps(a.v, b.v)}; }
DLK_FN vec<double, 4> max(vec<double, 4> a, vec<double, 4> b) { return {_mm256_max_pd(a.v, b.v)}; }
#elif defined(__x86_64__)
// x86 without FMA: libm's exact emulation, lane by lane. Slow, and the same bits. Not inlined: that made the library twice as large.
#define DLK_CALLED [[maybe_unused]] static __attribute__((noinline))
DLK_CALLED vec<float, 4> fma(vec<float, 4> a, vec<float, 4> b, vec<float, 4> c) {
  vec<float, 4> r;
  for (int i = 0; i < 4; ++i) r.v[i] = fma(a.v[i], b.v[i], c.v[i]);
  return r;
}
DLK_CALLED vec<double, 2> fma(vec<double, 2> a, vec<double, 2> b, vec<double, 2> c) {
  vec<double, 2> r;
  for (int i = 0; i < 2; ++i) r.v[i] = fma(a.v[i], b.v[i], c.v[i]);
  return r;
}
DLK_FN vec<float, 4> sqrt(vec<float, 4> a) { return {_mm_sqrt_ps(a.v)}; }
DLK_FN vec<double, 2> sqrt(vec<double, 2> a) { return {_mm_sqrt_pd(a.v)}; }
DLK_FN vec<float, 4> min(vec<float, 4> a, vec<float, 4> b) { return {_mm_min_ps(a.v, b.v)}; }
DLK_FN vec<double, 2> min(vec<double, 2> a, vec<double, 2> b) { return {_mm_min_pd(a.v, b.v)}; }
DLK_FN vec<float, 4> max(vec<float, 4> a, vec<float, 4> b) { return {_mm_max_ps(a.v, b.v)}; }
DLK_FN vec<double, 2> max(vec<double, 2> a, vec<double, 2> b) { return {_mm_max_pd(a.v, b.v)}; }
#elif defined(__aarch64__)
DLK_FN vec<float, 4> fma(vec<float, 4> a, vec<float, 4> b, vec<float, 4> c) {
  return {(vec<float, 4>::raw)vfmaq_f32((float32x4_t)c.v, (float32x4_t)a.v, (float32x4_t)b.v)};
}
DLK_FN vec<double, 2> fma(vec<double, 2> a, vec<double, 2> b, vec<double, 2> c) {
  return {(vec<double, 2>::raw)vfmaq_f64((float64x2_t)c.v, (float64x2_t)a.v, (float64x2_t)b.v)};
}
DLK_FN vec<float, 4> sqrt(vec<float, 4> a) { return {(vec<float, 4>::raw)vsqrtq_f32((float32x4_t)a.v)}; }
DLK_FN vec<double, 2> sqrt(vec<double, 2> a) { return {(vec<double, 2>::raw)vsqrtq_f64((float64x2_t)a.v)}; }
template <class T, int N>  // vminq would return NaN
DLK_FN vec<T, N> min(vec<T, N> a, vec<T, N> b) {
  return {a.v < b.v ? a.v : b.v};
}
template <class T, int N>
DLK_FN vec<T, N> max(vec<T, N> a, vec<T, N> b) {
  return {a.v > b.v ? a.v : b.v};
}
#endif

// For kernels/philox.h: even and odd lanes multiplied apart, then put together again.
template <int N>
DLK_FN void multiply_wide(vec<std::uint32_t, N> a, std::uint32_t b, vec<std::uint32_t, N>& high,
                          vec<std::uint32_t, N>& low) {
  typedef std::uint64_t wide __attribute__((vector_size(N * 4)));
#if defined(__AVX512F__)
  const __m512i times = _mm512_set1_epi64(b);
  const wide even = (wide)_mm512_mul_epu32((__m512i)a.v, times),
             odd = (wide)_mm512_mul_epu32((__m512i)((wide)a.v >> 32), times);
#elif defined(__AVX2__)
  const __m256i times = _mm256_set1_epi64x(b);
  const wide even = (wide)_mm256_mul_epu32((__m256i)a.v, times),
             odd = (wide)_mm256_mul_epu32((__m256i)((wide)a.v >> 32), times);
#elif defined(__x86_64__)
  const __m128i times = _mm_set1_epi64x(b);
  const wide even = (wide)_mm_mul_epu32((__m128i)a.v, times),
             odd = (wide)_mm_mul_epu32((__m128i)((wide)a.v >> 32), times);
#else
  const wide even = ((wide)a.v & 0xffffffffu) * b, odd = ((wide)a.v >> 32) * b;
#endif
  high.v = (typename vec<std::uint32_t, N>::raw)((even >> 32) | (odd & 0xffffffff00000000u));
  low.v = (typename vec<std::uint32_t, N>::raw)((even & 0xffffffffu) | (odd << 32));
}

// The register an element type is computed in.
template <class T>
using lanes = vec<compute_t<T>, DLK_VECTOR_BYTES / int(sizeof(compute_t<T>))>;

// One register's worth of elements as they lie in memory: pack rounds to the storage type, store and stream write it.
template <class V, class T>
struct packed {
  typedef std::uint16_t raw __attribute__((vector_size(lane<V>::size * sizeof(T))));  // f16, bf16
};
template <class V>
struct packed<V, scalar_t<V>> {
  using raw = typename V::raw;
};
template <class V, class T>
using packed_t = typename packed<V, T>::raw;

template <class V>
DLK_FN V unpack(packed_t<V, scalar_t<V>> r, scalar_t<V>*) {
  return {r};
}
template <class V>
DLK_FN packed_t<V, scalar_t<V>> pack(V a, scalar_t<V>*) {
  return a.v;
}

template <class V>
DLK_FN uint_t<V> widen(packed_t<V, bf16> h) {
#if defined(__AVX512F__)
  return {(typename uint_t<V>::raw)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)h)};
#elif defined(__AVX2__)
  return {(typename uint_t<V>::raw)_mm256_cvtepu16_epi32((__m128i)h)};
#else
  return {__builtin_convertvector(h, typename uint_t<V>::raw)};
#endif
}
template <class V>
DLK_FN V unpack(packed_t<V, bf16> h, bf16*) {
  return from_bits<V>(f32_bits_from_bf16(widen<V>(h)));
}
template <class V>
DLK_FN packed_t<V, bf16> pack(V a, bf16*) {
  return __builtin_convertvector(bf16_from_f32_bits(bits(a)).v, packed_t<V, bf16>);
}

template <class V>
DLK_FN V unpack(packed_t<V, f16> h, f16*) {
#if defined(__AVX512F__)
  return {_mm512_maskz_cvtph_ps(0xffff, (__m256i)h)};
#elif defined(__F16C__)
  return {_mm256_cvtph_ps((__m128i)h)};
#else
  return from_bits<V>(f32_bits_from_f16<V>(widen<V>(h)));
#endif
}
template <class V>
DLK_FN packed_t<V, f16> pack(V a, f16*) {
#if defined(__AVX512F__)
  return (packed_t<V, f16>)_mm512_maskz_cvtps_ph(0xffff, a.v, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__F16C__)
  return (packed_t<V, f16>)_mm256_cvtps_ph(a.v, _MM_FROUND_TO_NEAREST_INT);
#else
  return __builtin_convertvector(f16_from_f32_bits<V>(bits(a)).v, packed_t<V, f16>);
#endif
}

// Bytes that are numbers from 0 to 255: an input only.
struct u8 {
  std::uint8_t u;
};
template <class V>
DLK_FN V unpack(packed_t<V, u8> bytes, u8*) {
  typename vec<std::int32_t, lane<V>::size>::raw wide;
#if defined(__AVX512F__)
  wide = (decltype(wide))_mm512_cvtepu8_epi32((__m128i)bytes);
#elif defined(__AVX2__)
  wide = (decltype(wide))_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes));
#else
  std::uint8_t each[lane<V>::size];
  std::memcpy(each, &bytes, sizeof each);
  for (int i = 0; i < lane<V>::size; ++i) wide[i] = each[i];
#endif
  return {__builtin_convertvector(wide, typename V::raw)};
}

// A register of float32 as two of float64, and back, rounded once.
DLK_FN void widen(lanes<f32> v, lanes<f64>* to) {
#if defined(__AVX512F__)
  to[0] = {_mm512_cvtps_pd(_mm512_castps512_ps256(v.v))};
  to[1] = {_mm512_cvtps_pd(_mm512_extractf32x8_ps(v.v, 1))};
#elif defined(__AVX2__)
  to[0] = {_mm256_cvtps_pd(_mm256_castps256_ps128(v.v))};
  to[1] = {_mm256_cvtps_pd(_mm256_extractf128_ps(v.v, 1))};
#elif defined(__x86_64__)
  to[0] = {_mm_cvtps_pd(v.v)};
  to[1] = {_mm_cvtps_pd(_mm_movehl_ps(v.v, v.v))};
#else
  for (int i = 0; i < lane<lanes<f32>>::size; ++i)
    to[2 * i / lane<lanes<f32>>::size].v[i % lane<lanes<f64>>::size] = double(v.v[i]);
#endif
}
DLK_FN lanes<f32> narrow(const lanes<f64>* from) {
#if defined(__AVX512F__)
  const __m256 low = _mm512_cvtpd_ps(from[0].v), high = _mm512_cvtpd_ps(from[1].v);
  return {_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1)};
#elif defined(__AVX2__)
  return {_mm256_set_m128(_mm256_cvtpd_ps(from[1].v), _mm256_cvtpd_ps(from[0].v))};
#elif defined(__x86_64__)
  return {_mm_movelh_ps(_mm_cvtpd_ps(from[0].v), _mm_cvtpd_ps(from[1].v))};
#else
  lanes<f32> v;
  for (int i = 0; i < lane<lanes<f32>>::size; ++i)
    v.v[i] = float(from[2 * i / lane<lanes<f32>>::size].v[i % lane<lanes<f64>>::size]);
  return v;
#endif
}

template <class V, class T>
DLK_FN V load(const T* p) {
  packed_t<V, T> r;
  std::memcpy(&r, p, sizeof r);
  return unpack<V>(r, static_cast<T*>(nullptr));
}
template <class V, class T>
DLK_FN void store(T* p, V a) {
  const packed_t<V, T> r = pack(a, static_cast<T*>(nullptr));
  std::memcpy(p, &r, sizeof r);
}

// Writes past the cache; p is aligned to the register. Ends with stream_fence() before another thread may read.
template <class V, class T>
DLK_FN void stream(T* p, V a) {
  const packed_t<V, T> r = pack(a, static_cast<T*>(nullptr));
#if defined(__x86_64__)
  if constexpr (sizeof r == 16) _mm_stream_si128(reinterpret_cast<__m128i*>(p), (__m128i)r);
#if defined(__AVX2__)
  if constexpr (sizeof r == 32) _mm256_stream_si256(reinterpret_cast<__m256i*>(p), (__m256i)r);
#endif
#if defined(__AVX512F__)
  if constexpr (sizeof r == 64) _mm512_stream_si512(reinterpret_cast<__m512i*>(p), (__m512i)r);
#endif
  if constexpr (sizeof r == 8) std::memcpy(p, &r, sizeof r);  // base: half a register
#else
  std::memcpy(p, &r, sizeof r);
#endif
}
DLK_FN void stream_fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// n elements, then zeros up to `room`. Element by element through memcpy: neither side need be aligned to T. The empty asm keeps GCC from
// making a vector loop with prologue and epilogue of a copy of less than a vector: that was two thirds of all kernel code.
template <class T>
DLK_FN void copy_n(T* to, const T* from, std::int64_t n, std::int64_t room) {
  const T zero{};
  for (std::int64_t i = 0; i < n; ++i) {
    std::memcpy(static_cast<void*>(to + i), from + i, sizeof(T));
    asm volatile("");
  }
  for (std::int64_t i = n; i < room; ++i) {
    std::memcpy(static_cast<void*>(to + i), &zero, sizeof(T));
    asm volatile("");
  }
}

// The first n <= size elements; the other lanes hold 0.
template <class V, class T>
DLK_FN V load_n(const T* p, std::int64_t n) {
  T buffer[lane<V>::size];
  copy_n(buffer, p, n, lane<V>::size);
  return load<V>(buffer);
}
template <class V, class T>
DLK_FN void store_n(T* p, V a, std::int64_t n) {
  T buffer[lane<V>::size];
  store(buffer, a);
  copy_n(p, static_cast<const T*>(buffer), n, n);
}

// Lanes below n keep their value, the others become `fill`.
template <class V>
DLK_FN V keep_n(V a, std::int64_t n, V fill) {
  scalar_t<V> buffer[lane<V>::size], rest[lane<V>::size];
  store(buffer, a);
  store(rest, fill);
  copy_n(buffer + n, static_cast<const scalar_t<V>*>(rest), lane<V>::size - n, lane<V>::size - n);
  return load<V>(buffer);
}

// 0, 1, 2, ... : the position of each lane
template <class V>
DLK_FN uint_t<V> iota() {
  uint_t<V> r;
  for (int i = 0; i < lane<V>::size; ++i) r.v[i] = static_cast<typename uint_t<V>::element>(i);
  return r;
}

DLK_END
