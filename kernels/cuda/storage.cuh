// Storage types that a kernel is told at run time: one copy of an op serves them all.
#pragma once
#include "device.cuh"

DLK_BEGIN

// What a thread holds of an operand: two packets.
constexpr int kHeldBytes = 32;
template <class S>
constexpr int kAtOnce = kHeldBytes / int(sizeof(S));  // elements of the compute type that a thread works on
template <class S>
struct held {
  word<S> w[2];
};

// They in the compute type, and back. Of halves it may hold twice as many: then those of its `second` packet.
template <class T>
DLK_DEVICE void unpack_halves(float (&x)[kAtOnce<float>], const uint4& w) {
  packet<T, kAtOnce<float>> from;
  std::memcpy(&from, &w, sizeof from);
#pragma unroll
  for (int e = 0; e < kAtOnce<float>; ++e) x[e] = to_compute(from.v[e]);
}
DLK_DEVICE void unpack(float (&x)[kAtOnce<float>], const held<float>& from, Dtype dtype, bool second = false) {
  uint4 w = from.w[0];
  if (second) w = from.w[1];
  if (dtype == Dtype::f32) {
    std::memcpy(&x, &from, sizeof x);
  } else if (dtype == Dtype::f16) {
    unpack_halves<f16>(x, w);
  } else {
    unpack_halves<bf16>(x, w);
  }
}
DLK_DEVICE void unpack(double (&x)[kAtOnce<double>], const held<double>& from, Dtype, bool = false) {
  std::memcpy(&x, &from, sizeof x);
}

template <class T>
DLK_DEVICE void pack_halves(uint4& to, const float (&x)[kAtOnce<float>]) {
  packet<T, kAtOnce<float>> y;
#pragma unroll
  for (int e = 0; e < kAtOnce<float>; ++e) y.v[e] = to_storage<T>(x[e]);
  std::memcpy(&to, &y, sizeof to);
}
DLK_DEVICE held<float> packed(const float (&x)[kAtOnce<float>], Dtype dtype) {
  held<float> y{};
  if (dtype == Dtype::f32) {
    std::memcpy(&y, &x, sizeof y);
  } else if (dtype == Dtype::f16) {
    pack_halves<f16>(y.w[0], x);
  } else {
    pack_halves<bf16>(y.w[0], x);
  }
  return y;
}
DLK_DEVICE held<double> packed(const double (&x)[kAtOnce<double>], Dtype) {
  held<double> y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}

// One element.
template <class S>
DLK_DEVICE S load_one(const void* p, Dtype dtype) {
  if constexpr (sizeof(S) == 8) {
    return *static_cast<const f64*>(p);
  } else {
    if (dtype == Dtype::f32) return *static_cast<const f32*>(p);
    return dtype == Dtype::f16 ? to_compute(*static_cast<const f16*>(p)) : to_compute(*static_cast<const bf16*>(p));
  }
}
DLK_DEVICE void store_one(void* p, Dtype, double v) { *static_cast<f64*>(p) = v; }
DLK_DEVICE void store_one(void* p, Dtype dtype, float v) {
  if (dtype == Dtype::f32) {
    *static_cast<f32*>(p) = v;
  } else if (dtype == Dtype::f16) {
    *static_cast<f16*>(p) = to_storage<f16>(v);
  } else {
    *static_cast<bf16*>(p) = to_storage<bf16>(v);
  }
}

DLK_END
