#include "strided.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>

namespace dlk {
namespace {

struct Dim {
  std::int64_t shape;
  std::int64_t stride[kMaxShared];
};

Layout merged(Dim* dims, int ndim, int count) {
  Layout l;
  l.ndim = 0;
  l.size = 1;
  for (int d = 0; d < ndim; ++d) {
    l.size *= dims[d].shape;
    if (dims[d].shape == 1) continue;
    bool joins = l.ndim > 0;
    for (int k = 0; joins && k < count; ++k) joins = l.stride[k][l.ndim - 1] == dims[d].stride[k] * dims[d].shape;
    if (joins) {
      l.shape[l.ndim - 1] *= dims[d].shape;
    } else {
      l.shape[l.ndim++] = dims[d].shape;
    }
    for (int k = 0; k < count; ++k) l.stride[k][l.ndim - 1] = dims[d].stride[k];
  }
  return l;
}

template <std::size_t item>
void copy_items(char* to, std::int64_t to_stride, const char* from, std::int64_t from_stride, std::int64_t n) {
  if (from_stride == 0 && to_stride == std::int64_t(item)) {  // one element that repeats: stores alone
    char value[item];
    std::memcpy(value, from, item);
    for (std::int64_t i = 0; i < n; ++i) std::memcpy(to + i * std::int64_t(item), value, item);
    return;
  }
  for (std::int64_t i = 0; i < n; ++i) std::memcpy(to + i * to_stride, from + i * from_stride, item);
}

// Calls body(offset, stride, run, done) for each innermost run of the span [first, first + n).
template <class Body>
void each_run(const Layout& l, int k, std::int64_t first, std::int64_t n, Body body) {
  if (n == 0) return;
  if (l.ndim == 0) {
    body(std::int64_t{0}, std::int64_t{0}, n, std::int64_t{0});
    return;
  }
  std::int64_t index[kMaxDims];
  std::int64_t offset = 0;
  for (int d = l.ndim - 1; d >= 0; --d) {
    index[d] = first % l.shape[d];
    first /= l.shape[d];
    offset += index[d] * l.stride[k][d];
  }
  const int inner = l.ndim - 1;
  for (std::int64_t done = 0; done < n;) {
    const std::int64_t run = std::min(n - done, l.shape[inner] - index[inner]);
    body(offset, l.stride[k][inner], run, done);
    done += run;
    index[inner] += run;
    offset += run * l.stride[k][inner];
    for (int d = inner; d > 0 && index[d] == l.shape[d]; --d) {
      offset += l.stride[k][d - 1] - l.shape[d] * l.stride[k][d];
      index[d] = 0;
      ++index[d - 1];
    }
  }
}

}  // namespace

void copy_run(char* to, std::int64_t to_stride, const char* from, std::int64_t from_stride, std::int64_t item,
              std::int64_t n) {
  if (to_stride == item && from_stride == item) {
    std::memcpy(to, from, static_cast<std::size_t>(n * item));
  } else if (item == 1) {
    copy_items<1>(to, to_stride, from, from_stride, n);
  } else if (item == 2) {
    copy_items<2>(to, to_stride, from, from_stride, n);
  } else if (item == 4) {
    copy_items<4>(to, to_stride, from, from_stride, n);
  } else {
    copy_items<8>(to, to_stride, from, from_stride, n);
  }
}

Layout shared_layout(const TensorView* const* operand, int count, bool keep_order) {
  Dim dims[kMaxDims];
  const int ndim = operand[0]->ndim;
  for (int d = 0; d < ndim; ++d) {
    dims[d].shape = operand[0]->shape[d];
    for (int k = 0; k < count; ++k) dims[d].stride[k] = operand[k]->stride[d];
  }
  if (!keep_order) {
    std::stable_sort(dims, dims + ndim,
                     [](const Dim& a, const Dim& b) { return std::llabs(a.stride[0]) > std::llabs(b.stride[0]); });
  }
  return merged(dims, ndim, count);
}

namespace {

template <class Wanted>
Layout layout_of(const TensorView* const* operand, int count, Wanted wanted) {
  Dim dims[kMaxDims];
  int ndim = 0;
  for (int d = 0; d < operand[0]->ndim; ++d) {
    if (!wanted(d)) continue;
    dims[ndim].shape = operand[0]->shape[d];
    for (int k = 0; k < count; ++k) dims[ndim].stride[k] = operand[k]->stride[d];
    ++ndim;
  }
  return merged(dims, ndim, count);
}

}  // namespace

Layout row_layout(const TensorView* const* operand, int count, int axis, int axes) {
  return layout_of(operand, count, [&](int d) { return d < axis || d >= axis + axes; });
}
Layout column_layout(const TensorView* const* operand, int count, int axis, int axes) {
  return layout_of(operand, count, [&](int d) { return d >= axis && d < axis + axes; });
}

bool walk_of(const Layout& l, const TensorView* const* operand, int count, const int* number, Walk& walk) {
  if (l.ndim > kWalkDims) return false;
  walk.dims = l.ndim;
  for (int d = 0; d < l.ndim; ++d) {
    walk.shape[d] = l.shape[d];
    for (int k = 0; k < count; ++k) {
      const std::int64_t item = item_size(operand[k]->element);
      if (l.stride[k][d] % item != 0) return false;
      walk.step[number[k]][d] = l.stride[k][d] / item;
    }
  }
  return true;
}

std::int64_t offset_of(const Layout& l, int k, std::int64_t index) {
  std::int64_t offset = 0;
  for (int d = l.ndim - 1; d >= 0; --d) {
    offset += index % l.shape[d] * l.stride[k][d];
    index /= l.shape[d];
  }
  return offset;
}

void gather(const Layout& l, int k, const void* base, std::int64_t item, std::int64_t first, std::int64_t n,
            void* tile) {
  each_run(l, k, first, n, [&](std::int64_t offset, std::int64_t stride, std::int64_t run, std::int64_t done) {
    copy_run(static_cast<char*>(tile) + done * item, item, static_cast<const char*>(base) + offset, stride, item, run);
  });
}

void scatter(const Layout& l, int k, void* base, std::int64_t item, std::int64_t first, std::int64_t n,
             const void* tile) {
  each_run(l, k, first, n, [&](std::int64_t offset, std::int64_t stride, std::int64_t run, std::int64_t done) {
    copy_run(static_cast<char*>(base) + offset, stride, static_cast<const char*>(tile) + done * item, item, item, run);
  });
}

}  // namespace dlk
