// The root of a mean of squares, where the squares leave the range of the format: they are taken again of scaled errors.
#pragma once
#include "../lane.h"

DLK_BEGIN
namespace ops {

// What errors are to be multiplied by, as the root of the mean of their squares tells: a power of two, 1 where nothing was lost.
template <class S>
DLK_FN S root_scale(S root) {
  constexpr bool wide = sizeof(S) == 8;
  if (root == S(__builtin_inf())) return S(wide ? 0x1p-600 : 0x1p-80);
  if (root < S(wide ? 0x1p-400 : 0x1p-40)) return S(wide ? 0x1p600 : 0x1p100);
  return S(1);
}

}  // namespace ops

DLK_END
