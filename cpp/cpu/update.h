// Optimizer steps over chunks of many tensors: parameter, gradient and state are read once and written once, in place.
//
// The rule sees whole vectors of the compute type. What is stored otherwise goes through a tile that stays in the first cache: 16-bit
// numbers, halves of a number, bytes with a scale, and what does not fill a vector. So a rule is compiled for float32 and float64 only,
// and each way of storing once for all rules.
#pragma once
#include "../../kernels/abi.h"
#include "../../kernels/list.h"
#include "tile.h"

DLK_BEGIN

template <class Op, class S>
struct update_loop {
  using V = vec<S, DLK_VECTOR_BYTES / int(sizeof(S))>;
  static constexpr int width = lane<V>::size, accumulators = kLanes / width;

  const UpdateArgs& a;
  const Dtype dtype;  // of parameter and gradient
  S w_tile[kTile], g_tile[kTile], state_tile[Op::states + 1][kTile];
  V acc[Op::sums + 1][accumulators];

  DLK_FN bool stored_wide() const { return int(dtype) == (sizeof(S) == 8 ? int(Dtype::f64) : int(Dtype::f32)); }
  DLK_FN bool in_bytes() const {
    bool any = false;
    for (int k = 0; k < Op::states; ++k) any = any || a.kept[k] >= Kept::bytes;
    return any;
  }

  // `n` elements; what is beyond them in the last vector is in a tile, and counts for nothing.
  DLK_FN void whole(const Op& op, S factor, S* w, const S* g, S* const* state, int n, int at_in_block) {
    for (int i = 0; i < n; i += width) {
      V x = load<V>(w + i), s[Op::states + 1], sum[Op::sums + 1];
      const V d = load<V>(g + i) * V(factor);
      for (int k = 0; k < Op::states; ++k) s[k] = load<V>(state[k] + i);
      if constexpr (Op::sums > 0) {
        op(x, d, s, sum);
        const int r = (at_in_block + i) / width;
        for (int j = 0; j < Op::sums; ++j) {
          if (n - i < width) sum[j] = keep_n(sum[j], n - i, V(-0.0));
          acc[j][r % accumulators] = r < accumulators ? sum[j] : acc[j][r % accumulators] + sum[j];
        }
      } else {
        op(x, d, s);
      }
      store(w + i, x);
      for (int k = 0; k < Op::states; ++k) store(state[k] + i, s[k]);
    }
  }

  DLK_FN void chunk(const Op& op, S factor, const Chunk& c) {
    const bool direct_g = stored_wide();
    const bool direct_w = a.precision == Precision::master || (direct_g && a.precision == Precision::plain);
    const bool bytes = in_bytes();
    for (int i = 0, n; i < c.n; i += n) {
      n = c.n - i < kTile ? c.n - i : kTile;
      if (!bytes && n > width) n = n / width * width;  // the rest is a tile of its own
      const bool part = n % width != 0;
      const tile_place at{c.first + i, n};
      S* const value = static_cast<S*>(a.precision == Precision::master ? c.master : c.param);
      S* w = direct_w && !part ? value + i : w_tile;
      S* g = direct_g && !part ? static_cast<S*>(c.grad) + i : g_tile;
      S* state[Op::states + 1];
      if (direct_w && part) copy_n(w_tile, value + i, n, kTile);
      if (!direct_w) read_weights(w_tile, a.precision, dtype, c, i, n);
      if (g == g_tile) read_tile(g_tile, c.grad, dtype, i, n);
      for (int k = 0; k < Op::states; ++k) {
        const bool direct = a.kept[k] == Kept::wide && !part;
        state[k] = direct ? static_cast<S*>(c.state[k]) + i : state_tile[k];
        if (!direct) read_state(state_tile[k], a.kept[k], c.state[k], c.scale[k], i, n);
      }
      whole(op, factor, w, g, state, n, i % int(kBlock));
      if (direct_w && part) copy_n(value + i, static_cast<const S*>(w_tile), n, n);
      if (!direct_w || a.precision == Precision::master) write_weights(w, a, dtype, c, i, at);
      for (int k = 0; k < Op::states; ++k) {
        if (state[k] == state_tile[k]) write_state(state_tile[k], a, k, c.state[k], c.scale[k], i, at);
      }
      if (a.zero_grads)
        std::memset(static_cast<char*>(c.grad) + i * size_of(dtype), 0, std::size_t(n * size_of(dtype)));
      if constexpr (Op::sums > 0) {
        const int block = (i + n - 1) / int(kBlock);
        if ((i + n) % int(kBlock) != 0 && i + n < c.n) continue;
        const int columns = i + n - block * int(kBlock), vectors = (columns + width - 1) / width;
        for (int j = 0; j < Op::sums; ++j) {
          c.sum[j][block] = double(fold(acc[j], vectors < accumulators ? vectors : accumulators));
        }
      }
    }
  }

  DLK_FN void run() {
    for (std::int64_t i = 0; i < a.chunks; ++i) {
      const double* const row = a.params + a.chunk[i].group * (1 + Op::count);
      chunk(Op(row + 1), S(row[0]), a.chunk[i]);
    }
  }
};

template <class Op, class S>
int update_as(const UpdateArgs& a, Dtype dtype) {
  update_loop<Op, S> loop{a, dtype, {}, {}, {}, {}};
  loop.run();
  return 0;
}
template <class Op, class T>
int update(const UpdateArgs& a) {
  return update_as<Op, compute_t<T>>(a, dtype_of<T>);
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
