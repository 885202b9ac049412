// The update family: emulated CUDA loops against the CPU target, for every rule, storage of parameter and state, dtype, alignment and class
// of length, with and without zeroed gradients, random rounding and a step that the device itself skips.
#include <algorithm>
#include <memory>

#include "compare.h"

using dlk::Kept;
using dlk::Precision;

namespace {

// What gradients are multiplied by, then the rule's numbers (Adam's as the host makes them), for two groups
const double numbers[] = {1,  0.01, 0.1, 0.001, 1e-5, 0.02, 3.0, 1e-8, 1e-3, 0.3,
                          -1, 0,    0.2, 0.01,  1e-3, 0.05, 1.5, 1e-6, 0,    0.1};

// How a call's numbers are stored, and who decides about it.
struct Storage {
  Precision precision;
  Kept kept[dlk::kMaxStates];
  bool on_device;  // the rows and the decision are
  bool skipped;
  bool in_table;  // the tensors are in a table, and the last one but one has no gradient
};

Storage storage_of(int turn, Dtype d) {
  constexpr Kept ways[] = {Kept::wide, Kept::bytes, Kept::positive_bytes, Kept::bf16};
  Storage s{};
  if (d != Dtype::f64) {
    const bool all_wide = turn % 3 == 0;
    for (int k = 0; k < dlk::kMaxStates; ++k) s.kept[k] = all_wide ? Kept::wide : ways[(turn / 3 + k * (turn % 5)) % 4];
  }
  if (d == Dtype::bf16) s.precision = static_cast<Precision>(turn % 4);
  if (d == Dtype::f16) s.precision = turn % 2 == 0 ? Precision::plain : Precision::master;
  s.on_device = turn % 4 == 1;
  s.skipped = turn % 12 == 5;
  s.in_table = turn % 8 == 1;
  return s;
}

struct Tensor {
  std::vector<Twin> array;  // parameter, gradient, master, state, scales, sums
  std::int64_t n, first;
};

// Chunks as a table on the device, and the call that steps them.
struct KeptChunks {
  std::vector<dlk::Chunk> chunk;
  std::vector<std::int64_t> first_unit, units;
  std::vector<void*> grad;
  std::vector<std::uint64_t> memory;
  std::vector<double> own;
  dlk::TensorTable table{};

  // Chunks that are empty have no place in a table.
  KeptChunks(const std::vector<dlk::Chunk>& chunks, const dlk::Entry<dlk::UpdateArgs>& e, dlk::UpdateArgs& a) {
    bool scales = false;
    for (Kept k : a.kept) scales = scales || k >= Kept::bytes;
    const bool master = a.precision >= Precision::master;
    for (const dlk::Chunk& c : chunks) {
      if (c.n == 0) continue;
      chunk.push_back(c);
      grad.push_back(c.grad);
      first_unit.push_back(table.units);
      units.push_back((c.n + dlk::kBlock - 1) / dlk::kBlock);
      table.units += units.back();
      // rows of their own, in the order of chunks
      for (int p = 0; p < dlk::kRowNumbers; ++p) own.push_back(a.params[c.group * dlk::kRowNumbers + p]);
      if (a.own_rows) chunk.back().group = 1234567;
    }
    table.chunk = chunk.data();
    table.chunks = std::int64_t(chunk.size());
    table.blocks = 0;  // of the concatenation: bits_step.cpp
    table.stride = dlk::table_words(e.ins, e.outs, scales, master);
    table.master_at = master ? 1 + e.ins + (scales ? e.ins : 0) : 0;
    if (chunk.empty()) return;
    const dlk::Chunk& last = chunk.back();
    table.blocks = (last.first + last.n + dlk::kBlock - 1) / dlk::kBlock;
    memory.assign(std::size_t(dlk::table_bytes(table) / 8 + 2), 0x5555555555555555u);
    table.memory = memory.data();
    dlk::TableArgs t{};
    t.table = table;
    t.states = e.ins;
    t.sums = e.outs;
    t.scales = scales;
    t.first_unit = first_unit.data();
    t.units = units.data();
    expect(dlk::simt::target.step->keep(t) == 0, "a table could not be made");
    expect(memory.back() == 0x5555555555555555u, "a table is longer than it says");
    a.table = &table;
    a.grad = grad.data();
    if (a.own_rows) a.params = own.data();
    a.chunk = nullptr;
    a.chunks = 0;
  }
};

// Several tensors in one call; hyper-parameter groups taking turns.
void update_call(int index, Dtype d, const std::vector<std::int64_t>& lengths, int offset, bool mixed, int groups,
                 int turn) {
  const dlk::Entry<dlk::UpdateArgs>& e = dlk::cpu::target.update->entry[index];
  const Storage s = storage_of(turn, d);
  const Dtype wide = compute_type(d);
  std::vector<Tensor> tensors;
  std::int64_t place = random_below(9000);  // in the concatenation
  for (std::size_t c = 0; c < lengths.size(); ++c) {
    const std::int64_t n = lengths[c], blocks = (n + dlk::kBlock - 1) / dlk::kBlock;
    const Values weights = c % 2 == 0 ? Values::wild : Values::tame;
    Tensor t{{}, n, turn % 2 == 0 ? random_below(9) : (std::int64_t(1) << 34) - random_below(40)};
    if (s.in_table) t.first = place;
    place += n;
    const auto at = [&](int k) { return mixed ? (offset + 3 * k) % 17 : offset; };
    t.array.emplace_back(d, n, at(0), s.precision == Precision::remainder ? Values::tame : weights);
    t.array.emplace_back(d, n, at(1), weights);
    if (s.precision == Precision::remainder) {
      t.array.emplace_back(Dtype::bf16, n, at(2), Values::raw);
    } else {
      t.array.emplace_back(wide, n, at(2), weights);
    }
    for (int k = 0; k < e.ins; ++k) {
      if (s.kept[k] >= Kept::bytes) {
        t.array.emplace_back(Dtype::bf16, (n + 1) / 2, at(3 + k), Values::raw);
      } else {
        t.array.emplace_back(s.kept[k] == Kept::bf16 ? Dtype::bf16 : wide, n, at(3 + k),
                             k == 1 ? Values::positive : Values::tame);
      }
    }
    for (int k = 0; k < e.ins; ++k)
      t.array.emplace_back(Dtype::f32, (n + dlk::kScaled - 1) / dlk::kScaled, at(1), Values::positive);
    for (int j = 0; j < e.outs; ++j) t.array.emplace_back(Dtype::f64, blocks, 0, Values::tame);
    tensors.push_back(std::move(t));
  }
  std::vector<double> rows[2];  // the device's have a fixed width
  for (int g = 0; g < groups; ++g) {
    for (int p = 0; p < dlk::kRowNumbers; ++p) {
      const double number = numbers[(g % 2) * 10 + p] * (1 + g / 2);
      if (p <= e.params) rows[0].push_back(number);
      rows[1].push_back(number);
    }
  }
  const bool zero_grads = (offset + turn) % 4 == 1;
  constexpr std::uint64_t updates = 77;
  const dlk::StepControl control{0, 1, s.skipped ? 1.0 : 0.0, double(updates + (s.skipped ? 0 : 1))};
  for (Side side : {on_cpu, on_cuda}) {
    std::vector<dlk::Chunk> chunks;
    for (std::size_t i = 0; i < tensors.size(); ++i) {
      Tensor& t = tensors[i];
      dlk::Chunk c{};
      c.param = t.array[0].at(side);
      c.grad = t.array[1].at(side);
      c.master = s.precision >= Precision::master ? t.array[2].at(side) : nullptr;
      for (int k = 0; k < e.ins; ++k) {
        c.state[k] = t.array[std::size_t(3 + k)].at(side);
        c.scale[k] = t.array[std::size_t(3 + e.ins + k)].as<float>(side);
      }
      for (int j = 0; j < e.outs; ++j) c.sum[j] = t.array[std::size_t(3 + 2 * e.ins + j)].as<double>(side);
      c.first = t.first;
      c.n = std::int32_t(t.n);
      c.group = int(i) % groups;
      if (s.in_table && i + 2 == tensors.size()) c.grad = nullptr;  // left alone
      if (side == on_cpu && c.grad == nullptr) continue;
      chunks.push_back(c);
      if (side == on_cpu && s.on_device && s.skipped && zero_grads)
        std::memset(c.grad, 0, std::size_t(t.n * size_of(d)));
    }
    if (side == on_cpu && s.on_device && s.skipped) continue;  // what is left alone
    dlk::UpdateArgs a{};
    a.chunk = chunks.data();
    a.chunks = std::int64_t(chunks.size());
    a.params = rows[s.on_device && side == on_cuda ? 1 : 0].data();
    a.zero_grads = zero_grads;
    a.precision = s.precision;
    std::copy(s.kept, s.kept + dlk::kMaxStates, a.kept);
    a.seed = 0x9e3779b97f4a7c15u;
    a.offset = s.on_device && side == on_cuda ? 0 : updates;
    if (s.on_device && side == on_cuda) a.control = &control;
    a.own_rows = s.in_table && side == on_cuda && turn % 16 == 1;
    std::unique_ptr<KeptChunks> table;
    if (s.in_table && side == on_cuda) table = std::make_unique<KeptChunks>(chunks, e, a);
    if (table != nullptr && table->chunk.empty()) continue;
    const int error = target_of(side).update->entry[index].run[int(d)](a);
    expect(error == 0, std::string(e.name) + " returned " + std::to_string(error));
  }
  std::string call = std::string("update ") + e.name + " " + dtype_name[int(d)] +
                     " chunks=" + std::to_string(lengths.size()) + " n=" + std::to_string(lengths[0]) +
                     " offset=" + std::to_string(offset) + (mixed ? " mixed" : "") + " turn=" + std::to_string(turn) +
                     " precision=" + std::to_string(int(s.precision)) + " kept=";
  for (Kept k : s.kept) call += std::to_string(int(k));
  static const char* const role[] = {"parameter", "gradient", "master"};
  for (Tensor& t : tensors) {
    for (std::size_t k = 0; k < t.array.size(); ++k) {
      const int state = int(k) - 3;
      expect_same(t.array[k], call, k < 3 ? role[k] : state < e.ins ? "state" : state < 2 * e.ins ? "scale" : "sum");
    }
  }
  expect_no_reports(call);
}

int turn = 0;

void updates(const std::vector<std::int64_t>& lengths, int offsets, int few) {
  Turns turns;
  for (int i = 0; i < dlk::cpu::target.update->size; ++i) {
    for (Dtype d : all_dtypes) {
      for (std::int64_t n : lengths) {
        for (int offset : turns(offsets, few)) {
          if ((n + offset) % 3 != 0) {
            update_call(i, d, {n, 7, 0, n / 2 + 1}, offset, false, 2, turn++);
          } else {
            update_call(i, d, {n}, offset, true, 1, turn++);
          }
        }
      }
    }
  }
}

// Every storage of every rule.
void storages() {
  for (int i = 0; i < dlk::cpu::target.update->size; ++i) {
    for (Dtype d : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
      for (int way = 0; way < 60; way += Turns::full ? 1 : 7) update_call(i, d, {777}, turn % 5, way % 2 == 1, 1, way);
    }
  }
}

// More tensors than one launch takes, and more groups.
void updates_of_many() {
  Turns dtypes;
  for (int i = 0; i < dlk::cpu::target.update->size; ++i) {
    for (int d : dtypes(4, 1)) {
      update_call(i, all_dtypes[d], std::vector<std::int64_t>(1500, 5), 0, false, 3, turn++);
      update_call(i, all_dtypes[d], std::vector<std::int64_t>(200, 40), 1, false, 50, turn++);
      update_call(i, all_dtypes[d], std::vector<std::int64_t>(6000, 5), 0, false, 3, 1 + 8 * (turn % 2));
    }
  }
}

}  // namespace

int main(int argc, char**) {
  Turns::full = argc > 1;
  updates({0, 1, 3, 7, 8, 9, 31, 33, 64, 255, 256, 257, 258}, 17, 2);
  updates({4095, 4096, 4097, 10000}, 3, 1);
  updates({100003}, 1, 1);
  storages();
  updates_of_many();
  simt::device.watch = simt::device.backwards = true;
  updates({1, 33, 258, 4097}, 2, 1);
  return finish("bits_update");
}
