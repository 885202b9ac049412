// What a launch of the rows loop is told: the call, and how its rows are shared out.
//
//   thread block  = `teams` rows at once, each of `groups` groups of `threads` threads
//   group         = a warp, or 128 threads; it holds a tile of `held` columns of its row in shared memory, in the compute type
//   cluster       = thread blocks that share a row (its tiles), or, for sums over rows, the rows of one block of 32 (`rows_apart`)
//
// A warp's tile is the whole row, or, where the columns of an op have nothing to do with each other, any part of it; a group's is a
// canonical block of 4,096 columns, or, where that does not fit, one of the `parts` of a block.
#pragma once
#include "../ops/row_op.h"
#include "device.cuh"

DLK_BEGIN

template <class Op>
struct row_call {
  Op op;
  RowArgs a;
  Walk row_walk{}, column_walk{};  // those that `a` points to on the host
  bool walks{};
  Dtype dtype{};
  unsigned packets{};   // bit k: operand k, at every row, begins at a multiple of 16 bytes and is a run
  bool sums_columns{};  // a.column_sum is wanted
  bool resident{};      // a row's groups hold all of it
  bool rows_apart{};
  int threads{}, groups{}, teams{};
  int held{}, parts{}, slots{};
  int blocks{};           // tiles of a row, counted in canonical blocks
  std::int64_t splits{};  // of a row whose columns have nothing to do with each other: each is a job
  std::int64_t jobs{};
};

// What a group needs to know of its row before it can read it. There are two: of this row, and of the one before, which others may still read.
template <class Op, class S>
struct alignas(16) row_place {
  std::int64_t at[ops::at_least_one(Op::ins + Op::outs)];  // where the row begins in each operand
  S scalar[ops::at_least_one(Op::scalars)];
};

template <class Op>
constexpr bool columns_are_independent() {
  return Op::sums == 0 && !Op::needs_max && !Op::labelled;
}

constexpr int kRowCounters =
    4;  // a tile's random words begin anywhere in a counter, and one more is drawn for a pair's second half

// Shared memory of a group: slots, lanes of the sums, random words, places.
template <class Op, class S>
struct row_area {
  static constexpr int lanes = Op::sums * kLanes;

  DLK_FN static std::int64_t words_at(int held, int slots) { return (std::int64_t(slots) * held + lanes) * sizeof(S); }
  DLK_FN static std::int64_t places_at(int held, int slots) {
    return words_at(held, slots) + (Op::random ? (held + 2 * kRowCounters) * 4 : 0);
  }
  DLK_FN static std::int64_t bytes(int held, int slots) {
    return places_at(held, slots) + 2 * sizeof(row_place<Op, S>);
  }
};

DLK_END
