// Storage types that a kernel is told at run time: one copy of an op serves them all.
#pragma once
#include "device.cuh"

DLK_BEGIN

DLK_FN int bytes_of(Dtype d) { return d == Dtype::f64 ? 8 : d == Dtype::f32 ? 4 : 2; }

// f(T{}) for the storage type T of a call whose compute type is S.
template <class S, class F>
DLK_DEVICE void with_storage(Dtype d, F f) {
  if constexpr (sizeof(S) == 8) {
    f(f64{});
  } else {
    if (d == Dtype::f32) {
      f(f32{});
    } else if (d == Dtype::f16) {
      f(f16{});
    } else {
      f(bf16{});
    }
  }
}

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

// Element i of an array.
template <class S>
DLK_DEVICE S load_one(const void* p, Dtype d, std::int64_t i = 0) {
  S v{};
  with_storage<S>(d, [&](auto storage) { v = to_compute(static_cast<const decltype(storage)*>(p)[i]); });
  return v;
}
template <class S>
DLK_DEVICE S store_one(void* p, Dtype d, S v, std::int64_t i = 0) {  // returns what is stored
  with_storage<S>(d, [&](auto storage) {
    using T = decltype(storage);
    const T rounded = to_storage<T>(v);
    static_cast<T*>(p)[i] = rounded;
    v = to_compute(rounded);
  });
  return v;
}

DLK_END
