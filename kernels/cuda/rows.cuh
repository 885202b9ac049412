// Row-wise ops: the maximum, the canonical sums of the terms, the row's scalars, then the output. A row that its team can hold is read from
// memory once. A longer one is read again for each pass, from the cache as a rule.
#pragma once
#include "row_teams.cuh"

DLK_BEGIN

template <class Op, class T, class Team>
DLK_DEVICE void run_row(const row_call<Op>& c, Team& team, std::int64_t r) {
  using S = compute_t<T>;
  const RowArgs& a = c.a;
  const T* in[Op::ins];
#pragma unroll
  for (int j = 0; j < Op::ins; ++j) in[j] = static_cast<const T*>(a.in[j]) + r * a.in_step[j];
  T* const y = a.out[0] == nullptr ? nullptr : static_cast<T*>(a.out[0]) + r * a.out_step[0];
  S* const value = a.value[0] == nullptr ? nullptr : static_cast<S*>(a.value[0]) + r;
  typename Team::Tile tile = team.tile(c);
  const std::int64_t tiles = Team::one_tile ? 1 : c.tiles, mine = team.first_tile(), step = team.tile_step();
  const bool reload = !Team::one_tile && !c.resident;

  team.begin(reload);
  ops::row_of<Op, S> row{};
  row.cols = S(a.cols);
  row.label_weight = S(1);
  std::int64_t label = -1;
  if constexpr (Op::labelled) {
    label = a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[r]
                               : static_cast<const std::int32_t*>(a.label)[r];
    if (label == a.ignore) {
      if (value != nullptr && team.leads()) *value = S(0);
      for (std::int64_t i = mine; y != nullptr && i < tiles; i += step) {
        tile.move_to(i);
        tile.store_zero(y);
      }
      return;
    }
    // Read before anybody writes: y may be the input. An id out of range makes the row NaN; the host finds it by `labels`.
    if (label < 0 || label >= a.cols) {
      row.label_x = S(__builtin_nan(""));
    } else {
      row.label_x = to_compute(in[0][label]);
      if (a.column[0] != nullptr) row.label_weight = to_compute(static_cast<const T*>(a.column[0])[label]);
    }
  }

  S best = S(-__builtin_inf());
#pragma unroll 1
  for (std::int64_t i = 0; i < tiles && (Op::needs_max || !reload); i += step) {
    tile.move_to(i + mine);
    best = tile.load(in, best);
  }
  if constexpr (Op::needs_max) {
    row.max = team.maximum(best);
  } else {
    team.meet();
  }
  for (int k = 0; k < Op::scalars; ++k) {
    const S* const scalar = static_cast<const S*>(a.scalar[k]);
    row.scalar[k] = scalar == nullptr ? S(1) : scalar[(a.first + r) / a.scalar_div[k] % a.scalar_mod[k]];
  }
  c.op.start(row);

  // First the sums, then the output: one loop, so that the terms, which both may have to compute, are there once in the code.
#pragma unroll 1
  for (int phase = 0; phase < 2; ++phase) {
    const bool adding = phase == 0;
#pragma unroll 1
    for (std::int64_t i = 0; i < tiles; i += step) {
      if (reload) {
        team.meet();
        tile.move_to(i + mine);
        tile.load(in, best);
        team.meet();
      }
      if (adding || (reload && Op::keeps_term)) {
        S lane[Op::sums][Team::Tile::lanes];
        tile.add(lane, row);
        if (adding) {
          team.combine(i, lane, row, c.resident);
        } else {
          team.meet();
        }
      }
      if (!adding) tile.store(y, row, label);
    }
    if (!adding) break;
    if (reload) team.finish(tiles, row);
    if constexpr (Op::loss) {
      row.upstream =
          (a.upstream == nullptr ? S(1) : static_cast<const S*>(a.upstream)[r * a.upstream_step]) / divisor<S>(a);
      if (row.label_x != row.label_x) row.sum[0] = row.label_x;
    }
    c.op.template finish<0>(row);
    if constexpr (Op::loss) {
      if (value != nullptr && team.leads()) *value = row.value[0];
    }
    if (y == nullptr) return;
  }
}

template <class Op, class T>
__global__ void __launch_bounds__(kRowWarpThreads, sizeof(T) == 8 ? 2 : 4)
    row_warp_kernel(const row_call<Op> __grid_constant__ c) {
  warp_team<Op, T> team;
#pragma unroll 1
  for (std::int64_t r = team.first_row(); r < c.a.rows; r += team.row_step()) run_row<Op, T>(c, team, r);
}

template <class Op, class T>
__global__ void __launch_bounds__(kRowGroups* kGroup, 1) row_group_kernel(const row_call<Op> __grid_constant__ c) {
  __shared__ group_shared<compute_t<T>, Op::sums> shared;
  group_team<Op, T> team{shared, {}};
#pragma unroll 1
  for (std::int64_t r = team.first_row(); r < c.a.rows; r += team.row_step()) run_row<Op, T>(c, team, r);
}

template <class Op, class T>
bool rows_in_packets(const RowArgs& a) {
  bool all = aligned(a.out[0]) && (a.out_step[0] % kPacket<T> == 0 || a.rows == 1 || a.out[0] == nullptr);
  for (int j = 0; j < Op::ins; ++j) all = all && aligned(a.in[j]) && (a.in_step[j] % kPacket<T> == 0 || a.rows == 1);
  return all;
}

template <class Op, class T>
int rows(const RowArgs& a) {
  using S = compute_t<T>;
  if (a.rows == 0 || a.cols == 0) return 0;
  const device d = current_device();
  const RowPolicy policy = row_policy(d.cc);
  row_call<Op> c{Op(a.params), a, rows_in_packets<Op, T>(a), true, ceil_div(a.cols, kBlock), int(kBlock)};
  if (a.cols <= policy.warp_columns) {
    constexpr int warps = kRowWarpThreads / kWarp;
    c.held = int(ceil_div(a.cols, kLanes) * kLanes);
    const std::int64_t blocks = at_most(ceil_div(a.rows, warps), std::int64_t(d.sms) * policy.blocks_per_sm);
    return launch(row_warp_kernel<Op, T>, blocks, kRowWarpThreads, {1, warps * Op::ins * c.held * int(sizeof(S))},
                  a.queue, c);
  }
  constexpr int bytes = Op::ins * int(kBlock) * int(sizeof(S)), fixed = int(sizeof(group_shared<S, Op::sums>));
  int groups = 1, cluster = 1;
  while (groups < kRowGroups && groups < c.tiles && 2 * groups * bytes + fixed <= d.shared_bytes) groups *= 2;
  while (cluster < policy.cluster && cluster * groups < c.tiles) cluster *= 2;
  c.resident = cluster * groups >= c.tiles;
  const std::int64_t teams = at_most(a.rows, ceil_div(std::int64_t(d.sms) * policy.blocks_per_sm, cluster));
  return launch(row_group_kernel<Op, T>, teams * cluster, groups * kGroup, {cluster, groups * bytes}, a.queue, c);
}

// What this loop can run today: one phase of sums, one output.
template <class Op>
constexpr bool runs_here() {
  return Op::phases == 1 && Op::sums > 0 && Op::outs == 1 && Op::values == 0 && Op::columns <= 1 &&
         Op::column_sums == 0 && !Op::one_hot && !Op::skips_label && !Op::marks_max && !Op::random && !Op::iterates;
}
template <class Op, class Here, class T>
constexpr auto row_kernel() -> int (*)(const RowArgs&) {
  if constexpr (runs_here<Op>() && contains<Op, Here>::value) {
    return rows<Op, T>;
  } else {
    return nullptr;
  }
}

template <class L, class Here>  // Here: the ops that have a kernel
struct row_table;
template <class... Op, class Here>
struct row_table<list<Op...>, Here> {
  static constexpr Entry<RowArgs> rows[] = {{Op::name,
                                             Op::pass,
                                             Op::ins,
                                             Op::outs,
                                             Op::count,
                                             needs_of<Op>(),
                                             {row_kernel<Op, Here, f32>(), row_kernel<Op, Here, f64>(),
                                              row_kernel<Op, Here, f16>(), row_kernel<Op, Here, bf16>()}}...};
};

DLK_END
