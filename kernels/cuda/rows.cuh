// Row-wise ops: the maximum, the canonical sums of the terms, the row's scalars, then the output. A team of threads owns a row:
//
//   warp_team    a warp, for rows of up to 1,024 columns (512 of float64), held in registers
//   group_team   groups of 256 threads, each with a canonical block of 4,096 columns in registers: two groups a thread block, and on
//                sm_90 up to eight thread blocks in a cluster, which meet through distributed shared memory
//
// A row that its team can hold is read from memory once. A longer one is read again for each pass, from the cache as a rule.
#pragma once
#include "canonical.cuh"

DLK_BEGIN

template <class Op>
struct row_call {
  Op op;
  RowArgs a;
  bool packets;  // every array, at every row, begins at a multiple of 16 bytes
  bool resident;  // a team has as many groups as the row has blocks
};

// What one thread of a team of N threads holds of a tile of N * E columns: E elements, in packets of P consecutive ones (16-byte accesses)
// or, where rows are not aligned to 16 bytes, in single ones N apart.
template <class Op, class T, int N, int E>
struct row_tile {
  using S = compute_t<T>;
  static constexpr int P = kPacket<T>, K = E / P;

  const row_call<Op>& c;
  const int thread;     // of the team's N
  const int origin, step;  // column of the thread's first element; distance of the elements of a packet
  int n;                // columns of the tile, <= 0 for none
  packet<T, P> x[Op::ins][K], w[K];
  S kept[E];            // the first term

  DLK_DEVICE row_tile(const row_call<Op>& call, int t) : c(call), thread(t), origin(call.packets ? t * P : t), step(call.packets ? 1 : N), n(0) {}

  DLK_DEVICE int column(int k, int e) const { return origin + k * N * P + e * step; }

  DLK_DEVICE void load(packet<T, P> (&to)[K], const T* from) const {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (k * N * P >= n) break;
      if (c.packets && column(k, 0) + P <= n) {
        to[k] = load_packet<P>(from + column(k, 0));
      } else {
#pragma unroll
        for (int e = 0; e < P; ++e) to[k].v[e] = column(k, e) < n ? from[column(k, e)] : T{};
      }
    }
  }
  // the columns of tile number i of the row
  DLK_DEVICE void load(const T* const* row, std::int64_t i) {
    const std::int64_t first = i * N * E, left = c.a.cols - first;
    n = left < N * E ? int(left) : N * E;
    for (int j = 0; j < Op::ins; ++j) load(x[j], row[j] + first);
    if (c.a.weight != nullptr) load(w, static_cast<const T*>(c.a.weight) + first);
  }

  DLK_DEVICE void input(S* v, int k, int e) const {
    for (int j = 0; j < Op::ins; ++j) v[j] = to_compute(x[j][k].v[e]);
  }
  DLK_DEVICE S weight(int k, int e) const { return c.a.weight == nullptr ? S(1) : to_compute(w[k].v[e]); }

  DLK_DEVICE S maximum(S best) const {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (k * N * P >= n) break;
#pragma unroll
      for (int e = 0; e < P; ++e) best = column(k, e) < n ? max(best, to_compute(x[0][k].v[e])) : best;
    }
    return best;
  }

  // Term number `which` of element (k, e), -0 where there is none. The compiler drops what the other terms would cost.
  template <int which, class Row>
  DLK_DEVICE S term(int k, int e, const Row& row) {
    S v[Op::ins], t[Op::sums];
    input(v, k, e);
    c.op.terms(v, weight(k, e), row, t);
    if (Op::keeps_term && which == 0) kept[k * P + e] = t[0];
    return column(k, e) < n ? t[which] : S(-0.0);
  }

  // The first terms, where they are no longer at hand.
  template <class Row>
  DLK_DEVICE void keep(const Row& row) {
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (k * N * P >= n) break;
      for (int e = 0; e < P; ++e) term<0>(k, e, row);
    }
  }

  // label: the column of the right class in this tile, or anything outside it
  template <class Row>
  DLK_DEVICE void store(T* y, const Row& row, std::int64_t label) const {
    const int right = label >= 0 && label < n ? int(label) : -1;
#pragma unroll
    for (int k = 0; k < K; ++k) {
      if (k * N * P >= n) break;
      packet<T, P> out;
#pragma unroll
      for (int e = 0; e < P; ++e) {
        S v[Op::ins];
        input(v, k, e);
        S r = c.op(v, weight(k, e), Op::keeps_term ? kept[k * P + e] : S(0), row);
        if constexpr (Op::labelled) r = column(k, e) == right ? c.op.at_label(r, row) : r;
        out.v[e] = to_storage<T>(r);
      }
      if (c.packets && column(k, 0) + P <= n) {
        store_packet(y + column(k, 0), out);
      } else {
#pragma unroll
        for (int e = 0; e < P; ++e) {
          if (column(k, e) < n) y[column(k, e)] = out.v[e];
        }
      }
    }
  }
  DLK_DEVICE void store_zero(T* y) const {
    for (int i = thread; i < n; i += N) y[i] = to_storage<T>(S(0));
  }
};

// --- teams: who owns a row, and how its threads agree on a maximum and on a sum ----------------------------------------------

template <class Op, class T>
struct warp_team {
  using S = compute_t<T>;
  static constexpr int threads = kWarp, elements = kRowWarpElements<S> / (Op::sums > 1 ? 2 : 1), sums = Op::sums;
  static constexpr bool one_tile = true;
  using Tile = row_tile<Op, T, threads, elements>;

  DLK_DEVICE int thread() const { return lane_id(); }
  DLK_DEVICE std::int64_t first_row() const { return (std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp; }
  DLK_DEVICE std::int64_t row_step() const { return std::int64_t(gridDim.x) * blockDim.x / kWarp; }
  DLK_DEVICE std::int64_t first_tile() const { return 0; }
  DLK_DEVICE std::int64_t tile_step() const { return 1; }
  DLK_DEVICE bool leads() const { return lane_id() == 0; }

  DLK_DEVICE void begin(bool) {}
  DLK_DEVICE void settle() { __syncwarp(); }
  DLK_DEVICE S maximum(S best) { return warp_maximum(best); }

  // Element (k, e) is of lane r % 8 of the thread, r = k * P + e, in either layout: the lanes are added up in place.
  template <int which, class Row>
  DLK_DEVICE void add(std::int64_t, Tile& tile, Row& row) {
    S v[kHeld];
    for (int r = 0; r < kHeld; ++r) v[r] = S(-0.0);
#pragma unroll
    for (int k = 0; k < Tile::K; ++k) {
      if (k * threads * Tile::P >= tile.n) break;
#pragma unroll
      for (int e = 0; e < Tile::P; ++e) {
        S& lane = v[(k * Tile::P + e) % kHeld];
        lane = lane + tile.template term<which>(k, e, row);
      }
    }
    row.sum[which] = tile.c.packets ? fold<Tile::P>(v) : fold<1>(v);
  }
  template <class Row>
  DLK_DEVICE void finish(std::int64_t, Row&) {}
};

constexpr int kGroup = 256;
constexpr int kMaxCluster = 8;

template <class S, int sums>
struct group_shared {
  alignas(16) S term[kRowGroups<S>][kBlock];
  S warp_max[kRowGroups<S> * kGroup / kWarp];
  S block_max[kMaxCluster];
  S inbox[kRowGroups<S> * kMaxCluster];  // the block sums of this turn, of all groups of the cluster
  S total[sums];
  ladder<S> above[sums];
};

template <class Op, class T>
struct group_team {
  using S = compute_t<T>;
  using Shared = group_shared<S, Op::sums>;
  static constexpr int threads = kGroup, elements = int(kBlock) / kGroup, sums = Op::sums;
  static constexpr bool one_tile = false;
  using Tile = row_tile<Op, T, threads, elements>;

  Shared& shared;
  const block_cluster cluster;
  const int group = int(threadIdx.x) / kGroup, groups = int(blockDim.x) / kGroup;

  DLK_DEVICE int thread() const { return int(threadIdx.x) % kGroup; }
  DLK_DEVICE int warp() const { return int(threadIdx.x) / kWarp; }
  DLK_DEVICE std::int64_t first_row() const { return blockIdx.x / cluster.size; }
  DLK_DEVICE std::int64_t row_step() const { return gridDim.x / cluster.size; }
  DLK_DEVICE std::int64_t first_tile() const { return cluster.rank * groups + group; }
  DLK_DEVICE std::int64_t tile_step() const { return std::int64_t(cluster.size) * groups; }
  DLK_DEVICE bool leads() const { return threadIdx.x == 0 && cluster.rank == 0; }

  // After this, nobody in the cluster reads what belongs to the previous row. Inside a block, later barriers see to that.
  DLK_DEVICE void begin(bool climbs) {
    cluster.meet_others();
    if (climbs && warp() == 0) {
      for (int s = 0; s < Op::sums; ++s) shared.above[s].begin();
    }
  }
  DLK_DEVICE void settle() {}  // the sums have met already

  DLK_DEVICE S maximum(S best) {
    best = warp_maximum(best);
    if (lane_id() == 0) shared.warp_max[warp()] = best;
    __syncthreads();
    const S lowest = S(-__builtin_inf());
    best = warp_maximum(lane_id() < groups * kGroup / kWarp ? shared.warp_max[lane_id()] : lowest);
    if (cluster.size == 1) return best;
    if (int(threadIdx.x) < cluster.size) *cluster.peer(&shared.block_max[cluster.rank], int(threadIdx.x)) = best;
    cluster.meet_others();
    return warp_maximum(lane_id() < cluster.size ? shared.block_max[lane_id()] : lowest);
  }

  // The terms of a tile go to shared memory, where a warp adds them up; every block of the cluster gets every sum. With as many groups as
  // tiles, the sums are complete; otherwise they climb the ladder, turn by turn. first: the first tile of this turn
  template <int which, class Row>
  DLK_DEVICE void add(std::int64_t first, Tile& tile, Row& row) {
    S* const term = shared.term[group];
#pragma unroll
    for (int k = 0; k < Tile::K; ++k) {
#pragma unroll
      for (int e = 0; e < Tile::P && k * threads * Tile::P < tile.n; ++e) term[tile.column(k, e)] = tile.template term<which>(k, e, row);
    }
    __syncthreads();
    if (warp() % (kGroup / kWarp) == 0) {
      const S v = sum(term, tile.n);
      if (lane_id() < cluster.size) *cluster.peer(&shared.inbox[first_tile()], lane_id()) = v;
    }
    cluster.meet();
    const S v = lane_id() < tile_step() ? shared.inbox[lane_id()] : S(-0.0);
    if (tile.c.resident) {
      row.sum[which] = fold_warp(v);
    } else if (warp() == 0) {
      shared.above[which].push(first, int(tile_step()), v);
    }
    cluster.meet_others();  // the inbox has been read
  }
  template <class Row>
  DLK_DEVICE void finish(std::int64_t tiles, Row& row) {
    if (warp() == 0) {
      for (int s = 0; s < Op::sums; ++s) {
        const S v = shared.above[s].total(tiles);
        if (lane_id() == 0) shared.total[s] = v;
      }
    }
    __syncthreads();
    for (int s = 0; s < Op::sums; ++s) row.sum[s] = shared.total[s];
  }

  DLK_DEVICE S sum(const S* term, int n) const {
    constexpr int Q = kPacket<S>;
    S v[kHeld];
    for (int r = 0; r < kHeld; ++r) v[r] = S(-0.0);
#pragma unroll 4
    for (int chunk = 0; chunk < n; chunk += kLanes) {
#pragma unroll
      for (int r = 0; r < kHeld; r += Q) {
        const packet<S, Q> t = load_packet<Q>(term + chunk + lane_of<Q>(r, lane_id()));
        for (int e = 0; e < Q; ++e) v[r + e] = v[r + e] + t.v[e];
      }
    }
    return fold<Q>(v);
  }
};

// --- the loop ------------------------------------------------------------------------------------------------------------------

template <class T>
DLK_DEVICE std::int64_t label_of_row(const RowArgs& a, std::int64_t r) {
  return a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[r] : static_cast<const std::int32_t*>(a.label)[r];
}

// Sum number `which` and those after it.
template <int which, class Team, class Tile, class Row>
DLK_DEVICE void add_from(Team& team, std::int64_t first, Tile& tile, Row& row) {
  if constexpr (which < Team::sums) {
    team.template add<which>(first, tile, row);
    add_from<which + 1>(team, first, tile, row);
  }
}

template <class Op, class T, class Team>
DLK_DEVICE void run_row(const row_call<Op>& c, Team& team, std::int64_t r) {
  using S = compute_t<T>;
  const RowArgs& a = c.a;
  const T* in[Op::ins];
  for (int k = 0; k < Op::ins; ++k) in[k] = static_cast<const T*>(a.in[k]) + r * a.in_step[k];
  T* const y = a.out == nullptr ? nullptr : static_cast<T*>(a.out) + r * a.out_step;
  S* const value = a.value == nullptr ? nullptr : static_cast<S*>(a.value) + r;
  constexpr std::int64_t width = Team::threads * Team::elements;
  const std::int64_t tiles = ceil_div(a.cols, width), mine = team.first_tile(), step = team.tile_step();
  const bool reload = !Team::one_tile && !c.resident;
  typename Team::Tile tile(c, team.thread());

  team.begin(reload);
  ops::row_of<S, Op::sums> row{};
  ops::label_of<S> right{S(0), S(1)};
  std::int64_t label = -1;
  bool bad_label = false;
  if constexpr (Op::labelled) {
    label = label_of_row<T>(a, r);
    if (label == a.ignore) {
      if (value != nullptr && team.leads()) *value = S(0);
      for (std::int64_t i = mine; y != nullptr && i < tiles; i += step) {
        tile.n = int(at_most(a.cols - i * width, width));
        tile.store_zero(y + i * width);
      }
      return;
    }
    // Read before anybody writes: y may be the input. An id out of range makes the row NaN; the host finds it by `labels`.
    bad_label = label < 0 || label >= a.cols;
    if (!bad_label) {
      right.x = to_compute(in[0][label]);
      if (a.weight != nullptr) right.weight = to_compute(static_cast<const T*>(a.weight)[label]);
    }
  }

  if constexpr (Op::needs_max) {
    S best = S(-__builtin_inf());
    for (std::int64_t i = 0; i < tiles; i += step) {
      tile.load(in, i + mine);
      best = tile.maximum(best);
    }
    row.max = team.maximum(best);
  }
  for (std::int64_t i = 0; i < tiles; i += step) {
    if (reload || !Op::needs_max) tile.load(in, i + mine);
    add_from<0>(team, i, tile, row);
  }
  if (reload) team.finish(tiles, row);

  if constexpr (Op::loss) {
    row.upstream = (a.upstream == nullptr ? S(1) : static_cast<const S*>(a.upstream)[r * a.upstream_step]) / divisor<S>(a);
    if (bad_label) row.sum[0] = S(__builtin_nan(""));
    const S v = c.op.finish(row, right);
    if (value != nullptr && team.leads()) *value = v;
  } else {
    c.op.finish(row);
  }
  if (y == nullptr) return;
  team.settle();
  for (std::int64_t i = mine; i < tiles; i += step) {
    if (reload) {
      tile.load(in, i);
      if constexpr (!Team::one_tile && Op::keeps_term) tile.keep(row);
    }
    tile.store(y + i * width, row, label - i * width);
  }
}

template <class Op, class T>
__global__ void __launch_bounds__(kRowWarpThreads, 2) row_warp_kernel(const row_call<Op> __grid_constant__ c) {
  warp_team<Op, T> team;
  for (std::int64_t r = team.first_row(); r < c.a.rows; r += team.row_step()) run_row<Op, T>(c, team, r);
}

template <class Op, class T>
__global__ void __launch_bounds__(kRowGroups<compute_t<T>>* kGroup, 2) row_group_kernel(const row_call<Op> __grid_constant__ c) {
  __shared__ typename group_team<Op, T>::Shared shared;
  group_team<Op, T> team{shared, {}};
  for (std::int64_t r = team.first_row(); r < c.a.rows; r += team.row_step()) run_row<Op, T>(c, team, r);
}

template <class Op, class T>
bool rows_in_packets(const RowArgs& a) {
  bool all = aligned(a.weight) && aligned(a.out) && (a.out == nullptr || a.out_step % kPacket<T> == 0 || a.rows == 1);
  for (int k = 0; k < Op::ins; ++k) all = all && aligned(a.in[k]) && (a.in_step[k] % kPacket<T> == 0 || a.rows == 1);
  return all;
}

template <class Op, class T>
int rows(const RowArgs& a) {
  using S = compute_t<T>;
  if (a.rows == 0 || a.cols == 0) return 0;
  const device d = current_device();
  const RowPolicy policy = row_policy(d.cc);
  row_call<Op> c{Op(a.params), a, rows_in_packets<Op, T>(a), true};
  if (a.cols <= kWarp * warp_team<Op, T>::elements) {
    const std::int64_t blocks = at_most(ceil_div(a.rows * kWarp, kRowWarpThreads), std::int64_t(d.sms) * 8 * policy.blocks_per_sm);
    return launch(row_warp_kernel<Op, T>, blocks, kRowWarpThreads, 1, a.queue, c);
  }
  const std::int64_t tiles = ceil_div(a.cols, kBlock);
  const int groups = int(at_most(tiles, kRowGroups<S>));
  int cluster = 1;
  while (cluster < policy.cluster && cluster * groups < tiles) cluster *= 2;
  c.resident = cluster * groups >= tiles;
  const std::int64_t teams = at_most(a.rows, ceil_div(std::int64_t(d.sms) * policy.blocks_per_sm, cluster));
  return launch(row_group_kernel<Op, T>, teams * cluster, groups * kGroup, cluster, a.queue, c);
}

template <class L>
struct row_table;
template <class... Op>
struct row_table<list<Op...>> {
  static constexpr Entry<RowArgs> rows[] = {
      {Op::name, Op::pass, Op::ins, Op::count, {dlk::DLK_TARGET::rows<Op, f32>, dlk::DLK_TARGET::rows<Op, f64>, dlk::DLK_TARGET::rows<Op, f16>,
                                               dlk::DLK_TARGET::rows<Op, bf16>}}...};
};

DLK_END
