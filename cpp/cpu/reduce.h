// Sums over a whole array in canonical order, one partial sum per block, with the gradient written in the same pass where it is wanted.
// Also the sum of the partial sums (the next level of the same rule), and the scan of class ids that a classification loss begins with.
#pragma once
#include "../../kernels/ops/op.h"
#include "../../kernels/ops/root.h"
#include "canonical.h"

DLK_BEGIN

// A block at a time. What does not fill a vector goes through buffers and then the same code as the rest.
template <class Op, class T, bool with_grad>
struct loss_loop {
  using V = lanes<T>;
  using S = compute_t<T>;
  static constexpr int width = lane<V>::size, accumulators = kLanes / width, outs = with_grad ? Op::outs : 0;

  const Op op;
  const ReduceArgs a;
  const S over;  // the upstream gradient of all elements, or 1, divided
  const bool streams;

  // What one vector of elements reads and writes.
  struct place {
    const T* in[Op::ins];
    const T* weight;
    const S* upstream;
    T* out[Op::outs];
    S* value;
  };

  DLK_FN loss_loop(const ReduceArgs& args)
      : op(made(args)),
        a(args),
        over((per_element() || args.upstream == nullptr ? S(1) : *static_cast<const S*>(args.upstream)) /
             divisor<S>(args)),
        streams(with_grad && args.stream && aligned()) {}

  DLK_FN static Op made(const ReduceArgs& args) {
    Op op(args.params);
    if constexpr (is_scaled<Op>(0)) {
      if (args.scale != nullptr) op.scale = double(*static_cast<const S*>(args.scale));
    }
    return op;
  }

  DLK_FN bool per_element() const { return a.upstream != nullptr && a.upstream_step != 0; }
  DLK_FN bool absent(int k) const { return k >= required_inputs<Op>(0) && a.in[k] == nullptr; }
  DLK_FN bool aligned() const {
    std::uintptr_t past = 0;
    for (int k = 0; k < outs; ++k) past |= reinterpret_cast<std::uintptr_t>(a.out[k]);
    return past % sizeof(packed_t<V, T>) == 0;
  }

  DLK_FN place at(std::int64_t i) const {
    place p;
    for (int k = 0; k < Op::ins; ++k) p.in[k] = absent(k) ? nullptr : static_cast<const T*>(a.in[k]) + i;
    p.weight = a.weight == nullptr ? nullptr : static_cast<const T*>(a.weight) + i;
    p.upstream = per_element() ? static_cast<const S*>(a.upstream) + i : nullptr;
    for (int k = 0; k < outs; ++k) p.out[k] = static_cast<T*>(a.out[k]) + i;
    p.value = a.value == nullptr ? nullptr : static_cast<S*>(a.value) + i;
    return p;
  }

  // The vector that begins `at` elements after p.
  DLK_FN V whole(const place& p, int at, bool past_cache) const {
    V x[Op::ins];
    for (int k = 0; k < Op::ins; ++k) x[k] = absent(k) ? V(1) : load<V>(p.in[k] + at);
    V v = op(x);
    V w = V(1);
    if (p.weight != nullptr) {
      w = load<V>(p.weight + at);
      v = select(w == V(0), V(0), v * w);
    }
    if constexpr (with_grad) {
      V g = V(over), r[Op::outs];
      if (p.upstream != nullptr) g = load<V>(p.upstream + at) * g;
      if (p.weight != nullptr) g = g * w;
      op.grad(g, x, r);
      for (int k = 0; k < outs; ++k) {
        if (p.weight != nullptr) r[k] = select(w == V(0), V(0), r[k]);
        if (past_cache) {
          stream(p.out[k] + at, r[k]);
        } else {
          store(p.out[k] + at, r[k]);
        }
      }
    }
    if (p.value != nullptr) store(p.value + at, v);
    return v;
  }

  // By chunks of 256 elements: the vectors of a chunk share their pointers.
  DLK_FN S block(std::int64_t first, std::int64_t n) const {
    V acc[accumulators];
    for (std::int64_t i = 0; i < n; i += kLanes) {
      T in_tile[Op::ins][width], weight_tile[width], out_tile[Op::outs][width];
      S upstream_tile[width], value_tile[width];
      const int count = int(n - i < kLanes ? n - i : kLanes);
      const place chunk = at(first + i);
      for (int j = 0; j < count; j += width) {
        place p = chunk;
        int from = j;
        const int rest = count - j;
        const bool full = rest >= width;
        if (!full) {
          from = 0;
          for (int k = 0; k < Op::ins; ++k) {
            if (absent(k)) continue;
            copy_n(in_tile[k], chunk.in[k] + j, rest, width);
            p.in[k] = in_tile[k];
          }
          if (chunk.weight != nullptr) {
            copy_n(weight_tile, chunk.weight + j, rest, width);
            p.weight = weight_tile;
          }
          if (chunk.upstream != nullptr) {
            copy_n(upstream_tile, chunk.upstream + j, rest, width);
            p.upstream = upstream_tile;
          }
          for (int k = 0; k < outs; ++k) p.out[k] = out_tile[k];
          if (chunk.value != nullptr) p.value = value_tile;
        }
        V v = whole(p, from, full && streams);
        if (!full) {
          for (int k = 0; k < outs; ++k) copy_n(chunk.out[k] + j, out_tile[k], rest, rest);
          if (chunk.value != nullptr) copy_n(chunk.value + j, value_tile, rest, rest);
          v = keep_n(v, rest, V(-0.0));
        }
        acc[j / width] = i == 0 ? v : acc[j / width] + v;
      }
    }
    return fold(acc, int((n + width - 1) / width < accumulators ? (n + width - 1) / width : accumulators));
  }

  DLK_FN void run() const {
    for (std::int64_t i = 0; i < a.n; i += kBlock) {
      const S sum = block(i, a.n - i < kBlock ? a.n - i : kBlock);
      if (a.partial != nullptr) static_cast<S*>(a.partial)[i / kBlock] = sum;
    }
    if (streams) stream_fence();
  }
};

// Is this a sum again of terms that need no scale?
template <class S>
DLK_FN bool is_done(const ReduceArgs& a) {
  return a.again && *static_cast<const S*>(a.scale) == S(1);
}

template <class Op, class T, bool with_grad>
int reduce(const ReduceArgs& a) {
  if constexpr (is_scaled<Op>(0)) {
    if (is_done<compute_t<T>>(a)) return 0;
  }
  loss_loop<Op, T, with_grad>(a).run();
  return 0;
}

// The sum of compute-type values: block results, or per-row losses. One block is divided by the divisor: that is the mean. With
// `value` it is the root of that mean, value[0] what a gradient is divided by, and value[1] what terms have to be scaled by.
template <class S>
int sum(const ReduceArgs& a) {
  using V = lanes<S>;
  constexpr int width = lane<V>::size;
  constexpr int accumulators = kLanes / width;
  if (is_done<S>(a)) return 0;
  const S* x = static_cast<const S*>(a.in[0]);
  S* out = static_cast<S*>(a.partial);
  if (a.n == 0) out[0] = S(0);
  for (std::int64_t first = 0; first < a.n; first += kBlock) {
    const std::int64_t n = a.n - first < kBlock ? a.n - first : kBlock;
    V acc[accumulators];
    int used = 0;
    for (std::int64_t i = 0; i < n; i += width) {
      const V v = n - i < width ? keep_n(load_n<V>(x + first + i, n - i), n - i, V(-0.0)) : load<V>(x + first + i);
      const int k = int(i / width % accumulators);
      acc[k] = i < kLanes ? v : acc[k] + v;
      if (i < kLanes) ++used;
    }
    out[first / kBlock] = fold(acc, used);
  }
  if (a.n > kBlock) return 0;
  out[0] = out[0] / divisor<S>(a);
  if (a.value != nullptr) {
    S* const value = static_cast<S*>(a.value);
    const S root = sqrt(out[0]);
    value[0] = root * divisor<S>(a);
    if (a.again) {
      out[0] = root / *static_cast<const S*>(a.scale);
    } else {
      out[0] = root;
      value[1] = ops::root_scale(root);
    }
  }
  return 0;
}

// Are all class ids in range, and what do the rows that count weigh together? Rows that do not count are absent from the sum.
template <class T>
int labels(const LabelArgs& a) {
  using S = compute_t<T>;
  S lane[kLanes];
  tree<S> above;
  above.clear();
  a.bad->row = -1;
  std::int64_t valid = 0;
  for (std::int64_t first = 0; first < a.n; first += kBlock) {
    const std::int64_t n = a.n - first < kBlock ? a.n - first : kBlock;
    for (int j = 0; j < kLanes; ++j) lane[j] = S(-0.0);
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int64_t r = first + i;
      const std::int64_t y = a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[r]
                                                : static_cast<const std::int32_t*>(a.label)[r];
      if (y == a.ignore) continue;
      if (y < 0 || y >= a.classes) {
        *a.bad = {r, y, a.classes, a.ignore};
        return 0;
      }
      ++valid;
      if (a.weight != nullptr) {
        T w;
        std::memcpy(&w, static_cast<const T*>(a.weight) + y, sizeof w);
        lane[i % kLanes] = lane[i % kLanes] + to_compute(w);
      }
    }
    for (int w = kLanes / 2; w >= 1; w /= 2) {
      for (int j = 0; j < w; ++j) lane[j] = lane[j] + lane[j + w];
    }
    above.push(lane[0]);
  }
  S* const total = static_cast<S*>(a.total);
  total[0] = a.weight == nullptr ? S(valid) : above.total();
  if (valid == 0) total[0] = S(0);
  total[1] = S(valid);
  total[2] = total[0] / total[1];
  return 0;
}

template <class Op, bool with_grad>
inline constexpr Entry<ReduceArgs> loss_row = {
    Op::name,
    with_grad ? "grad" : "",
    Op::ins,
    with_grad ? Op::outs : 0,
    Op::count,
    more_operands,
    {reduce<Op, f32, with_grad>, reduce<Op, f64, with_grad>, reduce<Op, f16, with_grad>, reduce<Op, bf16, with_grad>}};

template <class L>
struct reduce_table;
template <class... Op>
struct reduce_table<list<Op...>> {
  static constexpr int size = 1 + 2 * list<Op...>::size;
  static constexpr Entry<ReduceArgs> rows[size] = {
      {"sum", "", 1, 0, 0, more_operands, {sum<f32>, sum<f64>, sum<f32>, sum<f32>}},
      loss_row<Op, false>...,
      loss_row<Op, true>...};
};

inline constexpr Entry<LabelArgs> label_rows[] = {
    {"labels", "", 1, 0, 0, more_operands, {labels<f32>, labels<f64>, labels<f16>, labels<bf16>}}};

DLK_END
