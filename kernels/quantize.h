// State of optimizers in fewer bits.
//
// Bytes: a block of 256 numbers is divided by its largest one, and what is left, |r| <= 1, is one of 256 levels that lie denser near 0
// (dynamic tree quantization: Dettmers 2015, arXiv:1511.04561; Dettmers et al. 2021, arXiv:2110.02861). Decade k = 0 .. 6 reaches from
// 10^(k-7) to 10^(k-6) and is cut into 2^k equal parts, 2^(k+1) where no number is negative; a part stands for its middle. Two levels are
// extra: 0, and 1, which only the largest number itself has. A number becomes one of the two levels it lies between, at random and so that
// the mean is right: an average that decays by 10 % a step would otherwise stay where levels are further apart. The error is less than the
// distance of two levels, at most 0.9 10^(k-6) / parts within a decade and 5.5 10^-7 below all; a positive number above 10^-30 of the largest
// does not become 0. One infinity or NaN makes NaN of its block.
//
// bfloat16: the 16 bits that are cut off round up with probability (what they are) / 2^16, so that the mean is right, however small a step
// is (Gupta et al. 2015, arXiv:1502.02551).
#pragma once
#include "lane.h"

DLK_BEGIN

constexpr int kDecades = 7;

// The level of a code (a whole number in V).
template <bool positive, class V>
DLK_FN V decoded(V code) {
  const auto negative = code > V(positive ? 256 : 128);
  const V c = select(negative, code - V(128), code);
  V base = V(0), steep = V(0);
  double top = 1e-6;
  int parts = positive ? 2 : 1, first = 1;
  for (int k = 0; k < kDecades; ++k) {
    const auto here = c >= V(first);
    steep = select(here, V(0.9 * top / parts), steep);
    base = select(here, V(top * (0.1 + 0.9 * (0.5 - first) / parts)), base);
    first += parts;
    parts *= 2;
    top *= 10;
  }
  V v = fma(c, steep, base);
  v = select(c == V(0), V(0), select(code == V(positive ? 255 : 128), V(1), v));
  return select(negative, -v, v);
}

// The code of a level near a, 0 <= a <= 1: that of the part which a lies in.
template <bool positive, class V>
DLK_FN V part_of(V a) {
  // of the decade: parts / (0.9 width of it), the code of its first part, its last part
  double edge = 1e-6, scale = 1e6 / 0.9 * (positive ? 2 : 1);
  int parts = positive ? 2 : 1, code = 1;
  V steep = V(scale), first = V(1), last = V(parts - 1);
  for (int k = 1; k < kDecades; ++k) {
    code += parts;
    parts *= 2;
    scale *= 0.2;
    const auto here = a >= V(edge);
    steep = select(here, V(scale), steep);
    first = select(here, V(code), first);
    last = select(here, V(parts - 1), last);
    edge *= 10;
  }
  // the whole part of t is that of the nearest number to t - 1/2, but where that is a tie: both are as near
  const V from = (last + V(1)) * V(1 / 9.0), magic = V(0x1.8p23);
  const V t = min(max(fma(a, steep, -from) - V(0.5), V(0)), last);
  return first + ((t + magic) - magic);
}

// The code of r, |r| <= 1 (r >= 0 if positive), rounded up or down by 23 random bits of `word`. The largest number, r = 1, is kept.
template <bool positive, class V>
DLK_FN uint_t<V> encoded(V r, uint_t<V> word) {
  const V a = abs(r), most = V(positive ? 255 : 128), magic = V(0x1.8p23);
  const V part = part_of<positive>(a);
  V below = select(decoded<positive>(part) > a, part - V(1), part);
  const V low = decoded<positive>(below), high = decoded<positive>(below + V(1));
  const V u = from_bits<V>((word >> 9) | uint_t<V>(0x3f800000u)) - V(1);
  V c = select(u * (high - low) < a - low, below + V(1), below);
  c = select(a == V(1), most, c);
  if (positive) {
    c = select(a > V(1e-30), max(c, V(1)), c);
  } else {
    c = select(r < V(0), select(c == V(0), c, min(c, V(127)) + V(128)), c);  // there is no level of -1
  }
  return bits(c + magic) & uint_t<V>(0xffu);
}

// v as the upper half of a float32, the lower half cut off after `word`, 16 random bits, was added. Infinities and NaN stay.
template <class V>
DLK_FN V rounded_at_random(V v, uint_t<V> word) {
  using U = uint_t<V>;
  const U b = bits(v);
  const auto finite = (b & U(0x7f800000u)) < U(0x7f800000u);
  return from_bits<V>(select(finite, b + (word & U(0xffffu)), b) & U(0xffff0000u));
}

// A float32 and its two halves: the upper one rounded to the nearest, the lower one as it is. What comes back is what went in.
template <class V>
DLK_FN void split(V v, uint_t<V>& upper, uint_t<V>& lower) {
  using U = uint_t<V>;
  const U b = select(v == v, bits(v), U(0x7fc00000u));
  upper = (b + U(0x8000u)) >> 16;
  lower = b & U(0xffffu);
}
template <class V>
DLK_FN V joined(uint_t<V> upper, uint_t<V> lower) {
  return from_bits<V>(((upper - (lower >> 15)) << 16) | lower);
}

DLK_END
