// Optimizer steps over many tensors, in place: each number is read once and written once, however it is stored.
//
// A launch takes as many tensors as its argument space holds (some hundreds), or the gradients of as many thousands whose other arrays are
// in a table; so there is no copy and no synchronization, and a step is captured in a CUDA graph as it is. A block of 4,096 elements is the unit
// of work: of a thread block, a warp taking 256 at a time; or of one warp, where the rule adds something up over the block in canonical order.
#pragma once
#include "stored.cuh"
#include "tensors.cuh"

DLK_BEGIN

// Tensors are words from the front on, rows of numbers from the back; or the words are the gradients of a table's chunks.
struct update_batch {
  static constexpr int room = (kArgumentBytes - 160) / 8;
  table_view table;
  std::int64_t first_unit, first_chunk;  // of the table, in this launch
  const double* rows;                    // kRowNumbers each; null: they are here, without gaps
  const StepControl* control;
  std::uint64_t seed, offset;
  Dtype dtype;  // of parameter and gradient
  Precision precision;
  Kept kept[kMaxStates];
  int tensors, stride;
  std::int64_t units;
  bool zero_grads, own_rows;
  std::uint64_t word[room];
};
static_assert(sizeof(update_batch) <= kArgumentBytes && kGradientsPerLaunch <= update_batch::room);

DLK_FN bool has_scales(const UpdateArgs& a) {
  bool any = false;
  for (int k = 0; k < kMaxStates; ++k) any = any || a.kept[k] >= Kept::bytes;
  return any;
}

// A tensor of a launch, and its gradient; null: it is left alone.
struct update_place {
  update_tensor t;
  void* grad;
  std::int64_t row, begin;  // its row of numbers; the element at which the unit begins
};

// stored: with state that is not in the compute type, or a parameter that is no plain one nor a rounded copy.
template <class Op, class S, bool stored>
struct update_thread {
  const update_batch& b;
  const update_tensor t;
  void* const grad;
  const Op op;
  const S factor;
  const std::uint64_t first, updates;  // elements of the call before the tensor; steps before this one

  DLK_DEVICE random_stream random(int stream) const { return {b.seed, updates, stream}; }

  DLK_DEVICE void read_weights(S (&w)[kEight], std::int64_t i, int n) const {
    if (b.precision == Precision::master) return read_eight(w, t.lower(), wide_dtype<S>, i, n);
    if constexpr (stored) {
      if (b.precision == Precision::remainder) return read_joined(w, t.param(), t.lower(), i, n);
    }
    read_eight(w, t.param(), b.dtype, i, n);
  }
  DLK_DEVICE void write_weights(const S (&w)[kEight], std::int64_t i, int n) const {
    if constexpr (stored) {
      if (b.precision == Precision::remainder) return write_split(t.param(), t.lower(), i, w, n);
      if (b.precision == Precision::stochastic)
        return write_at_random(t.param(), i, w, n, random(0), first + std::uint64_t(i));
    }
    if (b.precision == Precision::master) write_eight(t.lower(), wide_dtype<S>, i, w, n);
    write_eight(t.param(), b.dtype, i, w, n);
  }

  // Tensors of state one after the other through s[0]: one copy of the code for all.
  DLK_DEVICE static void turn(S (&s)[Op::states + 1][kEight]) {
#pragma unroll
    for (int e = 0; e < kEight; ++e) {
      const S v = s[0][e];
#pragma unroll
      for (int k = 0; k + 1 < Op::states; ++k) s[k][e] = s[k + 1][e];
      s[Op::states > 0 ? Op::states - 1 : 0][e] = v;
    }
  }
  DLK_DEVICE void read_state(S (&s)[Op::states + 1][kEight], std::int64_t i, int n) const {
    if constexpr (!stored) {
#pragma unroll
      for (int k = 0; k < Op::states; ++k) read_eight(s[k], t.state(k), wide_dtype<S>, i, n);
    } else {
#pragma unroll 1
      for (int k = 0; k < Op::states; ++k) {
        const Kept kept = b.kept[k];
        if (kept >= Kept::bytes) {
          read_bytes(s[0], t.state(k), t.scale(k), kept == Kept::positive_bytes, i, n);
        } else {
          read_eight(s[0], t.state(k), kept == Kept::bf16 ? Dtype::bf16 : Dtype::f32, i, n);
        }
        turn(s);
      }
    }
  }
  DLK_DEVICE void write_state(S (&s)[Op::states + 1][kEight], std::int64_t i, int n) const {
    if constexpr (!stored) {
#pragma unroll
      for (int k = 0; k < Op::states; ++k) write_eight(t.state(k), wide_dtype<S>, i, s[k], n);
    } else {
#pragma unroll 1
      for (int k = 0; k < Op::states; ++k) {
        const Kept kept = b.kept[k];
        const std::uint64_t index = first + std::uint64_t(i);
        if (kept >= Kept::bytes) {
          write_bytes(t.state(k), t.scale(k), kept == Kept::positive_bytes, i, s[0], n, random(1 + k), index);
        } else if (kept == Kept::bf16) {
          write_at_random(t.state(k), i, s[0], n, random(1 + k), index);
        } else {
          write_eight(t.state(k), Dtype::f32, i, s[0], n);
        }
        turn(s);
      }
    }
  }

  DLK_DEVICE void zero_gradient(std::int64_t i, int n) const {
    const S zero[kEight] = {};
    write_eight(grad, b.dtype, i, zero, n);
  }

  // n of the thread's eight elements from i on; what is beyond them counts for nothing
  DLK_DEVICE void eight(std::int64_t i, int n, S (&acc)[Op::sums + 1][kEight]) const {
    S w[kEight], g[kEight], s[Op::states + 1][kEight];
    read_weights(w, i, n);
    read_eight(g, grad, b.dtype, i, n);
    read_state(s, i, n);
#pragma unroll
    for (int e = 0; e < kEight; ++e) {
      S own[Op::states + 1], sum[Op::sums + 1];
#pragma unroll
      for (int k = 0; k < Op::states; ++k) own[k] = s[k][e];
      if constexpr (Op::sums > 0) {
        op(w[e], g[e] * factor, own, sum);
#pragma unroll
        for (int j = 0; j < Op::sums; ++j) acc[j][e] = acc[j][e] + (e < n ? sum[j] : S(-0.0));
      } else {
        op(w[e], g[e] * factor, own);
      }
#pragma unroll
      for (int k = 0; k < Op::states; ++k) s[k][e] = own[k];
    }
    write_weights(w, i, n);
    write_state(s, i, n);
    if (b.zero_grads) zero_gradient(i, n);
  }
};

DLK_DEVICE int clamped_count(std::int64_t left) { return left < 0 ? 0 : left < kEight ? int(left) : kEight; }

// Whose unit that is. In arguments it is looked for: the last tensor that begins at this unit or before.
DLK_DEVICE update_place place_of(const update_batch& b, int states, std::int64_t unit) {
  bool scales = false;
#pragma unroll
  for (int k = 0; k < kMaxStates; ++k) scales = scales || b.kept[k] >= Kept::bytes;
  update_tensor t{b.word, states, b.stride, scales, b.precision >= Precision::master};
  std::uint64_t grad;
  std::int64_t chunk = 0;
  if (b.table.word != nullptr) {
    unit += b.first_unit;
    chunk = b.table.chunk_of_unit()[unit];
    t.word = b.table.word + chunk * b.stride;
    grad = b.word[chunk - b.first_chunk];
  } else {
    const auto units_before = [&](int tensor) { return std::int64_t(b.word[(tensor + 1) * b.stride - 2] >> 32); };
    int tensor = 0;
    for (int above = b.tensors; above - tensor > 1;) {
      const int middle = (tensor + above) / 2;
      (units_before(middle) <= unit ? tensor : above) = middle;
    }
    t.word = b.word + tensor * b.stride;
    grad = t.last();
  }
  return {t, reinterpret_cast<void*>(grad), b.own_rows ? chunk : t.row(), (unit - t.units_before()) * kBlock};
}

template <class Op, class S, bool stored>
__global__ void __launch_bounds__(kMapThreads, stored || sizeof(S) == 8 ? 1 : 2)
    update_kernel(const update_batch __grid_constant__ b) {
  static_assert(1 + Op::count <= kRowNumbers);
  constexpr int warps = kMapThreads / kWarp, team = Op::sums > 0 ? 1 : warps;  // warps to a unit
  const int warp = int(threadIdx.x) / kWarp;
  const std::int64_t unit = std::int64_t(blockIdx.x) * (warps / team) + warp / team;
  if (unit >= b.units) return;  // the warps after the last unit
  const update_place place = place_of(b, Op::states, unit);
  if (place.grad == nullptr) return;
  const std::int64_t n = place.t.n(), begin = place.begin;
  const double* const row = (b.rows != nullptr ? b.rows : reinterpret_cast<const double*>(b.word)) +
                            place.row * (b.rows != nullptr ? kRowNumbers : 1 + Op::count);
  const bool skipped = b.control != nullptr && b.control->found_inf != 0;
  const update_thread<Op, S, stored> thread{
      b,
      place.t,
      in_global(place.grad),
      Op(row + 1),
      S(row[0]),
      place.t.first(),
      b.control == nullptr ? b.offset : std::uint64_t(b.control->updates) - (skipped ? 0 : 1)};
  S acc[Op::sums + 1][kEight];
#pragma unroll
  for (int j = 0; j < Op::sums; ++j) {
#pragma unroll
    for (int e = 0; e < kEight; ++e) acc[j][e] = S(-0.0);
  }
#pragma unroll 1
  for (int group = warp % team; group < int(kBlock) / kLanes; group += team) {
    const std::int64_t i = begin + group * kLanes + lane_id() * kEight;
    if (begin + group * kLanes >= n) break;
    const int count = clamped_count(n - i);
    if (!skipped) {
      thread.eight(i, count, acc);
    } else if (b.zero_grads) {
      thread.zero_gradient(i, count);
    }
  }
  if constexpr (Op::sums > 0) {
    if (skipped) return;
#pragma unroll
    for (int j = 0; j < Op::sums; ++j) {
      const S total = fold<kEight>(acc[j]);
      if (lane_id() == 0) thread.t.sum(j)[begin / kBlock] = double(total);
    }
  }
}

DLK_END
