// Who owns a row: a team of threads that keeps it in shared memory, in the compute type. There each pass may divide the columns among the
// threads as it likes, whatever the alignment of the row.
//
//   warp_team    a warp, for short rows
//   group_team   groups of 128 threads, each with a canonical block of 4,096 columns: up to four groups a thread block, and on sm_90 up
//                to eight thread blocks in a cluster, which meet through distributed shared memory
//
// A team knows how its threads agree on a maximum and on the canonical sums. An op that keeps its first term finds it in place of its
// first input: its output is made from the term.
#pragma once
#include "../ops/row_op.h"
#include "canonical.cuh"

extern __shared__ uint4 dlk_dynamic_shared[];

DLK_BEGIN

template <class Op>
struct row_call {
  Op op;
  RowArgs a;
  bool packets;        // every array, at every row, begins at a multiple of 16 bytes
  bool resident;       // the team holds the whole row
  std::int64_t tiles;  // of a row
  int held;            // columns that there is room for: of a warp's row, of a group's tile
};

// A part of a row, in shared memory, and the N threads that work on it. Lane j of a chunk of 256 columns is of thread j % N.
template <class Op, class T, int N>
struct row_tile {
  using S = compute_t<T>;
  static constexpr int P = kPacket<T>, lanes = kLanes / N;

  const row_call<Op>& c;
  S* const x;  // input j begins at x + j * c.held
  const int thread;
  std::int64_t first = 0;  // column of the row at which the tile begins
  int n = 0;               // columns of the tile, <= 0 for none

  DLK_DEVICE row_tile(const row_call<Op>& call, S* shared, int t) : c(call), x(shared), thread(t) {}

  DLK_DEVICE void move_to(std::int64_t i) {  // tile number i of the row
    first = i * c.held;
    const std::int64_t left = c.a.cols - first;
    n = left < c.held ? int(left) : c.held;
  }
  DLK_DEVICE int packets() const { return c.packets && n > 0 ? n / P : 0; }

  // Copies the tile; returns the maximum of `best` and of what this thread copied of the first input.
  DLK_DEVICE S load(const T* const (&row)[Op::ins], S best) {
#pragma unroll
    for (int j = 0; j < Op::ins; ++j) {
      const T* const from = row[j] + first;
      S* const to = x + j * c.held;
#pragma unroll(P == 8 ? 2 : 4)
      for (int i = thread; i < packets(); i += N) {
        const packet<T, P> raw = load_packet<P>(from + i * P);
        packet<S, P> v;
#pragma unroll
        for (int e = 0; e < P; ++e) {
          v.v[e] = to_compute(raw.v[e]);
          if (Op::needs_max && j == 0) best = max(best, v.v[e]);
        }
        store_packet(to + i * P, v);
      }
#pragma unroll 4
      for (int i = packets() * P + thread; i < n; i += N) {
        to[i] = to_compute(from[i]);
        if (Op::needs_max && j == 0) best = max(best, to[i]);
      }
    }
    return best;
  }

  DLK_DEVICE void read_columns(ops::cells<Op, S>& cell, int i) const {
    for (int k = 0; k < Op::columns; ++k) {
      const T* const column = static_cast<const T*>(c.a.column[k]);
      cell.col[k] = column == nullptr ? S(1 - k) : to_compute(column[first + i]);
    }
  }

  // Adds up the terms of this thread's lanes; keeps the first terms.
  template <class Row>
  DLK_DEVICE void add(S (&sum)[Op::sums][lanes], const Row& row) {
#pragma unroll
    for (int k = 0; k < Op::sums; ++k) {
#pragma unroll
      for (int r = 0; r < lanes; ++r) sum[k][r] = S(-0.0);
    }
#pragma unroll(N == kWarp || Op::sums > 1 ? 1 : 2)
    for (int chunk = 0; chunk < n; chunk += kLanes) {
#pragma unroll
      for (int r = 0; r < lanes; ++r) {
        const int i = chunk + r * N + thread;
        if (i >= n) break;
        ops::cells<Op, S> cell;
        S t[Op::sums];
#pragma unroll
        for (int j = 0; j < Op::ins; ++j) cell.in[j] = x[j * c.held + i];
        read_columns(cell, i);
        c.op.template terms<0>(cell, row, t);
        if (Op::keeps_term) x[i] = t[0];
#pragma unroll
        for (int k = 0; k < Op::sums; ++k) sum[k][r] = sum[k][r] + t[k];
      }
    }
  }

  template <class Row>
  DLK_DEVICE T output(const S (&in)[Op::ins], int i, const Row& row, int right) const {
    ops::cells<Op, S> cell;
#pragma unroll
    for (int j = 0; j < Op::ins; ++j) cell.in[j] = in[j];
    cell.kept = in[0];
    read_columns(cell, i);
    S r[1], none[1];
    c.op.outputs(cell, row, r, none);
    if constexpr (Op::corrects_label) r[0] = i == right ? c.op.at_label(r[0], row) : r[0];
    return to_storage<T>(r[0]);
  }
  // label: the column of the right class in the row, if it is one
  template <class Row>
  DLK_DEVICE void store(T* y, const Row& row, std::int64_t label) const {
    const int right = label >= first && label < first + n ? int(label - first) : -1;
#pragma unroll 1
    for (int i = thread; i < packets(); i += N) {
      packet<S, P> x_of[Op::ins];
#pragma unroll
      for (int j = 0; j < Op::ins; ++j) x_of[j] = load_packet<P>(x + j * c.held + i * P);
      packet<T, P> out;
#pragma unroll
      for (int e = 0; e < P; ++e) {
        S in[Op::ins];
#pragma unroll
        for (int j = 0; j < Op::ins; ++j) in[j] = x_of[j].v[e];
        out.v[e] = output(in, i * P + e, row, right);
      }
      store_packet(y + first + i * P, out);
    }
#pragma unroll 1
    for (int i = packets() * P + thread; i < n; i += N) {
      S in[Op::ins];
#pragma unroll
      for (int j = 0; j < Op::ins; ++j) in[j] = x[j * c.held + i];
      y[first + i] = output(in, i, row, right);
    }
  }
  DLK_DEVICE void store_zero(T* y) const {
    for (int i = thread; i < n; i += N) y[first + i] = to_storage<T>(S(0));
  }
};

// --- teams: who owns a row, and how its threads agree on a maximum and on a sum --------------------------------------------------

template <class Op, class T>
struct warp_team {
  using S = compute_t<T>;
  static constexpr bool one_tile = true;
  using Tile = row_tile<Op, T, kWarp>;

  DLK_DEVICE int warp() const { return int(threadIdx.x) / kWarp; }
  DLK_DEVICE Tile tile(const row_call<Op>& c) const {
    return Tile(c, reinterpret_cast<S*>(dlk_dynamic_shared) + warp() * Op::ins * c.held, lane_id());
  }
  DLK_DEVICE std::int64_t first_row() const { return (std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp; }
  DLK_DEVICE std::int64_t row_step() const { return std::int64_t(gridDim.x) * blockDim.x / kWarp; }
  DLK_DEVICE std::int64_t first_tile() const { return 0; }
  DLK_DEVICE std::int64_t tile_step() const { return 1; }
  DLK_DEVICE bool leads() const { return lane_id() == 0; }

  DLK_DEVICE void begin(bool) { __syncwarp(); }
  DLK_DEVICE void meet() { __syncwarp(); }
  DLK_DEVICE S maximum(S best) {
    __syncwarp();
    return warp_maximum(best);
  }
  template <class Row>
  DLK_DEVICE void combine(std::int64_t, S (&v)[Op::sums][kHeld], Row& row, bool) {
#pragma unroll
    for (int k = 0; k < Op::sums; ++k) row.sum[k] = fold<1>(v[k]);
    __syncwarp();
  }
  template <class Row>
  DLK_DEVICE void finish(std::int64_t, Row&) {}
};

constexpr int kGroup = kRowGroupThreads, kGroupWarps = kGroup / kWarp;

template <class S, int sums>
struct group_shared {
  S lane[kRowGroups][sums][kGroup];
  S warp_max[kRowGroups * kGroupWarps];
  S block_max[kMaxCluster];
  S inbox[sums][kRowGroups * kMaxCluster];  // the block sums of this turn, of all groups of the cluster
  S total[sums];
  ladder<S> above[sums];
};

template <class Op, class T>
struct group_team {
  using S = compute_t<T>;
  static constexpr bool one_tile = false;
  using Tile = row_tile<Op, T, kGroup>;

  group_shared<S, Op::sums>& shared;
  const block_cluster cluster;
  const int group = int(threadIdx.x) / kGroup, groups = int(blockDim.x) / kGroup;

  DLK_DEVICE int thread() const { return int(threadIdx.x) % kGroup; }
  DLK_DEVICE int warp() const { return int(threadIdx.x) / kWarp; }
  DLK_DEVICE Tile tile(const row_call<Op>& c) const {
    return Tile(c, reinterpret_cast<S*>(dlk_dynamic_shared) + group * Op::ins * c.held, thread());
  }
  DLK_DEVICE std::int64_t first_row() const { return blockIdx.x / unsigned(cluster.size); }
  DLK_DEVICE std::int64_t row_step() const { return gridDim.x / unsigned(cluster.size); }
  DLK_DEVICE std::int64_t first_tile() const { return cluster.rank * groups + group; }
  DLK_DEVICE std::int64_t tile_step() const { return std::int64_t(cluster.size) * groups; }
  DLK_DEVICE bool leads() const { return threadIdx.x == 0 && cluster.rank == 0; }

  // After this, nobody in the cluster reads what belongs to the previous row.
  DLK_DEVICE void begin(bool climbs) {
    cluster.meet();
    if (climbs && warp() == 0) {
      for (int k = 0; k < Op::sums; ++k) shared.above[k].begin();
    }
  }
  DLK_DEVICE void meet() { __syncthreads(); }

  DLK_DEVICE S maximum(S best) {
    best = warp_maximum(best);
    if (lane_id() == 0) shared.warp_max[warp()] = best;
    __syncthreads();
    const S lowest = S(-__builtin_inf());
    best = warp_maximum(lane_id() < groups * kGroupWarps ? shared.warp_max[lane_id()] : lowest);
    if (cluster.size == 1) return best;
    if (int(threadIdx.x) < cluster.size) *cluster.peer(&shared.block_max[cluster.rank], int(threadIdx.x)) = best;
    cluster.meet();
    return warp_maximum(lane_id() < cluster.size ? shared.block_max[lane_id()] : lowest);
  }

  // The sums of a tile, in every warp of its group. Lanes j and j + 128 are of one thread; so the halving starts there.
  DLK_DEVICE S tile_sum(int k) const {
    S v[kGroupWarps];
#pragma unroll
    for (int r = 0; r < kGroupWarps; ++r) v[r] = shared.lane[group][k][r * kWarp + lane_id()];
#pragma unroll
    for (int half = kGroupWarps / 2; half >= 1; half /= 2) {
#pragma unroll
      for (int r = 0; r < half; ++r) v[r] = v[r] + v[r + half];
    }
    return fold_warp(v[0]);
  }
  // Every block of the cluster gets every tile's sums. With as many groups as tiles they are complete after one turn; otherwise they climb
  // the ladder, turn by turn. first: the first tile of this turn
  template <class Row>
  DLK_DEVICE void combine(std::int64_t first, S (&v)[Op::sums][kLanes / kGroup], Row& row, bool resident) {
    static_assert(kLanes / kGroup == 2, "tile_sum begins at w = 64");
#pragma unroll
    for (int k = 0; k < Op::sums; ++k) shared.lane[group][k][thread()] = v[k][0] + v[k][1];
    __syncthreads();
    const bool alone = resident && tile_step() == 1;
#pragma unroll
    for (int k = 0; k < Op::sums; ++k) {
      row.sum[k] = tile_sum(k);
      if (!alone && warp() % kGroupWarps == 0 && lane_id() < cluster.size)
        *cluster.peer(&shared.inbox[k][first_tile()], lane_id()) = row.sum[k];
    }
    if (alone) return;
    cluster.meet();
#pragma unroll
    for (int k = 0; k < Op::sums; ++k) {
      const S sum = lane_id() < tile_step() ? shared.inbox[k][lane_id()] : S(-0.0);
      if (resident) {
        row.sum[k] = fold_warp(sum);
      } else if (warp() == 0) {
        shared.above[k].push(first, int(tile_step()), sum);
      }
    }
    if (!resident) cluster.meet();  // before the next turn
  }
  template <class Row>
  DLK_DEVICE void finish(std::int64_t tiles, Row& row) {
    if (warp() == 0) {
      for (int k = 0; k < Op::sums; ++k) {
        const S v = shared.above[k].total(tiles);
        if (lane_id() == 0) shared.total[k] = v;
      }
    }
    __syncthreads();
    for (int k = 0; k < Op::sums; ++k) row.sum[k] = shared.total[k];
  }
};

DLK_END
