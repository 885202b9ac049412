// Arrays that are not one contiguous run. A Layout is the iteration space that several operands share, with neighboring dimensions merged
// where all operands allow it; gather and scatter move a span of it to and from a contiguous tile, so that loops only ever see
// contiguous elements and strided input gives the same bits as contiguous input.
#pragma once
#include "tensor.h"

namespace dlk {

constexpr int kMaxShared = 12;

struct Layout {
  int ndim;
  std::int64_t size;
  std::int64_t shape[kMaxDims];
  std::int64_t stride[kMaxShared][kMaxDims];  // bytes

  // Is operand k one run of elements in iteration order?
  bool contiguous(int k, std::int64_t item) const { return size <= 1 || (ndim == 1 && stride[k][0] == item); }
};

// keep_order: iterate in C order, as sums and random numbers require; otherwise in the memory order of operand 0.
Layout shared_layout(const TensorView* const* operand, int count, bool keep_order);
// The layout of all dimensions but `axes` from `axis` on: the rows; and that of those: the columns, in C order.
Layout row_layout(const TensorView* const* operand, int count, int axis, int axes = 1);
Layout column_layout(const TensorView* const* operand, int count, int axis, int axes);

// Operand k as operand number[k] of a walk. False if the layout is none that a kernel can walk: too many dimensions, or strides that are no
// multiple of an element.
bool walk_of(const Layout& layout, const TensorView* const* operand, int count, const int* number, Walk& walk);

void gather(const Layout& layout, int k, const void* base, std::int64_t item, std::int64_t first, std::int64_t n,
            void* tile);
void scatter(const Layout& layout, int k, void* base, std::int64_t item, std::int64_t first, std::int64_t n,
             const void* tile);
// Byte offset of element `index` of operand k.
std::int64_t offset_of(const Layout& layout, int k, std::int64_t index);

// n elements, `stride` bytes apart on either side
void copy_run(char* to, std::int64_t to_stride, const char* from, std::int64_t from_stride, std::int64_t item,
              std::int64_t n);

}  // namespace dlk
