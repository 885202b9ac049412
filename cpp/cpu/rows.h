// Row-wise ops: the maximum, the canonical sums of the terms, the row's scalars, then the outputs. A row is read from memory once: it is
// still in cache when it is read again, and a row of one block keeps its first term (an exponential, as a rule) in a buffer.
#pragma once
#include "../../kernels/ops/row_op.h"
#include "canonical.h"
#include "words.h"

DLK_BEGIN

template <class Op, class T>
struct row_loop {
  using V = lanes<T>;
  using S = compute_t<T>;
  using X = ops::cells<Op, V>;
  using Row = ops::row_of<Op, S>;
  static constexpr int width = lane<V>::size;
  static constexpr int accumulators = kLanes / width;
  static constexpr int ins = ops::own_ins<Op>, outs = ops::own_outs<Op>;
  static constexpr int no_label = -1;

  const Op op;
  const RowArgs a;
  const T* in[ops::at_least_one(Op::ins)];     // of this row
  T* out[ops::at_least_one(Op::outs)];         // of this row; out[0] is null if only values are wanted
  std::int64_t row_index;                      // of this row in the whole array
  std::int64_t label;                          // of this row; no_label if it has none
  S kept[Op::keeps_term ? kBlock : 1];         // its first term, for rows of one block
  tree<S> above[ops::at_least_one(Op::sums)];  // its sums, for longer rows
  mutable word_tile<V, Op::random> words;

  DLK_FN row_loop(const RowArgs& args) : op(args.params), a(args) {}

  // --- what belongs to the elements from column i on

  // Where they are read: in the arrays, or, at the row's end if they do not fill a register, in tiles.
  struct source {
    const T* in[ops::at_least_one(ins)];
    const T* col[ops::at_least_one(Op::columns)];  // null: the op's default
  };
  struct tiles {
    T in[ops::at_least_one(ins)][width], col[ops::at_least_one(Op::columns)][width];
  };
  DLK_FN source arrays() const {
    source s;
    for (int k = 0; k < ins; ++k) s.in[k] = in[k];
    for (int k = 0; k < Op::columns; ++k) s.col[k] = static_cast<const T*>(a.column[k]);
    return s;
  }
  DLK_FN void gather(source& s, tiles& t, std::int64_t i, std::int64_t n) const {
    for (int k = 0; k < ins; ++k) {
      copy_n(t.in[k], s.in[k] + i, n, width);
      s.in[k] = t.in[k];
    }
    for (int k = 0; k < Op::columns; ++k) {
      if (s.col[k] == nullptr) continue;
      copy_n(t.col[k], s.col[k] + i, n, width);
      s.col[k] = t.col[k];
    }
  }

  // The next row, while this one is read: a row is often a page or more, at whose end the hardware stops looking ahead.
  DLK_FN void fetch_next(std::int64_t i) const {
    for (int k = 0; k < Op::ins; ++k) __builtin_prefetch(in[k] + a.in_step[k] + i);
  }

  // i: the column; j: its place in s
  DLK_FN X at(const source& s, std::int64_t i, std::int64_t j) const {
    X x;
    for (int k = 0; k < ins; ++k) x.in[k] = load<V>(s.in[k] + j);
    for (int k = 0; k < Op::columns; ++k) x.col[k] = s.col[k] == nullptr ? V(1 - k) : load<V>(s.col[k] + j);
    if constexpr (Op::one_hot) x.hot = hot(i);
    if constexpr (Op::random) {
      if (op.draws()) x.word = words.at(a.seed, a.offset, row_index * a.cols + i, a.cols - i);
    }
    return x;
  }
  DLK_FN V hot(std::int64_t i) const {
    using U = uint_t<V>;
    using W = scalar_t<V>;
    const std::int64_t at = label - i;
    const bool here = at >= 0 && at < width;
    return select(iota<V>() == U(decltype(bits(W()))(here ? at : width)), V(1), V(0));
  }

  // One element, as a register of its own: what must be known before anything is written, since an output may be an input.
  DLK_FN S one(const void* p, std::int64_t i) const {
    T v;
    std::memcpy(&v, static_cast<const T*>(p) + i, sizeof v);
    return to_compute(v);
  }
  DLK_FN S output_one(std::int64_t i, const Row& row) const {
    ops::cells<Op, S> x;
    for (int k = 0; k < ins; ++k) x.in[k] = one(in[k], i);
    for (int k = 0; k < Op::columns; ++k) x.col[k] = a.column[k] == nullptr ? S(1 - k) : one(a.column[k], i);
    x.hot = i == label ? S(1) : S(0);
    if constexpr (Op::keeps_term) {
      S t[ops::at_least_one(Op::sums)];
      op.template terms<0>(x, row, t);
      x.kept = t[0];
    }
    S r[ops::at_least_one(outs)], c[ops::at_least_one(Op::column_sums)];
    op.outputs(x, row, r, c);
    return r[0];
  }

  // --- passes over the row

  // The sum takes the first input's place: what is read of it afterwards is in the cache, and rounded.
  DLK_FN void join() {
    T* const sum = out[outs];
    const bool short_row = a.cols <= 4 * kBlock;  // beside a longer one the next would crowd the cache
    for (std::int64_t i = 0; i < a.cols; i += width) {
      const std::int64_t n = a.cols - i < width ? a.cols - i : width;
      if (short_row) fetch_next(i);
      if (n == width) {
        store(sum + i, load<V>(in[0] + i) + load<V>(in[1] + i));
      } else {
        store_n(sum + i, load_n<V>(in[0] + i, n) + load_n<V>(in[1] + i, n), n);
      }
    }
    in[0] = sum;
  }

  DLK_FN S maximum() const {
    const V lowest = V(-__builtin_inf());
    V m[4] = {lowest, lowest, lowest, lowest};
    std::int64_t i = 0;
    if constexpr (!Op::skips_label) {
      for (; i + 4 * width <= a.cols; i += 4 * width) {
        for (int u = 0; u < 4; ++u) m[u] = max(m[u], load<V>(in[0] + i + u * width));
      }
    }
    for (; i < a.cols; i += width) {
      const std::int64_t n = a.cols - i < width ? a.cols - i : width;
      V v = n == width ? load<V>(in[0] + i) : load_n<V>(in[0] + i, n);
      if constexpr (Op::skips_label) v = select(hot(i) == V(1), lowest, v);
      m[0] = max(m[0], n == width ? v : keep_n(v, n, lowest));
    }
    S b[width];
    store(b, max(max(m[0], m[1]), max(m[2], m[3])));
    for (int w = width / 2; w >= 1; w /= 2) {
      for (int j = 0; j < w; ++j) b[j] = max(b[j], b[j + w]);
    }
    return b[0];
  }
  // The lowest column that attains the maximum; no_label if there is none (NaN).
  DLK_FN std::int64_t column_of_max(S max) const {
    for (std::int64_t i = 0; i < a.cols; ++i) {
      if (!(Op::skips_label && i == label) && one(in[0], i) == max) return i;
    }
    return no_label;
  }

  template <int phase>
  DLK_FN void block(std::int64_t first, std::int64_t columns, const Row& of_row, S* keep, S* sum) const {
    const Row row = of_row;  // a copy that no store can change: its numbers stay in registers
    V acc[Op::sums][accumulators];
    source s = arrays();
    tiles ends;
    for (std::int64_t i = 0; i < columns; i += width) {
      const std::int64_t n = columns - i < width ? columns - i : width;
      std::int64_t place = first + i;
      if (n < width) {
        gather(s, ends, place, n);
        place = 0;
      }
      if (phase == 0 && !Op::joins) fetch_next(first + i);
      V t[Op::sums];
      op.template terms<phase>(at(s, first + i, place), row, t);
      if (keep != nullptr) store(keep + i, t[0]);
      const int k = int(i / width % accumulators);
      for (int j = 0; j < Op::sums; ++j) {
        if (n < width) t[j] = keep_n(t[j], n, V(-0.0));
        acc[j][k] = i < kLanes ? t[j] : acc[j][k] + t[j];
      }
    }
    const std::int64_t vectors = (columns + width - 1) / width;
    for (int j = 0; j < Op::sums; ++j) {
      sum[j] = columns == 0 ? S(0) : fold(acc[j], int(vectors < accumulators ? vectors : accumulators));
    }
  }

  template <int phase>
  DLK_FN void sums(Row& row) {
    const bool one_block = a.cols <= kBlock;
    S* const keep = Op::keeps_term && phase == 0 && one_block && out[0] != nullptr ? kept : nullptr;
    std::int64_t i = 0;
    do {  // the ops' terms stand here once: a second call of block() would be a second copy of them
      block<phase>(i, a.cols - i < kBlock ? a.cols - i : kBlock, row, keep, row.sum);
      if (one_block) return;
      for (int k = 0; k < Op::sums; ++k) {
        if (i == 0) above[k].clear();
        above[k].push(row.sum[k]);
      }
      i += kBlock;
    } while (i < a.cols);
    for (int k = 0; k < Op::sums; ++k) row.sum[k] = above[k].total();
  }

  template <int phase>
  DLK_FN void run_phases(Row& row) {
    if constexpr (phase < Op::phases) {
      if constexpr (Op::sums > 0) sums<phase>(row);
      op.template finish<phase>(row);
      if constexpr (phase == 0 && Op::iterates) {
        while (op.again(row)) {
          sums<0>(row);
          op.template finish<0>(row);
        }
      }
      run_phases<phase + 1>(row);
    }
  }

  // r: the row's place in this call, which begins a block of rows
  DLK_FN void write(std::int64_t r, const Row& of_row) const {
    const Row row = of_row;  // as in block()
    S* total[ops::at_least_one(Op::column_sums)];
    for (int k = 0; k < Op::column_sums; ++k) {
      total[k] = a.column_sum[k] == nullptr ? nullptr : static_cast<S*>(a.column_sum[k]) + r / kRowBlock * a.cols;
    }
    source s = arrays();
    tiles ends;
    for (std::int64_t i = 0; i < a.cols; i += width) {
      const std::int64_t n = a.cols - i < width ? a.cols - i : width;
      std::int64_t place = i;
      if (n < width) {
        gather(s, ends, i, n);
        place = 0;
      }
      X x = at(s, i, place);
      if constexpr (Op::keeps_term) {
        if (a.cols <= kBlock) {
          x.kept = load<V>(kept + i);
        } else {
          V t[Op::sums];
          op.template terms<0>(x, row, t);
          x.kept = t[0];
        }
      }
      V y[ops::at_least_one(outs)], c[ops::at_least_one(Op::column_sums)];
      op.outputs(x, row, y, c);
      for (int k = 0; k < outs; ++k) {
        if (n == width) {
          store(out[k] + i, y[k]);
        } else {
          store_n(out[k] + i, y[k], n);
        }
      }
      for (int k = 0; k < Op::column_sums; ++k) {
        if (total[k] == nullptr) continue;
        if (n == width) {
          store(total[k] + i, r % kRowBlock == 0 ? c[k] : load<V>(total[k] + i) + c[k]);
        } else {
          store_n(total[k] + i, r % kRowBlock == 0 ? c[k] : load_n<V>(total[k] + i, n) + c[k], n);
        }
      }
    }
  }

  DLK_FN void zero() const {
    for (int k = 0; k < Op::outs; ++k) {
      for (std::int64_t i = 0; i < a.cols; i += width) {
        store_n(out[k] + i, V(0), a.cols - i < width ? a.cols - i : width);
      }
    }
  }

  DLK_FN void begin(std::int64_t r, Row& row) {
    for (int k = 0; k < Op::ins; ++k) in[k] = static_cast<const T*>(a.in[k]) + r * a.in_step[k];
    out[0] = nullptr;
    for (int k = 0; k < Op::outs; ++k) {
      out[k] = a.out[k] == nullptr ? nullptr : static_cast<T*>(a.out[k]) + r * a.out_step[k];
    }
    row_index = a.first + r;
    row.cols = S(a.cols);
    for (int k = 0; k < Op::scalars; ++k) {
      const S* const scalar = static_cast<const S*>(a.scalar[k]);
      row.scalar[k] = scalar == nullptr ? S(1) : scalar[row_index / a.scalar_div[k] % a.scalar_mod[k]];
    }
    label = no_label;
    if constexpr (Op::labelled) {
      label = a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[r]
                                 : static_cast<const std::int32_t*>(a.label)[r];
    }
    if constexpr (Op::loss) {
      S g = S(1);
      if (a.upstream != nullptr) g = static_cast<const S*>(a.upstream)[r * a.upstream_step];
      row.upstream = g / divisor<S>(a);
    }
  }

  DLK_FN void run(std::int64_t r) {
    constexpr int values = Op::values + (Op::loss ? 1 : 0);
    Row row;
    begin(r, row);
    const bool ignored = Op::labelled && label == a.ignore;
    if (!ignored) {
      if constexpr (Op::labelled) {
        row.label_x = one(in[0], label);
        row.label_weight = a.column[0] == nullptr ? S(1) : one(a.column[0], label);
      }
      if constexpr (Op::joins) join();
      if constexpr (Op::needs_max) row.max = maximum();
      op.start(row);
      run_phases<0>(row);
    }
    for (int k = 0; k < values; ++k) {
      if (a.value[k] != nullptr) static_cast<S*>(a.value[k])[r] = ignored ? S(0) : row.value[k];
    }
    if constexpr (Op::outs > 0 || Op::column_sums > 0) {
      if (Op::outs > 0 && out[0] == nullptr) return;
      if (ignored) {
        zero();
        return;
      }
      // Corrected before the one rounding to storage, from the inputs and not from the stored output: an output may be an input.
      std::int64_t spot[2] = {no_label, no_label};
      T right[2];
      if constexpr (Op::corrects_label) {
        spot[0] = label;
        right[0] = to_storage<T>(op.at_label(output_one(label, row), row));
      }
      if constexpr (Op::marks_max) {
        spot[1] = column_of_max(row.max);
        if (spot[1] != no_label) right[1] = to_storage<T>(op.at_max(output_one(spot[1], row), row));
      }
      write(r, row);
      for (int k = 0; k < 2; ++k) {
        if (spot[k] != no_label) std::memcpy(static_cast<void*>(out[0] + spot[k]), &right[k], sizeof(T));
      }
    }
  }
};

template <class Op, class T>
int rows(const RowArgs& a) {
  row_loop<Op, T> loop(a);
  for (std::int64_t r = 0; r < a.rows; ++r) loop.run(r);
  return 0;
}

template <class L>
struct row_table;
template <class... Op>
struct row_table<list<Op...>> {
  static constexpr Entry<RowArgs> rows[] = {{Op::name,
                                             Op::pass,
                                             Op::ins,
                                             Op::outs,
                                             Op::count,
                                             needs_of<Op>(),
                                             {dlk::DLK_TARGET::rows<Op, f32>, dlk::DLK_TARGET::rows<Op, f64>,
                                              dlk::DLK_TARGET::rows<Op, f16>, dlk::DLK_TARGET::rows<Op, bf16>}}...};
};

DLK_END
