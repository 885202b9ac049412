// The rows family: every op and dtype, row lengths from 1 to beyond what a cluster holds, rows aligned and not, in place, with labels,
// ignored rows, weights, upstream gradients and divisors; on a device with clusters and on one without.
#include "compare.h"

namespace {

struct Shape {
  std::int64_t rows, cols;
  int offset, gap;  // of the first element; between rows
};

// What the CUDA loop cannot run yet has no kernel there.
bool on_both(int index) { return dlk::simt::target.rows->entry[index].run[0] != nullptr; }

void row_call(int index, Dtype d, Shape shape, unsigned variant, Values v) {
  const dlk::Entry<dlk::RowArgs>& e = dlk::cpu::target.rows->entry[index];
  const Dtype s_type = compute_type(d);
  const std::int64_t step = shape.cols + shape.gap, n = shape.rows * step;
  const bool loss = e.needs != dlk::nothing_more, in_place = variant % 3 == 1, value_only = loss && variant % 7 == 5;
  std::vector<Twin> in;
  for (int k = 0; k < e.ins; ++k) in.emplace_back(d, n, shape.offset, k == 0 ? v : Values::tame);
  Twin out(d, n, shape.offset, Values::tame), weight(d, shape.cols, 0, Values::positive),
      value(s_type, shape.rows, 0, Values::tame);
  Twin upstream(s_type, shape.rows, 0, Values::tame), divisor(s_type, 1, 0, Values::positive);
  std::vector<std::int64_t> wide(std::size_t(shape.rows));
  for (std::int64_t& y : wide) y = random_below(6) == 0 ? -100 : random_below(shape.cols);
  const std::vector<std::int32_t> narrow(wide.begin(), wide.end());
  const double params[] = {0.1, 0.25, 0.5, 0.75, 1.5, 1.25};
  Twin& result = in_place ? in.back() : out;
  for (Side s : {on_cpu, on_cuda}) {
    dlk::RowArgs a{};
    a.rows = shape.rows;
    a.cols = shape.cols;
    for (int k = 0; k < e.ins; ++k) {
      a.in[k] = in[std::size_t(k)].at(s);
      a.in_step[k] = step;
    }
    a.out[0] = value_only ? nullptr : result.at(s);
    a.out_step[0] = step;
    a.params = params;
    a.count = double(shape.rows);
    if (loss) {
      a.label_bytes = variant % 2 == 0 ? 4 : 8;
      a.label = variant % 2 == 0 ? static_cast<const void*>(narrow.data()) : wide.data();
      a.ignore = -100;
      a.column[0] = variant % 4 < 2 ? nullptr : weight.at(s);
      a.value[0] = variant % 5 == 0 ? nullptr : value.at(s);
      a.upstream = variant % 3 == 0 ? nullptr : upstream.at(s);
      a.upstream_step = variant % 3 == 1 ? 0 : 1;
      a.divisor = variant % 4 == 0 ? divisor.at(s) : nullptr;
    }
    const int error = target_of(s).rows->entry[index].run[int(d)](a);
    expect(error == 0, std::string(e.name) + " returned " + std::to_string(error));
  }
  const std::string call = std::string("rows ") + e.name + "." + e.pass + " " + dtype_name[int(d)] + " " +
                           std::to_string(shape.rows) + "x" + std::to_string(shape.cols) +
                           " offset=" + std::to_string(shape.offset) + " gap=" + std::to_string(shape.gap) +
                           " variant=" + std::to_string(variant) + " sm_" + std::to_string(simt::device.cc);
  expect_same(result, call, "out");
  expect_same(value, call, "value");
  for (Twin& t : in) expect_same(t, call, "in");
  expect_no_reports(call);
}

// An id that is out of range poisons its row and nothing else: the device has no way to raise an error.
void bad_label(int index, Dtype d, std::int64_t cols) {
  const dlk::Entry<dlk::RowArgs>& e = dlk::cpu::target.rows->entry[index];
  if ((e.needs & dlk::class_ids) == 0 || !on_both(index)) return;
  const double params[] = {0.1, 0.25, 0.5, 0.75, 1.5, 1.25};
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
      a.params = params;
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

// few: of the dtypes, for each op. Alignments and gaps take turns with the lengths.
void all(const std::vector<std::int64_t>& lengths, std::int64_t rows, int few) {
  static unsigned variant = 0;
  Turns dtypes, places;
  for (int i = 0; i < dlk::cpu::target.rows->size; ++i) {
    if (!on_both(i)) continue;
    for (int d : dtypes(4, few)) {
      for (std::int64_t cols : lengths) {
        for (int place : places(3, 1)) {
          const int offset = place == 0 ? 0 : int(random_below(17));
          const int gap = place == 0 ? int((8 - cols % 8) % 8) : place == 1 ? 0 : 3;
          const Values v = variant % 11 == 3 ? Values::wild : variant % 3 == 2 ? Values::masked : Values::tame;
          row_call(i, all_dtypes[d], {rows, cols, offset, gap}, variant++, v);
        }
      }
    }
  }
}

}  // namespace

int main(int argc, char**) {
  Turns::full = argc > 1;
  std::vector<std::int64_t> lengths = {255, 256, 257, 511, 512, 513, 1000, 1023, 1024};
  for (std::int64_t n = 1; n <= 70; ++n) lengths.push_back(n);
  all(lengths, 3, 4);
  all({1025, 2000, 4095, 4096, 4097, 5000}, 2, 2);
  all({8192, 16385}, 2, 1);
  all({20000}, 3, 1);
  all({70000}, 2, 1);
  all({140000}, 1, 1);  // more than a cluster holds
  simt::device.cc = 80;
  simt::device.shared_bytes = 99 * 1024;
  all({4097, 20000, 70000}, 1, 1);
  simt::device.cc = 120;
  all({20000}, 2, 1);
  Turns dtypes;
  for (int i = 0; i < dlk::cpu::target.rows->size; ++i) {
    for (int d : dtypes(4, 2)) {
      for (std::int64_t cols : {10, 1000, 1025, 20000}) bad_label(i, all_dtypes[d], cols);
    }
  }
  simt::device = {};
  simt::device.watch = simt::device.backwards = true;
  all({1, 10, 257, 1025, 4097}, 3, 2);
  all({9000}, 2, 1);
  // More rows than teams: every team has to begin again.
  simt::device.sms = 1;
  all({10, 300}, 70, 1);
  all({1025}, 20, 1);
  simt::device.shared_bytes = 64 * 1024;  // one group a thread block: two tiles are a cluster
  all({5000}, 9, 1);
  all({33000}, 1, 1);    // more than the cluster holds
  simt::device.cc = 80;  // no clusters: the row is read again for each pass
  all({5000}, 17, 1);
  return finish("bits_rows");
}
