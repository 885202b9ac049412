// kernels/math.h in C++ alone, compiled once per target. The error of a result is |got - exact| / ulp(exact), with the
// spacing of the subnormals at the bottom; bounds are the ones that the table below states.
//
//   test_math f32 STRIDE [NAME]    every STRIDE-th of the 2^32 float32 numbers, against libm in double (near ties 2^-26
//   ULP off) test_math f64 SAMPLES [NAME]   random doubles, also close to the roots, against 113-bit arithmetic
//   test_math special [NAME]       NaN, infinities, signed zeros, subnormals
//   test_math bits SAMPLES [NAME]  vector lanes equal scalar lanes; prints a hash of all results, to be compared
//   between targets
#include "../../kernels/math.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "../../cpp/cpu/vec.h"
#include "reference.h"

// Functions of one argument made from those of two.
DLK_BEGIN
namespace math {
template <class V>
DLK_FN V root(V x) {
  return pow(x, 1.0 / 3);
}
template <class V>
DLK_FN V falling(V x) {
  return pow(x, -2.5);
}
template <class V>
DLK_FN V falling1p(V x) {
  return pow1p(x, -2.5);
}
}  // namespace math
DLK_END

namespace {

using namespace dlk::DLK_TARGET;

// What a function of kernels/math.h is held to.
struct Case {
  const char* name;
  void (*run32)(const float*, float*);  // lanes<float>::size numbers
  void (*run64)(const double*, double*);
  float (*scalar32)(float);
  double (*scalar64)(double);
  double (*exact32)(double);
  quad (*exact64)(quad);
  double ulp32, ulp64;
  double low, high, root;  // float64 samples come from [low, high] and from near root
};

#define CASE(NAME, ULP32, ULP64, LOW, HIGH, ROOT)                                                                  \
  Case {                                                                                                           \
    #NAME, [](const float* x, float* y) { store(y, math::NAME(load<lanes<f32>>(x))); },                            \
        [](const double* x, double* y) { store(y, math::NAME(load<lanes<f64>>(x))); },                             \
        [](float x) { return math::NAME(x); }, [](double x) { return math::NAME(x); },                             \
        [](double x) { return reference::NAME(x); }, [](quad x) { return reference::NAME(x); }, ULP32, ULP64, LOW, \
        HIGH, ROOT                                                                                                 \
  }

// The bounds of the documentation. float32 is exhaustive; float64 is the largest of a sample of millions, rounded up.
const Case cases[] = {
    CASE(exp, 1.0, 1.0, -750, 712, 0),
    CASE(expm1, 1.0, 1.0, -50, 711, 0),
    CASE(log, 1.0, 1.0, 0, 1e308, 1),
    CASE(log1p, 1.0, 1.0, -1, 1e300, 0),
    CASE(root, 1.1, 1.1, 0, 1e30, 1),
    CASE(falling, 1.2, 1.2, 0, 100, 1),
    CASE(falling1p, 1.2, 1.2, -1, 100, 0),
    CASE(log_cosh, 1.5, 1.5, -40, 40, 0),
    CASE(tanh, 1.0, 1.0, -21, 21, 0),
    CASE(erf, 1.0, 1.0, -7, 7, 0),
    CASE(sigmoid, 1.2, 1.0, -760, 50, 0),
    CASE(softplus, 1.5, 1.5, -760, 100, 0),
    CASE(silu, 1.3, 1.1, -770, 50, -1.2784645427610738),
    CASE(gelu, 1.7, 2.0, -39, 10, -0.7517915246935645),
    CASE(gelu_tanh, 1.1, 1.1, -22, 10, -0.7524614220710163),
    CASE(quick_gelu, 1.1, 1.1, -450, 30, -0.7511542672),
    CASE(mish, 1.0, 1.0, -770, 50, -1.1924312145154952),
    CASE(tanhshrink, 1.0, 1.0, -21, 21, 1),
    CASE(softsign, 1.0, 1.0, -100, 100, 0),
    CASE(sigmoid_grad, 1.0, 1.0, -760, 760, 0),
    CASE(tanh_grad, 1.0, 1.0, -380, 380, 0),
    CASE(silu_grad, 1.0, 1.0, -760, 60, -1.2784645427610738),
    CASE(gelu_grad, 1.2, 1.5, -38.9, 12, -0.7517915246935645),
    CASE(gelu_tanh_grad, 1.0, 1.0, -21.9, 12, -0.7524614220710163),
    CASE(quick_gelu_grad, 1.0, 1.0, -450, 40, -0.7511542672),
    CASE(mish_grad, 1.0, 1.0, -760, 60, -1.1924312145154952),
    CASE(tanhshrink_grad, 1.2, 1.1, -21, 21, 0),
    CASE(softsign_grad, 1.0, 1.0, -1000, 1000, 0),
};

int failures = 0;

void expect(bool good, const Case& c, const char* what, double x) {
  if (!good && ++failures <= 20) std::printf("%s: %s at %.17g (%a)\n", c.name, what, x, x);
}

// ulp of a number of a format with `digits` bits and least normal exponent `least`
template <class R>
R ulp(R exact, int digits, int least) {
  int exponent;
  std::frexp(static_cast<double>(exact), &exponent);
  return static_cast<R>(std::ldexp(1.0, (exponent > least ? exponent : least) - digits));
}

struct Worst {
  double error = 0, at = 0;
  void see(double e, double x) {
    if (e > error) error = e, at = x;
  }
};

// A result that is not an ordinary number, or not expected to be one. True if it was settled here.
template <class T, class R>
bool settled(const Case& c, double x, T got, R exact) {
  const T rounded = static_cast<T>(exact);
  if (std::isfinite(got) && std::isfinite(rounded)) {
    // What is too small to be told from 0 has either sign, but a function of 0 keeps it.
    expect(std::signbit(got) == std::signbit(rounded) || (exact == 0 && x != 0), c, "wrong sign", x);
    return false;
  }
  expect(std::isnan(rounded) ? std::isnan(got) : got == rounded, c, "not the infinity or NaN it should be", x);
  return true;
}

std::uint64_t mix(std::uint64_t hash, std::uint64_t word) { return (hash ^ word) * 0x9e3779b97f4a7c15u ^ (hash >> 29); }

void sweep32(const Case& c, std::uint64_t stride) {
  constexpr int n = lane<lanes<f32>>::size;
  Worst worst;
  std::uint64_t hash = 0;
  for (std::uint64_t first = 0; first < std::uint64_t(1) << 32; first += n * stride) {
    float x[n], y[n];
    for (int i = 0; i < n; ++i) x[i] = from_bits<float>(std::uint32_t(first + i * stride));
    c.run32(x, y);
    for (int i = 0; i < n; ++i) {
      const double at = static_cast<double>(x[i]), exact = c.exact32(at);
      hash = mix(hash, std::isnan(y[i]) ? 1 : std::uint64_t(bits(y[i])));
      if (settled(c, at, y[i], exact)) continue;
      worst.see(std::fabs(static_cast<double>(y[i]) - exact) / ulp(exact, 24, -125), at);
    }
  }
  expect(worst.error <= c.ulp32, c, "above its float32 bound", worst.at);
  std::printf("%-15s float32 %.4f ULP at %.9g (bound %.1f) hash %016llx\n", c.name, worst.error, worst.at, c.ulp32,
              static_cast<unsigned long long>(hash));
}

// The whole range, small numbers, the neighborhood of the root down to the last bit, ordinary numbers, any bits at all.
double draw(const Case& c, std::mt19937_64& random, long i) {
  const double u = double(random() >> 11) * 0x1p-53, v = 2 * u - 1;
  switch (i % 5) {
    case 0:
      return c.low + (c.high - c.low) * u;
    case 1:
      return std::ldexp(v, -int(random() % 70));
    case 2:
      return c.root + std::ldexp(v, -int(random() % 53));
    case 3:
      return 12 * v;
    default:
      return from_bits<double>(random());
  }
}

void sample64(const Case& c, long samples) {
  std::mt19937_64 random(7);
  Worst worst;
  for (long i = 0; i < samples; ++i) {
    const double x = draw(c, random, i), y = c.scalar64(x);
    const quad exact = c.exact64(quad(x));
    if (settled(c, x, y, exact)) continue;
    const quad error = (quad(y) - exact) / ulp(exact, 53, -1021);
    worst.see(std::fabs(static_cast<double>(error)), x);
  }
  expect(worst.error <= c.ulp64, c, "above its float64 bound", worst.at);
  std::printf("%-15s float64 %.4f ULP at %.17g (bound %.1f)\n", c.name, worst.error, worst.at, c.ulp64);
}

template <class T, class R>
void special(const Case& c, T (*f)(T), R (*exact)(R)) {
  using limits = std::numeric_limits<T>;
  const T values[] = {0,
                      limits::denorm_min(),
                      limits::min(),
                      limits::min() / 2,
                      T(1e-20),
                      T(1),
                      T(88.7228394),
                      T(104),
                      T(709.78),
                      T(1e10),
                      T(1e20),
                      limits::max(),
                      limits::infinity()};
  for (const T value : values) {
    for (const T x : {value, -value}) {
      const T y = f(x);
      const R e = exact(R(x));
      if (settled(c, static_cast<double>(x), y, e)) continue;
      const R error = (R(y) - e) / ulp(e, limits::digits, limits::min_exponent);
      expect(std::fabs(static_cast<double>(error)) <= 2, c, "wrong", static_cast<double>(x));
    }
  }
  expect(std::isnan(f(limits::quiet_NaN())), c, "a NaN was lost", std::nan(""));
}

template <class T, int n = lane<lanes<T>>::size>
std::uint64_t same_bits(const Case& c, void (*run)(const T*, T*), T (*scalar)(T), long samples) {
  std::mt19937_64 random(11);
  std::uint64_t hash = 0;
  for (long k = 0; k < samples; k += 16) {
    T x[16], y[16];
    for (int i = 0; i < 16; ++i) {
      const auto any = uint_t<T>(random());
      x[i] = i % 2 ? from_bits<T>(any) : T(40) * (T(random() >> 11) * T(0x1p-53) - T(0.5));
    }
    for (int i = 0; i < 16; i += n) run(x + i, y + i);
    for (int i = 0; i < 16; ++i) {
      const T alone = scalar(x[i]);
      const bool same = std::isnan(alone) ? std::isnan(y[i]) : bits(alone) == bits(y[i]);
      expect(same, c, "a vector lane differs from a scalar", static_cast<double>(x[i]));
      hash = mix(hash, std::isnan(y[i]) ? 1 : std::uint64_t(bits(y[i])));
    }
  }
  return hash;
}

}  // namespace

int main(int count, char** arguments) {
  const std::string mode = count > 1 ? arguments[1] : "";
  const bool counted = mode != "special";
  const long amount = counted && count > 2 ? std::atol(arguments[2]) : 0;
  const char* only = count > (counted ? 3 : 2) ? arguments[counted ? 3 : 2] : nullptr;
  if ((mode != "f32" && mode != "f64" && mode != "bits" && mode != "special") || (counted && amount <= 0)) {
    std::fprintf(stderr, "usage: test_math f32 STRIDE | f64 SAMPLES | bits SAMPLES | special [NAME]\n");
    return 2;
  }
  int ran = 0;
  for (const Case& c : cases) {
    if (only != nullptr && std::strcmp(only, c.name) != 0) continue;
    ++ran;
    if (mode == "f32") sweep32(c, std::uint64_t(amount));
    if (mode == "f64") sample64(c, amount);
    if (mode == "special") special(c, c.scalar32, c.exact32), special(c, c.scalar64, c.exact64);
    if (mode == "bits") {
      const std::uint64_t f32_hash = same_bits(c, c.run32, c.scalar32, amount),
                          f64_hash = same_bits(c, c.run64, c.scalar64, amount);
      std::printf("%s %016llx %016llx\n", c.name, static_cast<unsigned long long>(f32_hash),
                  static_cast<unsigned long long>(f64_hash));
    }
    std::fflush(stdout);
  }
  std::printf("%d functions, %d failures\n", ran, failures);
  return failures == 0 && ran > 0 ? 0 : 1;
}
