// Row-wise ops: the maximum, the canonical sums of the terms, the row's scalars, then the output. A row is read from memory once: it is
// still in cache when it is read again, and a row of one block keeps its first term (an exponential, as a rule) in a buffer.
#pragma once
#include "canonical.h"

DLK_BEGIN

template <class Op, class T>
struct row_loop {
  using V = lanes<T>;
  using S = compute_t<T>;
  using Row = ops::row_of<S, Op::sums>;
  static constexpr int width = lane<V>::size;
  static constexpr int accumulators = kLanes / width;

  const Op op;
  const RowArgs& a;
  const T* in[Op::ins];  // this row
  S kept[kBlock];        // its first term, for rows of one block

  DLK_FN row_loop(const RowArgs& args) : op(args.params), a(args) {}

  template <class L>
  DLK_FN void load_each(V* x, L load_from) const {
    for (int k = 0; k < Op::ins; ++k) x[k] = load_from(in[k]);
  }
  // weights of columns i, i + 1, ...
  DLK_FN V weight(std::int64_t i, std::int64_t n) const {
    if (a.weight == nullptr) return V(1);
    const T* w = static_cast<const T*>(a.weight) + i;
    return n == width ? load<V>(w) : load_n<V>(w, n);
  }
  DLK_FN void load_at(V* x, std::int64_t i, std::int64_t n) const {
    if (n == width) {
      load_each(x, [&](auto* p) { return load<V>(p + i); });
    } else {
      load_each(x, [&](auto* p) { return load_n<V>(p + i, n); });
    }
  }

  DLK_FN S maximum() const {
    const V lowest = V(-__builtin_inf());
    V m[4] = {lowest, lowest, lowest, lowest};
    std::int64_t i = 0;
    for (; i + 4 * width <= a.cols; i += 4 * width) {
      for (int u = 0; u < 4; ++u) m[u] = max(m[u], load<V>(in[0] + i + u * width));
    }
    for (; i + width <= a.cols; i += width) m[0] = max(m[0], load<V>(in[0] + i));
    if (i < a.cols) m[0] = max(m[0], keep_n(load_n<V>(in[0] + i, a.cols - i), a.cols - i, lowest));
    S b[width];
    store(b, max(max(m[0], m[1]), max(m[2], m[3])));
    for (int w = width / 2; w >= 1; w /= 2) {
      for (int j = 0; j < w; ++j) b[j] = max(b[j], b[j + w]);
    }
    return b[0];
  }

  // One register of terms at column i of the row; t[0] also goes to `keep` (may be null).
  DLK_FN void terms_at(std::int64_t i, std::int64_t n, const Row& row, S* keep, V* t) const {
    V x[Op::ins];
    load_at(x, i, n);
    op.terms(x, weight(i, n), row, t);
    if (keep != nullptr) store(keep + i, t[0]);
    if (n < width) {
      for (int k = 0; k < Op::sums; ++k) t[k] = keep_n(t[k], n, V(-0.0));
    }
  }

  DLK_FN void block(std::int64_t first, std::int64_t n, const Row& row, S* keep, S* sum) const {
    V acc[Op::sums][accumulators], t[Op::sums];
    std::int64_t i = 0;
    int used = 0;
    for (; used < accumulators && i < n; i += width, ++used) {
      terms_at(first + i, n - i < width ? n - i : width, row, keep, t);
      for (int k = 0; k < Op::sums; ++k) acc[k][used] = t[k];
    }
    while (i + width <= n) {
      for (int lane = 0; lane < accumulators && i + width <= n; ++lane, i += width) {
        terms_at(first + i, width, row, keep, t);
        for (int k = 0; k < Op::sums; ++k) acc[k][lane] = acc[k][lane] + t[k];
      }
    }
    if (i < n) {
      terms_at(first + i, n - i, row, keep, t);
      const int lane = int(i / width % accumulators);
      for (int k = 0; k < Op::sums; ++k) acc[k][lane] = acc[k][lane] + t[k];
    }
    for (int k = 0; k < Op::sums; ++k) sum[k] = fold(acc[k], used);
  }

  DLK_FN void sums(Row& row) {
    if (a.cols <= kBlock) {
      block(0, a.cols, row, Op::keeps_term && a.out != nullptr ? kept : nullptr, row.sum);
      return;
    }
    tree<S> above[Op::sums];
    for (std::int64_t i = 0; i < a.cols; i += kBlock) {
      S s[Op::sums];
      block(i, a.cols - i < kBlock ? a.cols - i : kBlock, row, nullptr, s);
      for (int k = 0; k < Op::sums; ++k) above[k].push(s[k]);
    }
    for (int k = 0; k < Op::sums; ++k) row.sum[k] = above[k].total();
  }

  DLK_FN V output_at(std::int64_t i, std::int64_t n, const Row& row) const {
    V x[Op::ins], t[Op::sums];
    load_at(x, i, n);
    const V w = weight(i, n);
    if constexpr (!Op::keeps_term) {
      t[0] = V(0);
    } else if (a.cols <= kBlock) {
      t[0] = load<V>(kept + i);
    } else {
      op.terms(x, w, row, t);
    }
    return op(x, w, t[0], row);
  }

  DLK_FN void outputs(T* y, const Row& row) const {
    std::int64_t i = 0;
    for (; i + width <= a.cols; i += width) store(y + i, output_at(i, width, row));
    if (i < a.cols) store_n(y + i, output_at(i, a.cols - i, row), a.cols - i);
  }

  DLK_FN std::int64_t label(std::int64_t r) const {
    return a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[r]
                              : static_cast<const std::int32_t*>(a.label)[r];
  }
  // the gradient that flows into row r
  DLK_FN S upstream(std::int64_t r) const {
    S g = S(1);
    if (a.upstream != nullptr) g = static_cast<const S*>(a.upstream)[r * a.upstream_step];
    return g / divisor<S>(a);
  }
  DLK_FN S element(const T* p) const {
    T v;
    std::memcpy(&v, p, sizeof v);
    return to_compute(v);
  }

  DLK_FN void run(std::int64_t r) {
    for (int k = 0; k < Op::ins; ++k) in[k] = static_cast<const T*>(a.in[k]) + r * a.in_step[k];
    T* const y = a.out == nullptr ? nullptr : static_cast<T*>(a.out) + r * a.out_step;
    S* const value = a.value == nullptr ? nullptr : static_cast<S*>(a.value) + r;
    Row row;
    std::int64_t target = 0;
    if constexpr (Op::labelled) {
      target = label(r);
      if (target == a.ignore) {
        if (value != nullptr) *value = S(0);
        for (std::int64_t i = 0; y != nullptr && i < a.cols; ++i) y[i] = to_storage<T>(S(0));
        return;
      }
    }
    if constexpr (Op::needs_max) row.max = maximum();
    sums(row);
    if constexpr (Op::loss) {
      ops::label_of<S> of{S(0), S(1)};
      if constexpr (Op::labelled) {
        of.x = element(in[0] + target);
        if (a.weight != nullptr) of.weight = element(static_cast<const T*>(a.weight) + target);
      }
      row.upstream = upstream(r);
      const S v = op.finish(row, of);
      if (value != nullptr) *value = v;
    } else {
      op.finish(row);
    }
    if (y == nullptr) return;
    if constexpr (Op::labelled) {
      // Corrected before the one rounding to storage, from the logit and not from the stored output: y may be the input.
      S x[Op::ins], t[Op::sums];
      for (int k = 0; k < Op::ins; ++k) x[k] = element(in[k] + target);
      const S w = a.weight == nullptr ? S(1) : element(static_cast<const T*>(a.weight) + target);
      op.terms(x, w, row, t);
      const T right = to_storage<T>(op.at_label(op(x, w, t[0], row), row));
      outputs(y, row);
      std::memcpy(y + target, &right, sizeof right);
    } else {
      outputs(y, row);
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
                                             Op::count,
                                             {dlk::DLK_TARGET::rows<Op, f32>, dlk::DLK_TARGET::rows<Op, f64>,
                                              dlk::DLK_TARGET::rows<Op, f16>, dlk::DLK_TARGET::rows<Op, bf16>}}...};
};

DLK_END
