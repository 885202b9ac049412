// The threads that work on a row together: a warp, or groups of 128 threads that meet in their thread block and, where a row is shared by
// a cluster, through distributed shared memory. A team knows how its threads agree on a maximum and on the canonical sums, and how rows
// that lie in shared memory at the same time are summed in row order.
#pragma once
#include "row_tile.cuh"

extern __shared__ uint4 dlk_dynamic_shared[];

DLK_BEGIN

constexpr int kGroup = kRowGroupThreads;
constexpr int kRowThreads = kRowGroups * kGroup;  // at most, per thread block

// Ops that have much to compute, or columns to add up, need more registers than so many threads can have.
template <class Op>
constexpr int row_groups() {
  return Op::iterates || Op::column_sums > 0 ? kRowGroups / 2 : kRowGroups;
}

template <class V>
struct largest_room {
  V warp[kRowThreads / kWarp];
  V block[kMaxCluster];
};

// What groups tell each other.
template <class Op, class S>
struct row_shared {
  static constexpr int sums = ops::at_least_one(Op::sums);
  largest_room<S> max;
  largest_room<double> place;
  S inbox[2][sums]
         [kRowGroups * kMaxCluster];  // the sums of the blocks of this turn; those of the turn before may still be read
  S total[sums];
};

template <class Op, class S>
struct row_team {
  using Row = ops::row_of<Op, S>;
  using Tile = row_tile<Op, S>;
  static constexpr int sums = ops::at_least_one(Op::sums);

  const row_call<Op>& c;
  row_shared<Op, S>& shared;
  const block_cluster cluster;
  const int thread, group, part,
      row;                   // of the group; group of the thread block; group of the row; row of the thread block
  const int sharing;         // thread blocks that share a row
  int turn = 0, parity = 0;  // which place is this row's; which inbox is this turn's

  DLK_DEVICE row_team(const row_call<Op>& call, row_shared<Op, S>& s, block_cluster k)
      : c(call),
        shared(s),
        cluster(k),
        thread(int(threadIdx.x) & (call.threads - 1)),
        group(int(threadIdx.x) / call.threads),
        part(group % call.groups),
        row(group / call.groups),
        sharing(call.rows_apart ? 1 : k.size) {}

  DLK_DEVICE bool is_warp() const { return columns_are_independent<Op>() || c.threads == kWarp; }
  DLK_DEVICE int warp() const { return int(threadIdx.x) / kWarp; }
  DLK_DEVICE std::int64_t bytes() const { return row_area<Op, S>::bytes(c.held, c.slots); }
  DLK_DEVICE void* area(int of_group) const { return reinterpret_cast<char*>(dlk_dynamic_shared) + of_group * bytes(); }
  DLK_DEVICE ladder<S>& above(int k) const { return static_cast<ladder<S>*>(area(c.groups * c.teams))[k]; }
  DLK_DEVICE row_place<Op, S>* places() const {
    return reinterpret_cast<row_place<Op, S>*>(static_cast<char*>(area(group)) +
                                               row_area<Op, S>::places_at(c.held, c.slots));
  }

  // --- who has which row

  DLK_DEVICE int at_once() const { return c.teams * (c.rows_apart ? cluster.size : 1); }
  DLK_DEVICE int row_of_turn() const { return row + (c.rows_apart ? cluster.rank * c.teams : 0); }
  DLK_DEVICE std::int64_t first_job() const {
    const std::int64_t b = blockIdx.x / unsigned(cluster.size);
    return c.sums_columns ? b : b * c.teams + row;
  }
  DLK_DEVICE std::int64_t job_step() const {
    return std::int64_t(gridDim.x / unsigned(cluster.size)) * (c.sums_columns ? 1 : c.teams);
  }
  DLK_DEVICE int first_block() const { return (sharing == 1 ? 0 : cluster.rank * c.groups) + part; }
  DLK_DEVICE int block_step() const { return sharing * c.groups; }
  DLK_DEVICE bool leads() const { return thread == 0 && first_block() == 0; }

  // --- meeting

  DLK_DEVICE void meet() const {
    if (is_warp()) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }
  DLK_DEVICE void meet_all() const {  // that share the row
    if (is_warp()) {
      __syncwarp();
    } else {
      cluster.meet();
    }
  }
  // After this, nobody reads what belongs to the previous row, and everybody finds the place of this one.
  DLK_DEVICE const row_place<Op, S>* begin(std::int64_t r) {
    row_place<Op, S>& place = places()[turn];
    turn ^= 1;
    if (thread < Op::ins + Op::outs) {
      const int k = thread, operand = k < Op::ins ? k : kMaxIn + k - Op::ins;
      const std::int64_t step = k < Op::ins ? c.a.in_step[k] : c.a.out_step[k - Op::ins];
      place.at[k] = c.walks ? walk_offset(c.row_walk, operand, r) : r * step;
    }
    if (thread < Op::scalars) {
      const S* const scalar = static_cast<const S*>(c.a.scalar[thread]);
      const std::int64_t i = quotient(c.a.first + r, scalar == nullptr ? 1 : c.a.scalar_div[thread]);
      place.scalar[thread] =
          scalar == nullptr ? S(1) : scalar[i - quotient(i, c.a.scalar_mod[thread]) * c.a.scalar_mod[thread]];
    }
    if (is_warp() && !c.sums_columns) {
      __syncwarp();
    } else {
      cluster.meet();
    }
    return &place;
  }

  // --- agreeing

  template <class V>
  DLK_DEVICE V largest(V best, largest_room<V>& room) const {
    best = warp_maximum(best);
    if (is_warp()) return best;
    if (lane_id() == 0) room.warp[warp()] = best;
    __syncthreads();
    const V lowest = V(-__builtin_inf());
    best = warp_maximum(lane_id() < int(blockDim.x) / kWarp ? room.warp[lane_id()] : lowest);
    if (sharing == 1) return best;
    if (int(threadIdx.x) < cluster.size) *cluster.peer(&room.block[cluster.rank], int(threadIdx.x)) = best;
    cluster.meet();
    return warp_maximum(lane_id() < cluster.size ? room.block[lane_id()] : lowest);
  }
  DLK_DEVICE double lowest_place(double place) const { return -largest(-place, shared.place); }

  DLK_DEVICE void begin_sums() const {
    if (c.resident || warp() != 0) return;
    for (int k = 0; k < Op::sums; ++k) above(k).begin();
  }
  // From the lanes of a block of n columns to the row's sums, in every thread. Block results of other groups come through the inbox; where
  // there are more of them than groups, they climb the ladder, turn by turn, and finish_sums has the row's. first: block of this turn
  DLK_DEVICE void combine(const Tile& tile, int first, int n, Row& of_row) {
    meet();
#pragma unroll
    for (int k = 0; k < Op::sums; ++k) {
      S v[kHeld];
#pragma unroll
      for (int r = 0; r < kHeld; r += 2) {
        const int at = lane_of<2>(r, tile.thread % kWarp);
#pragma unroll
        for (int e = 0; e < 2; ++e) v[r + e] = at + e < n ? tile.lanes()[k * kLanes + at + e] : S(-0.0);
      }
      of_row.sum[k] = fold<2>(v);
    }
    const int together = c.groups * sharing;
    if (c.resident && together == 1) {
      meet();  // before the lanes are written again
      return;
    }
    const int mine = (sharing == 1 ? row : cluster.rank) * c.groups + part, begin = sharing == 1 ? row * c.groups : 0;
#pragma unroll
    for (int k = 0; k < Op::sums; ++k) {
      S* const slot = &shared.inbox[parity][k][mine];
      if (thread < sharing) *(sharing == 1 ? slot : cluster.peer(slot, thread)) = of_row.sum[k];
    }
    if (sharing == 1) {
      __syncthreads();
    } else {
      cluster.meet();
    }
#pragma unroll
    for (int k = 0; k < Op::sums; ++k) {
      const S sum = lane_id() < together ? shared.inbox[parity][k][begin + lane_id()] : S(-0.0);
      if (c.resident) {
        of_row.sum[k] = fold_warp(sum);
      } else if (warp() == 0) {
        above(k).push(first, together, sum);
      }
    }
    parity ^= 1;
  }
  DLK_DEVICE void finish_sums(Row& of_row) const {
    if (c.resident) return;
    if (warp() == 0) {
      for (int k = 0; k < Op::sums; ++k) {
        const S v = above(k).total(c.blocks);
        if (lane_id() == 0) shared.total[k] = v;
      }
    }
    __syncthreads();
    for (int k = 0; k < Op::sums; ++k) of_row.sum[k] = shared.total[k];
  }

  // Adds what the rows of this turn, from row `first` on, have left in shared memory to the sums of their block, in row order. A column
  // belongs to the same thread in every turn.
  DLK_DEVICE void add_columns(const Tile& tile, std::int64_t first) const {
    if (c.rows_apart) {
      cluster.meet();
    } else {
      __syncthreads();
    }
    const int columns = int(at_most(c.a.cols - tile.first, c.held)), rows = int(at_most(c.a.rows - first, at_once()));
    const int apart = c.groups * int(bytes() / std::int64_t(sizeof(S)));  // rows of a thread block
    const bool begins = first % kRowBlock == 0;
#pragma unroll 1
    for (int k = 0; k < Op::column_sums; ++k) {
      if (c.a.column_sum[k] == nullptr) continue;
      S* const to = static_cast<S*>(c.a.column_sum[k]) + first / kRowBlock * c.a.cols + tile.first;
#pragma unroll 1
      for (int i = row_of_turn() * c.threads + tile.thread; i < columns; i += at_once() * c.threads) {
        S* const here = static_cast<S*>(area(part)) + (Tile::outs + k) * c.held + i;
        S sum = begins ? S(-0.0) : to[i];  // -0 + v is v
#pragma unroll 1
        for (int block = 0, left = rows; left > 0; ++block, left -= c.teams) {
          const S* const there = c.rows_apart ? cluster.peer(here, block) : here;
          const int some = left < c.teams ? left : c.teams;
#pragma unroll 4
          for (int r = 0; r < some; ++r) sum = sum + there[r * apart];
        }
        to[i] = sum;
      }
    }
  }
};

DLK_END
