// Lists of types: each loop folds one into its table of kernels. Adding an op is adding a name to a list.
#pragma once
#include "config.h"

DLK_BEGIN

template <class... Op>
struct list {
  static constexpr int size = int(sizeof...(Op));
};

template <class Op, class L>
struct contains;
template <class Op, class... In>
struct contains<Op, list<In...>> {
  template <class A, class B>
  struct same {
    static constexpr bool value = false;
  };
  template <class A>
  struct same<A, A> {
    static constexpr bool value = true;
  };
  static constexpr bool value = (same<Op, In>::value || ...);
};

// each<F, list<A, B>> is list<F<A>, F<B>>
template <template <class> class F, class L>
struct each_of;
template <template <class> class F, class... Op>
struct each_of<F, list<Op...>> {
  using type = list<F<Op>...>;
};
template <template <class> class F, class L>
using each = typename each_of<F, L>::type;

template <class... L>
struct join_of;
template <class L>
struct join_of<L> {
  using type = L;
};
template <class... A, class... B, class... Rest>
struct join_of<list<A...>, list<B...>, Rest...> {
  using type = typename join_of<list<A..., B...>, Rest...>::type;
};
template <class... L>
using join = typename join_of<L...>::type;

DLK_END
