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

// Passes: y = op(x), dx = op.grad(dy, x), dx = op.grad_y(dy, y), and the two of a loss. wide_first and wide_result say that the first input
// or the output is kept in the compute type and not in the storage type: a mean of bfloat16 losses would not be worth having.
namespace pass {

template <int Ins>
struct takes {
  static constexpr int ins = Ins;
  static constexpr bool random = false, wide_first = false, wide_result = false;
};

template <class Op>
struct value : Op, takes<1> {
  static constexpr auto pass = "";
  using Op::Op;
  template <class V>
  DLK_FN V operator()(const V* in) const {
    return Op::operator()(in[0]);
  }
};

template <class Op>
struct grad : Op, takes<2> {
  static constexpr auto pass = "grad";
  using Op::Op;
  template <class V>
  DLK_FN V operator()(const V* in) const {
    return Op::grad(in[0], in[1]);
  }
};

template <class Op>
struct grad_y : Op, takes<2> {
  static constexpr auto pass = "grad_y";
  using Op::Op;
  template <class V>
  DLK_FN V operator()(const V* in) const {
    return Op::grad_y(in[0], in[1]);
  }
};

template <class Op>
struct loss : Op {
  static constexpr auto pass = "";
  static constexpr int ins = 2;
  static constexpr bool random = false, wide_first = false, wide_result = true;
  using Op::Op;
  template <class V>
  DLK_FN V operator()(const V* in) const {
    return Op::operator()(in[0], in[1]);
  }
};

template <class Op>
struct loss_grad : Op {
  static constexpr auto pass = "grad";
  static constexpr int ins = 3;
  static constexpr bool random = false, wide_first = true, wide_result = false;
  using Op::Op;
  template <class V>
  DLK_FN V operator()(const V* in) const {
    return Op::grad(in[0], in[1], in[2]);
  }
};

}  // namespace pass

DLK_END
