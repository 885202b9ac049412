// How large a list of tensors is: sums of squares or of magnitudes, or the largest magnitude, in float64. A square of a float32 is exact
// there and none overflows, so the sum is finite if and only if every number is.
#pragma once
#include "../../kernels/abi.h"
#include "canonical.h"

DLK_BEGIN

enum class magnitude { squares, sum, largest };

template <magnitude how, class T>
struct magnitude_loop {
  using V = lanes<T>;
  using D = lanes<f64>;
  static constexpr int width = lane<V>::size, half = lane<D>::size;

  alignas(64) double lane_sum[kLanes + width];

  DLK_FN static void wide(V x, D* to) {
    if constexpr (width == half) {
      to[0] = x;
    } else {
      widen(x, to);
    }
  }
  DLK_FN static D with(D sum, D x) {
    if constexpr (how == magnitude::squares) return fma(x, x, sum);
    if constexpr (how == magnitude::sum) return sum + abs(x);
    const D m = abs(x);
    return select((m <= sum) | (sum != sum), sum, m);  // NaN wins, and stays
  }

  // n elements that belong to the lanes from `at` on; n may not go past the last lane
  DLK_FN void add(const T* x, int at, int n) {
    for (int j = 0; j < n; j += width) {
      D v[width / half];
      const int some = n - j < width ? n - j : width;
      wide(some == width ? load<V>(x + j) : keep_n(load_n<V>(x + j, some), some, V(0)), v);
      for (int u = 0; u < width / half; ++u) {
        double* const p = lane_sum + at + j + u * half;
        store(p, with(load<D>(p), v[u]));
      }
    }
  }
  // the elements [begin, begin + kBlock) of the concatenation; `run` is the first one that reaches beyond its beginning
  DLK_FN double block(const Run* run, const Run* end, std::int64_t begin) {
    for (double& s : lane_sum) s = 0;
    for (; run != end && run->begin < begin + kBlock; ++run) {
      const std::int64_t from = run->begin > begin ? run->begin : begin;
      const std::int64_t to = run->begin + run->n < begin + kBlock ? run->begin + run->n : begin + kBlock;
      const T* const x = static_cast<const T*>(run->x) + (from - run->begin);
      int at = int(from % kLanes);
      for (int i = 0, n, all = int(to - from); i < all; i += n, at = 0) {
        n = all - i < kLanes - at ? all - i : kLanes - at;
        add(x + i, at, n);
      }
    }
    for (int w = kLanes / 2; w >= 1; w /= 2) {
      for (int j = 0; j < w; ++j) {
        const double a = lane_sum[j], b = lane_sum[j + w];
        lane_sum[j] = how == magnitude::largest ? (b <= a || a != a ? a : b) : a + b;
      }
    }
    return lane_sum[0];
  }
};

template <magnitude how, class T>
int magnitudes(const MagnitudeArgs& a) {
  magnitude_loop<how, T> loop;
  const Run *run = a.run, *const end = a.run + a.runs;
  for (std::int64_t b = 0; b < a.blocks; ++b) {
    const std::int64_t begin = (a.first + b) * kBlock;
    while (run != end && run->begin + run->n <= begin) ++run;
    a.partial[b] = loop.block(run, end, begin);
  }
  return 0;
}

template <magnitude how>
constexpr Entry<MagnitudeArgs> magnitude_row(const char* name) {
  return {name,
          "",
          1,
          0,
          0,
          more_operands,
          {magnitudes<how, f32>, magnitudes<how, f64>, magnitudes<how, f16>, magnitudes<how, bf16>}};
}
inline constexpr Entry<MagnitudeArgs> magnitude_rows[] = {magnitude_row<magnitude::squares>("squares"),
                                                          magnitude_row<magnitude::sum>("sum"),
                                                          magnitude_row<magnitude::largest>("largest")};

DLK_END
