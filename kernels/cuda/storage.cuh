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
template <class S>
DLK_DEVICE void unpack(S (&x)[kAtOnce<S>], const held<S>& from, Dtype dtype, bool second = false) {
  word<S> w = from.w[0];
  if (second) w = from.w[1];
  with_storage<S>(dtype, [&](auto storage) {
    using T = decltype(storage);
    if constexpr (sizeof(T) == sizeof(S)) {
      std::memcpy(&x, &from, sizeof x);
    } else {
      packet<T, kAtOnce<S>> halves;
      std::memcpy(&halves, &w, sizeof halves);
#pragma unroll
      for (int e = 0; e < kAtOnce<S>; ++e) x[e] = to_compute(halves.v[e]);
    }
  });
}
template <class S>
DLK_DEVICE held<S> packed(const S (&x)[kAtOnce<S>], Dtype dtype) {
  held<S> y{};
  with_storage<S>(dtype, [&](auto storage) {
    using T = decltype(storage);
    if constexpr (sizeof(T) == sizeof(S)) {
      std::memcpy(&y, &x, sizeof y);
    } else {
      packet<T, kAtOnce<S>> halves;
#pragma unroll
      for (int e = 0; e < kAtOnce<S>; ++e) halves.v[e] = to_storage<T>(x[e]);
      std::memcpy(&y.w[0], &halves, sizeof halves);
    }
  });
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
