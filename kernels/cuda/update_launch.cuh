// How updates are launched: chunks and rows of numbers as arguments, as many as there is room for; or the gradients of a table's chunks.
#pragma once
#include "update.cuh"

DLK_BEGIN

// What a launch is told of a call.
inline void describe(update_batch& b, const UpdateArgs& a, Dtype dtype) {
  b.rows = a.control == nullptr ? nullptr : a.params;
  b.control = a.control;
  b.seed = a.seed;
  b.offset = a.offset;
  b.dtype = dtype;
  b.precision = a.precision;
  for (int k = 0; k < kMaxStates; ++k) b.kept[k] = a.kept[k];
  b.zero_grads = a.zero_grads;
  b.own_rows = a.own_rows;
  b.table = view_of(a.table);
}

// Fills a launch with chunks; `width` numbers to a row.
struct update_filler {
  update_batch b;
  const UpdateArgs& a;
  int states, sums, width;
  bool scales, master;
  int rows = 0, last_group = -1;

  update_filler(const UpdateArgs& args, Dtype dtype, int states_, int sums_, int width_)
      : a(args),
        states(states_),
        sums(sums_),
        width(width_),
        scales(has_scales(args)),
        master(args.precision >= Precision::master) {
    describe(b, a, dtype);
    b.stride = table_words(states, sums, scales, master);
    begin();
  }
  void begin() {
    b.tensors = rows = 0;
    last_group = -1;
    b.units = 0;
  }
  // where the numbers of a group are, in rows of the table or of the launch; -1: no room
  std::int64_t row_of(int group) {
    if (a.control != nullptr) return group;
    if (group != last_group) {
      const int words = (rows + 1) * width;
      if (b.room / width * width - words < (b.tensors + 1) * b.stride) return -1;
      std::memcpy(b.word + b.room / width * width - words, a.params + std::int64_t(group) * width,
                  std::size_t(8 * width));
      ++rows;
      last_group = group;
    }
    return b.room / width - rows;
  }
  bool take(const Chunk& c) {
    if ((b.tensors + 1) * b.stride > b.room - (a.control == nullptr ? b.room % width + rows * width : 0)) return false;
    const std::int64_t row = row_of(c.group);
    if (row < 0) return false;
    put_words(b.word + b.tensors * b.stride, c, states, sums, scales, master, row, b.units,
              reinterpret_cast<std::uint64_t>(c.grad));
    b.units += ceil_div(c.n, kBlock);
    ++b.tensors;
    return true;
  }
};

// A thread block to a unit, or a warp.
template <class Op, class Kernel>
int launch_units(Kernel* kernel, const update_batch& b, void* queue) {
  constexpr int units_per_block = Op::sums > 0 ? kMapThreads / kWarp : 1;
  return launch(kernel, ceil_div(b.units, units_per_block), kMapThreads, {}, queue, b);
}

template <class Op, class Kernel>
int update_table_as(Kernel* kernel, const UpdateArgs& a, Dtype dtype) {
  update_batch b;
  describe(b, a, dtype);
  b.stride = a.table->stride;
  b.tensors = 0;
  b.first_unit = 0;
  for (b.first_chunk = 0; b.first_chunk < a.table->chunks; b.first_unit += b.units) {
    const std::int64_t taken = at_most(kGradientsPerLaunch, a.table->chunks - b.first_chunk);
    std::memcpy(b.word, a.grad + b.first_chunk, std::size_t(8 * taken));
    b.units = a.table->units - b.first_unit;
    if (b.first_chunk + taken < a.table->chunks) {
      b.units = 0;
      for (std::int64_t k = 0; k < taken; ++k) b.units += ceil_div(a.table->chunk[b.first_chunk + k].n, kBlock);
    }
    const int error = launch_units<Op>(kernel, b, a.queue);
    if (error != 0) return error;
    b.first_chunk += taken;
  }
  return 0;
}

template <class Op, class S>
int update_as(const UpdateArgs& a, Dtype dtype) {
  auto* kernel = update_kernel<Op, S, false>;
  if constexpr (sizeof(S) == 4) {
    bool stored = a.precision == Precision::stochastic || a.precision == Precision::remainder;
    for (int k = 0; k < Op::states; ++k) stored = stored || a.kept[k] != Kept::wide;
    if (stored) kernel = update_kernel<Op, S, true>;
  }
  if (a.table != nullptr) return update_table_as<Op>(kernel, a, dtype);
  update_filler f(a, dtype, Op::states, Op::sums, 1 + Op::count);
  for (std::int64_t next = 0; next < a.chunks;) {
    f.begin();
    for (; next < a.chunks; ++next) {
      if (a.chunk[next].n > 0 && !f.take(a.chunk[next])) break;
    }
    if (f.b.tensors == 0) break;
    const int error = launch_units<Op>(kernel, f.b, a.queue);
    if (error != 0) return error;
  }
  return 0;
}
template <class Op, class T>
int update(const UpdateArgs& a) {
  return update_as<Op, compute_t<T>>(a, dtype_of<T>());
}

template <class L>
struct update_table;
template <class... Op>
struct update_table<list<Op...>> {
  static constexpr Entry<UpdateArgs> rows[] = {
      {Op::name,
       "",
       Op::states,
       Op::sums,
       Op::count,
       more_operands,
       {update<Op, f32>, update<Op, f64>, update<Op, f16>, update<Op, bf16>}}...};
};

DLK_END
