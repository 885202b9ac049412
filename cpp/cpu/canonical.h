// The one order in which every sum is added (DESIGN.md 3.2). A block is 4,096 elements: lane j of 256 adds its elements j, j + 256, ...
// in order; then the lanes are halved. Block results are the elements of the next level.
//
// Absent elements are added as -0, the exact identity of floating-point addition (x + -0 is x for every x, both zeros included), so
// partial chunks and partial vectors need no cases of their own.
#pragma once
#include "../../kernels/abi.h"
#include "../../kernels/list.h"
#include "vec.h"

DLK_BEGIN

// Halves `vectors` registers of lanes (lane j of the block is lane j % width of acc[j / width]) into one number.
template <class V>
DLK_FN scalar_t<V> fold(V* acc, int vectors) {
  constexpr int width = lane<V>::size;
  for (int w = kLanes / width / 2; w >= 1; w /= 2) {
    for (int k = 0; k < w && k + w < vectors; ++k) acc[k] = acc[k] + acc[k + w];
  }
  scalar_t<V> b[width];
  store(b, acc[0]);
  for (int w = width / 2; w >= 1; w /= 2) {
    for (int j = 0; j < w; ++j) b[j] = b[j] + b[j + w];
  }
  return b[0];
}

template <class S, class Args>
DLK_FN S divisor(const Args& a) {
  return a.divisor == nullptr ? S(a.count) : *static_cast<const S*>(a.divisor);
}

// The levels above the block, fed one block result at a time: 4,096^4 elements are enough for any row. It is out of line, and its
// slots are written before they are read: an op that has a row of one block pays neither for its code nor for its memory.
template <class S>
struct tree {
  static constexpr int levels = 3;
  S at[levels][kLanes];
  std::int64_t count[levels];

  DLK_FN void clear() {
    for (int l = 0; l < levels; ++l) count[l] = 0;
  }
  DLK_FN void add(int level, S v) {
    S& slot = at[level][count[level] % kLanes];
    slot = count[level] < kLanes ? v : slot + v;
    ++count[level];
  }
  DLK_FN S folded(int level) {
    S* b = at[level];
    const int some = int(count[level] < kLanes ? count[level] : kLanes);
    for (int w = kLanes / 2; w >= 1; w /= 2) {
      for (int j = 0; j < w && j + w < some; ++j) b[j] = b[j] + b[j + w];
    }
    return b[0];
  }
  [[gnu::noinline]] void push(S v) {
    for (int l = 0; l < levels; ++l) {
      add(l, v);
      if (count[l] < kBlock || l + 1 == levels) return;
      v = folded(l);
      count[l] = 0;
    }
  }
  // Once: it leaves carries behind.
  [[gnu::noinline]] S total() {
    S v = S(-0.0);
    bool some = false;
    for (int l = 0; l < levels; ++l) {
      if (some) {
        if (count[l] == 0 && !above(l)) return v;
        add(l, v);
      }
      if (count[l] > 0) {
        v = folded(l);
        some = true;
      }
    }
    return v;
  }
  DLK_FN bool above(int level) const {
    for (int l = level + 1; l < levels; ++l) {
      if (count[l] > 0) return true;
    }
    return false;
  }
};

DLK_END
