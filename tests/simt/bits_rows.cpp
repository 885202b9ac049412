// The rows family: every op and dtype; row lengths from 0 to beyond what a cluster holds; rows aligned and not, strided and in place; with
// everything that a call may bring or leave out; on devices with clusters and without, with much shared memory and little.
#include <memory>

#include "compare.h"

namespace {

using dlk::kMaxIn;
using dlk::kRowBlock;

// How the operands lie: rows that are runs; columns `apart`, as along an inner axis; columns in two dimensions, rows turned round.
enum Lie { runs, across, folded };

struct Shape {
  std::int64_t rows, cols;
  int offset, gap;  // of the first element; between rows
  Lie lie = runs;
};

// Numbers an op can live with: hyper-parameters in the order of its struct. Some ops iterate, and must end.
std::vector<double> params_of(const dlk::Entry<dlk::RowArgs>& e, unsigned variant) {
  const std::string name = e.name;
  if (name.find("bias_act") == 0) return {variant % 4 == 3 ? 0.0 : 0.3};
  if (name == "tempered_softmax")
    return {variant % 3 == 0 ? 1.5 : variant % 3 == 1 ? 0.5 : 1.0, variant % 2 ? 5.0 : -1.0};
  if (name.find("bi_tempered") == 0)
    return {0.7, variant % 3 == 0 ? 1.3 : 0.8, variant % 2 ? 0.1 : 0.0, variant % 5 ? -1.0 : 4.0};
  if (name == "triplet_margin_loss")
    return {1.0, variant % 3 == 0 ? 2.0 : variant % 3 == 1 ? 1.0 : 2.5, 1e-6, double(variant % 2)};
  if (name == "normalize") return {variant % 2 ? 0.0 : -INFINITY};
  if (name == "combine_moments") return {32.0, 1e-5};
  if (name.find("pair_sums") == 0) return {12.0};
  return {0.1, 0.25, 0.5, 0.75, 1.5, 1.25};
}

// The places of an operand's elements, where they are no runs: two dimensions of each, so that neither is the fastest.
struct Places {
  dlk::Walk row{}, column{};
  std::int64_t size = 0;  // elements from the first to the last

  Places(const Shape& s) {
    const std::int64_t half = s.cols % 2 == 0 ? s.cols / 2 : s.cols, of_rows = s.rows % 3 == 0 ? s.rows / 3 : s.rows;
    row.dims = s.lie == folded ? 2 : 1;
    column.dims = s.lie == folded ? 2 : 1;
    row.shape[0] = s.lie == folded ? s.rows / of_rows : s.rows;
    row.shape[1] = of_rows;
    column.shape[0] = s.lie == folded ? s.cols / (half == 0 ? 1 : half) : s.cols;
    column.shape[1] = half;
    for (int k = 0; k < dlk::kWalkers; ++k) {
      if (s.lie == across) {  // neighboring rows are neighbors in memory; operand 1 has its rows the other way round
        row.step[k][0] = k == 1 ? -1 : 1;
        column.step[k][0] = s.rows + s.gap;
      } else {  // rows turned: the first dimension of rows lies inside
        row.step[k][0] = s.cols + s.gap;
        row.step[k][1] = (s.cols + s.gap) * row.shape[0];
        column.step[k][0] = k == 1 ? 1 : half;
        column.step[k][1] = k == 1 ? column.shape[0] : 1;
      }
    }
    size = s.lie == across ? s.cols * (s.rows + s.gap) : s.rows * (s.cols + s.gap);
  }
  std::int64_t first(int k, const Shape& s) const { return s.lie == across && k == 1 ? s.rows - 1 : 0; }
};

// The CPU is given the operand as it wants it, row after row; afterwards that is put back where it came from.
void move_operand(Twin& t, Dtype d, const Places& p, const Shape& s, int k, std::vector<unsigned char>& run,
                  bool back) {
  const std::size_t item = std::size_t(size_of(d));
  const auto offset = [&](const dlk::Walk& w, std::int64_t i) {
    std::int64_t at = 0;
    for (int e = w.dims - 1; e >= 0; --e) {
      at += i % w.shape[e] * w.step[k][e];
      i /= w.shape[e];
    }
    return at;
  };
  run.resize(std::size_t(s.rows * s.cols) * item + 1);
  for (std::int64_t r = 0; r < s.rows; ++r) {
    for (std::int64_t c = 0; c < s.cols; ++c) {
      unsigned char* const there =
          t.as<unsigned char>(on_cpu) + (p.first(k, s) + offset(p.row, r) + offset(p.column, c)) * std::int64_t(item);
      unsigned char* const here = &run[std::size_t(r * s.cols + c) * item];
      std::memcpy(back ? there : here, back ? here : there, item);
    }
  }
}

// id: of all rows; else they are drawn
void row_call(int index, Dtype d, Shape shape, unsigned variant, Values v, std::int64_t id = -1) {
  const dlk::Entry<dlk::RowArgs>& e = dlk::cpu::target.rows->entry[index];
  const Dtype s_type = compute_type(d);
  const Places places(shape);
  const std::int64_t step = shape.cols + shape.gap, n = shape.lie == runs ? shape.rows * step : places.size;
  const std::int64_t blocks = (shape.rows + kRowBlock - 1) / kRowBlock, first = variant % 2 == 0 ? 0 : 5;
  const bool in_place = variant % 3 == 1 && e.outs <= e.ins, labelled = (e.needs & dlk::class_ids) != 0;
  const bool reads_an_output = e.outs == 2 && std::string(e.pass) == "add";  // the sum of its inputs
  const bool value_only = e.outs > 0 && variant % 7 == 5 && !reads_an_output;
  const std::vector<double> params = params_of(e, variant);
  std::vector<Twin> in, out, column, scalar, value, sum;
  for (int k = 0; k < e.ins; ++k) in.emplace_back(d, n, shape.offset, k == 0 ? v : Values::tame);
  for (int k = 0; k < e.outs; ++k) out.emplace_back(d, n, shape.offset, Values::tame);
  for (int k = 0; k < dlk::kMaxColumns; ++k) {
    column.emplace_back(d, shape.cols, variant % 5 == 2 ? 1 : 0, k == 0 ? Values::positive : Values::tame);
    sum.emplace_back(s_type, blocks * shape.cols, 0, Values::tame);
  }
  for (int k = 0; k < dlk::kMaxScalars; ++k)
    scalar.emplace_back(s_type, 40, 0, k == 1 ? Values::positive : Values::tame);
  for (int k = 0; k < dlk::kMaxOut; ++k) value.emplace_back(s_type, shape.rows, 0, Values::tame);
  Twin upstream(s_type, shape.rows, 0, Values::tame), divisor(s_type, 1, 0, Values::positive);
  std::vector<std::int64_t> wide(std::size_t(shape.rows));
  for (std::int64_t& y : wide)
    y = id >= 0 ? id : shape.cols == 0 || random_below(6) == 0 ? -100 : random_below(shape.cols);
  const std::vector<std::int32_t> narrow(wide.begin(), wide.end());
  const auto result = [&](int k) -> Twin& {
    return in_place ? in[std::size_t(e.ins - e.outs + k)] : out[std::size_t(k)];
  };
  const auto as_operand = [&](int k) {
    return k < e.ins ? k : in_place ? e.ins - e.outs + k - e.ins : kMaxIn + k - e.ins;
  };
  std::vector<unsigned char> run[kMaxIn + dlk::kMaxOut];
  for (Side s : {on_cpu, on_cuda}) {
    const bool copied = s == on_cpu && shape.lie != runs;
    dlk::RowArgs a{};
    a.rows = shape.rows;
    a.cols = shape.cols;
    a.first = first;
    for (int k = 0; k < e.ins + e.outs; ++k) {
      const int operand = as_operand(k);
      Twin& t = k < e.ins ? in[std::size_t(k)] : result(k - e.ins);
      void* data = t.as<unsigned char>(s) + (shape.lie == runs ? 0 : places.first(operand, shape)) * size_of(d);
      if (copied) {
        const int held = operand < kMaxIn ? operand : k;
        move_operand(t, d, places, shape, operand, run[held], false);
        data = run[held].data();
      }
      (k < e.ins ? a.in_step[k] : a.out_step[k - e.ins]) = shape.lie == runs ? step : shape.cols;
      if (k < e.ins) {
        a.in[k] = data;
      } else {
        a.out[k - e.ins] = value_only ? nullptr : data;
      }
    }
    dlk::Walk row = places.row, col = places.column;
    for (int k = 0; in_place && k < e.outs; ++k) {
      for (int q = 0; q < dlk::kWalkDims; ++q) {
        row.step[kMaxIn + k][q] = row.step[e.ins - e.outs + k][q];
        col.step[kMaxIn + k][q] = col.step[e.ins - e.outs + k][q];
      }
    }
    if (s == on_cuda && shape.lie != runs) a.row_walk = &row, a.column_walk = &col;
    a.params = params.data();
    a.count = double(shape.rows);
    a.seed = 0x9e3779b97f4a7c15u;
    a.offset = (1ull << 33) + 5;
    for (int k = 0; k < dlk::kMaxScalars; ++k) {
      a.scalar[k] = variant % 6 == 5 && k % 2 == 0 ? nullptr : scalar[std::size_t(k)].at(s);
      a.scalar_div[k] = 1 + variant % 3;
      a.scalar_mod[k] = 1 + variant % 39;
    }
    for (int k = 0; k < dlk::kMaxColumns; ++k) {
      a.column[k] = int(variant % 4) < 2 - k ? nullptr : column[std::size_t(k)].at(s);
      const bool all_summed = (e.needs & dlk::more_operands) != 0 && variant % 5 != 4;
      a.column_sum[k] = all_summed && !(k == 1 && variant % 3 == 2) ? sum[std::size_t(k)].at(s) : nullptr;
    }
    for (int k = 0; k < dlk::kMaxOut; ++k) a.value[k] = int(variant % 5) == k ? nullptr : value[std::size_t(k)].at(s);
    a.label_bytes = variant % 2 == 0 ? 4 : 8;
    if (labelled) a.label = variant % 2 == 0 ? static_cast<const void*>(narrow.data()) : wide.data();
    a.ignore = -100;
    a.upstream = variant % 3 == 0 ? nullptr : upstream.at(s);
    a.upstream_step = variant % 3 == 1 ? 0 : 1;
    a.divisor = variant % 4 == 0 ? divisor.at(s) : nullptr;
    const int error = target_of(s).rows->entry[index].run[int(d)](a);
    expect(error == 0, std::string(e.name) + " returned " + std::to_string(error));
    for (int k = 0; copied && !value_only && k < e.outs; ++k) {
      const int operand = as_operand(e.ins + k);
      move_operand(result(k), d, places, shape, operand, run[operand < kMaxIn ? operand : e.ins + k], true);
    }
  }
  const std::string call = std::string("rows ") + e.name + "." + e.pass + " " + dtype_name[int(d)] + " " +
                           std::to_string(shape.rows) + "x" + std::to_string(shape.cols) +
                           " offset=" + std::to_string(shape.offset) + " gap=" + std::to_string(shape.gap) +
                           " lie=" + std::to_string(shape.lie) + " variant=" + std::to_string(variant) + " sm_" +
                           std::to_string(simt::device.cc);
  for (Twin& t : out) expect_same(t, call, "out");
  for (Twin& t : in) expect_same(t, call, "in");
  for (Twin& t : value) expect_same(t, call, "value");
  for (Twin& t : sum) expect_same(t, call, "sum over rows");
  expect_no_reports(call);
}

// An id that is out of range poisons its row and nothing else: the device has no way to raise an error.
void bad_label(int index, Dtype d, std::int64_t cols) {
  const dlk::Entry<dlk::RowArgs>& e = dlk::cpu::target.rows->entry[index];
  if ((e.needs & dlk::class_ids) == 0) return;
  const std::vector<double> params = params_of(e, 0);
  for (std::int64_t wrong : {cols, std::int64_t(-1), std::int64_t(1) << 40}) {
    Twin in(d, 3 * cols, 0, Values::tame), out(d, 3 * cols, 0, Values::tame),
        value(compute_type(d), 3, 0, Values::tame);
    const std::int64_t labels[2][3] = {{0, 0, cols - 1}, {0, wrong, cols - 1}};
    for (Side s : {on_cpu, on_cuda}) {
      dlk::RowArgs a{};
      a.rows = 3;
      a.cols = cols;
      a.in[0] = in.at(s);
      a.in_step[0] = a.out_step[0] = cols;
      a.out[0] = out.at(s);
      a.params = params.data();
      a.count = 1;
      a.label = labels[s];
      a.label_bytes = 8;
      a.ignore = -100;
      a.value[0] = value.at(s);
      target_of(s).rows->entry[index].run[int(d)](a);
    }
    // Make the CPU's second row NaN too: then everything must agree.
    out.fill_nan(on_cpu, cols, 2 * cols);
    value.fill_nan(on_cpu, 1, 2);
    const std::string call =
        std::string("bad label ") + e.name + " " + dtype_name[int(d)] + " cols=" + std::to_string(cols);
    expect_same(out, call, "out");
    expect_same(value, call, "value");
    expect_no_reports(call);
  }
}

enum Which { every_op, summing_rows };
bool sums_rows(int index) {
  const dlk::Entry<dlk::RowArgs>& e = dlk::cpu::target.rows->entry[index];
  const std::string name = e.name, pass = e.pass;
  return name == "sum_over_rows" || pass == "columns" ||
         ((name.find("_norm") != std::string::npos || name.find("bias_act") == 0) && pass.find("grad") == 0);
}

// few: of the dtypes, and of the lengths, for each op. Alignments, gaps and ways to lie take turns.
void all(const std::vector<std::int64_t>& lengths, std::int64_t rows, int few, int few_lengths = 1000,
         Which which = every_op) {
  static unsigned variant = 0;
  Turns dtypes, places, chosen;
  for (int i = 0; i < dlk::cpu::target.rows->size; ++i) {
    if (which == summing_rows && !sums_rows(i)) continue;
    for (int d : dtypes(4, few)) {
      for (int l : chosen(int(lengths.size()), few_lengths)) {
        const std::int64_t cols = lengths[std::size_t(l)];
        for (int place : places(5, 1)) {
          const int offset = place == 0 ? 0 : int(random_below(17));
          const int gap = place == 0 ? int((8 - cols % 8) % 8) : place == 2 ? 3 : 0;
          const Lie lie = place == 3 && cols * rows < 30000               ? across
                          : place == 4 && cols > 0 && cols * rows < 30000 ? folded
                                                                          : runs;
          const Values v = variant % 11 == 3 ? Values::wild : variant % 3 == 2 ? Values::masked : Values::tame;
          row_call(i, all_dtypes[d], {rows, cols, offset, gap, lie}, variant++, v);
        }
      }
    }
  }
}

// On devices of today, at full speed.
void bits() {
  std::vector<std::int64_t> lengths = {0, 255, 256, 257, 511, 512, 513, 1000, 1023, 1024};
  for (std::int64_t n = 1; n <= 70; ++n) lengths.push_back(n);
  all(lengths, 3, 4, 6);
  all({1025, 2000, 4095, 4096, 4097, 5000}, 2, 1, 2);
  all({8192, 16385, 20000}, 2, 1, 1);
  all({70000, 140000}, 1, 1, 1);  // 140,000: more than a cluster holds
  all({7, 100, 1000}, 31, 1, 1);
  for (std::int64_t rows : {1, 32, 33, 64, 65, 100}) all({1, 40, 257, 1025}, rows, 1, 1, summing_rows);
  all({5000, 7000}, 33, 1, 1, summing_rows);
  for (int cluster : {4, 2, 1}) {  // parts of a device
    simt::device.cluster = cluster;
    all({20000, 40000}, 1, 1, 1);
    all({40, 1025}, 65, 1, 1, summing_rows);
  }
  simt::device.cc = 80;
  simt::device.shared_bytes = 99 * 1024;
  all({1024, 4097, 20000, 70000}, 1, 1, 1);
  all({300, 2000, 6000}, 40, 1, 1, summing_rows);
  simt::device.cc = 120;
  all({1025, 20000}, 2, 1, 1);
  Turns dtypes;
  for (int i = 0; i < dlk::cpu::target.rows->size; ++i) {
    for (int d : dtypes(4, 2)) {
      for (std::int64_t cols : {10, 1000, 1025, 20000}) bad_label(i, all_dtypes[d], cols);
    }
  }
}

// With every access watched, on devices so small that every way to share out rows is taken.
void races() {
  simt::device = {};
  simt::device.watch = simt::device.backwards = true;
  all({1, 10, 257, 1025, 4097}, 3, 1, 2);
  all({9000}, 2, 1);
  all({10, 1025, 5000}, 40, 1, 1, summing_rows);
  // More rows than teams: every team has to begin again.
  simt::device.sms = 1;
  all({10, 300}, 70, 1, 1);
  all({1025}, 20, 1);
  simt::device.shared_bytes = 64 * 1024;  // one group a thread block, or less than one
  all({5000}, 9, 1);
  for (int i = 0; i < dlk::cpu::target.rows->size;
       ++i) {  // the label's element is read before another thread block writes it
    const bool labelled = (dlk::cpu::target.rows->entry[i].needs & dlk::class_ids) != 0;
    for (unsigned variant : {1, 4, 7}) {
      // in whichever thread block of the cluster that comes first
      if (labelled) row_call(i, Dtype::f32, {2, 12000, 0, 0}, variant, Values::tame, variant == 4 ? 11999 : 0);
    }
  }
  all({33000}, 1, 1);  // more than the cluster holds
  simt::device.cluster = 2;
  all({12000}, 2, 1);
  all({1025}, 40, 1, 1, summing_rows);
  simt::device.cc = 80;  // no clusters: the row is read again for each pass
  all({5000}, 17, 1);
  all({1025}, 40, 1, 1, summing_rows);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  Turns::full = what == "full";
  if (what != "races") bits();
  races();
  return finish("bits_rows");
}
