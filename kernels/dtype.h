// The four storage types. Half types are only ever stored: they are computed in float32 and rounded once, to nearest even.
// The conversions are written from integer arithmetic and single float operations, generic over the lane's unsigned integer type, so
// a scalar, a vector without F16C and a CUDA thread agree in every bit, subnormals included.
#pragma once
#include "lane.h"

DLK_BEGIN

using f32 = float;
using f64 = double;
struct f16 {
  std::uint16_t u;
};
struct bf16 {
  std::uint16_t u;
};

template <class T>
struct compute {
  using type = float;
};
template <>
struct compute<f64> {
  using type = double;
};
template <class T>
using compute_t = typename compute<T>::type;

// bits of a float32 -> bits of the nearest bfloat16 (in the low half). NaN stays NaN: a select, because a branch would defeat vectors.
template <class U>
DLK_FN U bf16_from_f32_bits(U u) {
  const U rounded = (u + U(0x7fffu) + ((u >> 16) & U(1u))) >> 16;
  const U quiet = (u >> 16) | U(0x40u);
  return select((u & U(0x7fffffffu)) > U(0x7f800000u), quiet, rounded);
}

template <class U>
DLK_FN U f32_bits_from_bf16(U h) {
  return h << 16;
}

// Normal halves: re-bias the exponent and round at bit 13 by integer addition. Subnormal halves: adding 0.5f aligns the mantissa so that
// the float unit itself rounds at the right bit. V is the float lane that belongs to U.
template <class V>
DLK_FN uint_t<V> f16_from_f32_bits(uint_t<V> u) {
  using U = uint_t<V>;
  const U sign = u & U(0x80000000u);
  const U a = u ^ sign;
  const U normal = (a + U(0xc8000fffu) + ((a >> 13) & U(1u))) >> 13;
  const U subnormal = bits(from_bits<V>(a) + V(0.5f)) - U(0x3f000000u);
  const U special = select(a > U(0x7f800000u), U(0x7e00u), U(0x7c00u));
  const U finite = select(a < U(0x38800000u), subnormal, normal);
  return select(a >= U(0x47800000u), special, finite) | (sign >> 16);
}

// The exponent field is moved by an exact multiplication, which also normalizes subnormal halves.
template <class V>
DLK_FN uint_t<V> f32_bits_from_f16(uint_t<V> h) {
  using U = uint_t<V>;
  const U a = (h & U(0x7fffu)) << 13;
  const U finite = bits(from_bits<V>(a) * V(0x1p112f));
  return select(a >= U(0x0f800000u), a | U(0x7f800000u), finite) | ((h & U(0x8000u)) << 16);
}

DLK_FN float to_compute(f32 x) { return x; }
DLK_FN double to_compute(f64 x) { return x; }
DLK_FN float to_compute(f16 x) {
  float v;
  DLK_WIDEN_16("cvt.f32.f16", v, x.u, from_bits<float>(f32_bits_from_f16<float>(x.u)));
  return v;
}
DLK_FN float to_compute(bf16 x) { return from_bits<float>(f32_bits_from_bf16<std::uint32_t>(x.u)); }

template <class T>
DLK_FN T to_storage(compute_t<T> v);
template <>
DLK_FN f32 to_storage<f32>(float v) {
  return v;
}
template <>
DLK_FN f64 to_storage<f64>(double v) {
  return v;
}
template <>
DLK_FN f16 to_storage<f16>(float v) {
  f16 h;
  DLK_NARROW_16("cvt.rn.f16.f32", h.u, v, std::uint16_t(f16_from_f32_bits<float>(bits(v))));
  return h;
}
template <>
DLK_FN bf16 to_storage<bf16>(float v) {
  bf16 h;
  DLK_NARROW_16("cvt.rn.bf16.f32", h.u, v, std::uint16_t(bf16_from_f32_bits<std::uint32_t>(bits(v))));
  return h;
}

DLK_END
