// The narrow waist between the host library and every target. Plain structs and tables of function pointers: what crosses this line
// is pointers, counts and doubles, never a formula, an allocation or a C++ library type.
//
// All pointers of one call live on the target's device. `compute type` is float64 for float64 storage and float32 for the others.
#pragma once
#include <cstdint>

namespace dlk {

enum class Dtype : int { f32, f64, f16, bf16 };  // the order of Entry::run
constexpr int kDtypes = 4;

constexpr int kMaxIn = 5;
constexpr int kMaxOut = 3;
constexpr int kMaxColumns = 2;  // operands of a row op that have one element per column: a weight, a bias
constexpr int kMaxScalars = 6;  // operands of a row op that have one number per row
constexpr int kMaxStates = 3;   // tensors of state beside a parameter
constexpr int kMaxSums = 2;     // of an update

// The canonical order of every sum (DESIGN.md 3.2): blocks of 4,096 elements, 256 lanes a block.
constexpr std::int64_t kBlock = 4096;
constexpr int kLanes = 256;

// Sums over rows (the gradient of a weight or a bias) take rows in blocks of 32, each added in row order; then the block results again.
constexpr int kRowBlock = 32;

// Where the elements of operands lie that are no contiguous run: index i of the call is taken apart by `shape`, the last dimension
// fastest, and element i of operand k lies sum of index[d] * step[k][d] elements after its pointer. Steps may be negative or 0. Operands are
// numbered as the Args say. Only targets on a GPU are given one: a CPU is handed contiguous tiles.
constexpr int kWalkDims = 6;
constexpr int kWalkers = kMaxIn + kMaxOut + 3;
struct Walk {
  int dims;
  std::int64_t shape[kWalkDims];
  std::int64_t step[kWalkers][kWalkDims];
};

// out[j][i] = f_j(in[0][i], in[1][i], ...) over n contiguous elements.
struct MapArgs {
  std::int64_t n;
  std::int64_t first;  // index of element 0 in the whole array: random ops count by it
  const void* in[kMaxIn];
  void* out[kMaxOut];
  const double* params;
  std::uint64_t seed, offset;  // random ops only
  bool stream;                 // outputs will not be read soon: bypass the cache
  const Walk* walk;            // of in[k] as operand k, out[k] as kMaxIn + k; null: contiguous
  void* queue;                 // CUDA stream; null on a CPU
};

// Row-wise: statistics of each row, then outputs of the same shape. Rows are contiguous, `step` elements apart; with walks, row r begins where
// row_walk says, and its column c lies where column_walk says from there. Operands: in[k] is k, out[k] is kMaxIn + k.
struct RowArgs {
  std::int64_t rows, cols;
  std::int64_t first;  // index of row 0 in the whole array
  const void* in[kMaxIn];
  std::int64_t in_step[kMaxIn];
  void* out[kMaxOut];  // out[0] may be null: only the values are wanted
  std::int64_t out_step[kMaxOut];
  const double* params;
  const void* column[kMaxColumns];  // storage type, one per column; null: the op's default
  const void* scalar[kMaxScalars];  // compute type: row r has element (first + r) / scalar_div % scalar_mod; null: 1
  std::int64_t scalar_div[kMaxScalars], scalar_mod[kMaxScalars];
  void* value[kMaxOut];           // compute type, one per row; each may be null
  void* column_sum[kMaxColumns];  // compute type: one run of `cols` sums per block of 32 rows; each may be null
  std::uint64_t seed, offset;     // random ops only; elements are counted in C order
  // Losses over rows. Each may be null.
  const void* label;     // class id of each row
  int label_bytes;       // 4 or 8
  std::int64_t ignore;   // rows with this label count for nothing
  const void* upstream;  // compute type: gradient of what follows, upstream_step 0 (scalar) or 1 (per row)
  std::int64_t upstream_step;
  const void* divisor;  // compute type, scalar: gradients are divided by it; null: by `count`
  double count;
  const Walk *row_walk, *column_walk;  // both or neither
  void* queue;
};

// Losses over n contiguous elements. The value of each element goes to `value`, their sum in canonical order to `partial`, one number
// per block of 4,096; the gradients to `out` in the same pass. Each may be null. An element of weight 0 counts for nothing.
// A plain sum of one block, with `value`, leaves the root of the quotient in `partial`, that times the divisor in value[0], and in value[1]
// what terms have to be scaled by, to be summed again. A sum `again` divides its root by the scale instead, and leaves value[1] alone.
struct ReduceArgs {
  std::int64_t n;
  const void* in[kMaxIn];
  const void* weight;  // storage type, one per element; null: 1
  void* out[kMaxOut];  // storage type
  void* value;         // compute type
  void* partial;       // compute type
  const double* params;
  const void* upstream;  // compute type: upstream_step 0 (scalar) or 1 (per element); null: 1
  std::int64_t upstream_step;
  const void* divisor;  // compute type, scalar: gradients, or a sum of one block, are divided by it; null: by `count`
  double count;
  const void* scale;  // compute type, scalar: of the terms of an op that has one; null: 1
  bool again;         // do nothing if *scale is 1
  bool stream;
  const Walk* walk;  // of in[k] as operand k, out[k] as kMaxIn + k, then weight, upstream and value; null: contiguous
  void* queue;
};

// A class id that is out of range. On a GPU it lies in memory that the host can read at any time (DeviceCalls::mailbox): a kernel
// that finds one writes the other members, then `row`; one that finds none leaves it alone.
struct BadLabel {
  std::int64_t row;  // -1: none
  std::int64_t label, classes, ignore;
};

// Class ids: are all of them in range, and what is the weight of those that count?
struct LabelArgs {
  std::int64_t n, classes, ignore;
  const void* label;
  int label_bytes;
  const void* weight;  // storage type, one per class; null: each counts 1
  void* total;         // out, compute type, three: the weights of the rows that count, how many they are, and the ratio
  BadLabel* bad;       // out: the first row whose label is out of range
  void* queue;
  void* scratch;  // on a GPU: label_scratch(n) bytes
};
constexpr std::int64_t label_scratch(std::int64_t n) { return 24 * ((n + kBlock - 1) / kBlock); }

// How a tensor of state is kept: in the compute type; as bfloat16, rounded up or down at random; or as bytes with a scale for each block of
// 256 (kernels/quantize.h), of either sign or none.
enum class Kept : int { wide, bf16, bytes, positive_bytes };
constexpr int kScaled = 256;

// What the storage of a parameter holds of its value.
enum class Precision : int {
  plain,       // all of it
  stochastic,  // bfloat16, rounded up or down at random
  master,      // a rounded copy; the value is in Chunk::master, in the compute type
  remainder    // bfloat16, its upper half; the lower half is in Chunk::master, 16 bits
};

// A self-contained piece of one tensor of a multi-tensor update; but for its last piece a multiple of kBlock long.
struct Chunk {
  void* param;
  void* grad;
  void* state[kMaxStates];
  float* scale[kMaxStates];  // of states in bytes
  void* master;
  double* sum[kMaxSums];  // out: one number for each block of 4,096; null unless the rule has sums
  std::int64_t first;     // index of its first element among all of the call: random numbers count by it
  std::int32_t n;
  std::int32_t group;  // which row of params applies
};

// Tensors that are stepped again and again, where a GPU's kernels find them: a launch then brings their gradients alone. A chunk is a whole
// tensor, or a piece of one that is longer than 2^31; none is empty, and they are in the order of `first`, their place in the concatenation
// of all tensors. A unit is a block of 4,096 of one chunk.
struct TensorTable {
  const Chunk* chunk;                  // of the host; grad is not looked at
  std::int64_t chunks, units, blocks;  // blocks: of the concatenation
  int stride;                          // table_words
  int master_at;                       // which word is the master; 0: there is none
  void* memory;                        // of the target: table_bytes
};
constexpr int table_words(int states, int sums, bool scales, bool master) {
  return 4 + states + (scales ? states : 0) + (master ? 1 : 0) + sums;
}
constexpr std::int64_t table_bytes(const TensorTable& t) { return 8 * t.stride * t.chunks + 4 * (t.units + t.blocks); }
// What a launch may be given of gradients; some room is left for what else it is told.
constexpr int kGradientsPerLaunch = 2900;
struct TableArgs {  // makes it
  TensorTable table;
  int states, sums;
  bool scales;
  const std::int64_t *first_unit, *units;  // of the tensor that each chunk belongs to
  void* queue;
};

// What the start of a step found out: in memory of the target, where its kernels read it and the host does not.
struct StepControl {
  double norm;       // of all gradients together, before clipping; 0 if nothing asked for it
  double factor;     // what gradients are multiplied by
  double found_inf;  // 1: one of them is infinite or NaN, and this step is skipped
  double updates;    // steps that were not skipped, this one included: random rounding counts by the ones before it
};

struct UpdateArgs {
  const Chunk* chunk;
  std::int64_t chunks;
  const double* params;        // for each group: what its gradients are multiplied by, then the rule's numbers
  const StepControl* control;  // null: params is the host's, and nothing is skipped. Else both are the target's
  // On a GPU instead of chunks: all tensors of a table, and the gradient of each, null where there is none. own_rows: params has a row for each
  // chunk.
  const TensorTable* table;
  void* const* grad;
  bool own_rows;
  bool zero_grads;  // gradients are 0 afterwards
  Precision precision;
  Kept kept[kMaxStates];
  std::uint64_t seed, offset;  // where rounding is random; offset: unless there is a control
  void* queue;
};

// --- the start of a step: how large the gradients are, and the numbers of the rules ------------------------------------------------

// The size of a whole list of tensors, in canonical order over their concatenation: block b of it is the elements [b, b + 1) kBlock, and
// partial is its sum of squares or of magnitudes, or the largest magnitude, in float64.
struct Run {
  const void* x;
  std::int64_t begin, n;  // place in the concatenation, ascending; what lies between runs counts as 0
};
struct StepArgs;
struct MagnitudeArgs {
  const Run* run;
  std::int64_t runs;
  // On a GPU instead of runs: the gradients of a table's tensors, in their concatenation; `each`: in units, without a total, or with them the
  // tensors themselves, whose dtype is the entry's.
  const TensorTable* table;
  void* const* grad;
  bool each, values;
  std::int64_t first, blocks;  // blocks [first, first + blocks)
  double* partial;             // of block `first` on; on a GPU, with room for magnitude_room(blocks) numbers
  // A GPU finishes within the same launch: what the partial results are together, and then the start of a step.
  double* total;
  unsigned* arrived;     // 0 before and afterwards
  const StepArgs* then;  // may be null
  void* queue;
};
constexpr std::int64_t magnitude_room(std::int64_t blocks) { return blocks + (blocks + kBlock - 1) / kBlock; }

constexpr int kMaxOptions = 8;
constexpr int kMaxCarried = 2;
constexpr int kRowNumbers = 10;  // what gradients are multiplied by, and a rule's numbers

// What a group of parameters, which have been stepped together so far, has to remember.
struct StepRecord {
  double step;                  // steps done
  double carried[kMaxCarried];  // a rule's own numbers
};
// A row of numbers to be made for a step.
struct StepRow {
  double option[kMaxOptions];  // of the rule, the learning rate first
  const void* rate;            // the learning rate, where it lies on the target; null: option[0]
  Dtype rate_dtype;
  int rule;  // of StepTable
  int slot;  // of record and numbers
  bool maximize;
};
struct StepArgs {
  const StepRow* row;
  std::int64_t rows;
  StepRecord* record;
  double* numbers;  // kRowNumbers for each slot
  StepControl* control;
  bool goes_on;           // the step has begun, and control is known: these are more rows of it
  bool checks;            // are the gradients finite, and how large are they together?
  const double* squares;  // of all parts of them
  int parts;
  double scale;          // which they are divided by
  const void* scale_at;  // the same, where it lies on the target; null: scale
  Dtype scale_dtype;
  double max_norm;  // infinite: none
  double* report;   // out: norm, found_inf; may be null
  void* queue;
};

// Rules with a rate of its own for each tensor: its row is that of its group, changed by two sums over the tensor. On a CPU they are
// sums[k][chunk]; on a GPU the sums of the units, and tensors without a gradient are passed over.
struct TrustArgs {
  int rule;  // of StepTable
  const double* sums[kMaxSums];
  const double* rows;         // kRowNumbers each
  double* own;                // out: the same for each chunk
  const std::int32_t* group;  // of each chunk; a GPU's are in the table
  std::int64_t chunks;
  const TensorTable* table;
  void* const* grad;
  void* queue;
};

// One axis of a Euclidean distance transform: out[p] = min over q of in[q] + (spacing (p - q))^2 along each of `lines` lines of n
// elements. Arrays are contiguous: element p of line l is at (l / inner * n + p) * inner + l % inner.
struct DistanceArgs {
  std::int64_t first, lines;  // lines [first, first + lines)
  std::int64_t n, inner;
  const void*
      in;     // mask: bytes, 0 is background (in[q] = 0 there, infinite elsewhere); else squared distances in float64
  void* out;  // squared distances in float64; root: their square roots
  double spacing;
  bool mask, root;
  void* scratch;     // distance_scratch(lines, n) bytes, or distance_scratch_gpu(lines, n)
  const Walk* walk;  // on a GPU, of all elements: of in as operand 0, out as operand 1; null: contiguous
  void* queue;
};
constexpr std::int64_t kNeighbors = 8;  // lines worked on at a time: one cache line of neighbors
constexpr std::int64_t distance_scratch(std::int64_t lines, std::int64_t n) {
  return 8 * n * ((lines < kNeighbors ? lines : kNeighbors) + 3);
}
constexpr std::int64_t distance_scratch_gpu(std::int64_t lines, std::int64_t n) {  // all lines at a time
  return 24 * n * lines;
}

// An affine map with numbers of its own for each column, which casts on the way: element i is in column c = (first + i) mod period, and
//   out[i] = (in[i] - shift[c]) scale[c] + offset[c], kept in [low, high],
// computed in float64 whatever the storage types are, and rounded once. in: the entry's type, out: run[dtype]'s.
struct RescaleArgs {
  std::int64_t n, first, period;  // period >= kAhead
  const void* in;
  void* out;
  const double *shift, *scale, *offset;  // period + kAhead numbers: the first ones follow the last ones again
  double low, high;
  bool stream;  // as in MapArgs
  // On a GPU instead of columns: where everything lies, in as operand 0, out 1, shift 2, scale 3, offset 4; where the pointer of one of the
  // last three is null, it is the same number everywhere.
  const Walk* walk;
  double same[3];
  void* queue;
};
constexpr std::int64_t kAhead = 16;  // no target takes more elements at a time

// What an op wants beside inputs, outputs and params.
enum Needs : int { nothing_more = 0, random_words = 1, class_ids = 2, more_operands = 4 };

template <class Op>  // of a row op, from its traits
constexpr int needs_of() {
  constexpr bool more = Op::loss || Op::values > 0 || Op::scalars > 0 || Op::columns > 0 || Op::column_sums > 0;
  return (Op::random ? random_words : 0) | (Op::labelled ? class_ids : 0) | (more ? more_operands : 0);
}

// One op on one target. run[dtype] returns 0, or the device's error code; it is null where the target does not have the op.
template <class Args>
struct Entry {
  const char* name;
  const char* pass;  // "" for the value, "grad", "grad_y"
  int ins, outs, params;
  int needs;  // of Needs
  int (*run[kDtypes])(const Args&);
};

template <class Args>
struct Table {
  const Entry<Args>* entry;
  int size;
};

// What depends on the step count, of each rule.
struct StepRule {
  const char* name;
  int options, carried, numbers;
};
struct StepTable {
  const StepRule* rule;
  int size;
  int (*run)(const StepArgs&);
  int (*trust)(const TrustArgs&);
  int (*keep)(const TableArgs&);  // makes a table; null on a CPU
};

// What the host asks of a target whose memory is not its own. What returns int returns the device's error code, 0 for none.
struct DeviceCalls {
  int (*use)(int device, int* before);                          // makes it the current one
  int (*clear)(void* memory, std::int64_t bytes, void* queue);  // to 0, in the queue's turn
  int (*wait)(int device);                                      // until everything is done that was queued on it
  const char* (
      *failure)();  // this thread's last failed launch in words: which kernel, on which grid, the device's text
  bool (*no_memory)(int code);       // is that what this error code means?
  BadLabel* (*mailbox)(int device);  // one for each device, in memory of the host; null if the device can have none
  // A marker in the queue, on the current device, behind what has been given to it so far. Null: the queue is being captured in a graph, whose
  // work is done whenever the graph is launched, so that it is never known to be over.
  int (*mark)(void* queue, void** marker);
  bool (*passed)(void* marker);    // everything before it is over, or the device has failed; never waits
  void (*wait_for)(void* marker);  // until it has passed
  void (*drop_marker)(void* marker);
};

// Tables of all targets are folded from the same lists, so an op has the same index in each.
struct Target {
  const char* name;
  const Table<MapArgs>* map;
  const Table<RowArgs>* rows;
  const Table<ReduceArgs>* reduce;
  const Table<LabelArgs>* labels;
  const Table<UpdateArgs>* update;
  const Table<DistanceArgs>* distance;    // null: this target has none
  const Table<MagnitudeArgs>* magnitude;  // null: this target has none
  const Table<RescaleArgs>* rescale;      // entries for f32, f64, f16, bf16 and uint8; null: this target has none
  const DeviceCalls* device;              // null: the host's own memory
  const StepTable* step;
};

}  // namespace dlk
