// out = (in - shift) scale + offset, kept in [low, high], from any storage type or bytes to any storage type, computed in float64 and
// rounded once. One kernel: what the types are is asked where elements are loaded and stored.
//
// A thread takes four neighbors at a time where rows allow that. Threads stride by whole rows, so that where the numbers belong to columns a
// thread reads its own once.
#include "device.cuh"

DLK_BEGIN

constexpr int kFour = 4, kInFlight = 2;
constexpr int kBytes = kDtypes;  // a type of its own among those read

struct u8 {
  std::uint8_t u;
};
DLK_FN float to_compute(u8 x) { return x.u; }

template <class T, int many>
DLK_DEVICE void load_as(double (&x)[many], const void* p, std::int64_t at) {
  const packet<T, many> v = load_packet<many>(static_cast<const T*>(p) + at);
#pragma unroll
  for (int e = 0; e < many; ++e) x[e] = double(to_compute(v.v[e]));
}
template <int many>
DLK_DEVICE void load(double (&x)[many], int type, const void* p, std::int64_t at) {
  if (type == int(Dtype::f32)) {
    load_as<f32>(x, p, at);
  } else if (type == int(Dtype::f64)) {
    load_as<f64>(x, p, at);
  } else if (type == int(Dtype::f16)) {
    load_as<f16>(x, p, at);
  } else if (type == int(Dtype::bf16)) {
    load_as<bf16>(x, p, at);
  } else {
    load_as<u8>(x, p, at);
  }
}
template <class T, int many>
DLK_DEVICE void store_as(const double (&x)[many], void* p, std::int64_t at) {
  packet<T, many> v;
#pragma unroll
  for (int e = 0; e < many; ++e) v.v[e] = to_storage<T>(compute_t<T>(x[e]));
  store_packet(static_cast<T*>(p) + at, v);
}
template <int many>
DLK_DEVICE void store(const double (&x)[many], int type, void* p, std::int64_t at) {
  if (type == int(Dtype::f32)) {
    store_as<f32>(x, p, at);
  } else if (type == int(Dtype::f64)) {
    store_as<f64>(x, p, at);
  } else if (type == int(Dtype::f16)) {
    store_as<f16>(x, p, at);
  } else {
    store_as<bf16>(x, p, at);
  }
}

// shift, scale and offset of `many` neighbors, and where they were read.
template <int many>
struct numbers {
  double v[3][many];
  std::int64_t at[3];
  bool some;

  DLK_DEVICE explicit numbers(const RescaleArgs& a) : some(false) {
#pragma unroll
    for (int j = 0; j < 3; ++j) {
      at[j] = 0;
      for (int e = 0; e < many; ++e) v[j][e] = a.same[j];
    }
  }
  DLK_DEVICE void move_to(const RescaleArgs& a, const Walk& walk, const walk_index& index) {
    const double* const number[3] = {a.shift, a.scale, a.offset};
#pragma unroll
    for (int j = 0; j < 3; ++j) {
      const std::int64_t there = index.offset(walk, 2 + j);
      if (number[j] == nullptr || (some && there == at[j])) continue;
      at[j] = there;
      const std::int64_t step = many > 1 ? walk.step[2 + j][walk.dims - 1] : 0;
#pragma unroll
      for (int e = 0; e < many; ++e) v[j][e] = number[j][there + e * step];
    }
    some = true;
  }
};

struct rescale_span {
  RescaleArgs a;
  Walk walk;
  int from, to;
  bool bounded, fours;
  std::int64_t stride;  // of the threads that work

  template <int many>
  DLK_DEVICE void run(std::int64_t me) const {
    const std::int64_t runs = a.n / many;
    numbers<many> of(a);
#pragma unroll 1
    for (std::int64_t i = me; i < runs; i += kInFlight * stride) {
      double x[kInFlight][many];
#pragma unroll
      for (int u = 0; u < kInFlight; ++u) {
        if (i + u * stride < runs) load(x[u], from, a.in, walk_index(walk, (i + u * stride) * many).offset(walk, 0));
      }
#pragma unroll
      for (int u = 0; u < kInFlight; ++u) {
        if (i + u * stride >= runs) break;
        const walk_index index(walk, (i + u * stride) * many);
        of.move_to(a, walk, index);
#pragma unroll
        for (int e = 0; e < many; ++e) {
          x[u][e] = fma(x[u][e] - of.v[0][e], of.v[1][e], of.v[2][e]);
          if (bounded) x[u][e] = min(a.high, max(a.low, x[u][e]));
        }
        store(x[u], to, a.out, index.offset(walk, 1));
      }
    }
  }
};

__global__ void __launch_bounds__(kMapThreads, 2) rescale_kernel(const rescale_span __grid_constant__ a) {
  const std::int64_t me = std::int64_t(blockIdx.x) * blockDim.x + threadIdx.x;
  if (me >= a.stride) return;
  if (a.fours) {
    a.run<kFour>(me);
  } else {
    a.run<1>(me);
  }
}

// Do four neighbors lie side by side, and aligned to what they are moved by?
inline bool in_fours(const RescaleArgs& a, int in_bytes, int out_bytes) {
  const Walk& w = *a.walk;
  if (w.dims == 0 || w.shape[w.dims - 1] % kFour != 0) return false;
  bool fit = true;
  for (int k = 0; k < 2; ++k) {
    const int bytes = kFour * (k == 0 ? in_bytes : out_bytes);
    fit = fit && reinterpret_cast<std::uintptr_t>(k == 0 ? a.in : a.out) % (bytes < 16 ? bytes : 16) == 0;
    fit = fit && w.step[k][w.dims - 1] == 1;
    for (int d = 0; d + 1 < w.dims; ++d) fit = fit && w.step[k][d] % kFour == 0;
  }
  return fit;
}

template <int from, class In, class Out>
int rescale(const RescaleArgs& a) {
  if (a.n == 0) return 0;
  const bool bounded = a.low >= -max_finite<double> || a.high <= max_finite<double>;
  rescale_span s{a, *a.walk, from, int(dtype_of<Out>()), bounded, in_fours(a, int(sizeof(In)), int(sizeof(Out))), 0};
  const std::int64_t runs = s.fours ? a.n / kFour : a.n;
  const device d = current_device();
  const std::int64_t blocks =
      at_most(ceil_div(ceil_div(runs, kInFlight), kMapThreads), std::int64_t(d.sms) * map_policy(d.cc).blocks_per_sm);
  const std::int64_t threads = blocks * kMapThreads, dims = a.walk->dims,
                     row = dims == 0 ? 1 : a.walk->shape[dims - 1] / (s.fours ? kFour : 1);
  s.stride = threads >= row ? threads / row * row : threads;
  return launch(rescale_kernel, blocks, kMapThreads, {}, a.queue, s);
}

DLK_END

namespace dlk {
namespace DLK_TARGET {
extern const Table<RescaleArgs> rescale_entries;
namespace {
template <int from, class In>
constexpr Entry<RescaleArgs> reads(const char* type) {
  return {"rescale",
          type,
          1,
          1,
          0,
          more_operands,
          {rescale<from, In, f32>, rescale<from, In, f64>, rescale<from, In, f16>, rescale<from, In, bf16>}};
}
constexpr Entry<RescaleArgs> rescale_rows[] = {reads<0, f32>("f32"), reads<1, f64>("f64"), reads<2, f16>("f16"),
                                               reads<3, bf16>("bf16"), reads<kBytes, u8>("u8")};
}  // namespace
const Table<RescaleArgs> rescale_entries = {rescale_rows, 5};
}  // namespace DLK_TARGET
}  // namespace dlk
