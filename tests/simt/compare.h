// Runs the same call on the CPU target and on the emulated CUDA target and compares every byte of what they leave behind, margins
// included. NaN equals NaN whatever its payload: that is the one thing the bits are not promised for.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "../../kernels/abi.h"
#include "simt.h"

namespace dlk {
#ifndef DLK_CPU_TARGET  // the objects of the library's own build bring their name
#define DLK_CPU_TARGET plain
#endif
namespace DLK_CPU_TARGET {
extern const Target target;
}
namespace cpu = DLK_CPU_TARGET;
namespace simt {
extern const Target target;
}
}  // namespace dlk

using dlk::Dtype;

enum Side { on_cpu, on_cuda };
constexpr const char* dtype_name[] = {"f32", "f64", "f16", "bf16"};
constexpr Dtype all_dtypes[] = {Dtype::f32, Dtype::f64, Dtype::f16, Dtype::bf16};
inline int size_of(Dtype d) { return d == Dtype::f64 ? 8 : d == Dtype::f32 ? 4 : 2; }
inline Dtype compute_type(Dtype d) { return d == Dtype::f64 ? Dtype::f64 : Dtype::f32; }
inline const dlk::Target& target_of(Side s) { return s == on_cpu ? dlk::cpu::target : dlk::simt::target; }

// Where test values come from: `wild` has NaN, infinities, subnormals and any bits, `tame` is finite and of moderate size, `masked` is tame
// with -inf here and there, `positive` is for second moments, `raw` is any bits, compared as bits: bytes and halves of numbers.
enum class Values { wild, tame, masked, positive, raw };
const unsigned char* values(Dtype d, Values v, std::int64_t n);

// An array of n elements that exists twice, with the same content, the same alignment and a margin on both sides.
class Twin {
 public:
  Twin(Dtype d, std::int64_t n, int offset, Values v);
  void* at(Side s) { return data_[s]; }
  template <class T>
  T* as(Side s) {
    return static_cast<T*>(at(s));
  }
  // index of the first element (margins count from below 0) that differs, or `none`
  static constexpr std::int64_t none = INT64_MIN;
  std::int64_t first_difference() const;
  std::string show(std::int64_t i) const;
  void fill_nan(Side s, std::int64_t begin, std::int64_t end);

 private:
  Dtype type_;
  bool exact_;
  std::int64_t n_;
  std::vector<unsigned char> memory_[2];
  unsigned char* data_[2];
};

// An array of rows x cols elements whose places in memory are not a run, as a walk tells. The CPU is given its elements in a row; `settle` puts
// them back where the walk has them, so that the memory of both sides can be compared, gaps included.
class Strewn {
 public:
  // lie: a run, columns first, rows with gaps, rows read backwards; and for inputs: one row that repeats, one column that repeats
  static constexpr int kLies = 4, kLiesOfInputs = 6;
  Strewn(Dtype d, std::int64_t rows, std::int64_t cols, int lie, int offset, Values v);
  void* at(Side s) { return s == on_cpu ? run_.data() : twin_.as<unsigned char>(s) + first_ * size_of(type_); }
  void walk(dlk::Walk& w, int operand) const;
  Twin& settle();

 private:
  std::int64_t place(std::int64_t i) const { return first_ + i / cols_ * step_[0] + i % cols_ * step_[1]; }
  Dtype type_;
  std::int64_t rows_, cols_, step_[2], first_;
  Twin twin_;
  std::vector<unsigned char> run_;
};

// Ops, dtypes, lengths and alignments multiply. Unless the program is run with the argument "full", what need not meet everything comes in
// turns: turns(all, few) gives the next `few` of 0 ... all-1, so that who asks often meets them all, and meets them with other lengths.
class Turns {
 public:
  static bool full;
  std::vector<int> operator()(int all, int few);

 private:
  int next_ = 0;
};

// What failed so far; a test program ends with `finish`.
void expect(bool good, const std::string& what);
void expect_same(Twin& t, const std::string& call, const char* which);
void expect_no_reports(const std::string& call);
int finish(const char* program);

inline std::mt19937_64& random_bits() {
  static std::mt19937_64 g(20260821);
  return g;
}
inline std::int64_t random_below(std::int64_t n) { return std::int64_t(random_bits()() % std::uint64_t(n)); }
