// Sums over a whole array in canonical order, one partial sum per block, with the gradient written in the same pass where it is wanted:
// a warp owns a block. Also the sum of the partial sums (the next level of the same rule), and the scan of class ids that a
// classification loss begins with. No atomics: the same bits from run to run, and the CPU's.
#pragma once
#include "../ops/op.h"
#include "canonical.cuh"

DLK_BEGIN

// The registers from `r0` on, G of the eight that a thread holds of a chunk of 256 with n elements, in layout P; absent ones are 0.
template <int P, int G, class T>
DLK_DEVICE void load_chunk(T (&x)[G], const T* p, std::int64_t n, int r0 = 0) {
#pragma unroll
  for (int r = 0; r < G; r += P) {
    const int at = lane_of<P>(r0 + r, lane_id());
    if constexpr (P > 1) {
      if (at + P <= n) {
        const packet<T, P> v = load_packet<P>(p + at);
        for (int e = 0; e < P; ++e) x[r + e] = v.v[e];
        continue;
      }
    }
    for (int e = 0; e < P; ++e) x[r + e] = at + e < n ? p[at + e] : T{};
  }
}
template <int P, int G, class T>
DLK_DEVICE void store_chunk(T* p, const T (&x)[G], std::int64_t n, int r0) {
#pragma unroll
  for (int r = 0; r < G; r += P) {
    const int at = lane_of<P>(r0 + r, lane_id());
    if constexpr (P > 1) {
      if (at + P <= n) {
        packet<T, P> v;
        for (int e = 0; e < P; ++e) v.v[e] = x[r + e];
        store_packet(p + at, v);
        continue;
      }
    }
    for (int e = 0; e < P; ++e) {
      if (at + e < n) p[at + e] = x[r + e];
    }
  }
}

// What is summed. A loss, with its gradients in the same pass if they are wanted ...
template <class Op, class T, bool with_grad>
struct loss_terms {
  using S = compute_t<T>;
  static constexpr int P = kPacket<T>, outs = with_grad ? Op::outs : 0;
  static constexpr int at_once =
      sizeof(S) == 8 ? kHeld / 4 : kHeld;  // elements in flight: float64 would spill with all
  Op op;
  ReduceArgs a;

  DLK_DEVICE const T* in(int k) const { return static_cast<const T*>(a.in[k]); }
  DLK_DEVICE const T* weight() const { return static_cast<const T*>(a.weight); }
  DLK_DEVICE const S* upstream() const { return static_cast<const S*>(a.upstream); }
  DLK_FN bool absent(int k) const { return k >= required_inputs<Op>(0) && a.in[k] == nullptr; }
  DLK_DEVICE bool per_element() const { return a.upstream != nullptr && a.upstream_step != 0; }

  bool packets() const {
    bool all = aligned(static_cast<const T*>(a.weight));
    for (int k = 0; k < Op::ins; ++k) all = all && aligned(static_cast<const T*>(a.in[k]));
    for (int k = 0; k < outs; ++k) all = all && aligned(static_cast<const T*>(a.out[k]));
    return all;
  }
  DLK_DEVICE S flowing_in() const {
    return (a.upstream == nullptr || per_element() ? S(1) : *upstream()) / divisor<S>(a);
  }
  // the terms of the chunk at i, which has n elements
  template <int Q>
  DLK_DEVICE void chunk(S (&v)[kHeld], std::int64_t i, std::int64_t n, S g) const {
#pragma unroll
    for (int r0 = 0; r0 < kHeld; r0 += at_once) part<Q>(v, i, n, g, r0);
  }
  template <int Q>
  DLK_DEVICE void part(S (&v)[kHeld], std::int64_t i, std::int64_t n, S g, int r0) const {
    T x[Op::ins][at_once], w[at_once], d[Op::outs][at_once];
    S of_this[at_once];
#pragma unroll
    for (int k = 0; k < Op::ins; ++k) {
      if (!absent(k)) load_chunk<Q>(x[k], in(k) + i, n, r0);
    }
    if (a.weight != nullptr) load_chunk<Q>(w, weight() + i, n, r0);
#pragma unroll
    for (int e = 0; e < at_once; ++e) of_this[e] = g;
    if (per_element()) {
#pragma unroll
      for (int e = 0; e < at_once; ++e) {
        const int at = lane_of<Q>(r0 + e, lane_id());
        if (at < n) of_this[e] = upstream()[i + at] * g;
      }
    }
#pragma unroll
    for (int e = 0; e < at_once; ++e) {
      S c[Op::ins], r[Op::outs];
      for (int k = 0; k < Op::ins; ++k) c[k] = absent(k) ? S(1) : to_compute(x[k][e]);
      const S scale = a.weight == nullptr ? S(1) : to_compute(w[e]);
      S term = op(c);
      if (a.weight != nullptr) term = scale == S(0) ? S(0) : term * scale;
      v[r0 + e] = term;
      if constexpr (with_grad) {
        op.grad(a.weight == nullptr ? of_this[e] : of_this[e] * scale, c, r);
        for (int k = 0; k < outs; ++k) d[k][e] = to_storage<T>(a.weight != nullptr && scale == S(0) ? S(0) : r[k]);
      }
    }
#pragma unroll
    for (int k = 0; k < outs; ++k) store_chunk<Q>(static_cast<T*>(a.out[k]) + i, d[k], n, r0);
    if (a.value == nullptr) return;
#pragma unroll
    for (int e = 0; e < at_once; ++e) {
      const int at = lane_of<Q>(r0 + e, lane_id());
      if (at < n) static_cast<S*>(a.value)[i + at] = v[r0 + e];
    }
  }
  DLK_DEVICE S finish(S sum) const { return sum; }
};

// ... or values of the compute type: block results, or losses of rows. A sum of one block is divided: that is the mean.
template <class Type>
struct plain_terms {
  using S = Type;
  static constexpr int P = kPacket<S>;
  const S* x;
  const void* divisor;
  double count;
  void* steepness;  // the root is wanted, and here what a gradient is divided by
  bool last;

  bool packets() const { return aligned(x); }
  DLK_DEVICE S flowing_in() const { return S(0); }
  template <int Q>
  DLK_DEVICE void chunk(S (&v)[kHeld], std::int64_t i, std::int64_t n, S) const {
    load_chunk<Q>(v, x + i, n);
  }
  DLK_DEVICE S finish(S sum) const {
    if (!last) return sum;
    const S over = dlk::DLK_TARGET::divisor<S>(*this), mean = sum / over;
    if (steepness == nullptr) return mean;
    const S root = sqrt(mean);
    *static_cast<S*>(steepness) = root * over;
    return root;
  }
};

template <int Q, class Terms>
DLK_DEVICE typename Terms::S block_sum(const Terms& a, std::int64_t first, std::int64_t n, typename Terms::S g) {
  using S = typename Terms::S;
  S sum[kHeld];
  for (int r = 0; r < kHeld; ++r) sum[r] = S(-0.0);
#pragma unroll 2
  for (std::int64_t i = 0; i < n; i += kLanes) {
    S v[kHeld];
    a.template chunk<Q>(v, first + i, n - i, g);
#pragma unroll
    for (int r = 0; r < kHeld; ++r) sum[r] = sum[r] + (i + lane_of<Q>(r, lane_id()) < n ? v[r] : S(-0.0));
  }
  return fold<Q>(sum);
}

template <class Terms>
__global__ void __launch_bounds__(kReduceThreads, 2)
    reduce_kernel(const Terms __grid_constant__ a, std::int64_t n, bool packets, typename Terms::S* partial) {
  using S = typename Terms::S;
  const std::int64_t warp = (std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp,
                     warps = std::int64_t(gridDim.x) * blockDim.x / kWarp;
  const S g = a.flowing_in();
#pragma unroll 1
  for (std::int64_t b = warp; b * kBlock < n; b += warps) {
    const std::int64_t first = b * kBlock, count = n - first < kBlock ? n - first : kBlock;
    const S sum = packets ? block_sum<Terms::P>(a, first, count, g) : block_sum<1>(a, first, count, g);
    if (lane_id() == 0 && partial != nullptr) partial[b] = a.finish(sum);
  }
  if (n == 0 && warp == 0 && lane_id() == 0) partial[0] = a.finish(S(0));
}

template <class Terms>
int reduce_with(const Terms& terms, const ReduceArgs& a) {
  const std::int64_t warps = a.n == 0 ? 1 : ceil_div(a.n, kBlock);
  const std::int64_t blocks =
      at_most(ceil_div(warps * kWarp, kReduceThreads), std::int64_t(current_device().sms) * kReduceBlocksPerSm);
  return launch(reduce_kernel<Terms>, blocks, kReduceThreads, {}, a.queue, terms, a.n, terms.packets(),
                static_cast<typename Terms::S*>(a.partial));
}

template <class Op, class T, bool with_grad>
int reduce(const ReduceArgs& a) {
  if (a.n == 0) return 0;
  return reduce_with(loss_terms<Op, T, with_grad>{Op(a.params), a}, a);
}
template <class S>
int sum(const ReduceArgs& a) {
  return reduce_with(plain_terms<S>{static_cast<const S*>(a.in[0]), a.divisor, a.count, a.value, a.n <= kBlock}, a);
}

// --- class ids ---------------------------------------------------------------------------------------------------------------

template <class S>
struct label_shared {
  S sum[kLabelThreads / kWarp];
  long long valid[kLabelThreads / kWarp], bad[kLabelThreads / kWarp];
  ladder<S> above;
};

// Are all class ids in range, and what do the rows that count weigh together? One thread block: an id is read once, and the order of the
// sum is the canonical one. With an id out of range, the total is NaN and `bad` the first such row.
template <class T>
__global__ void __launch_bounds__(kLabelThreads, 1) label_kernel(const LabelArgs __grid_constant__ a) {
  using S = compute_t<T>;
  constexpr int warps = kLabelThreads / kWarp;
  constexpr long long none = 0x7fffffffffffffffll;
  __shared__ label_shared<S> shared;
  const int warp = int(threadIdx.x) / kWarp;
  long long valid = 0, bad = none;
  if (warp == 0) shared.above.begin();
#pragma unroll 1
  for (std::int64_t batch = 0; batch * kBlock < a.n; batch += warps) {
    const std::int64_t first = (batch + warp) * kBlock;
    S sum[kHeld];
    for (int r = 0; r < kHeld; ++r) sum[r] = S(-0.0);
#pragma unroll 1
    for (std::int64_t i = first; i < a.n && i < first + kBlock; i += kLanes) {
#pragma unroll
      for (int r = 0; r < kHeld; ++r) {
        const std::int64_t row = i + lane_of<1>(r, lane_id());
        if (row >= a.n) continue;
        const std::int64_t y = a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[row]
                                                  : static_cast<const std::int32_t*>(a.label)[row];
        if (y == a.ignore) continue;
        if (y < 0 || y >= a.classes) {
          bad = row < bad ? row : bad;
          continue;
        }
        ++valid;
        if (a.weight != nullptr) sum[r] = sum[r] + to_compute(static_cast<const T*>(a.weight)[y]);
      }
    }
    const S of_block = fold<1>(sum);
    if (lane_id() == 0) shared.sum[warp] = of_block;
    __syncthreads();
    if (warp == 0) shared.above.push(batch, warps, shared.sum[lane_id()]);
    __syncthreads();
  }
  for (int distance = kWarp / 2; distance >= 1; distance /= 2) {
    const long long other = from_thread(bad, distance);
    valid += from_thread(valid, distance);
    bad = other < bad ? other : bad;
  }
  if (lane_id() == 0) {
    shared.valid[warp] = valid;
    shared.bad[warp] = bad;
  }
  __syncthreads();
  if (warp != 0) return;
  const S weighed = shared.above.total(ceil_div(a.n, kBlock));
  if (lane_id() != 0) return;
  for (int w = 1; w < warps; ++w) {
    valid += shared.valid[w];
    bad = shared.bad[w] < bad ? shared.bad[w] : bad;
  }
  S* const total = static_cast<S*>(a.total);
  total[0] = bad != none ? S(__builtin_nan("")) : valid == 0 ? S(0) : a.weight == nullptr ? S(valid) : weighed;
  total[1] = bad != none ? S(__builtin_nan("")) : S(valid);
  total[2] = total[0] / total[1];
  if (bad != none) {
    const std::int64_t y = a.label_bytes == 8 ? static_cast<const std::int64_t*>(a.label)[bad]
                                              : static_cast<const std::int32_t*>(a.label)[bad];
    *a.bad = {bad, y, a.classes, a.ignore};
  }
}

template <class T>
int labels(const LabelArgs& a) {
  return launch(label_kernel<T>, 1, kLabelThreads, {}, a.queue, a);
}

template <class Op, class Here, class T, bool with_grad>
constexpr auto loss_kernel() -> int (*)(const ReduceArgs&) {
  if constexpr (contains<Op, Here>::value) {
    return reduce<Op, T, with_grad>;
  } else {
    return nullptr;
  }
}

template <class Op, class Here, bool with_grad>
inline constexpr Entry<ReduceArgs> loss_row = {
    Op::name,
    with_grad ? "grad" : "",
    Op::ins,
    with_grad ? Op::outs : 0,
    Op::count,
    more_operands,
    {loss_kernel<Op, Here, f32, with_grad>(), loss_kernel<Op, Here, f64, with_grad>(),
     loss_kernel<Op, Here, f16, with_grad>(), loss_kernel<Op, Here, bf16, with_grad>()}};

template <class L, class Here>  // Here: the losses that have a kernel
struct reduce_table;
template <class... Op, class Here>
struct reduce_table<list<Op...>, Here> {
  static constexpr int size = 1 + 2 * list<Op...>::size;
  static constexpr Entry<ReduceArgs> rows[size] = {
      {"sum", "", 1, 0, 0, more_operands, {sum<f32>, sum<f64>, sum<f32>, sum<f32>}},
      loss_row<Op, Here, false>...,
      loss_row<Op, Here, true>...};
};

inline constexpr Entry<LabelArgs> label_rows[] = {
    {"labels", "", 1, 0, 0, more_operands, {labels<f32>, labels<f64>, labels<f16>, labels<bf16>}}};

DLK_END
