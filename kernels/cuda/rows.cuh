// Row-wise ops: the maximum, the canonical sums of the terms, the row's scalars, then the outputs. A row that its team can hold is read from
// memory once. A longer one is read again for each pass, from the cache as a rule.
#pragma once
#include "row_teams.cuh"

DLK_BEGIN

template <int phase = 0, class Op, class Row>
DLK_DEVICE void finish_phase(const Op& op, int which, Row& row) {
  if constexpr (phase + 1 < Op::phases) {
    if (which != phase) return finish_phase<phase + 1>(op, which, row);
  }
  op.template finish<phase>(row);
}

// Row r of the call; or, if it is not there, what others of the thread block wait for. split: the part of it that is this job's
template <class Op, class S>
DLK_DEVICE void run_row(const row_call<Op>& c, row_team<Op, S>& team, std::int64_t r, std::int64_t first_of_turn,
                        std::int64_t split) {
  static_assert(!Op::keeps_term || (Op::phases == 1 && !Op::iterates),
                "a kept term takes the place of the first input");
  static_assert(Op::column_sums == 0 || (!Op::needs_max && !Op::labelled && !Op::iterates), "rows go in step");
  static_assert(!Op::joins || (!Op::needs_max && !Op::labelled && !Op::iterates && Op::sums > 0),
                "the sum is made in the first pass, and by the team that reads it in the next");
  static_assert(!Op::marks_max || (Op::sums > 0 && Op::skips_label), "the place is looked for beside the sums");
  const RowArgs& a = c.a;
  const bool present = r < a.rows;
  if (!present) r = a.rows - 1;
  typename row_team<Op, S>::Tile tile(c, team.area(team.group), team.thread);
  tile.place = team.begin(r);
  const bool leads = team.leads() && present && split == 0;

  ops::row_of<Op, S> row{};
  row.cols = S(a.cols);
  for (int k = 0; k < Op::scalars; ++k) row.scalar[k] = tile.place->scalar[k];
  if constexpr (Op::loss) {
    const S* const upstream = static_cast<const S*>(a.upstream);
    row.upstream = (upstream == nullptr ? S(1) : upstream[r * a.upstream_step]) / divisor<S>(a);
  }
  // A row that counts for nothing is 0. An id out of range makes it NaN; the host finds it by `labels`.
  std::int64_t label = -1;
  bool spoiled = false;
  S instead = S(0);
  if constexpr (Op::labelled) {
    label = a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[r]
                               : static_cast<const std::int32_t*>(a.label)[r];
    const bool wrong = label < 0 || label >= a.cols;
    spoiled = wrong || label == a.ignore;
    if (label != a.ignore && wrong) instead = S(__builtin_nan(""));
    if (!spoiled) {  // read before anybody writes: an output may be the input
      row.label_x = tile.first_input(label);
      row.label_weight = a.column[0] == nullptr ? S(1) : load_one<S>(a.column[0], c.dtype, label);
    }
  }

  const int step = team.block_step(), mine = team.first_block();
  const bool reload = !c.resident;
  const auto move_to = [&](int block, int part) {
    const std::int64_t tile_of_row = c.splits > 1 ? split : std::int64_t(block + mine) * c.parts + part;
    tile.move_to(tile_of_row * c.held, present);
  };

  // The passes over the row: it is loaded and its maximum found, the sums of each phase, the outputs. One loop, so that what several of
  // them do is there once in the code.
  constexpr int loading = -1;
  S best = S(-__builtin_inf());
  double marked = __builtin_inf();
  bool started = false;
#pragma unroll 1
  for (int pass = spoiled ? Op::phases - 1 : Op::needs_max || !reload ? loading : 0;;) {
    const bool adding = pass >= 0 && pass < Op::phases, writing = pass == Op::phases;
    if (pass >= 0 && !started) c.op.start(row), started = true;
    if (Op::sums > 0 && adding) team.begin_sums();
#pragma unroll 1
    for (int i = 0; i < c.blocks && !(adding && (Op::sums == 0 || spoiled)); i += step) {
#pragma unroll 1
      for (int part = 0; part < c.parts; ++part) {
        tile.thread = afresh(team.thread);
        if (pass == loading || reload || spoiled) {
          if (pass != loading || i > 0 || part > 0) team.meet();
          move_to(i, part);
          if (!spoiled) {
            best = tile.load(best, label, pass <= 0);
            if constexpr (Op::random) {
              if (c.op.draws()) tile.draw(a.first + r);
            }
            team.meet();
          }
        }
        if (Op::sums > 0 && !spoiled && (adding || (writing && reload && Op::keeps_term)))
          marked = tile.add(adding ? pass : 0, adding && part > 0, row, label, marked);
        if (!writing) continue;
        if (spoiled) {
          tile.fill(instead);
        } else {
          tile.compute(row, label, marked);
        }
        team.meet();
        tile.store();
        if (Op::column_sums > 0 && c.sums_columns) team.add_columns(tile, first_of_turn);
      }
      if (Op::sums > 0 && adding) {
        const std::int64_t left = present ? a.cols - std::int64_t(i + mine) * kBlock : 0;
        team.combine(tile, i, left < kBlock ? int(left) : int(kBlock), row);
      }
    }
    if (writing) return;
    if (Op::needs_max && pass == loading) row.max = team.largest(best, team.shared.max);
    if (Op::labelled && Op::sums == 0 && adding) team.meet_all();  // all have read the label's element
    if (adding && !spoiled) {
      if constexpr (Op::sums > 0) {
        team.finish_sums(row);
        for (int k = 0; k < Op::sums; ++k) row.sum[k] = a.cols == 0 ? S(0) : row.sum[k];
        if constexpr (Op::marks_max) marked = team.lowest_place(marked);
      }
      finish_phase(c.op, pass, row);
      if constexpr (Op::iterates) {
        if (pass == 0 && c.op.again(row)) continue;
      }
    }
    if (++pass < Op::phases) continue;
    constexpr int values = Op::values + (Op::loss ? 1 : 0);
#pragma unroll
    for (int k = 0; k < values; ++k) {
      if (leads && a.value[k] != nullptr) static_cast<S*>(a.value[k])[r] = spoiled ? instead : row.value[k];
    }
    if (Op::outs > 0 ? a.out[0] == nullptr : Op::column_sums == 0) return;
  }
}

template <class Op, class S>
__global__ void __launch_bounds__(row_groups<Op>() * kGroup, 1) row_kernel(const row_call<Op> __grid_constant__ c) {
  __shared__ row_shared<Op, S> shared;
  row_team<Op, S> team(c, shared, {});
#pragma unroll 1
  for (std::int64_t job = team.first_job(); job < c.jobs; job += team.job_step()) {
    const std::int64_t unit = c.splits == 1 ? job : quotient(job, c.splits), split = job - unit * c.splits;
    if (Op::column_sums == 0 || !c.sums_columns) {
      run_row(c, team, unit, unit, split);
      continue;
    }
    const std::int64_t end = at_most((unit + 1) * kRowBlock, c.a.rows);
#pragma unroll 1
    for (std::int64_t r = unit * kRowBlock; r < end; r += team.at_once())
      run_row(c, team, r + team.row_of_turn(), r, split);
  }
  if (c.rows_apart) team.cluster.meet_others();  // nobody ends while others read what it left
}

// --- launches ----------------------------------------------------------------------------------------------------------------

// Bit k: every row of operand k is a run that begins at a multiple of 16 bytes.
template <class Op>
unsigned rows_in_packets(const row_call<Op>& c, int item) {
  const RowArgs& a = c.a;
  const auto moves = [&](int operand, const void* p, std::int64_t step) {
    if (!aligned(p)) return 0u;
    if (!c.walks) return a.rows == 1 || step * item % 16 == 0 ? 1u << operand : 0u;
    if (c.column_walk.dims > 1 || (c.column_walk.dims == 1 && c.column_walk.step[operand][0] != 1)) return 0u;
    for (int d = 0; d < c.row_walk.dims; ++d) {
      if (c.row_walk.step[operand][d] * item % 16 != 0) return 0u;
    }
    return 1u << operand;
  };
  unsigned all = 0;
  for (int k = 0; k < Op::ins; ++k) all |= moves(k, a.in[k], a.in_step[k]);
  for (int k = 0; k < Op::outs; ++k) all |= moves(kMaxIn + k, a.out[k], a.out_step[k]);
  return all;
}

// Is some operand read or written across memory? Then neighboring rows share its cache lines.
template <class Op>
bool runs_across(const row_call<Op>& c) {
  if (!c.walks) return false;
  bool any = c.column_walk.dims > 1;
  for (int k = 0; k < Op::ins; ++k) any = any || (c.column_walk.dims == 1 && c.column_walk.step[k][0] != 1);
  return any;
}

// How the rows are shared out, among clusters of up to most_blocks thread blocks. Returns the thread blocks of a cluster; 0 if the device has
// too little shared memory.
template <class Op, class S>
int plan_rows(row_call<Op>& c, const device& d, int most_blocks) {
  const RowArgs& a = c.a;
  const RowPolicy policy = row_policy(d.cc);
  const auto fits = [&](int groups) {
    const std::int64_t above = c.resident ? 0 : Op::sums * std::int64_t(sizeof(ladder<S>));
    return groups * row_area<Op, S>::bytes(c.held, c.slots) + above + int(sizeof(row_shared<Op, S>)) <= d.shared_bytes;
  };
  const std::int64_t units = c.sums_columns ? ceil_div(a.rows, kRowBlock) : a.rows;
  int cluster = 1;
  c.blocks = c.splits = 1;
  c.groups = c.teams = c.parts = 1;
  c.resident = true;
  c.rows_apart = false;
  if (columns_are_independent<Op>() || a.cols <= policy.warp_columns) {
    c.threads = kWarp;
    c.held = int(ceil_div(at_most(a.cols, policy.warp_columns), kLanes) * kLanes);
    if (c.held == 0) c.held = kLanes;
    if (columns_are_independent<Op>() && a.cols > c.held) c.splits = ceil_div(a.cols, c.held);
    const int most = (c.sums_columns || runs_across(c) ? row_groups<Op>() * kGroup : kRowWarpThreads) / kWarp;
    while (2 * c.teams <= most && fits(2 * c.teams)) c.teams *= 2;
  } else {
    c.threads = kGroup;
    c.held = int(kBlock);
    c.blocks = int(ceil_div(a.cols, kBlock));
    while (c.held > kLanes && !fits(1)) c.held /= 2, c.parts *= 2, c.resident = false;
    while (c.parts == 1 && c.groups < row_groups<Op>() && c.groups < c.blocks && fits(2 * c.groups)) c.groups *= 2;
    while (cluster < most_blocks && cluster * c.groups < c.blocks) cluster *= 2;
    if (cluster * c.groups < c.blocks) {
      c.resident = false;
      while (c.groups > 1 && !fits(c.groups)) c.groups /= 2;
      if (!fits(c.groups)) c.held /= 2, c.parts *= 2;
    }
    while (c.sums_columns && c.resident && 2 * c.teams * c.groups <= row_groups<Op>() && fits(2 * c.teams * c.groups))
      c.teams *= 2;
  }
  if (!fits(c.teams * c.groups)) return 0;
  c.jobs = units * c.splits;
  while (c.sums_columns && cluster < most_blocks && (c.rows_apart || cluster == 1) && c.blocks <= c.groups &&
         2 * cluster * c.teams <= kRowBlock && c.jobs * cluster < 2 * d.sms)
    cluster *= 2, c.rows_apart = true;
  return cluster;
}

template <class Op, class S>
int rows(const RowArgs& a, Dtype dtype) {
  constexpr int values = Op::values + (Op::loss ? 1 : 0);
  if (a.rows == 0 || (a.cols == 0 && values == 0)) return 0;
  row_call<Op> c{Op(a.params), a};
  c.dtype = dtype;
  c.walks = a.row_walk != nullptr;
  if (c.walks) c.row_walk = *a.row_walk, c.column_walk = *a.column_walk;
  for (int k = 0; k < Op::column_sums; ++k) c.sums_columns = c.sums_columns || a.column_sum[k] != nullptr;
  c.packets = rows_in_packets(c, bytes_of(dtype));
  constexpr int ins = ops::own_ins<Op>, outs = ops::own_outs<Op>;
  constexpr int without = ins > outs ? ins : outs, all = outs + Op::column_sums;
  c.slots = c.sums_columns && all > without ? all : without;
  const device d = current_device();
  int cluster = plan_rows<Op, S>(c, d, row_policy(d.cc).cluster);
  if (cluster > 1) {  // asked for the most that a thread block of this kernel may have: one answer for all calls
    static cluster_memory known;
    const int most =
        largest_cluster(known, d, reinterpret_cast<const void*>(row_kernel<Op, S>), row_policy(d.cc).cluster,
                        row_groups<Op>() * kGroup, d.shared_bytes - int(sizeof(row_shared<Op, S>)));
    if (most < cluster) cluster = plan_rows<Op, S>(c, d, most);
  }
  if (cluster == 0) return int(cudaErrorInvalidConfiguration);
  const std::int64_t wanted = c.sums_columns ? c.jobs : ceil_div(c.jobs, c.teams),
                     most = ceil_div(std::int64_t(d.sms) * row_policy(d.cc).blocks_per_sm, cluster);
  const int groups = c.groups * c.teams;
  const std::int64_t bytes =
      groups * row_area<Op, S>::bytes(c.held, c.slots) + (c.resident ? 0 : Op::sums * std::int64_t(sizeof(ladder<S>)));
  return launch(row_kernel<Op, S>, at_most(wanted, most) * cluster, groups * c.threads, {cluster, int(bytes)}, a.queue,
                c);
}

// A part of the row ops, by their places in its list.
template <class L>
struct row_part;
template <class... Op>
struct row_part<list<Op...>> {
  static int run(int op, Dtype dtype, const RowArgs& a) {
    using kernel = int (*)(const RowArgs&, Dtype);
    static constexpr kernel narrow[] = {rows<Op, float>...}, wide[] = {rows<Op, double>...};
    return (dtype == Dtype::f64 ? wide : narrow)[op](a, dtype);
  }
};

DLK_END
