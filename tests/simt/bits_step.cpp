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

template <class T>
bool same_bytes(const std::vector<T>& a, const std::vector<T>& b) {
  const auto* x = reinterpret_cast<const double*>(a.data());
  const auto* y = reinterpret_cast<const double*>(b.data());
  for (std::size_t i = 0; i < a.size() * sizeof(T) / 8; ++i) {
    if (!alike(x[i], y[i])) return false;
  }
  return true;
}

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
  magnitude_call(0, Dtype::bf16, {260000, 77}, 3, Values::tame, false, 65);  // more blocks than a block of them
  for (int rows : {0, 1, 14, 63, 64, 65, 200}) {
    for (bool rates : {false, true}) steps(rows, rates);
  }
  simt::device.watch = simt::device.backwards = true;
  magnitudes({{1}, {255, 4097}, odd}, 1);
  for (int rows : {1, 64, 130}) steps_after_magnitudes(rows);
  steps(70, true);
  return finish("bits_step");
}
