// Sums over a whole array in canonical order, one partial sum per block, with the gradient written in the same pass where it is wanted:
// a warp owns a block. Also the sum of the partial sums (the next level of the same rule). No atomics: the same bits from run to run,
// and the CPU's.
//
// An op is in a kernel once for float32 and once for float64. What storage the arrays have, whether gradients are wanted, whether packets
// fit: all that is asked at run time, where the whole warp answers alike.
#pragma once
#include "../ops/op.h"
#include "../ops/root.h"
#include "canonical.cuh"
#include "reach.cuh"

DLK_BEGIN

// The lanes of one block, eight a thread, in the layout that the storage's packets give.
template <class S>
struct lane_sums {
  static constexpr int many = kAtOnce<S>;
  S sum[kHeld];
  bool turned;  // float64 comes by half chunks, and the next half is kept first

  DLK_DEVICE lane_sums() : turned(false) {
#pragma unroll
    for (int r = 0; r < kHeld; ++r) sum[r] = S(-0.0);
  }
  DLK_DEVICE void turn() {
#pragma unroll
    for (int r = 0; r < kHeld - many; ++r) {
      const S other = sum[r];
      sum[r] = sum[r + many];
      sum[r + many] = other;
    }
    turned = !turned && many < kHeld;
  }
  // `left` of the elements are there
  DLK_DEVICE void add(S (&v)[many], std::int64_t left, bool together) {
    if (left < many * kWarp) {
#pragma unroll
      for (int r = 0; r < many; ++r) {
        if (element_of<S>(r, together) >= left) v[r] = S(-0.0);
      }
    }
#pragma unroll
    for (int r = 0; r < many; ++r) sum[r] = sum[r] + v[r];
    turn();
  }
  DLK_DEVICE S folded(bool together) {
    if (turned) turn();
    return together ? fold<kAtOnce<S>>(sum) : fold<kPacket<S>>(sum);
  }
};

// What a loss reads and writes: operand k of `in` or `out`, numbered as a walk does.
struct Operand {
  void* p;  // null: absent
  int bytes, walker;
};

// A loss, with its gradients in the same pass if they are wanted.
template <class Op, class S>
struct loss_pass {
  static constexpr int many = kAtOnce<S>, part = many * kWarp;
  static constexpr int weight = Op::ins, upstream = weight + 1, value = Op::outs;
  static constexpr int tiles = Op::ins + 2 > Op::outs + 1 ? Op::ins + 2 : Op::outs + 1;

  Op op;
  Operand in[Op::ins + 2], out[Op::outs + 1];
  Walk walk;  // no dimensions: elements lie side by side
  bool packets, grads;
  Dtype dtype;
  int bytes;  // of a storage element
  std::int64_t n;
  S* partial;
  const void *flow, *divisor;  // an upstream gradient of all elements, and what it is divided by
  double count;
  const void* scale;
  bool again;

  loss_pass(const ReduceArgs& a, Dtype d, int size, bool with_grad)
      : op(a.params),
        walk(),
        packets(a.walk == nullptr),
        grads(with_grad),
        dtype(d),
        bytes(size),
        n(a.n),
        partial(static_cast<S*>(a.partial)),
        flow(grads && a.upstream_step == 0 ? a.upstream : nullptr),
        divisor(a.divisor),
        count(a.count),
        scale(a.scale),
        again(a.again) {
    constexpr int others = kMaxIn + kMaxOut;
    if (a.walk != nullptr) walk = *a.walk;
    for (int k = 0; k < Op::ins; ++k) in[k] = {const_cast<void*>(a.in[k]), bytes, k};
    in[weight] = {const_cast<void*>(a.weight), bytes, others};
    in[upstream] = {grads && a.upstream_step != 0 ? const_cast<void*>(a.upstream) : nullptr, int(sizeof(S)),
                    others + 1};
    for (int k = 0; k < Op::outs; ++k) out[k] = {grads ? a.out[k] : nullptr, bytes, kMaxIn + k};
    out[value] = {a.value, int(sizeof(S)), others + 2};
    for (const Operand& o : in) packets = packets && aligned(o.p);
    for (const Operand& o : out) packets = packets && aligned(o.p);
  }

  DLK_DEVICE static void* at(const Operand& o, std::int64_t i) { return static_cast<char*>(o.p) + i * o.bytes; }
  // Is an operand of the compute type beside halves?
  DLK_DEVICE bool together() const { return bytes < int(sizeof(S)); }
  DLK_DEVICE int words(const Operand& o) const { return o.bytes < int(sizeof(S)) ? 1 : 2; }

  // Both packets of an input.
  DLK_DEVICE void load_ahead(held<S> (&x)[Op::ins], std::int64_t i) const {
#pragma unroll
    for (int k = 0; k < Op::ins; ++k) {
      if (in[k].p != nullptr) x[k] = load_words<S>(at(in[k], i), false);
    }
  }
  // The elements of a part: by packets, or through the tiles.
  DLK_DEVICE void load(held<S>& x, int k, bool whole, std::int64_t i, const warp_tile<S> (&tile)[tiles]) const {
    if (in[k].p == nullptr) return;
    if (whole) {
      x = load_words<S>(at(in[k], i), k == upstream && together(), words(in[k]));
    } else {
      x = load_words<S>(tile + k, k == upstream && together(), words(in[k]));
    }
  }
  DLK_DEVICE void store(int k, const held<S>& x, bool whole, std::int64_t i, warp_tile<S> (&tile)[tiles]) const {
    if (whole) {
      store_words(at(out[k], i), k == value && together(), x, words(out[k]));
    } else {
      store_words(tile + k, k == value && together(), x, words(out[k]));
    }
  }
  // What a thread holds of operand k; absent ones count 1.
  DLK_DEVICE void take(S (&x)[many], int k, const held<S>& from, bool second = false) const {
    if (in[k].p == nullptr) {
      fill(x, S(1));
    } else {
      unpack(x, from, k == upstream ? dtype_of<S>() : dtype, second);
    }
  }

  // The terms v of the elements from i on: x holds the inputs; the rest comes by packets, or is in tiles.
  DLK_DEVICE void terms(const Op& scaled, S (&v)[many], const held<S> (&x)[Op::ins], bool second, bool whole,
                        std::int64_t i, S g, warp_tile<S> (&tile)[tiles]) const {
    S c[Op::ins][many], w[many], flows[many], d[Op::outs][many];
#pragma unroll
    for (int k = 0; k < Op::ins; ++k) take(c[k], k, x[k], second);
    held<S> more{};
    load(more, weight, whole, i, tile);
    take(w, weight, more);
    load(more, upstream, whole, i, tile);
    take(flows, upstream, more);
    if (!whole) __syncwarp();
#pragma unroll
    for (int e = 0; e < many; ++e) {
      S of[Op::ins], r[Op::outs];
#pragma unroll
      for (int k = 0; k < Op::ins; ++k) of[k] = c[k][e];
      v[e] = select(w[e] == S(0), S(0), scaled(of) * w[e]);
      if (grads) {
        scaled.grad(flows[e] * g * w[e], of, r);
#pragma unroll
        for (int k = 0; k < Op::outs; ++k) d[k][e] = select(w[e] == S(0), S(0), r[k]);
      }
    }
#pragma unroll
    for (int k = 0; k < Op::outs; ++k) {
      if (grads) store(k, packed(d[k], dtype), whole, i, tile);
    }
    if (out[value].p != nullptr) store(value, packed(v, dtype_of<S>()), whole, i, tile);
  }

  template <int N>
  DLK_DEVICE void carry_all(const Operand (&o)[N], std::int64_t i, int elements, warp_tile<S> (&tile)[tiles],
                            bool outward) const {
    __syncwarp();
#pragma unroll 1
    for (int k = 0; k < N; ++k) {
      if (o[k].p != nullptr) carry(o[k].p, o[k].bytes, walk, o[k].walker, i, elements, tile[k], outward);
    }
    __syncwarp();
  }

  DLK_DEVICE S block(const Op& scaled, std::int64_t first, std::int64_t elements, S g,
                     warp_tile<S> (&tile)[tiles]) const {
    lane_sums<S> sums;
    const std::int64_t step = kTileBytes / bytes, whole = packets ? elements / step * step : 0;
    held<S> now[Op::ins], next[Op::ins]{};
    if (whole > 0) load_ahead(next, first);
#pragma unroll 1
    for (std::int64_t i = 0; i < elements; i += part) {
      const bool by_packets = i < whole, second = by_packets && i % step != 0;
      const int left = int(at_most(elements - i, part));
      if (!by_packets) {
        carry_all(in, first + i, left, tile, false);
#pragma unroll
        for (int k = 0; k < Op::ins; ++k) load(now[k], k, false, 0, tile);
      } else if (!second) {
#pragma unroll
        for (int k = 0; k < Op::ins; ++k) now[k] = next[k];
        if (i + step < whole) load_ahead(next, first + i + step);
      }
      S v[many];
      terms(scaled, v, now, second, by_packets, first + i, g, tile);
      if (!by_packets) carry_all(out, first + i, left, tile, true);
      sums.add(v, left, together());
    }
    return sums.folded(together());
  }
};

// The op of a pass; a copy of it where it has a scale, which lies on the device.
template <class Op, class S>
DLK_DEVICE decltype(auto) scaled_op(const loss_pass<Op, S>& a) {
  if constexpr (is_scaled<Op>(0)) {
    Op op = a.op;
    if (a.scale != nullptr) op.scale = double(*static_cast<const S*>(a.scale));
    return op;
  } else {
    return (a.op);
  }
}
// Is this a sum again of terms that need no scale?
template <class S, class Args>
DLK_DEVICE bool is_done(const Args& a) {
  return a.again && *static_cast<const S*>(a.scale) == S(1);
}

template <class Op, class S>
__global__ void __launch_bounds__(kReduceThreads, kReduceBlocks<Op, S>)
    loss_kernel(const loss_pass<Op, S> __grid_constant__ a) {
  __shared__ warp_tile<S> tile[kReduceThreads / kWarp][loss_pass<Op, S>::tiles];
  const std::int64_t n = a.n, warps = std::int64_t(gridDim.x) * blockDim.x / kWarp;
  if constexpr (is_scaled<Op>(0)) {
    if (is_done<S>(a)) return;
  }
  decltype(auto) scaled = scaled_op(a);
  const S g = (a.flow == nullptr ? S(1) : *static_cast<const S*>(a.flow)) / divisor<S>(a);
#pragma unroll 1
  for (std::int64_t b = (std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp; b * kBlock < n; b += warps) {
    const std::int64_t first = b * kBlock;
    const S sum = a.block(scaled, first, at_most(n - first, kBlock), g, tile[threadIdx.x / kWarp]);
    if (lane_id() == 0 && a.partial != nullptr) a.partial[b] = sum;
  }
}

// Values of the compute type: block results, or losses of rows. A sum of one block is divided: that is the mean; or its root is wanted,
// and where `value` says what a gradient is divided by, and terms are scaled by (abi.h).
template <class S>
__global__ void __launch_bounds__(kReduceThreads) sum_kernel(const ReduceArgs __grid_constant__ a) {
  __shared__ warp_tile<S> tile[kReduceThreads / kWarp];
  if (is_done<S>(a)) return;
  warp_tile<S>& mine = tile[threadIdx.x / kWarp];
  constexpr int part = kAtOnce<S> * kWarp;
  const std::int64_t warps = std::int64_t(gridDim.x) * blockDim.x / kWarp;
  S *const partial = static_cast<S*>(a.partial), *const x = static_cast<S*>(const_cast<void*>(a.in[0]));
  const bool packets = aligned(x);
#pragma unroll 1
  for (std::int64_t b = (std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kWarp; b == 0 || b * kBlock < a.n;
       b += warps) {
    lane_sums<S> sums;
    const std::int64_t first = b * kBlock, n = at_most(a.n - first, kBlock);
#pragma unroll 2
    for (std::int64_t i = 0; i < n; i += part) {
      const int count = int(at_most(n - i, part));
      S v[kAtOnce<S>];
      if (packets && count == part) {
        unpack(v, load_words<S>(x + first + i, false), dtype_of<S>());
      } else {
        carry(x, int(sizeof(S)), Walk{}, 0, first + i, count, mine, false);
        __syncwarp();
        unpack(v, load_words<S>(&mine, false), dtype_of<S>());
        __syncwarp();
      }
      sums.add(v, count, false);
    }
    const S sum = n > 0 ? sums.folded(false) : S(0);
    if (lane_id() != 0) continue;
    partial[b] = sum;
    if (a.n > kBlock) continue;
    const S over = divisor<S>(a), mean = sum / over;
    partial[0] = mean;
    if (a.value == nullptr) continue;
    S* const value = static_cast<S*>(a.value);
    const S root = sqrt(mean);
    value[0] = root * over;
    if (a.again) {
      partial[0] = root / *static_cast<const S*>(a.scale);
    } else {
      partial[0] = root;
      value[1] = ops::root_scale(root);
    }
  }
}

// Few blocks of sums are spread over the device: thread blocks of fewer warps.
template <class... P, class... A>
int launch_warps(void (*kernel)(P...), std::int64_t n, void* queue, const A&... args) {
  const std::int64_t warps = n == 0 ? 1 : ceil_div(n, kBlock), sms = current_device().sms;
  const std::int64_t each = at_most(ceil_div(warps, sms), kReduceThreads / kWarp);
  return launch(kernel, at_most(ceil_div(warps, each), sms * kReduceBlocksPerSm), int(each) * kWarp, {}, queue,
                args...);
}

template <class Op, class T, bool with_grad>
int reduce(const ReduceArgs& a) {
  using S = compute_t<T>;
  if (a.n == 0) return 0;
  return launch_warps(loss_kernel<Op, S>, a.n, a.queue, loss_pass<Op, S>(a, dtype_of<T>(), int(sizeof(T)), with_grad));
}
template <class S>
int sum(const ReduceArgs& a) {
  return launch_warps(sum_kernel<S>, a.n, a.queue, a);
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

DLK_END
