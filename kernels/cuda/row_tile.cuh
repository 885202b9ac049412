// A tile of a row: between the arrays and shared memory, and an op over its columns there. The arrays' storage type is a value of the
// call, known to the copies alone: they move 16 bytes at a time where an operand is a run that is aligned, and single elements elsewhere.
// The op sees columns in the compute type, whatever the alignment, and stands once in the code of a kernel for each phase.
#pragma once
#include "../philox.h"
#include "canonical.cuh"
#include "row_call.cuh"
#include "storage.cuh"

DLK_BEGIN

// Eight floats that a thread moves to or from shared memory, half by half: every other four threads begin with the second half, so that the
// threads which are served together meet all banks.
template <int P, class S>
DLK_DEVICE packet<S, P> load_shared(const S* p, int thread) {
  if constexpr (P != 8) {
    return load_packet<P>(p);
  } else {
    const bool turned = (thread & 4) != 0;
    const packet<S, 4> a = load_packet<4>(p + (turned ? 4 : 0)), b = load_packet<4>(p + (turned ? 0 : 4));
    packet<S, 8> x;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      x.v[e] = turned ? b.v[e] : a.v[e];
      x.v[e + 4] = turned ? a.v[e] : b.v[e];
    }
    return x;
  }
}
template <int P, class S>
DLK_DEVICE void store_shared(S* p, const packet<S, P>& x, int thread) {
  if constexpr (P != 8) {
    store_packet(p, x);
  } else {
    const bool turned = (thread & 4) != 0;
    packet<S, 4> a, b;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      a.v[e] = turned ? x.v[e + 4] : x.v[e];
      b.v[e] = turned ? x.v[e] : x.v[e + 4];
    }
    store_packet(p + (turned ? 4 : 0), a);
    store_packet(p + (turned ? 0 : 4), b);
  }
}

template <class S, int W>
struct alignas(W * sizeof(S)) neighbors {
  S v[W];
};

template <class Op, class S>
struct row_tile {
  using Row = ops::row_of<Op, S>;
  using Cells = ops::cells<Op, S>;
  static constexpr int sums = ops::at_least_one(Op::sums);
  static constexpr int ins = ops::own_ins<Op>, outs = ops::own_outs<Op>;  // which have a slot
  static constexpr bool writes = Op::outs > 0 || Op::column_sums > 0;
  // Columns at a time: 8 bytes of shared memory; one where an op iterates, has much to compute, and needs the registers.
  static constexpr int W = Op::iterates ? 1 : 8 / int(sizeof(S));
  using Some = neighbors<S, W>;

  const row_call<Op>& c;
  S* const x;  // slot k begins at x + k * c.held
  int thread;
  const row_place<Op, S>* place = nullptr;
  std::int64_t first = 0;  // column of the row at which the tile begins
  int n = 0;               // columns of the tile, <= 0 for none
  int skip = 0;            // place of the tile's first random word

  DLK_DEVICE row_tile(const row_call<Op>& call, void* area, int t) : c(call), x(static_cast<S*>(area)), thread(t) {}

  DLK_DEVICE S* lanes() const { return x + c.slots * c.held; }
  DLK_DEVICE std::uint32_t* words() const { return reinterpret_cast<std::uint32_t*>(lanes() + row_area<Op, S>::lanes); }
  DLK_DEVICE Some& some(int slot, int i) const { return *reinterpret_cast<Some*>(x + slot * c.held + i); }
  DLK_DEVICE void move_to(std::int64_t column, bool present) {
    first = column;
    const std::int64_t left = c.a.cols - first;
    n = !present ? 0 : left < c.held ? int(left) : c.held;
  }

  // --- between the arrays and shared memory

  // operand: as a Walk counts them
  DLK_DEVICE std::int64_t column_at(int operand, std::int64_t column) const {
    return c.walks ? walk_offset(c.column_walk, operand, column) : column;
  }
  DLK_DEVICE S first_input(std::int64_t column) const {
    return load_one<S>(c.a.in[0], c.dtype, place->at[0] + column_at(0, column));
  }

  // Copies the tile; returns the maximum of `best` and of what this thread copied of the first input. hidden: a column that is left out there
  // first_pass: over the row, of this call
  DLK_DEVICE S load(S best, std::int64_t hidden, bool first_pass) const {
    if constexpr (Op::joins) {
      if (first_pass) {
        join();
        return best;
      }
    }
    constexpr int many = 2;  // packets in flight
    const int but = hidden >= first && hidden < first + n ? int(hidden - first) : -1;
#pragma unroll 1
    for (int k = 0; k < ins; ++k) {
      S* const to = x + k * c.held;
      const int operand = Op::joins ? kMaxIn + outs : k, place_of = Op::joins ? Op::ins + outs : k;
      const void* const from = Op::joins ? c.a.out[outs] : c.a.in[k];
      S most = best;
      int done = 0;
      if ((c.packets >> operand & 1) != 0 && n > 0) {
        with_storage<S>(c.dtype, [&](auto storage) {
          using T = decltype(storage);
          constexpr int P = kPacket<T>;
          const T* const run = static_cast<const T*>(from) + place->at[place_of] + first;
          done = n / P * P;
#pragma unroll 1
          for (int i = thread * P; i < done; i += many * c.threads * P) {
            packet<T, P> raw[many];
#pragma unroll
            for (int u = 0; u < many; ++u) {
              const int at = i + u * c.threads * P;
              if (at < done) raw[u] = load_packet<P>(run + at);
            }
#pragma unroll
            for (int u = 0; u < many; ++u) {
              const int at = i + u * c.threads * P;
              if (at >= done) break;
              packet<S, P> v;
#pragma unroll
              for (int e = 0; e < P; ++e) {
                v.v[e] = to_compute(raw[u].v[e]);
                if (Op::needs_max && !(Op::skips_label && at + e == but)) most = max(most, v.v[e]);
              }
              store_shared(to + at, v, thread);
            }
          }
        });
      }
#pragma unroll 1
      for (int i = done + thread; i < n; i += c.threads) {
        const S v = load_one<S>(from, c.dtype, place->at[place_of] + column_at(operand, first + i));
        to[i] = v;
        if (Op::needs_max && !(Op::skips_label && i == but)) most = max(most, v);
      }
      if (n % 2 != 0 && thread == 0) to[n] = S(0);  // the last one's neighbor
      if (k == 0) best = most;
    }
    return best;
  }
  // Adds the first two inputs, and leaves the sum, rounded to storage, in the tile and in the last output. A later pass over the row, of
  // which the tile is only a part, reads that output again: it may lie where an input lay.
  DLK_DEVICE void join() const {
    const int to_operand = kMaxIn + outs;
    const std::int64_t at[3] = {place->at[0], place->at[1], place->at[Op::ins + outs]};
    const unsigned all = 3u | 1u << to_operand;
    int done = 0;
    if ((c.packets & all) == all && n > 0) {
      with_storage<S>(c.dtype, [&](auto storage) {
        using T = decltype(storage);
        constexpr int P = kPacket<T>;
        done = n / P * P;
#pragma unroll 1
        for (int i = thread * P; i < done; i += c.threads * P) {
          const packet<T, P> a = load_packet<P>(static_cast<const T*>(c.a.in[0]) + at[0] + first + i),
                             b = load_packet<P>(static_cast<const T*>(c.a.in[1]) + at[1] + first + i);
          packet<T, P> sum;
          packet<S, P> v;
#pragma unroll
          for (int e = 0; e < P; ++e) {
            sum.v[e] = to_storage<T>(to_compute(a.v[e]) + to_compute(b.v[e]));
            v.v[e] = to_compute(sum.v[e]);
          }
          store_packet(static_cast<T*>(c.a.out[outs]) + at[2] + first + i, sum);
          store_shared(x + i, v, thread);
        }
      });
    }
#pragma unroll 1
    for (int i = done + thread; i < n; i += c.threads) {
      const S sum = load_one<S>(c.a.in[0], c.dtype, at[0] + column_at(0, first + i)) +
                    load_one<S>(c.a.in[1], c.dtype, at[1] + column_at(1, first + i));
      x[i] = store_one(c.a.out[outs], c.dtype, sum, at[2] + column_at(to_operand, first + i));
    }
    if (n % 2 != 0 && thread == 0) x[n] = S(0);  // as in load
  }
  // The random words of the tile: four come from each counter, and the first one may lie anywhere in it.
  DLK_DEVICE void draw(std::int64_t row) {
    const std::uint64_t index = std::uint64_t(row) * std::uint64_t(c.a.cols) + std::uint64_t(first);
    skip = int(index % 4);
#pragma unroll 1
    for (int i = 4 * thread; i < n + skip + 1; i += 4 * c.threads) {
      const std::uint64_t counter = index / 4 + std::uint64_t(i / 4);
      std::uint32_t w[4] = {std::uint32_t(counter), std::uint32_t(counter >> 32), std::uint32_t(c.a.offset),
                            std::uint32_t(c.a.offset >> 32)};
      philox4x32_10(w, c.a.seed);
      *reinterpret_cast<uint4*>(words() + i) = uint4{w[0], w[1], w[2], w[3]};
    }
  }
  DLK_DEVICE void store() const {
#pragma unroll 1
    for (int k = 0; k < outs; ++k) {
      const S* const from = x + k * c.held;
      void* const to = c.a.out[k];
      const std::int64_t at = place->at[Op::ins + k];
      int done = 0;
      if ((c.packets >> (kMaxIn + k) & 1) != 0 && n > 0) {
        with_storage<S>(c.dtype, [&](auto storage) {
          using T = decltype(storage);
          constexpr int P = kPacket<T>;
          done = n / P * P;
#pragma unroll 1
          for (int i = thread * P; i < done; i += c.threads * P) {
            const packet<S, P> v = load_shared<P>(from + i, thread);
            packet<T, P> raw;
#pragma unroll
            for (int e = 0; e < P; ++e) raw.v[e] = to_storage<T>(v.v[e]);
            store_packet(static_cast<T*>(to) + at + first + i, raw);
          }
        });
      }
#pragma unroll 1
      for (int i = done + thread; i < n; i += c.threads) {
        store_one(to, c.dtype, from[i], at + column_at(kMaxIn + k, first + i));
      }
    }
  }
  DLK_DEVICE void fill(S v) const {
    for (int k = 0; k < outs; ++k) {
      for (int i = thread; i < n; i += c.threads) x[k * c.held + i] = v;
    }
  }

  // --- the op

  // All that belongs to columns i, i + 1, ... of the tile. The last one may be beyond its end: then nobody uses what comes of it.
  DLK_DEVICE void read(Cells (&cell)[W], int i, std::int64_t label) const {
#pragma unroll
    for (int k = 0; k < ins; ++k) {
      const Some v = some(k, i);
#pragma unroll
      for (int e = 0; e < W; ++e) cell[e].in[k] = v.v[e];
    }
#pragma unroll
    for (int k = 0; k < Op::columns; ++k) {
#pragma unroll
      for (int e = 0; e < W; ++e) {
        cell[e].col[k] = S(1 - k);
        if (c.a.column[k] != nullptr && i + e < n) cell[e].col[k] = load_one<S>(c.a.column[k], c.dtype, first + i + e);
      }
    }
#pragma unroll
    for (int e = 0; e < W; ++e) {
      cell[e].kept = cell[e].in[0];
      cell[e].hot = first + i + e == label ? S(1) : S(0);
      if constexpr (Op::random) {
        if (c.op.draws()) cell[e].word = uint_t<S>(words()[i + e + skip]);
      }
    }
  }
  template <int phase = 0>
  DLK_DEVICE void terms(int which, const Cells& cell, const Row& row, S* t) const {
    if constexpr (phase + 1 < Op::phases) {
      if (which != phase) return terms<phase + 1>(which, cell, row, t);
    }
    c.op.template terms<phase>(cell, row, t);
  }

  // Adds the terms to the lanes, which begin here unless they `go_on`; keeps the first terms in place of the first input, whose part in the
  // output they take. Returns the lowest column of this thread that attains the maximum, or `lowest`.
  DLK_DEVICE double add(int phase, bool go_on, const Row& row, std::int64_t label, double lowest) const {
    if constexpr (Op::sums > 0) {
#pragma unroll 1
      for (int lane = W * thread; lane < kLanes && lane < n; lane += W * c.threads) {
        Some sum[sums];
#pragma unroll
        for (int k = 0; k < sums; ++k) {
#pragma unroll
          for (int e = 0; e < W; ++e) sum[k].v[e] = go_on ? lanes()[k * kLanes + lane + e] : S(-0.0);
        }
#pragma unroll 1
        for (int i = lane; i < n; i += kLanes) {
          Cells cell[W];
          Some kept;
          read(cell, i, label);
#pragma unroll
          for (int e = 0; e < W; ++e) {
            S t[sums];
            terms(phase, cell[e], row, t);
            kept.v[e] = t[0];
            if (i + e >= n) break;
#pragma unroll
            for (int k = 0; k < sums; ++k) sum[k].v[e] = sum[k].v[e] + t[k];
            const std::int64_t column = first + i + e;
            if (Op::marks_max && cell[e].in[0] == row.max && column != label && double(column) < lowest)
              lowest = double(column);
          }
          if (Op::keeps_term) some(0, i) = kept;
        }
#pragma unroll
        for (int k = 0; k < sums; ++k) *reinterpret_cast<Some*>(lanes() + k * kLanes + lane) = sum[k];
      }
    }
    return lowest;
  }

  // Outputs in place of the inputs; after them what is summed over rows. label, marked: columns at which the op corrects itself
  DLK_DEVICE void compute(const Row& row, std::int64_t label, double marked) const {
    if constexpr (writes) {
#pragma unroll 1
      for (int i = W * thread; i < n; i += W * c.threads) {
        Cells cell[W];
        Some out[ops::at_least_one(outs)], column[ops::at_least_one(Op::column_sums)];
        read(cell, i, label);
#pragma unroll
        for (int e = 0; e < W; ++e) {
          S y[ops::at_least_one(outs)], over_rows[ops::at_least_one(Op::column_sums)];
          c.op.outputs(cell[e], row, y, over_rows);
          const std::int64_t here = first + i + e;
          if constexpr (Op::corrects_label) y[0] = here == label ? c.op.at_label(y[0], row) : y[0];
          if constexpr (Op::marks_max) y[0] = double(here) == marked ? c.op.at_max(y[0], row) : y[0];
#pragma unroll
          for (int k = 0; k < outs; ++k) out[k].v[e] = y[k];
#pragma unroll
          for (int k = 0; k < Op::column_sums; ++k) column[k].v[e] = over_rows[k];
        }
#pragma unroll
        for (int k = 0; k < outs; ++k) some(k, i) = out[k];
        if (!c.sums_columns) continue;
#pragma unroll
        for (int k = 0; k < Op::column_sums; ++k) some(outs + k, i) = column[k];
      }
    }
  }
};

DLK_END
