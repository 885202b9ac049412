// What every op struct shares: its hyper-parameters; and the passes that a loop can run over an elementwise op.
// Hyper-parameters arrive as doubles and are rounded to the compute type where they are used.
#pragma once
#include "../dtype.h"
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

// Passes: y = op(x), dx = op.grad(dy, x), dx = op.grad_y(dy, y), and the two of a loss over storage type T. `first` and `result` are the
// types of the first input and of the output: a loss and its upstream gradient are kept in the compute type, because a mean of bfloat16
// losses would not be worth having.
namespace pass {

template <int Ins>
struct like {
  static constexpr int ins = Ins;
  static constexpr bool random = false;
  template <class T>
  using first = T;
  template <class T>
  using result = T;
};

template <class Op>
struct value : Op, like<1> {
  static constexpr auto pass = "";
  using Op::Op;
  template <class V>
  DLK_FN V operator()(const V* in) const {
    return Op::operator()(in[0]);
  }
};

template <class Op>
struct grad : Op, like<2> {
  static constexpr auto pass = "grad";
  using Op::Op;
  template <class V>
  DLK_FN V operator()(const V* in) const {
    return Op::grad(in[0], in[1]);
  }
};

template <class Op>
struct grad_y : Op, like<2> {
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
  static constexpr bool random = false;
  template <class T>
  using first = T;
  template <class T>
  using result = compute_t<T>;
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
  static constexpr bool random = false;
  template <class T>
  using first = compute_t<T>;
  template <class T>
  using result = T;
  using Op::Op;
  template <class V>
  DLK_FN V operator()(const V* in) const {
    return Op::grad(in[0], in[1], in[2]);
  }
};

}  // namespace pass

DLK_END
