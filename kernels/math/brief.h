// Brief forms of the smooth activations, for results of which eight significant bits are kept. The neighbor of such a result is 2^-8 away,
// and few results lie so close to the middle of two that an error of 2^-16 shows. Which ones can be asked: an input of sixteen bits has
// 65,536 values. The coefficients below were searched until none was left where this form, rounded, differs from the long one, rounded
// (docs/decisions/0020); tests/test_values.py asks them all on every target. So none may be changed alone: eight functions share the
// exponential, nine the reciprocal. And a function here is good for no other inputs.
//
// Only operations that are exactly defined, as everywhere in this room: the proof on one machine holds for all.
#pragma once
#include "poly.h"

DLK_BEGIN
namespace math {
namespace brief {

// c[0] + c[1] x + ... by Horner's rule: as few operations as there are. Elements beside this one keep the pipes busy.
template <int At = 0, class V, int N>
DLK_FN V horner(V x, const scalar_t<V> (&c)[N]) {
  if constexpr (At + 1 == N) {
    return V(c[At]);
  } else {
    return fma(horner<At + 1>(x, c), x, V(c[At]));
  }
}

// A product that is not yet formed: a factor that comes between may keep it away from what does not fit.
template <class V>
struct factors {
  V first, second;
};
template <class V>
DLK_FN V product(const factors<V>& f) {
  return f.first * f.second;
}

// 2^-Shift / d for d > 0, relative error 2^-17.3. A subtraction of exponents, and of mantissas with them, is off by 6 %; two of Newton's
// steps y (2 - d y) with constants a little off 2 do the rest. Their scales give the shift. Both factors are negative: so each fma negates
// an operand for itself, and no instruction is spent on -d.
template <int Shift, class V>
DLK_FN factors<V> reciprocal(V d) {
  static_assert(Shift % 4 == 0, "each step takes its part");
  constexpr int part = Shift / 4;
  constexpr float scale = 1.0f / float(std::uint64_t(1) << part);
  const V guess = from_bits<V>(uint_t<V>(0xfef508edu - (std::uint32_t(part) << 23)) - bits(d));
  const V y = guess * fma(d, guess, V(0x1.00268ep+1f * scale));
  return {y, fma(-d, y, V(-0x1.000002p+1f * scale * scale))};
}

// 2^Guard e^-z as a power of two and a number about 1. z = r - n ln2 with |r| <= ln2 / 2; relative error of the polynomial 2^-15.8.
template <int Guard, class V>
DLK_FN factors<V> exp_of_minus(V z) {
  const V shift = V(ieee_of<V>::magic + float(ieee_of<V>::bias + Guard));
  const V t = fma(z, V(-0x1.715476p+0f), shift), n = t - shift, r = fma(n, V(0x1.62e43p-1f), z);
  return {power_of_two<V>(bits(t)),
          horner(r, {0x1.fffffp-1f, -0x1.fffd3ep-1f, 0x1.fffddcp-2f, -0x1.56ee38p-3f, 0x1.531686p-5f})};
}

// 1 / (1 + e^-w) for w >= -104. The sum is held at 2^-64 of its size, so that it does not overflow.
template <class V>
DLK_FN V logistic(V w) {
  const factors<V> e = exp_of_minus<-64>(min(V(20.0f), w));
  return product(reciprocal<64>(fma(e.first, e.second, V(0x1p-64f))));
}

template <class V>
DLK_FN V sigmoid(V x) {
  return logistic(max(V(-104.0f), x));
}
template <class V>
DLK_FN V silu(V x) {
  const V a = max(V(-104.0f), x);
  return a * logistic(a);
}
template <class V>
DLK_FN V quick_gelu(V x) {
  const V a = max(V(-61.0f), x);
  return a * logistic(a * V(1.702f));
}
template <class V>
DLK_FN V gelu_tanh(V x) {
  const V a = max(V(-10.8f), x);
  return a * logistic(a * fma(V(0x1.2444f2p-4f), a * a, V(0x1.988454p+0f)));
}

// x (e^2 + 2 e) / (e^2 + 2 e + 2) with e = e^x; e at 2^64 times its size where it is a factor of the result.
template <class V>
DLK_FN V mish(V x) {
  const V a = max(V(-104.0f), x);
  const V large = product(exp_of_minus<64>(-min(V(20.0f), a))), e = large * V(0x1p-64f), e2 = e + V(2.0f);
  const factors<V> r = reciprocal<64>(fma(e, e2, V(2.0f)));
  return a * ((large * e2) * r.first * r.second);
}

// 2^64 log(1 + e) with e = e^-|x|, by a polynomial for log(1 + e) / e, relative error 2^-17.7
template <class V>
DLK_FN V large_log1p_of_decay(V x) {
  const V large = product(exp_of_minus<64>(min(V(104.0f), abs(x)))), e = large * V(0x1p-64f);
  return large * horner(e, {0x1.fffff4p-1f, -0x1.ffdb74p-2f, 0x1.53057ap-2f, -0x1.e15366p-3f, 0x1.319d4p-3f,
                            -0x1.0ffcbap-4f, 0x1.cf1bb4p-7f});
}
// log(1 + e^x) = max(x, 0) + log(1 + e)
template <class V>
DLK_FN V softplus(V x) {
  return fma(large_log1p_of_decay(x), V(0x1p-64f), max(V(-0.0f), x));
}
// -log(1 + e^-x)
template <class V>
DLK_FN V logsigmoid(V x) {
  return fma(large_log1p_of_decay(x), V(-0x1p-64f), min(V(0.0f), x));
}

// max(x, 0) - z Phi(-z) with z = |x|, Phi(-z) = e^(-z^2/2) N(z) / D(z); relative error of the quotient 2^-13.5.
template <class V>
DLK_FN V gelu(V x) {
  const V z = min(V(14.6f), abs(x));
  const factors<V> e = exp_of_minus<64>(z * (V(0.5f) * z));
  const V n = horner(z, {0x1.000066p-1f, 0x1.01239ep-2f, 0x1.adccd4p-5f});
  const factors<V> r =
      reciprocal<64>(horner(z, {0x1.00005ap+0f, 0x1.4cdc0ap+0f, 0x1.485628p-1f, 0x1.0b8bfap-3f, 0x1.93d652p-16f}));
  return fma((z * e.first) * (e.second * (n * r.first)), -r.second, max(V(-0.0f), x));
}

// x N(x^2) / D(x^2) up to where 1 is the nearest number of eight bits.
template <class V>
DLK_FN V tanh(V x) {
  const V c = min(V(3.47f), max(V(-3.47f), x)), s = c * c;
  const V n = c * horner(s, {0x1.ffff5p-1f, 0x1.b4f138p-4f, 0x1.b03272p-11f});
  const factors<V> r = reciprocal<0>(horner(s, {0x1p+0f, 0x1.c285c6p-2f, 0x1.d1abb2p-7f}));
  return n * r.first * r.second;
}

// x^3 N(x^2) / D(x^2), and one more for one more of x where tanh is 1.
template <class V>
DLK_FN V tanhshrink(V x) {
  const V c = min(V(6.5f), max(V(-6.5f), x)), s = c * c;
  const V n = c * s * horner(s, {0x1.55554ep-2f, 0x1.3d1844p-6f, 0x1.44545cp-13f});
  const factors<V> r = reciprocal<0>(horner(s, {0x1p+0f, 0x1.d50dap-2f, 0x1.64ede6p-6f, 0x1.4e24fap-13f}));
  return copysign(fma(n * r.first, r.second, x - c), x);
}

// e^x - 1 for x <= 0: s (e^r - 1) + (s - 1) with s = 2^n.
template <class V>
DLK_FN V expm1(V x) {
  const V shift = V(ieee_of<V>::magic + float(ieee_of<V>::bias)), c = max(V(-20.0f), x);
  const V t = fma(c, V(0x1.715476p+0f), shift), n = t - shift, r = fma(n, V(-0x1.62e43p-1f), c);
  const V s = power_of_two<V>(bits(t));
  return fma(s, r * horner(r, {0x1.00002p+0f, 0x1.0007p-1f, 0x1.572e4cp-3f, 0x1.5523acp-5f}), s - V(1.0f));
}

// |x| / (1 + |x|)
template <class V>
DLK_FN V softsign(V x) {
  const V z = min(V(0x1p20f), abs(x));
  return copysign(z * product(reciprocal<0>(z + V(1.0f))), x);
}

}  // namespace brief
}  // namespace math
DLK_END
