// The map family: emulated CUDA loops against the CPU target, for every op, pass, dtype, alignment and class of length.
#include "compare.h"

namespace {

const double params[] = {0.25, 0.5, 0.01, 0.9, 0.1, 0.7, 1.3, 0.3, 0.6, 1.1};

// offset: of every array. mixed: each array at another one, so that no packet fits. in_place: the outputs are the last inputs.
void map_call(int index, Dtype d, std::int64_t n, int offset, bool mixed, bool in_place) {
  const dlk::Entry<dlk::MapArgs>& e = dlk::cpu::target.map->entry[index];
  std::vector<Twin> in, out;
  for (int k = 0; k < e.ins; ++k) in.emplace_back(d, n, mixed ? (offset + 3 * k) % 17 : offset, Values::wild);
  for (int k = 0; k < e.outs; ++k) out.emplace_back(d, n, mixed ? (offset + 5 + k) % 17 : offset, Values::tame);
  in_place = in_place && e.outs <= e.ins;
  const auto result = [&](int k) -> Twin& {
    return in_place ? in[std::size_t(e.ins - e.outs + k)] : out[std::size_t(k)];
  };
  const std::int64_t first = random_below(2) == 0
                                 ? random_below(9)
                                 : (std::int64_t(1) << 34) - random_below(40);  // counters carry into 64 bits
  for (Side s : {on_cpu, on_cuda}) {
    dlk::MapArgs a{};
    a.n = n;
    for (int k = 0; k < e.ins; ++k) a.in[k] = in[std::size_t(k)].at(s);
    for (int k = 0; k < e.outs; ++k) a.out[k] = result(k).at(s);
    a.params = params;
    a.first = first;
    a.seed = 0x9e3779b97f4a7c15u;
    a.offset = (1ull << 33) + 5;
    const int error = target_of(s).map->entry[index].run[int(d)](a);
    expect(error == 0, std::string(e.name) + " returned " + std::to_string(error));
  }
  const std::string call = std::string("map ") + e.name + "." + e.pass + " " + dtype_name[int(d)] +
                           " n=" + std::to_string(n) + " offset=" + std::to_string(offset) + (mixed ? " mixed" : "") +
                           (in_place ? " in place" : "");
  for (int k = 0; k < e.outs; ++k) expect_same(result(k), call, "out");
  for (Twin& t : in) expect_same(t, call, "in");
  expect_no_reports(call);
}

// The same with arrays that are no runs, each another way; kind 0: rows that begin at packets, as halves of a packed array and repeated rows.
void map_walk_call(int index, Dtype d, std::int64_t rows, std::int64_t cols, int kind) {
  const dlk::Entry<dlk::MapArgs>& e = dlk::cpu::target.map->entry[index];
  const int smooth[] = {2, 4, 0, 2};
  int lie = kind;
  std::vector<Strewn> in, out;
  for (int k = 0; k < e.ins; ++k)
    in.emplace_back(d, rows, cols, kind == 0 ? smooth[k % 4] : lie++ % Strewn::kLiesOfInputs, kind % 2, Values::wild);
  for (int k = 0; k < e.outs; ++k)
    out.emplace_back(d, rows, cols, kind == 0 ? smooth[(k + 3) % 4 & 2] : lie++ % Strewn::kLies, 0, Values::tame);
  dlk::Walk walk{};
  for (int k = 0; k < e.ins; ++k) in[std::size_t(k)].walk(walk, k);
  for (int k = 0; k < e.outs; ++k) out[std::size_t(k)].walk(walk, dlk::kMaxIn + k);
  for (Side s : {on_cpu, on_cuda}) {
    dlk::MapArgs a{};
    a.n = rows * cols;
    for (int k = 0; k < e.ins; ++k) a.in[k] = in[std::size_t(k)].at(s);
    for (int k = 0; k < e.outs; ++k) a.out[k] = out[std::size_t(k)].at(s);
    a.params = params;
    a.first = 5;
    a.seed = 0x9e3779b97f4a7c15u;
    a.walk = s == on_cuda ? &walk : nullptr;
    const int error = target_of(s).map->entry[index].run[int(d)](a);
    expect(error == 0, std::string(e.name) + " returned " + std::to_string(error));
  }
  const std::string call = std::string("map ") + e.name + "." + e.pass + " " + dtype_name[int(d)] + " walk of " +
                           std::to_string(rows) + " x " + std::to_string(cols) + " kind=" + std::to_string(kind);
  for (Strewn& t : out) expect_same(t.settle(), call, "out");
  expect_no_reports(call);
}

void map_walks(std::int64_t rows, std::int64_t cols, int few) {
  Turns turns;
  for (int i = 0; i < dlk::cpu::target.map->size; ++i) {
    for (Dtype d : all_dtypes) {
      for (int kind : turns(7, few)) map_walk_call(i, d, rows, cols, kind);
    }
  }
}

// few: of the offsets, at each length
void maps(const std::vector<std::int64_t>& lengths, int offsets, int few) {
  Turns turns;
  for (int i = 0; i < dlk::cpu::target.map->size; ++i) {
    for (Dtype d : all_dtypes) {
      for (std::int64_t n : lengths) {
        for (int offset : turns(offsets, few)) {
          map_call(i, d, n, offset, (n + offset) % 3 == 0, (n + offset) % 2 == 0);
        }
      }
    }
  }
}

// Every bfloat16 number through every op of one input, with hyper-parameters that a formula of kernels/math/brief.h is for.
void every_bfloat16() {
  constexpr std::int64_t n = 1 << 16;
  const double usual[] = {1, 20, 1, 1, 1, 1, 1, 1, 1, 1};
  for (int i = 0; i < dlk::cpu::target.map->size; ++i) {
    const dlk::Entry<dlk::MapArgs>& e = dlk::cpu::target.map->entry[i];
    if (e.ins != 1 || e.outs != 1) continue;
    Twin in(Dtype::bf16, n, 0, Values::wild), out(Dtype::bf16, n, 0, Values::tame);
    const std::string call = std::string("every bfloat16 through ") + e.name;
    for (Side s : {on_cpu, on_cuda}) {
      for (std::int64_t k = 0; k < n; ++k) in.as<std::uint16_t>(s)[k] = std::uint16_t(k);
      dlk::MapArgs a{};
      a.n = n;
      a.in[0] = in.at(s);
      a.out[0] = out.at(s);
      a.params = usual;
      expect(target_of(s).map->entry[i].run[int(Dtype::bf16)](a) == 0, call);
    }
    expect_same(out, call, "out");
    expect_no_reports(call);
  }
}

std::vector<std::int64_t> lengths_to(std::int64_t most, std::vector<std::int64_t> more) {
  for (std::int64_t n = most; n >= 0; --n) more.insert(more.begin(), n);
  return more;
}

}  // namespace

int main(int argc, char**) {
  Turns::full = argc > 1;
  every_bfloat16();
  maps(lengths_to(70, {255, 256, 257, 258}), 17, 3);
  maps({4095, 4096, 4097, 10000}, 3, 1);
  maps({100003}, 1, 1);
  map_walks(5, 7, 3);
  map_walks(40, 16, 3);
  map_walks(9, 1000, 1);
  simt::device.watch = simt::device.backwards = true;
  maps({0, 1, 33, 258, 4097}, 1, 1);
  map_walks(11, 24, 2);
  return finish("bits_elementwise");
}
