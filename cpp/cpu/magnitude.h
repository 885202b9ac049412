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
  DLK_FN double block(const Piece* piece, std::int64_t pieces) {
    for (double& s : lane_sum) s = 0;
    for (std::int64_t k = 0; k < pieces; ++k) {
      const T* const x = static_cast<const T*>(piece[k].x);
      int at = piece[k].lane;
      for (int i = 0, n; i < piece[k].n; i += n, at = 0) {
        n = piece[k].n - i < kLanes - at ? piece[k].n - i : kLanes - at;
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
  for (std::int64_t b = 0; b < a.blocks; ++b) {
    a.partial[b] = loop.block(a.piece + a.begin[b], a.begin[b + 1] - a.begin[b]);
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
