// The start of a step: sizes of lists of tensors that lie anywhere and end anywhere, every rule's numbers, and steps that are skipped.
// Emulated CUDA against the CPU target.
#include <cmath>

#include "compare.h"

namespace {

const dlk::Entry<dlk::MagnitudeArgs>& magnitude_of(Side s, int how) { return target_of(s).magnitude->entry[how]; }

// What the host makes of the results of blocks.
double combined(int how, std::vector<double> partial) {
  if (how == 2) {
    double most = 0;
    for (double p : partial) most = p <= most || most != most ? most : p;
    return most;
  }
  do {
    dlk::ReduceArgs a{};
    a.n = std::int64_t(partial.size());
    std::vector<double> next(std::size_t((a.n + dlk::kBlock - 1) / dlk::kBlock));
    a.in[0] = partial.data();
    a.partial = next.data();
    a.count = 1;
    dlk::cpu::target.reduce->entry[0].run[int(Dtype::f64)](a);
    partial = next;
  } while (partial.size() > 1);
  return partial[0];
}

bool alike(double a, double b) { return (a != a && b != b) || std::memcmp(&a, &b, 8) == 0; }

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  const auto* x = reinterpret_cast<const double*>(a.data());
  const auto* y = reinterpret_cast<const double*>(b.data());
  for (std::size_t i = 0; i < a.size() * sizeof(T) / 8; ++i) {
    if (!alike(x[i], y[i])) return false;
  }
  return true;
}

struct List {
  std::vector<Twin> array;
  std::vector<dlk::Run> run[2];
  std::int64_t blocks;
};
List list_of(Dtype d, const std::vector<std::int64_t>& lengths, int offset, Values v, bool each, int times = 1) {
  List l;
  std::int64_t end = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (each) end = (end + dlk::kBlock - 1) / dlk::kBlock * dlk::kBlock;
    l.array.emplace_back(d, lengths[i], (offset + 5 * int(i)) % 17, v);
    for (int k = 0; k < times; ++k) {  // the same array again
      for (Side s : {on_cpu, on_cuda}) l.run[s].push_back({l.array.back().at(s), end, lengths[i]});
      end += lengths[i];
    }
  }
  l.blocks = (end + dlk::kBlock - 1) / dlk::kBlock;
  return l;
}

void magnitude_call(int how, Dtype d, const std::vector<std::int64_t>& lengths, int offset, Values v, bool each,
                    int times = 1) {
  List l = list_of(d, lengths, offset, v, each, times);
  std::vector<double> partial[2];
  double total = -1;
  unsigned arrived = 0;
  for (Side s : {on_cpu, on_cuda}) {
    partial[s].resize(std::size_t(dlk::magnitude_room(l.blocks)), -1);
    dlk::MagnitudeArgs a{};
    a.run = l.run[s].data();
    a.runs = std::int64_t(l.run[s].size());
    a.blocks = l.blocks;
    a.partial = partial[s].data();
    a.total = &total;
    a.arrived = &arrived;
    const int error = magnitude_of(s, how).run[int(d)](a);
    expect(error == 0, std::string(magnitude_of(s, how).name) + " returned " + std::to_string(error));
    partial[s].resize(std::size_t(l.blocks));
  }
  const std::string call = std::string(magnitude_of(on_cpu, how).name) + " " + dtype_name[int(d)] +
                           " of=" + std::to_string(lengths.size()) + " first=" + std::to_string(lengths[0]) +
                           " offset=" + std::to_string(offset) + (each ? " each" : "");
  for (std::size_t b = 0; b < partial[0].size(); ++b)
    expect(alike(partial[0][b], partial[1][b]), call + ": block " + std::to_string(b));
  expect(alike(total, combined(how, partial[0])), call + ": total " + std::to_string(total));
  expect(arrived == 0, call + ": the counter is " + std::to_string(arrived));
  for (Twin& t : l.array) expect_same(t, call, "tensor");
  expect_no_reports(call);
}

// The same of tensors in a table, some of which have no gradient: in their concatenation, which may begin anywhere; and unit by unit, of
// the gradients and of the tensors themselves. Then a row for each, from sums over it.
void table_call(Dtype d, const std::vector<std::int64_t>& lengths, int offset, int states, int way) {
  const bool master = way % 2 == 1;
  const Dtype wide = compute_type(d);
  std::vector<Twin> grads, values;
  std::vector<dlk::Chunk> chunk;
  std::vector<std::int64_t> first_unit, units;
  std::vector<void*> grad;
  std::vector<dlk::Run> joined[2], each[2];  // on the CPU alone; of gradients and of values
  std::int64_t end = way % 3 == 0 ? 0 : random_below(9000), unit = 0;
  for (std::size_t i = 0; i < lengths.size(); ++i) {
    if (lengths[i] == 0) continue;
    grads.emplace_back(d, lengths[i], (offset + 5 * int(i)) % 17, Values::tame);
    values.emplace_back(master ? wide : d, lengths[i], (offset + 3 * int(i)) % 17, Values::tame);
    const bool there = (int(i) + way) % 5 != 2;
    dlk::Chunk c{};
    (master ? c.master : c.param) = values.back().at(on_cuda);
    c.first = end;
    c.n = std::int32_t(lengths[i]);
    c.group = int(i) % 3;
    chunk.push_back(c);
    grad.push_back(there ? grads.back().at(on_cuda) : nullptr);
    first_unit.push_back(unit);
    units.push_back((lengths[i] + dlk::kBlock - 1) / dlk::kBlock);
    if (there) {
      joined[0].push_back({grads.back().at(on_cpu), end, lengths[i]});
      each[0].push_back({grads.back().at(on_cpu), unit * dlk::kBlock, lengths[i]});
      each[1].push_back({values.back().at(on_cpu), unit * dlk::kBlock, lengths[i]});
    }
    unit += units.back();
    end += lengths[i];
  }
  dlk::TableArgs t{};
  t.table.chunk = chunk.data();
  t.table.chunks = std::int64_t(chunk.size());
  t.table.units = unit;
  t.table.blocks = (end + dlk::kBlock - 1) / dlk::kBlock;
  t.table.stride = dlk::table_words(states, 0, false, master);
  t.table.master_at = master ? 1 + states : 0;
  t.states = states;
  t.first_unit = first_unit.data();
  t.units = units.data();
  std::vector<std::uint64_t> memory(std::size_t(dlk::table_bytes(t.table) / 8 + 2), 0x5555555555555555u);
  t.table.memory = memory.data();
  expect(dlk::simt::target.step->keep(t) == 0, "a table could not be made");
  expect(memory.back() == 0x5555555555555555u, "a table is longer than it says");
  const std::string call = std::string("table ") + dtype_name[int(d)] + " of=" + std::to_string(lengths.size()) +
                           " first=" + std::to_string(lengths[0]) + " way=" + std::to_string(way);
  const auto cpu = [&](const std::vector<dlk::Run>& run, std::int64_t blocks, Dtype of) {
    std::vector<double> partial(std::size_t(blocks), -1);
    dlk::MagnitudeArgs a{};
    a.run = run.data();
    a.runs = std::int64_t(run.size());
    a.blocks = blocks;
    a.partial = partial.data();
    expect(magnitude_of(on_cpu, 0).run[int(of)](a) == 0, call);
    return partial;
  };
  const auto device = [&](bool by_unit, bool of_values, double* total) {
    const std::int64_t blocks = by_unit ? unit : t.table.blocks;
    std::vector<double> partial(std::size_t(by_unit ? blocks : dlk::magnitude_room(blocks)), -1);
    unsigned arrived = 0;
    dlk::MagnitudeArgs a{};
    a.table = &t.table;
    a.grad = grad.data();
    a.each = by_unit;
    a.values = of_values;
    a.blocks = blocks;
    a.partial = partial.data();
    a.total = total;
    a.arrived = &arrived;
    expect(magnitude_of(on_cuda, 0).run[int(of_values && master ? wide : d)](a) == 0, call);
    expect(arrived == 0, call + ": the counter");
    partial.resize(std::size_t(blocks));
    return partial;
  };
  double total = -1;
  const std::vector<double> one = cpu(joined[0], t.table.blocks, d), other = device(false, false, &total);
  for (std::size_t b = 0; b < one.size(); ++b) expect(alike(one[b], other[b]), call + ": block " + std::to_string(b));
  expect(alike(total, combined(0, one)), call + ": total");
  std::vector<double> sums[2][2];  // of values and gradients, on both sides
  for (int k = 0; k < 2; ++k) {
    sums[k][0] = cpu(each[1 - k], unit, k == 0 && master ? wide : d);
    sums[k][1] = device(true, k == 0, nullptr);
    for (std::size_t b = 0; b < sums[k][0].size(); ++b)
      expect(alike(sums[k][0][b], sums[k][1][b]), call + ": unit " + std::to_string(b));
  }
  for (int rule = 0; rule < dlk::cpu::target.step->size; ++rule) {
    const std::string name = dlk::cpu::target.step->rule[rule].name;
    if (name != "lars" && name != "lamb_moments") continue;
    std::vector<double> rows(3 * dlk::kRowNumbers), own_rows(chunk.size() * dlk::kRowNumbers, 7);
    for (double& x : rows) x = double(1 + random_below(1000)) / 1000;
    dlk::TrustArgs a{};
    a.rule = rule;
    a.rows = rows.data();
    a.own = own_rows.data();
    a.table = &t.table;
    a.grad = grad.data();
    for (int k = 0; k < 2; ++k) a.sums[k] = sums[k][1].data();
    expect(dlk::simt::target.step->trust(a) == 0, call);
    std::vector<double> expected(own_rows.size(), 7), whole[2];
    std::vector<std::int32_t> group;
    for (std::size_t i = 0; i < chunk.size(); ++i) {
      group.push_back(chunk[i].group);
      for (int k = 0; k < 2; ++k) {
        const auto from = sums[k][0].begin() + first_unit[i];
        whole[k].push_back(combined(0, std::vector<double>(from, from + units[i])));
      }
    }
    a = {};
    a.rule = rule;
    a.rows = rows.data();
    a.own = expected.data();
    a.group = group.data();
    a.chunks = std::int64_t(chunk.size());
    for (int k = 0; k < 2; ++k) a.sums[k] = whole[k].data();
    expect(dlk::cpu::target.step->trust(a) == 0, call);
    for (std::size_t i = 0; i < chunk.size(); ++i) {
      const auto at = std::ptrdiff_t(i * dlk::kRowNumbers);
      const std::vector<double> x(own_rows.begin() + at, own_rows.begin() + at + dlk::kRowNumbers);
      std::vector<double> y(expected.begin() + at, expected.begin() + at + dlk::kRowNumbers);
      if (grad[i] == nullptr) y.assign(dlk::kRowNumbers, 7);  // left alone
      expect(same_bytes(x, y), call + ": " + name + ", row " + std::to_string(i));
    }
  }
  for (std::size_t i = 0; i < grads.size(); ++i) {
    expect_same(grads[i], call, "gradient");
    expect_same(values[i], call, "tensor");
  }
  expect_no_reports(call);
}

void tables(const std::vector<std::vector<std::int64_t>>& lists) {
  int way = 0;
  for (Dtype d : all_dtypes) {
    for (const auto& lengths : lists) {
      table_call(d, lengths, way % 17, way % 4, way);
      ++way;
    }
  }
}

void magnitudes(const std::vector<std::vector<std::int64_t>>& lists, int few) {
  Turns offsets;
  int turn = 0;
  for (int how = 0; how < 3; ++how) {
    for (Dtype d : all_dtypes) {
      for (const auto& lengths : lists) {
        for (int offset : offsets(17, few)) {
          magnitude_call(how, d, lengths, offset, turn % 3 == 0 ? Values::wild : Values::tame, turn % 4 == 3);
          ++turn;
        }
      }
    }
  }
}

// --- numbers -----------------------------------------------------------------------------------------------------------------

// Options within what the rules allow: rates and decays are small, shares below 1.
dlk::StepRow row_of(int rule, int slot) {
  const dlk::StepRule& r = dlk::cpu::target.step->rule[rule];
  dlk::StepRow row{};
  const auto share = [] { return double(random_below(1000000)) / 1000001; };
  for (int k = 0; k < r.options; ++k) {
    const std::int64_t kind = random_below(4);
    row.option[k] = k == 0 ? 0.1 * share() : kind == 0 ? 0.999 : kind == 1 ? double(random_below(2)) : share();
    if ((k == 1 || k == 2) && row.option[k] >= 1) row.option[k] = 0.9;
  }
  row.rule = rule;
  row.slot = slot;
  row.maximize = slot % 3 == 0;
  return row;
}

struct Memory {
  std::vector<dlk::StepRecord> record;
  std::vector<double> numbers;
  dlk::StepControl control{};
  double squares[2] = {}, report[2] = {};
};

// Ten steps, of which some are skipped. `rates`: the learning rate is the target's.
void steps(int rows, bool rates) {
  Memory m[2];
  std::vector<dlk::StepRow> row;
  const int rules = dlk::cpu::target.step->size;
  for (int r = 0; r < rows; ++r) row.push_back(row_of(r % rules, rows - 1 - r));
  for (Side s : {on_cpu, on_cuda}) {
    m[s].numbers.assign(std::size_t(rows) * dlk::kRowNumbers, 0.5);
    for (int r = 0; r < rows; ++r) m[s].record.push_back({double(r % 7 * r), {0.25, 1}});
  }
  const float rate32 = 0.0123f, scale32 = 1024;
  const double rate64 = 0.0456;
  for (int t = 0; t < 10; ++t) {
    const double squares[2] = {t == 4 ? INFINITY : t == 7 ? NAN : 3.5 * t, 1e-3};
    for (Side s : {on_cpu, on_cuda}) {
      for (std::size_t r = 0; rates && r < row.size(); ++r) {
        row[r].rate = r % 2 == 0 ? static_cast<const void*>(&rate32) : &rate64;
        row[r].rate_dtype = r % 2 == 0 ? Dtype::f32 : Dtype::f64;
      }
      std::memcpy(m[s].squares, squares, sizeof squares);
      dlk::StepArgs a{};
      a.row = row.data();
      a.rows = rows;
      a.record = m[s].record.data();
      a.numbers = m[s].numbers.data();
      a.control = &m[s].control;
      a.checks = t != 1;
      a.squares = m[s].squares;
      a.parts = 2;
      a.scale = 8;
      a.scale_at = t % 2 == 0 ? &scale32 : nullptr;
      a.max_norm = t % 3 == 0 ? INFINITY : 1.5;
      a.report = t % 3 == 1 ? nullptr : m[s].report;
      expect(target_of(s).step->run(a) == 0, "a step returned an error");
    }
    const std::string call = "step " + std::to_string(t) + " of " + std::to_string(rows) + " rows";
    expect(same_bytes(m[0].record, m[1].record), call + ": records");
    expect(same_bytes(m[0].numbers, m[1].numbers), call + ": numbers");
    expect(alike(m[0].control.norm, m[1].control.norm) && alike(m[0].control.factor, m[1].control.factor), call);
    expect(m[0].control.updates == m[1].control.updates, call + ": updates");
    expect(m[0].report[1] == m[1].report[1] && alike(m[0].report[0], m[1].report[0]), call + ": report");
    expect_no_reports(call);
  }
  expect(m[0].control.updates == 8, "two of ten steps are skipped");
  for (int r = 0; r < rows; ++r) expect(m[0].record[std::size_t(r)].step == r % 7 * r + 8, "a skipped step is counted");
}

// All of it in one launch.
void steps_after_magnitudes(int rows) {
  List l = list_of(Dtype::f32, {5000, 3, 70, 9000}, 1, Values::tame, false);
  Memory m[2];
  std::vector<dlk::StepRow> row;
  for (int r = 0; r < rows; ++r) row.push_back(row_of(r % dlk::cpu::target.step->size, r));
  for (Side s : {on_cpu, on_cuda}) {
    m[s].numbers.assign(std::size_t(rows) * dlk::kRowNumbers, 0.5);
    m[s].record.assign(std::size_t(rows), {3, {0.25, 1}});
    std::vector<double> partial(std::size_t(dlk::magnitude_room(l.blocks)));
    unsigned arrived = 0;
    dlk::StepArgs step{};
    step.row = row.data();
    step.rows = rows;
    step.record = m[s].record.data();
    step.numbers = m[s].numbers.data();
    step.control = &m[s].control;
    step.checks = true;
    step.squares = m[s].squares;
    step.parts = 1;
    step.scale = 1;
    step.max_norm = 0.5;
    dlk::MagnitudeArgs a{};
    a.run = l.run[s].data();
    a.runs = 4;
    a.blocks = l.blocks;
    a.partial = partial.data();
    a.total = m[s].squares;
    a.arrived = &arrived;
    a.then = &step;
    const std::uint64_t before = simt::counts.launches;
    expect(magnitude_of(s, 0).run[int(Dtype::f32)](a) == 0, "squares returned an error");
    if (s == on_cuda && rows <= 64) expect(simt::counts.launches == before + 1, "one launch");
    if (s == on_cpu) {
      partial.resize(std::size_t(l.blocks));
      m[s].squares[0] = combined(0, partial);
      target_of(s).step->run(step);
    }
  }
  const std::string call = "squares and then " + std::to_string(rows) + " rows";
  expect(m[0].control.factor < 1 && alike(m[0].control.factor, m[1].control.factor), call + ": factor");
  expect(same_bytes(m[0].numbers, m[1].numbers) && same_bytes(m[0].record, m[1].record), call);
  expect_no_reports(call);
}

}  // namespace

int main(int argc, char**) {
  Turns::full = argc > 1;
  const std::vector<std::int64_t> odd = {1, 2, 3, 255, 256, 257, 4095, 4096, 4097, 7, 0, 12345, 9};
  std::vector<std::int64_t> many(3000, 37);
  many[1500] = 30000;
  magnitudes({{1}, {0, 8}, {255}, {256, 256}, {4096}, {4097}, {100000}, odd}, 3);
  magnitudes({many}, 1);
  tables({{1}, {5, 8}, {255}, {4096}, {4097}, {100000}, odd, many, std::vector<std::int64_t>(7000, 3)});
  magnitude_call(0, Dtype::bf16, {260000, 77}, 3, Values::tame, false, 65);  // more blocks than a block of them
  for (int rows : {0, 1, 14, 63, 64, 65, 200}) {
    for (bool rates : {false, true}) steps(rows, rates);
  }
  simt::device.watch = simt::device.backwards = true;
  magnitudes({{1}, {255, 4097}, odd}, 1);
  tables({{1}, {255, 4097}, odd});
  for (int rows : {1, 64, 130}) steps_after_magnitudes(rows);
  steps(70, true);
  return finish("bits_step");
}
