// Where the tensors of an optimizer's step lie, as words of 64 bits: in the arguments of a launch, or, for those that are stepped again and
// again, in a table in the device's memory, beside which a launch brings their gradients. A word each for: parameter, state, the scales and
// the master if the call has any, the sums if the rule has any; the elements before it and in the upper 24 bits its row of numbers; its
// length and in the upper half the units before it; in arguments the gradient, in a table the units of the whole tensor and in the upper
// half those before it, where a tensor longer than 2^31 is more than one chunk.
//
// Behind its words a table says which chunk each unit belongs to, and with which one each block of the concatenation begins.
#pragma once
#include "device.cuh"

DLK_BEGIN

constexpr int kArgumentBytes = 32764;  // what a kernel may be given, since CUDA 12.1

constexpr int kRowShift = 40;  // elements of a call < 2^40, rows < 2^24
constexpr std::uint64_t kBeforeRow = (std::uint64_t(1) << kRowShift) - 1;

struct update_tensor {
  const std::uint64_t* word;
  int states, stride;
  bool scales, master;

  DLK_DEVICE void* at(int k) const { return in_global(reinterpret_cast<void*>(word[k])); }
  DLK_DEVICE void* param() const { return at(0); }
  DLK_DEVICE void* state(int k) const { return at(1 + k); }
  DLK_DEVICE float* scale(int k) const { return static_cast<float*>(at(1 + states + k)); }
  DLK_DEVICE void* lower() const { return at(1 + states + (scales ? states : 0)); }
  DLK_DEVICE double* sum(int j) const {
    return static_cast<double*>(at(1 + states + (scales ? states : 0) + (master ? 1 : 0) + j));
  }
  DLK_DEVICE std::uint64_t first() const { return word[stride - 3] & kBeforeRow; }
  DLK_DEVICE std::int64_t row() const { return std::int64_t(word[stride - 3] >> kRowShift); }
  DLK_DEVICE std::int64_t n() const { return std::int64_t(word[stride - 2] & 0xffffffffu); }
  DLK_DEVICE std::int64_t units_before() const { return std::int64_t(word[stride - 2] >> 32); }
  DLK_DEVICE std::uint64_t last() const { return word[stride - 1]; }
};

// The words of a chunk.
inline void put_words(std::uint64_t* w, const Chunk& c, int states, int sums, bool scales, bool master,
                      std::int64_t row, std::int64_t units, std::uint64_t last) {
  const auto put = [&](const void* p) { *w++ = reinterpret_cast<std::uint64_t>(p); };
  put(c.param);
  for (int k = 0; k < states; ++k) put(c.state[k]);
  for (int k = 0; scales && k < states; ++k) put(c.scale[k]);
  if (master) put(c.master);
  for (int j = 0; j < sums; ++j) put(c.sum[j]);
  *w++ = std::uint64_t(c.first) | std::uint64_t(row) << kRowShift;
  *w++ = std::uint64_t(std::uint32_t(c.n)) | std::uint64_t(units) << 32;
  *w = last;
}

// --- tables ------------------------------------------------------------------------------------------------------------------

struct table_view {
  std::uint64_t* word;  // null: there is no table
  int stride;
  std::int64_t chunks, units, blocks;
  int master_at;

  DLK_FN std::int32_t* chunk_of_unit() const { return reinterpret_cast<std::int32_t*>(word + chunks * stride); }
  DLK_FN std::int32_t* chunk_of_block() const { return chunk_of_unit() + units; }
  DLK_DEVICE update_tensor tensor(std::int64_t chunk) const { return {word + chunk * stride, 0, stride, false, false}; }
};
inline table_view view_of(const TensorTable* t) {
  if (t == nullptr) return {};
  return {static_cast<std::uint64_t*>(t->memory), t->stride, t->chunks, t->units, t->blocks, t->master_at};
}

struct table_batch {
  static constexpr int room = (kArgumentBytes - 80) / 8;
  table_view table;
  std::int64_t first;   // chunk
  std::int64_t before;  // where the chunk before it ends
  std::uint64_t word[room];
};
static_assert(sizeof(table_batch) <= kArgumentBytes);

// A thread block writes what is known of one chunk.
__global__ void __launch_bounds__(kMapThreads) table_kernel(const table_batch __grid_constant__ b) {
  const int me = int(threadIdx.x), all = int(blockDim.x), stride = b.table.stride;
  const std::int64_t chunk = b.first + std::int64_t(blockIdx.x);
  const std::uint64_t* const word = b.word + std::int64_t(blockIdx.x) * stride;
  const update_tensor t{word, 0, stride, false, false}, before{word - stride, 0, stride, false, false};
  for (int k = me; k < stride; k += all) b.table.word[chunk * stride + k] = word[k];
  std::int32_t* const unit = b.table.chunk_of_unit() + t.units_before();
  for (std::int64_t k = me; k < ceil_div(t.n(), kBlock); k += all) unit[k] = std::int32_t(chunk);
  const std::int64_t end = std::int64_t(t.first()) + t.n();
  const std::int64_t from = blockIdx.x == 0 ? b.before : std::int64_t(before.first()) + before.n();
  std::int32_t* const block = b.table.chunk_of_block();
  for (std::int64_t k = ceil_div(from, kBlock) + me; k < ceil_div(end, kBlock); k += all)
    block[k] = std::int32_t(chunk);
}

inline int keep(const TableArgs& a) {
  table_batch b;
  b.table = view_of(&a.table);
  std::int64_t units = 0, end = 0;
  for (std::int64_t next = 0; next < a.table.chunks;) {
    b.first = next;
    b.before = end;
    int taken = 0;
    for (; next < a.table.chunks && (taken + 1) * a.table.stride <= b.room; ++next, ++taken) {
      const Chunk& c = a.table.chunk[next];
      put_words(b.word + taken * a.table.stride, c, a.states, a.sums, a.scales, a.table.master_at > 0, c.group, units,
                std::uint64_t(a.units[next]) | std::uint64_t(a.first_unit[next]) << 32);
      units += ceil_div(c.n, kBlock);
      end = c.first + c.n;
    }
    const int error = launch(table_kernel, taken, kMapThreads, {}, a.queue, b);
    if (error != 0) return error;
  }
  return 0;
}

DLK_END
