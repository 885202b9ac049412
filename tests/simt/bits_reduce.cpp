// The reduce family: block sums with and without the gradient, the levels above them, and the scan of class ids.
#include "compare.h"

namespace {

std::int64_t blocks(std::int64_t n) { return (n + dlk::kBlock - 1) / dlk::kBlock; }

const double params[] = {0.25, 0.5, 0.01, 0.9, 0.1, 0.7, 1.3, 0.3, 0.6, 1.1};

// How many inputs a loss cannot do without: those that follow may be absent.
int required_of(const dlk::Entry<dlk::ReduceArgs>& e) {
  return std::string(e.name) == "binary_cross_entropy_with_logits" ? 2 : e.ins;
}

// What a call brings beside its arrays, by turns.
struct Extras {
  bool weighted, per_element, valued, upstream, divided, summed, in_place, partly;
  Extras(unsigned choice, bool graded)
      : weighted(choice % 4 == 1 || choice % 9 == 2),
        per_element(choice % 6 == 2),
        valued(choice % 5 < 2),
        upstream(choice % 2 == 0),
        divided(choice % 4 == 0),
        summed(!(graded || valued) || choice % 7 != 3),
        in_place(choice % 3 == 1),
        partly(choice % 3 != 0) {}
};

void set(Twin& t, Dtype d, double v) {
  for (Side s : {on_cpu, on_cuda}) {
    if (d == Dtype::f64) {
      *t.as<double>(s) = v;
    } else {
      *t.as<float>(s) = float(v);
    }
  }
}

// choice: of the offset of every array, and of the extras
void loss_call(int index, Dtype d, std::int64_t n, int choice, bool mixed, Values v) {
  const dlk::Entry<dlk::ReduceArgs>& e = dlk::cpu::target.reduce->entry[index];
  const Dtype s_type = compute_type(d);
  const Extras with(unsigned(choice), e.outs > 0);
  const int offset = choice % 17, ins = with.partly ? required_of(e) : e.ins;
  std::vector<Twin> in, out;
  for (int k = 0; k < e.ins; ++k) in.emplace_back(d, n, mixed ? offset + 3 * k : offset, v);
  for (int k = 0; k < e.outs; ++k) out.emplace_back(d, n, mixed ? offset + 1 + k : offset, Values::tame);
  const int beside = choice % 8 == 6 ? 1 : 0;
  Twin partial(s_type, blocks(n), 0, Values::tame), upstream(s_type, with.per_element ? n : 1, beside, Values::tame),
      divisor(s_type, 1, 0, Values::positive), weight(d, n, mixed ? offset + 2 : offset, Values::positive),
      value(s_type, n, beside, Values::tame), scale(s_type, 1, 0, Values::tame);
  const bool scaled = std::string(e.name) == "rmse_loss" && choice % 3 != 0;
  set(scale, s_type, choice % 3 == 1 ? 0x1p-4 : 1);
  for (Side s : {on_cpu, on_cuda}) {
    dlk::ReduceArgs a{};
    a.n = n;
    for (int k = 0; k < ins; ++k) a.in[k] = in[std::size_t(k)].at(s);
    for (int k = 0; k < e.outs; ++k)
      a.out[k] = with.in_place && k < e.ins ? in[std::size_t(k)].at(s) : out[std::size_t(k)].at(s);
    a.partial = with.summed ? partial.at(s) : nullptr;
    a.weight = with.weighted ? weight.at(s) : nullptr;
    a.value = with.valued ? value.at(s) : nullptr;
    a.params = params;
    a.upstream = with.upstream ? upstream.at(s) : nullptr;
    a.upstream_step = with.per_element ? 1 : 0;
    a.divisor = with.divided ? divisor.at(s) : nullptr;
    a.count = double(n);
    a.scale = scaled ? scale.at(s) : nullptr;
    a.again = scaled && choice % 2 == 0;  // of scale 1: nothing is written
    const int error = target_of(s).reduce->entry[index].run[int(d)](a);
    expect(error == 0, std::string(e.name) + " returned " + std::to_string(error));
  }
  const std::string call = std::string("reduce ") + e.name + "." + e.pass + " " + dtype_name[int(d)] +
                           " n=" + std::to_string(n) + " choice=" + std::to_string(choice) + (mixed ? " mixed" : "");
  expect_same(partial, call, "partial");
  expect_same(value, call, "value");
  for (Twin& t : out) expect_same(t, call, "gradient");
  for (Twin& t : in) expect_same(t, call, "input");
  expect_no_reports(call);
}

// The same with arrays that are no runs, each another way.
void walk_call(int index, Dtype d, std::int64_t rows, std::int64_t cols, int choice) {
  const dlk::Entry<dlk::ReduceArgs>& e = dlk::cpu::target.reduce->entry[index];
  const Dtype s_type = compute_type(d);
  const Extras with(unsigned(choice), e.outs > 0);
  int lie = choice;
  std::vector<Strewn> in, out;
  for (int k = 0; k < e.ins; ++k)
    in.emplace_back(d, rows, cols, lie++ % Strewn::kLiesOfInputs, choice % 3, Values::tame);
  for (int k = 0; k < e.outs; ++k) out.emplace_back(d, rows, cols, lie++ % Strewn::kLies, 0, Values::tame);
  Twin partial(s_type, blocks(rows * cols), 0, Values::tame);
  Strewn weight(d, rows, cols, lie++ % Strewn::kLiesOfInputs, 0, Values::positive),
      upstream(s_type, rows, cols, lie++ % Strewn::kLiesOfInputs, 0, Values::tame),
      value(s_type, rows, cols, lie++ % Strewn::kLies, 0, Values::tame);
  dlk::Walk walk{};
  for (int k = 0; k < e.ins; ++k) in[std::size_t(k)].walk(walk, k);
  for (int k = 0; k < e.outs; ++k) out[std::size_t(k)].walk(walk, dlk::kMaxIn + k);
  weight.walk(walk, dlk::kMaxIn + dlk::kMaxOut);
  upstream.walk(walk, dlk::kMaxIn + dlk::kMaxOut + 1);
  value.walk(walk, dlk::kMaxIn + dlk::kMaxOut + 2);
  for (Side s : {on_cpu, on_cuda}) {
    dlk::ReduceArgs a{};
    a.n = rows * cols;
    for (int k = 0; k < e.ins; ++k) a.in[k] = in[std::size_t(k)].at(s);
    for (int k = 0; k < e.outs; ++k) a.out[k] = out[std::size_t(k)].at(s);
    a.partial = partial.at(s);
    a.weight = with.weighted ? weight.at(s) : nullptr;
    a.value = with.valued ? value.at(s) : nullptr;
    a.params = params;
    a.upstream = with.per_element ? upstream.at(s) : nullptr;
    a.upstream_step = 1;
    a.count = 1;
    a.walk = s == on_cuda ? &walk : nullptr;
    const int error = target_of(s).reduce->entry[index].run[int(d)](a);
    expect(error == 0, std::string(e.name) + " returned " + std::to_string(error));
  }
  const std::string call = std::string("reduce ") + e.name + "." + e.pass + " " + dtype_name[int(d)] + " walk of " +
                           std::to_string(rows) + " x " + std::to_string(cols) + " choice=" + std::to_string(choice);
  expect_same(partial, call, "partial");
  expect_same(value.settle(), call, "value");
  for (Strewn& t : out) expect_same(t.settle(), call, "gradient");
  expect_no_reports(call);
}

void walks(std::int64_t rows, std::int64_t cols, int few) {
  Turns turns;
  for (Dtype d : all_dtypes) {
    for (int i = 1; i < dlk::cpu::target.reduce->size; ++i) {
      for (int choice : turns(60, few)) walk_call(i, d, rows, cols, choice);
    }
  }
}

// With an own divisor, also its root; then the sum again, at a scale.
void sum_call(Dtype d, std::int64_t n, int offset, Values v, bool own_divisor, double scale = 0) {
  const Dtype s_type = compute_type(d);
  Twin x(s_type, n, offset, v), partial(s_type, n == 0 ? 1 : blocks(n), 0, Values::tame),
      divisor(s_type, 1, 0, Values::positive), rooted(s_type, 2, 0, Values::tame), factor(s_type, 1, 0, Values::tame);
  set(factor, s_type, scale);
  for (Side s : {on_cpu, on_cuda}) {
    dlk::ReduceArgs a{};
    a.n = n;
    a.value = own_divisor ? rooted.at(s) : nullptr;
    a.again = scale != 0;
    a.scale = a.again ? factor.at(s) : nullptr;
    a.in[0] = x.at(s);
    a.partial = partial.at(s);
    a.divisor = own_divisor ? divisor.at(s) : nullptr;
    a.count = 3;
    target_of(s).reduce->entry[0].run[int(d)](a);
  }
  const std::string call =
      std::string("sum ") + dtype_name[int(d)] + " n=" + std::to_string(n) + " offset=" + std::to_string(offset);
  expect_same(partial, call, "partial");
  expect_same(rooted, call, "what is made of the root");
  expect_no_reports(call);
}

// bad: this many ids are out of range
template <class Id>
void label_call(Dtype d, std::int64_t n, bool weighted, int bad, bool ignore_all = false) {
  const std::int64_t classes = 37, ignore = -100;
  std::vector<Id> ids(static_cast<std::size_t>(n));
  for (Id& y : ids) y = Id(ignore_all || random_below(5) == 0 ? ignore : random_below(classes));
  for (int b = 0; b < bad && n > 0; ++b) ids[std::size_t(random_below(n))] = Id(b % 2 == 0 ? classes : -1);
  Twin weight(d, classes, 0, Values::positive), total(compute_type(d), 3, 0, Values::tame);
  std::vector<double> scratch(std::size_t(dlk::label_scratch(n) / 8));
  dlk::BadLabel found[2] = {{-1, 0, 0, 0}, {-1, 0, 0, 0}};
  for (Side s : {on_cpu, on_cuda}) {
    dlk::LabelArgs a{};
    a.n = n;
    a.classes = classes;
    a.ignore = ignore;
    a.label = ids.data();
    a.label_bytes = sizeof(Id);
    a.weight = weighted ? weight.at(s) : nullptr;
    a.total = total.at(s);
    a.bad = &found[s];
    a.scratch = scratch.data();
    target_of(s).labels->entry[0].run[int(d)](a);
  }
  const std::string call = std::string("labels ") + dtype_name[int(d)] + " n=" + std::to_string(n) +
                           (weighted ? " weighted" : "") + " bad=" + std::to_string(bad);
  expect(found[0].row == found[1].row,
         call + ": first bad row " + std::to_string(found[0].row) + " and " + std::to_string(found[1].row));
  if (found[0].row < 0) expect_same(total, call, "total");  // the CPU leaves it alone: the caller throws
  expect(bad == 0 || n == 0 || found[0].row >= 0, call + ": nothing found");
  expect_no_reports(call);
}

template <class Id>
void label_calls(Dtype d, std::int64_t n) {
  label_call<Id>(d, n, false, 0);
  label_call<Id>(d, n, true, 0);
  label_call<Id>(d, n, n % 2 == 0, 3);
  label_call<Id>(d, n, true, 0, true);
}

// few: of the offsets, at each length
void all(const std::vector<std::int64_t>& lengths, int offsets, int few) {
  Turns turns;
  for (Dtype d : all_dtypes) {
    for (int i = 1; i < dlk::cpu::target.reduce->size; ++i) {
      for (std::int64_t n : lengths) {
        for (int offset : turns(offsets, few)) {
          const Values v = (n + offset) % 5 == 4 ? Values::wild : Values::tame;
          loss_call(i, d, n, offset, (n + offset) % 3 == 2, v);
        }
      }
    }
    for (std::int64_t n : lengths) {
      for (int offset : turns(offsets, few)) {
        const bool own = (n + offset) % 2 == 0;
        sum_call(d, n, offset, offset % 5 == 4 ? Values::wild : Values::tame, own);
        if (own) sum_call(d, n, offset, Values::positive, true, offset % 3 == 0 ? 1 : 0x1p-80);
      }
      label_calls<std::int32_t>(d, n);
      label_calls<std::int64_t>(d, n);
    }
  }
}

}  // namespace

int main(int argc, char**) {
  Turns::full = argc > 1;
  std::vector<std::int64_t> small;
  for (std::int64_t n = 0; n <= 70; ++n) small.push_back(n);
  all(small, 60, 3);  // 17 places in a packet, and every combination of what an offset decides
  all({255, 256, 257, 258, 4095, 4096, 4097, 10000}, 60, 2);
  all({100003}, 60, 1);
  walks(5, 7, 3);
  walks(71, 130, 1);
  // Above a block of blocks too the CPU's tree and the ladder must agree: a label scan does all levels in one call.
  label_call<std::int32_t>(Dtype::f32, 4096 * 4096, true, 0);
  label_call<std::int32_t>(Dtype::f32, 4096 * 4101 + 5, true, 0);
  simt::device.watch = simt::device.backwards = true;
  all({0, 1, 33, 257, 4097}, 60, 1);
  walks(17, 70, 1);
  return finish("bits_reduce");
}
