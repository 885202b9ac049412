// bias_act(x, bias, activation, p, ...): bias over the last dimension, activation, dropout and residual connection in one pass.
#include "../rows.h"
#include "../target.h"
#include "losses.h"

namespace dlk {
namespace {

struct BiasAct : Executor {
  bool backward = false;
  Choices choices;                           // -> place in `kernels`
  std::vector<std::pair<int, int>> kernels;  // without and with a residual; or the gradient, twice
  std::size_t dy_slot = kMaxArguments, x_slot = 0, bias_slot = 0, p_slot = 0, residual_slot = kMaxArguments,
              seed_slot = 0, offset_slot = 0, out_slot = 0;

  void read_like(Array& a, PyObject* object, const char* arg, const Array& x) const {
    read_array(a, object, op.c_str(), arg);
    check::same_stream(op.c_str(), arg, a.view, "x", x.view);
    check::same_element(op.c_str(), arg, a.view, "x", x.view.element);
    check::same_shape(op.c_str(), arg, a.view, "x", x.view);
  }

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array x, bias, other;  // other: dy, or the residual
    read_array(x, slot[x_slot], name, "x");
    check::floating(name, "x", x.view);
    if (x.view.ndim == 0) check::fail_value(op + ": x must have at least one dimension.");
    const bool biased = given(slot[bias_slot]);
    if (biased) {
      read_array(bias, slot[bias_slot], name, "bias");
      check::same_stream(name, "bias", bias.view, "x", x.view);
      check::same_element(name, "bias", bias.view, "x", x.view.element);
      TensorView wanted;
      wanted.ndim = 1;
      wanted.shape[0] = x.view.shape[x.view.ndim - 1];
      check::same_shape(name, "bias", bias.view, "the last dimension of x", wanted);
    }
    const char* other_arg = backward ? "dy" : "residual";
    const std::size_t other_slot = backward ? dy_slot : residual_slot;
    const bool has_other = given(slot[other_slot]) || backward;
    if (has_other) read_like(other, slot[other_slot], other_arg, x);
    double p = slot[p_slot] == nullptr ? 0 : real_argument(slot[p_slot], name, "p");
    if (!(p >= 0 && p <= 1)) check::fail_value(op + ": p must be in [0, 1], got " + number_text(p) + ".");
    const bool seeded = given(slot[seed_slot]);
    if (p > 0 && !seeded) check::fail_type(op + ": with p > 0, seed is needed: an integer in [0, 2**64).");
    const auto& [alone, added] = kernels[static_cast<std::size_t>(choices.chosen(slot, name))];
    RowCall c{};
    c.op = name;
    c.index = has_other ? added : alone;
    c.dtype = dtype_of(x.view.element);
    c.in[0] = backward ? &other.view : &x.view;
    c.in[1] = backward ? &x.view : &other.view;
    c.ins = has_other ? 2 : 1;
    c.axis = x.view.ndim - 1;
    c.params = &p;
    c.seed = seeded ? unsigned_argument(slot[seed_slot], name, "seed") : 0;
    c.offset = slot[offset_slot] == nullptr ? 0 : unsigned_argument(slot[offset_slot], name, "offset");
    Output y(slot[out_slot], x, name, "x", {{&x, "x"}});
    if (has_other) y.refuse(other, name, other_arg);
    if (biased) y.refuse(bias, name, "bias");
    c.out[0] = &y.view();
    Result dbias;
    if (backward && biased) {
      new_array(dbias, x, compute_element(x.view.element), 1, bias.view.shape, name);
      c.column_sum[0] = dbias.array.view.data;
    }
    Scratch scratch(x);
    const Workspace workspace = scratch.workspace();
    if (biased) c.column[1] = contiguous(bias.view, name, workspace);
    run_released(size_of(x.view), [&] { run(c, workspace); });
    if (!backward || !biased) return y.take();
    return py::make_tuple(y.take(), finished(dbias, x.object));
  }
};

}  // namespace

void init_bias_act(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  m.def("_make_bias_act",
        [](const std::string& name, const Parameters& parameters, const py::list& choices, bool backward) {
          Spec spec = Spec::from_python(name, parameters);
          auto e = std::make_unique<BiasAct>();
          e->backward = backward;
          e->choices = spec.choices(choices);
          e->choices.fill([&](const std::string& suffix) {
            const int alone = find_rows("bias_act" + suffix, backward ? "grad" : "");
            const int added = find_rows("bias_act" + suffix, backward ? "grad" : "add");
            if (alone < 0 || added < 0) return -1;
            e->kernels.emplace_back(alone, added);
            return static_cast<int>(e->kernels.size()) - 1;
          });
          e->dy_slot = spec.slot_or_none("dy");
          e->x_slot = spec.slot("x");
          e->bias_slot = spec.slot("bias");
          e->p_slot = spec.slot("p");
          e->residual_slot = spec.slot_or_none("residual");
          e->seed_slot = spec.slot("seed");
          e->offset_slot = spec.slot("offset");
          e->out_slot = spec.slot("out");
          return make_call(name, std::move(spec.signature), std::move(e));
        });
}

}  // namespace dlk
