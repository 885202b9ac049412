// Sums over a whole array in canonical order, one partial sum per block, with the gradient written in the same pass where it is wanted.
// Also the sum of the partial sums (the next level of the same rule), and the scan of class ids that a classification loss begins with.
#pragma once
#include "canonical.h"

DLK_BEGIN

// A loss of two inputs. past_cache: the gradient is streamed (its address is then aligned).
template <class Op, class T, bool with_grad, bool past_cache>
struct loss_loop {
  using V = lanes<T>;
  using S = compute_t<T>;
  static constexpr int width = lane<V>::size;

  const Op op;
  const T* p;
  const T* t;
  T* dx;
  V g;

  DLK_FN V whole(std::int64_t i) const {
    const V a = load<V>(p + i), b = load<V>(t + i);
    if constexpr (with_grad && past_cache) stream(dx + i, op.grad(g, a, b));
    if constexpr (with_grad && !past_cache) store(dx + i, op.grad(g, a, b));
    return op(a, b);
  }
  DLK_FN V partial(std::int64_t i, std::int64_t n) const {
    const V a = load_n<V>(p + i, n), b = load_n<V>(t + i, n);
    if constexpr (with_grad) store_n(dx + i, op.grad(g, a, b), n);
    return keep_n(op(a, b), n, V(-0.0));
  }
  DLK_FN S block(std::int64_t first, std::int64_t n) const {
    constexpr int accumulators = kLanes / width;
    V acc[accumulators];
    const int used = int((n + width - 1) / width < accumulators ? (n + width - 1) / width : accumulators);
    std::int64_t i = 0;
    for (int k = 0; k < used; ++k, i += width) acc[k] = n - i < width ? partial(first + i, n - i) : whole(first + i);
    for (; i + kLanes <= n; i += kLanes) {
      for (int k = 0; k < accumulators; ++k) acc[k] = acc[k] + whole(first + i + k * width);
    }
    for (; i < n; i += width) {
      V& lane = acc[i / width % accumulators];
      lane = lane + (n - i < width ? partial(first + i, n - i) : whole(first + i));
    }
    return fold(acc, used);
  }
  DLK_FN void blocks(std::int64_t n, S* out) const {
    for (std::int64_t i = 0; i < n; i += kBlock) out[i / kBlock] = block(i, n - i < kBlock ? n - i : kBlock);
  }
};

template <class Op, class T>
int reduce(const ReduceArgs& a) {
  using S = compute_t<T>;
  using V = lanes<T>;
  const Op op(a.params);
  const T* p = static_cast<const T*>(a.in[0]);
  const T* t = static_cast<const T*>(a.in[1]);
  T* dx = static_cast<T*>(a.out);
  S* partial = static_cast<S*>(a.partial);
  const V g = V((a.upstream == nullptr ? S(1) : *static_cast<const S*>(a.upstream)) / divisor<S>(a));
  if (dx == nullptr) {
    loss_loop<Op, T, false, false>{op, p, t, dx, g}.blocks(a.n, partial);
  } else if (a.stream && reinterpret_cast<std::uintptr_t>(dx) % sizeof(packed_t<V, T>) == 0) {
    loss_loop<Op, T, true, true>{op, p, t, dx, g}.blocks(a.n, partial);
    stream_fence();
  } else {
    loss_loop<Op, T, true, false>{op, p, t, dx, g}.blocks(a.n, partial);
  }
  return 0;
}

// The sum of compute-type values: block results, or per-row losses. One block is divided by the divisor: that is the mean.
template <class S>
int sum(const ReduceArgs& a) {
  using V = lanes<S>;
  constexpr int width = lane<V>::size;
  constexpr int accumulators = kLanes / width;
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
  if (a.n <= kBlock) out[0] = out[0] / divisor<S>(a);
  return 0;
}

// Are all class ids in range, and what do the rows that count weigh together? Rows that do not count are absent from the sum.
template <class T>
int labels(const LabelArgs& a) {
  using S = compute_t<T>;
  S lane[kLanes];
  tree<S> above;
  *a.bad = -1;
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
        *a.bad = r;
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
  S total = a.weight == nullptr ? S(valid) : above.total();
  if (valid == 0) total = S(0);
  *static_cast<S*>(a.total) = total;
  return 0;
}

template <class L>
struct reduce_table;
template <class... Op>
struct reduce_table<list<Op...>> {
  static constexpr Entry<ReduceArgs> rows[] = {
      {"sum", "", 1, 0, {sum<f32>, sum<f64>, sum<f32>, sum<f32>}},
      {Op::name, "", 2, Op::count, {reduce<Op, f32>, reduce<Op, f64>, reduce<Op, f16>, reduce<Op, bf16>}}...};
};

inline constexpr Entry<LabelArgs> label_rows[] = {
    {"labels", "", 1, 0, {labels<f32>, labels<f64>, labels<f16>, labels<bf16>}}};

DLK_END
