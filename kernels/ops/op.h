// What every op struct shares: its hyper-parameters; and the passes that a loop can run over an elementwise op.
// Hyper-parameters arrive as doubles and are rounded to the compute type where they are used.
#pragma once
#include "../lane.h"
#include "../list.h"

DLK_BEGIN

template <int N>
struct params {
  static constexpr int count = N;
  double p[N];
  DLK_FN explicit params(const double* from) {
    for (int i = 0; i < N; ++i) p[i] = from[i];
  }
};

template <>
struct params<0> {
  static constexpr int count = 0;
  DLK_FN explicit params(const double*) {}
};

// Inputs of a loss that a call must bring; the others count as 1 where they are absent. An op says `required` if it has such.
template <class Op>
constexpr auto required_inputs(int) -> decltype(Op::required) {
  return Op::required;
}
template <class Op>
constexpr int required_inputs(...) {
  return Op::ins;
}

// Is the op given a scale, of its terms, where a call brings one? It then has a member `scale`.
template <class Op>
constexpr auto is_scaled(int) -> decltype(Op::scaled) {
  return Op::scaled;
}
template <class Op>
constexpr bool is_scaled(...) {
  return false;
}

// Passes of an elementwise op: y = op(x), dx = op.grad(dy, x) and dx = op.grad_y(dy, y). Each is what the map loop runs:
// operator()(in, out), with `outs` results from `ins` inputs.
namespace pass {

template <int Ins, int Outs = 1>
struct takes {
  static constexpr int ins = Ins, outs = Outs;
  static constexpr bool random = false;
};

template <class Op>
struct value : Op, takes<1> {
  static constexpr auto pass = "";
  using Op::Op;
  template <class V>
  DLK_FN void operator()(const V* in, V* out) const {
    out[0] = Op::operator()(in[0]);
  }
};

// The same for results of eight significant bits, of an op that has a form for them: see kernels/math/brief.h.
template <class Op>
struct brief_value : Op, takes<1> {
  static constexpr auto pass = "";
  using Op::Op;
  template <class V>
  DLK_FN void operator()(const V* in, V* out) const {
    out[0] = Op::brief(in[0]);
  }
};

template <class Op>
struct grad : Op, takes<2> {
  static constexpr auto pass = "grad";
  using Op::Op;
  template <class V>
  DLK_FN void operator()(const V* in, V* out) const {
    out[0] = Op::grad(in[0], in[1]);
  }
};

template <class Op>
struct grad_y : Op, takes<2> {
  static constexpr auto pass = "grad_y";
  using Op::Op;
  template <class V>
  DLK_FN void operator()(const V* in, V* out) const {
    out[0] = Op::grad_y(in[0], in[1]);
  }
};

}  // namespace pass

// The pass that a loop runs in the place of F where eight significant bits are stored: F itself if its op has no `brief`.
template <class Op>
constexpr auto has_brief(int) -> decltype(&Op::template brief<float>, true) {
  return true;
}
template <class Op>
constexpr bool has_brief(...) {
  return false;
}
template <class F, bool>
struct brief_of {
  using type = F;
};
template <class Op>
struct brief_of<pass::value<Op>, true> {
  using type = pass::brief_value<Op>;
};
template <class F>
using brief = typename brief_of<F, has_brief<F>(0)>::type;

// Has an op value and slope together?
template <class Op>
constexpr auto has_both(int) -> decltype(&Op::template both<float>, true) {
  return true;
}
template <class Op>
constexpr bool has_both(...) {
  return false;
}

// Does it give the same bits for these hyper-parameters? An op says `brief_holds` if not for all.
template <class F>
DLK_FN auto brief_holds(const double* p, int) -> decltype(F::brief_holds(p)) {
  return F::brief_holds(p);
}
template <class F>
DLK_FN bool brief_holds(const double*, ...) {
  return true;
}

DLK_END
