#include "compare.h"

#include <cmath>
#include <limits>

#include "../../kernels/dtype.h"

namespace {

constexpr std::int64_t kPool = 1 << 18;
constexpr int kMargin = 64;  // elements

double draw(Values v) {
  auto& g = random_bits();
  std::normal_distribution<double> normal(0, 3);
  const int kind = int(random_below(100));
  if (v == Values::positive) return std::fabs(normal(g)) * (kind < 5 ? 0 : kind < 10 ? 1e-30 : 1);
  if (v == Values::masked && kind < 10) return -std::numeric_limits<double>::infinity();
  if (v == Values::wild) {
    static const double special[] = {0.0,    -0.0,     INFINITY, -INFINITY, NAN,      1.0,      -1.0,   1e-40,
                                     -1e-40, 5e-8,     -6e-8,    65504.0,   65520.0,  -65504.0, 3.4e38, -3.4e38,
                                     88.7,   -88.7,    -104.0,   -87.3,     1.17e-38, 708.0,    -745.0, 1e-310,
                                     1e308,  -1.5e308, 1e-20,    0.5,       20.0,     -20.0};
    if (kind < 15) return special[random_below(30)];
    if (kind < 30) return std::ldexp(normal(g), int(random_below(80)) - 40);
  }
  if (kind < 3) return 0.0;
  if (kind < 6) return -0.0;
  return normal(g) * (kind < 20 ? 10 : 1);
}

void put(unsigned char* to, Dtype d, double x) {
  using namespace dlk::DLK_TARGET;
  if (d == Dtype::f64) std::memcpy(to, &x, 8);
  const float f = float(x);
  if (d == Dtype::f32) std::memcpy(to, &f, 4);
  const f16 h = to_storage<f16>(f);
  if (d == Dtype::f16) std::memcpy(to, &h, 2);
  const bf16 b = to_storage<bf16>(f);
  if (d == Dtype::bf16) std::memcpy(to, &b, 2);
}

std::uint64_t bits_at(const unsigned char* p, Dtype d) {
  std::uint64_t b = 0;
  std::memcpy(&b, p, std::size_t(size_of(d)));
  return b;
}
bool is_nan(std::uint64_t b, Dtype d) {
  switch (d) {
    case Dtype::f64:
      return (b & ~(1ull << 63)) > 0x7ff0000000000000ull;
    case Dtype::f32:
      return (b & 0x7fffffffu) > 0x7f800000u;
    case Dtype::f16:
      return (b & 0x7fffu) > 0x7c00u;
    default:
      return (b & 0x7fffu) > 0x7f80u;
  }
}

int failures = 0, checks = 0;

}  // namespace

const unsigned char* values(Dtype d, Values v, std::int64_t n) {
  static std::vector<unsigned char> pool[4][5];
  std::vector<unsigned char>& p = pool[int(d)][int(v)];
  if (p.empty()) {
    p.resize(std::size_t(kPool * size_of(d)));
    for (std::int64_t i = 0; i < kPool; ++i) put(&p[std::size_t(i * size_of(d))], d, draw(v));
    for (std::size_t i = 0; v == Values::raw && i < p.size(); ++i) p[i] = static_cast<unsigned char>(random_bits()());
  }
  return &p[std::size_t(random_below(kPool - n + 1) * size_of(d))];
}

Twin::Twin(Dtype d, std::int64_t n, int offset, Values v) : type_(d), exact_(v == Values::raw), n_(n) {
  const std::size_t size = std::size_t(size_of(d));
  const unsigned char* from = values(d, v, n);
  for (int s = 0; s < 2; ++s) {
    memory_[s].assign(size * std::size_t(n + 2 * kMargin + offset) + 64, 0x5a);
    const std::size_t past = reinterpret_cast<std::uintptr_t>(memory_[s].data()) % 64;
    data_[s] = memory_[s].data() + (past == 0 ? 0 : 64 - past) + size * std::size_t(kMargin + offset);
    if (n > 0) std::memcpy(data_[s], from, size * std::size_t(n));
  }
}

void Twin::fill_nan(Side s, std::int64_t begin, std::int64_t end) {
  for (std::int64_t i = begin; i < end; ++i)
    put(data_[s] + i * size_of(type_), type_, std::numeric_limits<double>::quiet_NaN());
}

std::int64_t Twin::first_difference() const {
  const int size = size_of(type_);
  const unsigned char *a = data_[0] - kMargin * size, *b = data_[1] - kMargin * size;
  if (std::memcmp(a, b, std::size_t((n_ + 2 * kMargin) * size)) == 0) return none;
  for (std::int64_t i = -kMargin; i < n_ + kMargin; ++i) {
    const std::uint64_t x = bits_at(data_[0] + i * size, type_), y = bits_at(data_[1] + i * size, type_);
    if (x != y && (exact_ || !(is_nan(x, type_) && is_nan(y, type_)))) return i;
  }
  return none;
}

std::string Twin::show(std::int64_t i) const {
  char text[100];
  const int size = size_of(type_);
  std::snprintf(text, sizeof text, "element %lld: cpu %llx, cuda %llx", (long long)i,
                (unsigned long long)bits_at(data_[0] + i * size, type_),
                (unsigned long long)bits_at(data_[1] + i * size, type_));
  return text;
}

namespace {
constexpr std::int64_t kGap = 16;  // whole packets of every type
std::int64_t row_step(std::int64_t cols, int lie) {
  return lie == 1 ? 1 : lie == 2 ? cols + kGap : lie == 4 ? 0 : lie == 5 ? 1 : cols;
}
std::int64_t col_step(std::int64_t rows, int lie) { return lie == 1 ? rows : lie == 3 ? -1 : lie == 5 ? 0 : 1; }
}  // namespace

Strewn::Strewn(Dtype d, std::int64_t rows, std::int64_t cols, int lie, int offset, Values v)
    : type_(d),
      rows_(rows),
      cols_(cols),
      step_{row_step(cols, lie), col_step(rows, lie)},
      first_(lie == 3 ? cols - 1 : 0),
      twin_(d, rows * (cols + kGap), offset, v),
      run_(std::size_t(rows * cols * size_of(d)) + 1) {
  for (std::int64_t i = 0; i < rows * cols; ++i)
    std::memcpy(&run_[std::size_t(i * size_of(d))], twin_.as<unsigned char>(on_cpu) + place(i) * size_of(d),
                std::size_t(size_of(d)));
}

void Strewn::walk(dlk::Walk& w, int operand) const {
  w.dims = 2;
  w.shape[0] = rows_;
  w.shape[1] = cols_;
  w.step[operand][0] = step_[0];
  w.step[operand][1] = step_[1];
}

Twin& Strewn::settle() {
  const int size = size_of(type_);
  for (std::int64_t i = 0; i < rows_ * cols_; ++i)
    std::memcpy(twin_.as<unsigned char>(on_cpu) + place(i) * size, &run_[std::size_t(i * size)], std::size_t(size));
  return twin_;
}

bool Turns::full = false;
std::vector<int> Turns::operator()(int all, int few) {
  std::vector<int> chosen;
  for (int i = 0; i < (full || few > all ? all : few); ++i) chosen.push_back(next_++ % all);
  return chosen;
}

void expect(bool good, const std::string& what) {
  ++checks;
  if (good) return;
  if (++failures <= 20) std::printf("FAILED %s\n", what.c_str());
}
void expect_same(Twin& t, const std::string& call, const char* which) {
  const std::int64_t i = t.first_difference();
  expect(i == Twin::none, i == Twin::none ? call : call + ": " + which + " " + t.show(i));
}
void expect_no_reports(const std::string& call) {
  for (const std::string& line : simt::take_reports()) expect(false, call + ": " + line);
}
int finish(const char* program) {
  const simt::Counts& c = simt::counts;
  std::printf(
      "%s: %d checks, %d failed; %llu launches (%llu of clusters), %llu threads, %llu shuffles, %llu accesses "
      "watched\n",
      program, checks, failures, (unsigned long long)c.launches, (unsigned long long)c.cluster_launches,
      (unsigned long long)c.threads, (unsigned long long)c.shuffles, (unsigned long long)c.accesses);
  return failures == 0 ? 0 : 1;
}
