// What the host library knows of an array: where it is, what it holds and how it is laid out. It owns nothing.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../kernels/abi.h"

namespace dlk {

constexpr int kMaxDims = 64;  // NumPy's

// The first four are the storage types of kernels/abi.h, in its order; class ids are i32 or i64, pixels u8, masks u8 or b8 (bool).
enum class Element : int { f32, f64, f16, bf16, i32, i64, u8, b8, other };

enum class Device : int { cpu, cuda };

struct TensorView {
  void* data;
  Element element;
  Device device;
  int device_id;
  bool readonly;
  int ndim;
  void* queue;                    // the CUDA stream to work on
  std::int64_t shape[kMaxDims];   // the first ndim are valid
  std::int64_t stride[kMaxDims];  // in bytes; may be negative, zero or no multiple of the item size
  char type_name[40];             // filled when element is `other`: for the error text
};

constexpr bool is_float(Element e) { return e <= Element::bf16; }
constexpr Dtype dtype_of(Element e) { return static_cast<Dtype>(e); }

constexpr std::int64_t item_size(Element e) {
  switch (e) {
    case Element::f16:
    case Element::bf16:
      return 2;
    case Element::f64:
    case Element::i64:
      return 8;
    case Element::u8:
    case Element::b8:
      return 1;
    default:
      return 4;
  }
}

// Half types are computed in float32, and their losses are stored in it.
constexpr Element compute_element(Element e) { return e == Element::f64 ? Element::f64 : Element::f32; }

inline std::int64_t size_of(const TensorView& t) {
  std::int64_t n = 1;
  for (int d = 0; d < t.ndim; ++d) n *= t.shape[d];
  return n;
}

// In C order without gaps. Strides of dimensions of one element, and of arrays without elements, mean nothing.
inline bool is_contiguous(const TensorView& t) {
  std::int64_t expected = item_size(t.element);
  for (int d = t.ndim - 1; d >= 0; --d) {
    if (t.shape[d] == 0) return true;
    if (t.shape[d] != 1 && t.stride[d] != expected) return size_of(t) == 0;
    expected *= t.shape[d];
  }
  return true;
}

// `t` seen with the shape of `like`, by NumPy's rule: missing and single dimensions repeat. False if the shapes do not fit.
inline bool broadcast(TensorView& t, const TensorView& like) {
  if (t.ndim > like.ndim) return false;
  const int missing = like.ndim - t.ndim;
  for (int d = like.ndim - 1; d >= 0; --d) {
    const bool repeats = d < missing || (t.shape[d - missing] == 1 && like.shape[d] != 1);
    if (!repeats && t.shape[d - missing] != like.shape[d]) return false;
    t.stride[d] = repeats ? 0 : t.stride[d - missing];
  }
  t.ndim = like.ndim;
  for (int d = 0; d < like.ndim; ++d) t.shape[d] = like.shape[d];
  return true;
}

inline bool same_shape(const TensorView& a, const TensorView& b) {
  if (a.ndim != b.ndim) return false;
  for (int d = 0; d < a.ndim; ++d) {
    if (a.shape[d] != b.shape[d]) return false;
  }
  return true;
}

// Same elements at the same addresses: the only way in which an output may share memory with an input.
inline bool same_layout(const TensorView& a, const TensorView& b) {
  if (a.data != b.data || a.element != b.element || !same_shape(a, b)) return false;
  for (int d = 0; d < a.ndim; ++d) {
    if (a.shape[d] > 1 && a.stride[d] != b.stride[d]) return false;
  }
  return true;
}

// [first, last) byte of the memory that the elements lie in
struct Extent {
  std::uintptr_t first, last;
};
inline Extent extent_of(const TensorView& t) {
  auto first = reinterpret_cast<std::uintptr_t>(t.data);
  auto last = first;
  for (int d = 0; d < t.ndim; ++d) {
    if (t.shape[d] == 0) return {first, first};
    const std::int64_t reach = (t.shape[d] - 1) * t.stride[d];
    if (reach < 0) {
      first += static_cast<std::uintptr_t>(reach);
    } else {
      last += static_cast<std::uintptr_t>(reach);
    }
  }
  return {first, last + static_cast<std::uintptr_t>(item_size(t.element))};
}

}  // namespace dlk
