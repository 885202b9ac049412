// Distance transforms and affine maps that cast: emulated CUDA loops against the CPU target.
#include <cmath>

#include "compare.h"

namespace {

// One axis of (outer, n, inner): masks and squared distances, roots or not; arrays contiguous, or walks.
void distance_call(std::int64_t outer, std::int64_t n, std::int64_t inner, unsigned variant) {
  const bool mask = variant % 2 == 0, root = variant % 3 == 0, narrow = root && variant % 4 == 3,
             walked = variant % 5 > 2;
  const std::int64_t lines = outer * inner, size = lines * n, apart = walked ? 2 : 1;
  const Dtype out_type = narrow ? Dtype::f32 : Dtype::f64;
  std::vector<unsigned char> bytes(std::size_t(size * apart + 1));
  std::vector<double> squares(std::size_t(size * apart + 1));
  for (unsigned char& b : bytes) b = random_below(variant % 7 == 0 ? 40 : 4) == 0 ? 0 : 1;
  for (double& d : squares)
    d = random_below(3) == 0 ? double(random_below(50)) : random_below(40) == 0 ? 0.25 : INFINITY;
  if (variant % 11 == 0) std::fill(bytes.begin(), bytes.end(), 1);
  if (variant % 11 == 1) std::fill(squares.begin(), squares.end(), INFINITY);
  std::vector<unsigned char> dense_bytes;
  std::vector<double> dense_squares;
  for (std::int64_t i = 0; i < size; ++i) {
    dense_bytes.push_back(bytes[std::size_t(i * apart)]);
    dense_squares.push_back(squares[std::size_t(i * apart)]);
  }
  Twin out(out_type, size, 0, Values::tame);
  std::vector<double> scratch(std::size_t(dlk::distance_scratch_gpu(lines, n) + dlk::distance_scratch(lines, n)) / 8);
  dlk::Walk walk{};
  walk.dims = 1;
  walk.shape[0] = size;
  walk.step[0][0] = apart;
  walk.step[1][0] = 1;
  for (Side s : {on_cpu, on_cuda}) {
    dlk::DistanceArgs a{};
    const bool dense = s == on_cpu || !walked;
    a.n = n;
    a.inner = inner;
    a.in = mask ? (dense ? static_cast<void*>(dense_bytes.data()) : bytes.data())
                : (dense ? static_cast<void*>(dense_squares.data()) : squares.data());
    a.out = out.at(s);
    a.spacing = variant % 6 < 3 ? 1.0 : 0.37;
    a.mask = mask;
    a.root = root;
    a.scratch = scratch.data();
    a.walk = dense ? nullptr : &walk;
    const std::int64_t half = variant % 4 == 2 ? lines / 2 : 0;  // in two calls
    for (std::int64_t first : {std::int64_t(0), half}) {
      if (first == 0 && half > 0) {
        a.first = 0;
        a.lines = half;
      } else {
        a.first = half;
        a.lines = lines - half;
      }
      const int error = target_of(s).distance->entry[0].run[int(out_type)](a);
      expect(error == 0, "distance returned " + std::to_string(error));
      if (half == 0) break;
    }
  }
  const std::string call = "distance of " + std::to_string(outer) + " x " + std::to_string(n) + " x " +
                           std::to_string(inner) + " variant " + std::to_string(variant);
  expect_same(out, call, "out");
  expect_no_reports(call);
}

// from: a Dtype, or kDtypes for bytes. The numbers belong to columns, to rows, or to all.
void rescale_call(int from, Dtype to, std::int64_t rows, std::int64_t cols, unsigned variant) {
  const std::int64_t n = rows * cols;
  const int offset = variant % 3 == 1 ? 1 : 0;
  const bool bytes = from == dlk::kDtypes, by_column = variant % 2 == 0, bounded = variant % 5 == 2;
  const Dtype in_type = bytes ? Dtype::f16 : Dtype(from);  // any bytes will do
  Twin in(in_type, bytes ? n / 2 + 1 : n, offset, variant % 4 == 3 ? Values::wild : Values::tame),
      out(to, n, offset, Values::tame),
      number[3] = {Twin(Dtype::f64, by_column ? cols : rows, 0, Values::tame),
                   Twin(Dtype::f64, by_column ? cols : rows, 0, Values::tame),
                   Twin(Dtype::f64, by_column ? cols : rows, 0, Values::tame)};
  const std::int64_t period = n + dlk::kAhead;
  std::vector<double> table[3];
  dlk::Walk walk{};
  walk.dims = 2;
  walk.shape[0] = rows;
  walk.shape[1] = cols;
  for (int k = 0; k < 2; ++k) {
    walk.step[k][0] = cols;
    walk.step[k][1] = 1;
  }
  for (int j = 0; j < 3; ++j) {
    const bool single = variant % 7 == unsigned(j);
    walk.step[2 + j][0] = by_column || single ? 0 : 1;
    walk.step[2 + j][1] = by_column && !single ? 1 : 0;
    for (std::int64_t i = 0; i < period + dlk::kAhead; ++i)
      table[j].push_back(number[j].as<double>(on_cpu)[single ? 0 : by_column ? i % n % cols : i % n / cols]);
  }
  for (Side s : {on_cpu, on_cuda}) {
    dlk::RescaleArgs a{};
    a.n = n;
    a.in = in.at(s);
    a.out = out.at(s);
    a.low = bounded ? -1 : -INFINITY;
    a.high = bounded ? 2.5 : INFINITY;
    if (s == on_cpu) {
      a.period = period;
      a.shift = table[0].data();
      a.scale = table[1].data();
      a.offset = table[2].data();
    } else {
      const double** const at[] = {&a.shift, &a.scale, &a.offset};
      for (int j = 0; j < 3; ++j) {
        const bool single = variant % 7 == unsigned(j);
        *at[j] = single ? nullptr : number[j].as<double>(s);
        a.same[j] = *number[j].as<double>(s);
      }
      a.walk = &walk;
    }
    const int error = target_of(s).rescale->entry[from].run[int(to)](a);
    expect(error == 0, "rescale returned " + std::to_string(error));
  }
  const std::string call = std::string("rescale ") + dlk::cpu::target.rescale->entry[from].pass + " to " +
                           dtype_name[int(to)] + " " + std::to_string(rows) + " x " + std::to_string(cols) +
                           " variant " + std::to_string(variant);
  expect_same(out, call, "out");
  expect_same(in, call, "in");
  expect_no_reports(call);
}

void all(int repeats) {
  unsigned variant = 0;
  const std::int64_t shapes[][3] = {{1, 1, 1},  {1, 70, 1},  {3, 33, 1}, {1, 40, 65},
                                    {5, 17, 9}, {1, 300, 3}, {70, 5, 2}};
  for (int r = 0; r < repeats; ++r) {
    for (const auto& s : shapes) {
      for (int k = 0; k < 12; ++k) distance_call(s[0], s[1], s[2], variant++);
    }
  }
  const std::int64_t sizes[][2] = {{1, 1}, {3, 5}, {7, 8}, {40, 100}, {5, 1024}, {3000, 4}, {2, 4001}};
  for (int r = 0; r < repeats; ++r) {
    for (const auto& s : sizes) {
      for (int from = 0; from <= dlk::kDtypes; ++from) {
        for (Dtype to : all_dtypes) rescale_call(from, to, s[0], s[1], variant++);
      }
    }
  }
}

}  // namespace

int main(int argc, char**) {
  all(argc > 1 ? 20 : 4);
  simt::device.watch = simt::device.backwards = true;
  all(1);
  return finish("bits_lines");
}
