// The primitives an op is written from, for a lane that is one number. `cpp/cpu/vec.h` gives the same names to a lane that is a
// vector, so that a formula generic over the lane type `V` is one text for a CUDA thread and for a CPU vector.
//
//   arithmetic   + - * / and unary -, each rounded once
//   fma(a,b,c)   a*b + c rounded once; compilers never contract (-ffp-contract=off, -fmad=false)
//   sqrt abs min max copysign
//   a < b ...    a mask;  select(mask, a, b), any(mask);  masks combine with & | !
//   bits(v)      the lane's bits as an unsigned integer lane; from_bits<V>(b) back
//
// min and max return the second operand when either is NaN, as SSE and AVX do; where NaN must win, ops say so with select.
#pragma once
#include "config.h"

DLK_BEGIN

template <class V>
struct lane;

template <>
struct lane<float> {
  using scalar = float;
  using uint = std::uint32_t;
  using mask = bool;
  static constexpr int size = 1;
};

template <>
struct lane<double> {
  using scalar = double;
  using uint = std::uint64_t;
  using mask = bool;
  static constexpr int size = 1;
};

template <class V>
using scalar_t = typename lane<V>::scalar;
template <class V>
using uint_t = typename lane<V>::uint;

template <class A, class B>
struct same {
  static constexpr bool value = false;
};
template <class A>
struct same<A, A> {
  static constexpr bool value = true;
};
template <class V>
inline constexpr bool is_f32 = same<scalar_t<V>, float>::value;

template <class S>
inline constexpr S max_finite = S(0x1.fffffep127f);
template <>
inline constexpr double max_finite<double> = 0x1.fffffffffffffp1023;

DLK_FN float fma(float a, float b, float c) { return DLK_FMA_F32(a, b, c); }
DLK_FN double fma(double a, double b, double c) { return DLK_FMA_F64(a, b, c); }
DLK_FN float sqrt(float a) { return DLK_SQRT_F32(a); }
DLK_FN double sqrt(double a) { return DLK_SQRT_F64(a); }

DLK_FN float select(bool m, float a, float b) { return m ? a : b; }
DLK_FN double select(bool m, double a, double b) { return m ? a : b; }
DLK_FN std::uint32_t select(bool m, std::uint32_t a, std::uint32_t b) { return m ? a : b; }
DLK_FN std::uint64_t select(bool m, std::uint64_t a, std::uint64_t b) { return m ? a : b; }
DLK_FN bool any(bool m) { return m; }

DLK_FN float min(float a, float b) { return a < b ? a : b; }
DLK_FN double min(double a, double b) { return a < b ? a : b; }
DLK_FN float max(float a, float b) { return a > b ? a : b; }
DLK_FN double max(double a, double b) { return a > b ? a : b; }

DLK_FN std::uint32_t bits(float v) {
  std::uint32_t b;
  std::memcpy(&b, &v, sizeof b);
  return b;
}
DLK_FN std::uint64_t bits(double v) {
  std::uint64_t b;
  std::memcpy(&b, &v, sizeof b);
  return b;
}

template <class V>  // a vector lane too: the compiler sees through the copy
DLK_FN V from_bits(uint_t<V> b) {
  V v;
  std::memcpy(&v, &b, sizeof v);
  return v;
}

template <class V>
inline constexpr uint_t<scalar_t<V>> sign_bit = uint_t<scalar_t<V>>(1) << (8 * sizeof(scalar_t<V>) - 1);

template <class V>
DLK_FN V abs(V v) {
  return from_bits<V>(bits(v) & uint_t<V>(~sign_bit<V>));
}

// |magnitude| with the sign of `sign`
template <class V>
DLK_FN V copysign(V magnitude, V sign) {
  const uint_t<V> s(sign_bit<V>);
  return from_bits<V>((bits(magnitude) & ~s) | (bits(sign) & s));
}

DLK_END
