// The C loops without Python: what is left of a row of `dlkernels bench` when its call costs nothing. README.md says how to read it.
#include <benchmark/benchmark.h>
#include <dlkernels/dlkernels.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace {

// A buffer of numbers in [-3, 3), all bits of a 16-bit type legal, 64-byte aligned.
struct Array {
  std::vector<int64_t> shape;
  dlk_dtype dtype;
  void* data;

  Array(std::vector<int64_t> of, dlk_dtype type) : shape(std::move(of)), dtype(type) {
    const size_t bytes = (static_cast<size_t>(count()) * size_t(item()) + 63) / 64 * 64;
    data = std::aligned_alloc(64, bytes);
    std::memset(data, 0, bytes);
    for (int64_t i = 0; i < count(); ++i) {
      const float value = static_cast<float>(i * 2654435761u % 6000) / 1000.0f - 3.0f;
      if (dtype == DLK_F32) static_cast<float*>(data)[i] = value;
      if (dtype == DLK_F64) static_cast<double*>(data)[i] = value;
      if (dtype == DLK_I64) static_cast<int64_t*>(data)[i] = i % 10;
      if (dtype == DLK_BF16)
        std::memcpy(static_cast<char*>(data) + 2 * i, reinterpret_cast<const char*>(&value) + 2, 2);
    }
  }
  ~Array() { std::free(data); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;

  int64_t count() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
  int64_t item() const { return dtype == DLK_BF16 ? 2 : dtype == DLK_F32 ? 4 : 8; }
  dlk_tensor view() const { return {data, dtype, static_cast<int>(shape.size()), shape.data(), nullptr}; }
};

void finish(benchmark::State& state, int status, int64_t bytes) {
  if (status != DLK_OK) state.SkipWithError(dlk_last_error());
  state.SetBytesProcessed(state.iterations() * bytes);
}

void map(benchmark::State& state, const std::string& op, const std::string& pass, dlk_dtype dtype) {
  const Array dy({state.range(0)}, dtype), x({state.range(0)}, dtype), y({state.range(0)}, dtype);
  const dlk_tensor in[] = {dy.view(), x.view()}, out = y.view();
  const int ins = pass.empty() ? 1 : 2;
  const double alpha = 1.0;
  int status = DLK_OK;
  for (auto _ : state) status |= dlk_map(op.c_str(), pass.c_str(), in, ins, &out, &alpha, op == "elu");
  finish(state, status, (ins + 1) * x.count() * x.item());
}

void rows(benchmark::State& state, const std::string& op) {
  const Array x({state.range(0), state.range(1)}, DLK_F32), y({state.range(0), state.range(1)}, DLK_F32);
  const dlk_tensor in = x.view(), out = y.view();
  int status = DLK_OK;
  for (auto _ : state) status |= dlk_rows(op.c_str(), "", &in, 1, &out, 1);
  finish(state, status, 2 * 4 * x.count());
}

void mse(benchmark::State& state) {
  const Array x({state.range(0)}, DLK_F32), target({state.range(0)}, DLK_F32), grad({state.range(0)}, DLK_F32);
  const Array value({}, DLK_F32);
  const dlk_tensor views[] = {x.view(), target.view(), value.view(), grad.view()};
  int status = DLK_OK;
  for (auto _ : state) status |= dlk_loss("mse_loss", &views[0], &views[1], DLK_MEAN, &views[2], &views[3]);
  finish(state, status, 3 * 4 * x.count());
}

void cross_entropy(benchmark::State& state) {
  const Array x({state.range(0), state.range(1)}, DLK_F32), grad({state.range(0), state.range(1)}, DLK_F32);
  const Array target({state.range(0)}, DLK_I64), value({}, DLK_F32);
  const dlk_tensor views[] = {x.view(), target.view(), value.view(), grad.view()};
  int status = DLK_OK;
  for (auto _ : state)
    status |= dlk_cross_entropy(&views[0], &views[1], nullptr, -100, 0.0, DLK_MEAN, 1, &views[2], &views[3]);
  finish(state, status, 2 * 4 * x.count() + 8 * state.range(0));
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (const char* threads = std::getenv("DLKERNELS_NUM_THREADS")) dlk_set_num_threads(std::atoi(threads));
  benchmark::AddCustomContext("dlkernels", dlk_version());
  benchmark::AddCustomContext("target", dlk_target());
  benchmark::AddCustomContext("threads", std::to_string(dlk_num_threads()));
  for (const char* op : {"relu", "sigmoid", "tanh", "silu", "gelu", "elu"})
    for (const auto& [suffix, dtype] : {std::pair("float32", DLK_F32), std::pair("bfloat16", DLK_BF16)}) {
      for (const auto& [part, pass] : {std::pair("value", ""), std::pair("backward", "grad")}) {
        const std::string name = std::string(op) + " " + part + " " + suffix;
        benchmark::RegisterBenchmark(name.c_str(), map, op, pass, dtype)
            ->Arg(16)
            ->Arg(8192)
            ->Arg(1 << 15)
            ->Arg(1 << 20)
            ->Arg(1 << 24)
            ->UseRealTime();
      }
    }
  for (const char* op : {"softmax", "log_softmax"})
    benchmark::RegisterBenchmark((std::string(op) + " value float32").c_str(), rows, op)
        ->Args({1, 16})
        ->Args({262144, 10})
        ->Args({4096, 1000})
        ->Args({1024, 4096})
        ->Args({32, 128256})
        ->UseRealTime();
  benchmark::RegisterBenchmark("mse_loss value+grad float32", mse)->Arg(16)->Arg(1 << 20)->Arg(1 << 24)->UseRealTime();
  benchmark::RegisterBenchmark("cross_entropy value+grad float32", cross_entropy)
      ->Args({1, 16})
      ->Args({262144, 10})
      ->Args({4096, 1000})
      ->Args({8192, 1000})
      ->UseRealTime();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
