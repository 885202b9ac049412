// Eight neighboring elements in the registers of a thread, whatever they are stored as: 256 to a warp, which is what shares a scale where
// state is kept in bytes, and the lanes of a canonical sum. The storage type is a value and no template argument: a branch that all threads
// take alike costs nothing beside memory, and a rule is compiled for float32 and float64 only.
//
// What is not eight whole elements on a 16-byte boundary goes one by one through a rotation, so that no register is indexed by a variable.
#pragma once
#include "canonical.cuh"
#include "storage.cuh"

DLK_BEGIN

constexpr int kEight = 8;
static_assert(kEight * kWarp == kLanes && kLanes == kScaled);

template <class T>
DLK_DEVICE void rotate(T (&x)[kEight], T last) {
#pragma unroll
  for (int e = 0; e + 1 < kEight; ++e) x[e] = x[e + 1];
  x[kEight - 1] = last;
}

DLK_DEVICE const char* at_element(const void* p, Dtype d, std::int64_t i) {
  return static_cast<const char*>(p) + i * bytes_of(d);
}
DLK_DEVICE char* at_element(void* p, Dtype d, std::int64_t i) { return static_cast<char*>(p) + i * bytes_of(d); }

template <class T, class S>
DLK_DEVICE void read_packet(S (&x)[kEight], const void* p) {
  const packet<T, kEight> raw = load_packet<kEight>(static_cast<const T*>(p));
#pragma unroll
  for (int e = 0; e < kEight; ++e) x[e] = to_compute(raw.v[e]);
}
template <class T, class S>
DLK_DEVICE void write_packet(void* p, const S (&x)[kEight]) {
  packet<T, kEight> raw;
#pragma unroll
  for (int e = 0; e < kEight; ++e) raw.v[e] = to_storage<T>(x[e]);
  store_packet(static_cast<T*>(p), raw);
}

// Elements [begin, end) of eight that lie at p, the others 0.
template <class S>
DLK_DEVICE void read_some(S (&x)[kEight], const char* p, Dtype d, int begin, int end) {
#pragma unroll 1
  for (int e = 0; e < kEight; ++e, p += bytes_of(d)) rotate(x, e >= begin && e < end ? load_one<S>(p, d) : S(0));
}
template <class S>
DLK_DEVICE void write_some(char* p, Dtype d, const S (&values)[kEight], int n) {
  S x[kEight];
#pragma unroll
  for (int e = 0; e < kEight; ++e) x[e] = values[e];
#pragma unroll 1
  for (int e = 0; e < n; ++e, p += bytes_of(d)) {
    store_one(p, d, x[0]);
    rotate(x, x[0]);
  }
}

// The first n of eight, n <= 8.
template <class S>
DLK_DEVICE void read_eight(S (&x)[kEight], const void* from, Dtype d, std::int64_t i, int n) {
  const char* const p = at_element(from, d, i);
  if (n < kEight || !aligned(p)) {
    read_some(x, p, d, 0, n);
  } else {
    with_storage<S>(d, [&](auto storage) { read_packet<decltype(storage)>(x, p); });
  }
}
template <class S>
DLK_DEVICE void write_eight(void* to, Dtype d, std::int64_t i, const S (&x)[kEight], int n) {
  char* const p = at_element(to, d, i);
  if (n < kEight || !aligned(p)) {
    write_some(p, d, x, n);
  } else {
    with_storage<S>(d, [&](auto storage) { write_packet<decltype(storage)>(p, x); });
  }
}

template <class S>
constexpr Dtype wide_dtype = sizeof(S) == 8 ? Dtype::f64 : Dtype::f32;

DLK_END
