// Optimizer steps over chunks of many tensors: parameter, gradient and state are read once and written once, in place.
// State is kept in the compute type, whatever the parameter is stored in.
#pragma once
#include "../../kernels/abi.h"
#include "../../kernels/list.h"
#include "vec.h"

DLK_BEGIN

template <class Op, class T>
struct update_loop {
  using V = lanes<T>;
  using S = compute_t<T>;
  static constexpr int width = lane<V>::size;

  const Op op;
  T* w;
  const T* g;
  S* state[Op::states + 1];

  template <class Load, class Store>
  DLK_FN void step(Load load_from, Store store_to) const {
    V s[Op::states + 1];
    V x = load_from(w);
    const V d = load_from(g);
    for (int k = 0; k < Op::states; ++k) s[k] = load_from(state[k]);
    op(x, d, s);
    store_to(w, x);
    for (int k = 0; k < Op::states; ++k) store_to(state[k], s[k]);
  }
  DLK_FN void span(std::int64_t n) const {
    std::int64_t i = 0;
    for (; i + width <= n; i += width) {
      step([&](auto* p) { return load<V>(p + i); }, [&](auto* p, V v) { store(p + i, v); });
    }
    if (i < n) step([&](auto* p) { return load_n<V>(p + i, n - i); }, [&](auto* p, V v) { store_n(p + i, v, n - i); });
  }
};

template <class Op, class T>
int update(const UpdateArgs& a) {
  for (std::int64_t c = 0; c < a.chunks; ++c) {
    const Chunk& chunk = a.chunk[c];
    update_loop<Op, T> loop{
        Op(a.params + chunk.group * Op::count), static_cast<T*>(chunk.at[0]), static_cast<const T*>(chunk.at[1]), {}};
    for (int k = 0; k < Op::states; ++k) loop.state[k] = static_cast<compute_t<T>*>(chunk.at[2 + k]);
    loop.span(chunk.n);
  }
  return 0;
}

template <class L>
struct update_table;
template <class... Op>
struct update_table<list<Op...>> {
  static constexpr Entry<UpdateArgs> rows[] = {
      {Op::name,
       "",
       Op::states,
       1,
       Op::count,
       more_operands,
       {update<Op, f32>, update<Op, f64>, update<Op, f16>, update<Op, bf16>}}...};
};

DLK_END
