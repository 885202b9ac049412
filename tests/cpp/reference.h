// The definitions that test_math.cpp measures against, generic over double (libm) and a type of 113 bits.
#pragma once
#include <cmath>

#if defined(__aarch64__)
using quad = long double;
#define REAL(NAME)                                           \
  inline double NAME##_of(double x) { return std::NAME(x); } \
  inline quad NAME##_of(quad x) { return std::NAME(x); }
inline quad pow_of(quad x, quad k) { return std::pow(x, k); }
#else
#include <quadmath.h>
using quad = __float128;
inline quad pow_of(quad x, quad k) { return powq(x, k); }
#define REAL(NAME)                                           \
  inline double NAME##_of(double x) { return std::NAME(x); } \
  inline quad NAME##_of(quad x) { return NAME##q(x); }
#endif

namespace reference {

REAL(exp)
REAL(expm1)
REAL(log)
REAL(log1p)
REAL(tanh)
REAL(erf)
REAL(erfc)
REAL(sqrt)
#undef REAL
inline double pow_of(double x, double k) { return std::pow(x, k); }

template <class R>
R pi() {
  return R(3.14159265358979311599796346854418516L) + R(1.2246467991473531772260659322749979970830e-16L);
}
template <class R>
R size(R x) {  // |x|, no larger than where every function here has reached its limit; NaN stays
  const R a = x < 0 ? -x : x;
  return a > 1000 ? R(1000) : a;
}

template <class R>
R exp(R x) {
  return exp_of(x);
}
template <class R>
R expm1(R x) {
  return expm1_of(x);
}
template <class R>
R log(R x) {
  return log_of(x);
}
template <class R>
R log1p(R x) {
  return log1p_of(x);
}
template <class R>
R tanh(R x) {
  return tanh_of(x);
}
template <class R>
R erf(R x) {
  return erf_of(x);
}

template <class R>
R sigmoid(R x) {
  return R(1) / (R(1) + exp_of(-x));
}
template <class R>
R softplus(R x) {
  const R tail = log1p_of(exp_of(-size(x)));
  return x < 0 ? log1p_of(exp_of(x)) : x + tail;
}

// 1/2 log(1 + sinh^2 x), which does not cancel
template <class R>
R log_cosh(R x) {
  const R z = x < 0 ? -x : x, m = expm1_of(size(x) < 40 ? size(x) : R(40)), sinh = (m + m / (1 + m)) / 2;
  return z < 40 ? log1p_of(sinh * sinh) / 2 : z - log_of(R(2));
}

// x q for q -> 0 on the left: -0 there, where x q is inf * 0
template <class R>
R gated(R x, R q) {
  return x < -1000 ? R(-0.0) : x * q;
}
template <class R>
R silu(R x) {
  return gated(x, sigmoid(x));
}
template <class R>
R gelu(R x) {
  return gated(x, R(erfc_of(-x / sqrt_of(R(2)))) / 2);
}
template <class R>
R cubic(R z, int times) {  // 2 sqrt(2/pi) (z + times 0.044715 z^3)
  return 2 * sqrt_of(R(2) / pi<R>()) * z * (1 + times * R(44715) / R(1000000) * z * z);
}
template <class R>
R gelu_tanh(R x) {
  return gated(x, sigmoid(x < 0 ? -cubic(size(x), 1) : cubic(size(x), 1)));
}

template <class R>
R quick_gelu(R x) {
  return gated(x, sigmoid(R(1.702) * x));
}
template <class R>
R mish(R x) {  // tanh(log(1 + w)) = w (w + 2) / (w (w + 2) + 2), w = e^x; for x >= 0 in 1 / w
  const R e = exp_of(-size(x));
  return gated(x, x < 0 ? e * (e + 2) / (e * (e + 2) + 2) : (1 + 2 * e) / (1 + 2 * e + 2 * e * e));
}
template <class R>
R tanhshrink(R x) {  // tanh x = x / (1 + x^2 / (3 + x^2 / (5 + ...)))
  R f = 61;
  for (int odd = 59; odd > 1; odd -= 2) f = odd + x * x / f;
  const R tail = x * x / f;
  return size(x) < 2 ? x * tail / (1 + tail) : x - tanh_of(x);
}
template <class R>
R softsign(R x) {
  const R y = 1 / (1 + 1 / (x < 0 ? -x : x));
  return x == 0 ? x : x < 0 ? -y : y;
}

template <class R>
R sigmoid_grad(R x) {
  const R e = exp_of(-size(x));
  return e / ((1 + e) * (1 + e));
}
template <class R>
R tanh_grad(R x) {
  return 4 * sigmoid_grad(2 * size(x));
}

// f'(x) from g = f'(-|x|), as f'(x) + f'(-x) = 1
template <class R>
R reflected(R x, R g) {
  return x != x ? x : x < 0 ? g : 1 - g;
}
template <class R>
R silu_grad(R x) {
  const R z = size(x), e = exp_of(-z);
  return reflected(x, e * (1 + e - z) / ((1 + e) * (1 + e)));
}
template <class R>
R gelu_grad(R x) {
  const R z = size(x);
  return reflected(x, R(erfc_of(z / sqrt_of(R(2)))) / 2 - z * exp_of(-z * z / 2) / sqrt_of(2 * pi<R>()));
}
template <class R>
R gelu_tanh_grad(R x) {
  const R z = size(x), e = exp_of(-cubic(z, 1));
  return reflected(x, e * (1 + e - cubic(z, 3)) / ((1 + e) * (1 + e)));
}

// Powers with the exponents of test_math.cpp; of negative numbers, and so of -inf, NaN.
template <class R>
R root(R x) {
  return x < 0 ? log_of(x) : pow_of(x, R(1.0 / 3));
}
template <class R>
R falling(R x) {
  return x < 0 ? log_of(x) : pow_of(x, R(-2.5));
}
template <class R>
R falling1p(R x) {
  return exp_of(R(-2.5) * log1p_of(x));
}
template <class R>
R quick_gelu_grad(R x) {
  return silu_grad(R(1.702) * x);
}
template <class R>
R mish_grad(R x) {
  const R z = size(x), e = exp_of(-z), left = 2 + e * (2 + e), right = 1 + 2 * e * (1 + e);
  if (x < 0) return e * (4 * (1 - z) + e * (6 - 4 * z + e * (4 + e))) / (left * left);
  return x != x ? x : (1 + e * (4 + e * (4 * z + 6 + 4 * e * (z + 1)))) / (right * right);
}
template <class R>
R tanhshrink_grad(R x) {
  return tanh_of(x) * tanh_of(x);
}
template <class R>
R softsign_grad(R x) {
  const R d = 1 + (x < 0 ? -x : x);
  return 1 / d / d;
}

}  // namespace reference
