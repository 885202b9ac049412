// Optimizer steps over chunks of many tensors. The chunks and the groups' hyper-parameters travel as kernel arguments, so a step needs
// no memory of its own, no copy and no synchronization, and is captured in a CUDA graph as it is. A launch takes as many chunks as its
// argument space holds; several thread blocks share a chunk where the chunks alone would not fill the device.
// State is kept in the compute type, whatever the parameter is stored in.
#pragma once
#include "device.cuh"

DLK_BEGIN

// CUDA 12.1 raised what a kernel may be given from 4 KB to 32 KB.
constexpr int kArgumentBytes = CUDART_VERSION >= 12010 ? 32764 : 4096;
constexpr int kGroupsPerLaunch = 16;

template <class Op>
struct update_batch {
  static constexpr int room = kArgumentBytes - 24 - kGroupsPerLaunch * (int(sizeof(Op)) + 8);
  static constexpr int capacity = room / int(sizeof(Chunk));
  Chunk chunk[capacity];  // chunk.group is an index into op
  alignas(Op) unsigned char op[kGroupsPerLaunch * sizeof(Op)];
  double factor[kGroupsPerLaunch];
  int parts;  // thread blocks a chunk
  bool zero_grads;
};

template <class Op, class T>
struct update_chunk {
  using S = compute_t<T>;
  static constexpr int P = kPacket<T>;
  const Op& op;
  const Chunk& c;
  const S factor;  // of the gradient
  const bool zero_grads;

  DLK_DEVICE T* w() const { return static_cast<T*>(c.param); }
  DLK_DEVICE T* g() const { return static_cast<T*>(c.grad); }
  DLK_DEVICE S* state(int k) const { return static_cast<S*>(c.state[k]); }

  DLK_DEVICE void whole(std::int64_t i) const {
    packet<T, P> x = load_packet<P>(w() + i);
    const packet<T, P> d = load_packet<P>(g() + i);
    packet<S, P> s[Op::states + 1];
    for (int k = 0; k < Op::states; ++k) s[k] = load_packet<P>(state(k) + i);
#pragma unroll
    for (int e = 0; e < P; ++e) {
      S v = to_compute(x.v[e]), one[Op::states + 1];
      for (int k = 0; k < Op::states; ++k) one[k] = s[k].v[e];
      op(v, to_compute(d.v[e]) * factor, one);
      x.v[e] = to_storage<T>(v);
      for (int k = 0; k < Op::states; ++k) s[k].v[e] = one[k];
    }
    store_packet(w() + i, x);
    if (zero_grads) store_packet(g() + i, packet<T, P>{});
    for (int k = 0; k < Op::states; ++k) store_packet(state(k) + i, s[k]);
  }
  DLK_DEVICE void one(std::int64_t i) const {
    S v = to_compute(w()[i]), s[Op::states + 1];
    for (int k = 0; k < Op::states; ++k) s[k] = state(k)[i];
    op(v, to_compute(g()[i]) * factor, s);
    w()[i] = to_storage<T>(v);
    if (zero_grads) g()[i] = T{};
    for (int k = 0; k < Op::states; ++k) state(k)[i] = s[k];
  }
  // elements before the first packet, or -1 if the arrays do not reach a 16-byte boundary together
  DLK_DEVICE std::int64_t head() const {
    const std::int64_t h = lead(w());
    bool congruent = h <= c.n && aligned(w() + h) && aligned(g() + h);
    for (int k = 0; k < Op::states; ++k) congruent = congruent && aligned(state(k) + h);
    return congruent ? h : -1;
  }
};

template <class Op, class T>
__global__ void __launch_bounds__(kMapThreads) update_kernel(const update_batch<Op> __grid_constant__ b) {
  const Chunk& c = b.chunk[blockIdx.x / b.parts];
  const Op op = reinterpret_cast<const Op*>(b.op)[c.group];
  const update_chunk<Op, T> u{op, c, compute_t<T>(b.factor[c.group]), b.zero_grads};
  const std::int64_t me = std::int64_t(blockIdx.x % b.parts) * blockDim.x + threadIdx.x,
                     all = std::int64_t(b.parts) * blockDim.x;
  const std::int64_t lead = u.head(), head = lead < 0 ? 0 : lead, packets = lead < 0 ? 0 : (c.n - head) / u.P;
#pragma unroll 1
  for (std::int64_t i = me; i < packets; i += all) u.whole(head + i * u.P);
  const std::int64_t skip = packets * u.P;
#pragma unroll 1
  for (std::int64_t i = me; i < c.n - skip; i += all) u.one(i < head ? i : i + skip);
}

// The slot of a group's hyper-parameters in the batch, or -1 when the batch has no room for another group.
template <class Op>
int slot_of(int group, const double* params, int* groups, int& used, update_batch<Op>& b) {
  for (int s = 0; s < used; ++s) {
    if (groups[s] == group) return s;
  }
  if (used == kGroupsPerLaunch) return -1;
  const double* const row = params + std::int64_t(group) * (1 + Op::count);
  const Op op(row + 1);
  b.factor[used] = row[0];
  std::memcpy(b.op + used * sizeof(Op), &op, sizeof op);
  groups[used] = group;
  return used++;
}

template <class Op, class T>
int update(const UpdateArgs& a) {
  const device d = current_device();
  update_batch<Op> b;
  b.zero_grads = a.zero_grads;
  std::int64_t next = 0;
  while (next < a.chunks) {
    int groups[kGroupsPerLaunch], used = 0, count = 0;
    std::int64_t longest = 0;
    for (; next < a.chunks && count < b.capacity; ++next) {
      const Chunk& c = a.chunk[next];
      if (c.n == 0) continue;
      const int slot = slot_of(c.group, a.params, groups, used, b);
      if (slot < 0) break;
      b.chunk[count] = c;
      b.chunk[count++].group = slot;
      if (c.n > longest) longest = c.n;
    }
    if (count == 0) break;
    const std::int64_t wanted = ceil_div(ceil_div(longest, kPacket<T>), kMapThreads);
    const std::int64_t most = ceil_div(std::int64_t(d.sms) * map_policy(d.cc).blocks_per_sm, count);
    b.parts = int(at_most(wanted, most));
    const int error = launch(update_kernel<Op, T>, std::int64_t(count) * b.parts, kMapThreads, {}, a.queue, b);
    if (error != 0) return error;
  }
  return 0;
}

template <class Op, class T>
constexpr auto update_kernel_of() -> int (*)(const UpdateArgs&) {
  if constexpr (Op::sums == 0) {
    return update<Op, T>;
  } else {
    return nullptr;  // sums over tensors: not here yet
  }
}

template <class L>
struct update_table;
template <class... Op>
struct update_table<list<Op...>> {
  static constexpr Entry<UpdateArgs> rows[] = {{Op::name,
                                                "",
                                                Op::states,
                                                Op::sums,
                                                Op::count,
                                                more_operands,
                                                {update_kernel_of<Op, f32>(), update_kernel_of<Op, f64>(),
                                                 update_kernel_of<Op, f16>(), update_kernel_of<Op, bf16>()}}...};
};

DLK_END
