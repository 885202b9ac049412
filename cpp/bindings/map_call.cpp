// Elementwise ops: y = op(x) and dx = op.backward(dy, x) or (dy, y=y).
#include "../check.h"
#include "../target.h"
#include "executors.h"

namespace dlk {
namespace {

struct MapExecutor : Executor {
  std::vector<Scalar> scalars;
  Choices choices;
  std::size_t x_slot = 0, out_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array x;
    read_array(x, slot[x_slot], name, "x");
    check::floating(name, "x", x.view);
    double params[kMaxScalarArguments];
    read_scalars(scalars, slot, name, params);
    const int index = choices.chosen(slot, name);
    Output y(slot[out_slot], x, name, "x", {{&x, "x"}});
    const TensorView& to = y.view();
    run_released(size_of(to),
                 [&] { run(MapCall{name, index, dtype_of(x.view.element), {&x.view}, 1, {&to}, 1, params}); });
    return y.take();
  }
};

// dropout(x, p, training, seed=, offset=): one random word per element, counted in C order.
struct RandomExecutor : Executor {
  int index = 0;
  std::string x_name;
  std::size_t x_slot = 0, p_slot = 0, training_slot = 0, seed_slot = 0, offset_slot = 0, out_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array x;
    read_array(x, slot[x_slot], name, x_name.c_str());
    check::floating(name, x_name.c_str(), x.view);
    double p = slot[p_slot] == nullptr ? 0.5 : real_argument(slot[p_slot], name, "p");
    if (!(p >= 0 && p <= 1)) check::fail_value(op + ": p must be in [0, 1], got " + number_text(p) + ".");
    if (slot[training_slot] != nullptr && !bool_argument(slot[training_slot], name, "training")) p = 0;
    const std::uint64_t seed = unsigned_argument(slot[seed_slot], name, "seed");
    const std::uint64_t offset =
        slot[offset_slot] == nullptr ? 0 : unsigned_argument(slot[offset_slot], name, "offset");
    Output y(slot[out_slot], x, name, x_name.c_str(), {{&x, x_name.c_str()}});
    const TensorView& to = y.view();
    run_released(size_of(to), [&] {
      run(MapCall{name, index, dtype_of(x.view.element), {&x.view}, 1, {&to}, 1, &p, seed, offset, true});
    });
    return y.take();
  }
};

struct MapBackward : Executor {
  std::vector<Scalar> scalars;
  Choices choices;                                     // from x
  int from_y = -1;                                     // entry of the gradient from the output, if there is one
  std::size_t y_needs_positive = kMaxScalarArguments;  // index of a scalar that must be > 0 for y to be enough
  std::size_t dy_slot = 0, x_slot = 0, y_slot = 0, out_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    double params[kMaxScalarArguments];
    read_scalars(scalars, slot, name, params);
    const bool has_x = given(slot[x_slot]);
    const bool has_y = y_slot != kMaxArguments && given(slot[y_slot]);
    if (has_x == has_y) {
      check::fail_type(op + (y_slot == kMaxArguments
                                 ? ": x, the input of the forward pass, is missing."
                                 : ": wanted exactly one of x (the forward pass's input) and y (its output)."));
    }
    if (has_y && y_needs_positive != kMaxScalarArguments && !(params[y_needs_positive] > 0)) {
      check::fail_value(op + ": the output y is enough only for " + scalars[y_needs_positive].name + " > 0, got " +
                        number_text(params[y_needs_positive]) + ". Pass x instead.");
    }
    const char* kept_arg = has_x ? "x" : "y";
    Array dy, kept;
    read_array(dy, slot[dy_slot], name, "dy");
    read_array(kept, slot[has_x ? x_slot : y_slot], name, kept_arg);
    check::floating(name, kept_arg, kept.view);
    check::same_stream(name, "dy", dy.view, kept_arg, kept.view);
    check::same_element(name, "dy", dy.view, kept_arg, kept.view.element);
    check::same_shape(name, "dy", dy.view, kept_arg, kept.view);
    const int index = has_x ? choices.chosen(slot, name) : from_y;
    Output dx(slot[out_slot], kept, name, kept_arg, {{&dy, "dy"}, {&kept, kept_arg}});
    const TensorView& to = dx.view();
    run_released(size_of(to), [&] {
      run(MapCall{name, index, dtype_of(kept.view.element), {&dy.view, &kept.view}, 2, {&to}, 1, params});
    });
    return dx.take();
  }
};

}  // namespace

void init_map(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  m.def("_make_map", [](const std::string& name, const Parameters& parameters, const py::list& scalars,
                        const py::list& choices, const std::string& entry) {
    Spec spec = Spec::from_python(name, parameters);
    auto e = std::make_unique<MapExecutor>();
    e->scalars = spec.scalars(scalars);
    e->choices = spec.choices(choices);
    e->choices.fill([&](const std::string& suffix) { return find_map(entry + suffix, ""); });
    e->x_slot = spec.slot("x");
    e->out_slot = spec.slot("out");
    return make_call(name, std::move(spec.signature), std::move(e));
  });
  m.def("_make_random",
        [](const std::string& name, const Parameters& parameters, const std::string& entry, const std::string& array) {
          Spec spec = Spec::from_python(name, parameters);
          auto e = std::make_unique<RandomExecutor>();
          e->index = find_map(entry, "");
          if (e->index < 0) throw py::value_error("no map kernel " + entry);
          e->x_name = array;
          e->x_slot = spec.slot(array);
          e->p_slot = spec.slot("p");
          e->training_slot = spec.slot("training");
          e->seed_slot = spec.slot("seed");
          e->offset_slot = spec.slot("offset");
          e->out_slot = spec.slot("out");
          return make_call(name, std::move(spec.signature), std::move(e));
        });
  m.def("_make_map_backward",
        [](const std::string& name, const Parameters& parameters, const py::list& scalars, const py::list& choices,
           const std::string& entry, bool from_y, const std::string& y_needs_positive) {
          Spec spec = Spec::from_python(name, parameters);
          auto e = std::make_unique<MapBackward>();
          e->scalars = spec.scalars(scalars);
          e->choices = spec.choices(choices);
          e->choices.fill([&](const std::string& suffix) { return find_map(entry + suffix, "grad"); });
          e->dy_slot = spec.slot("dy");
          e->x_slot = spec.slot("x");
          e->y_slot = spec.slot_or_none("y");
          e->out_slot = spec.slot("out");
          if (from_y) e->from_y = find_map(entry, "grad_y");
          if (from_y && e->from_y < 0) throw py::value_error("no map kernel " + entry + " grad_y");
          for (std::size_t i = 0; i < e->scalars.size(); ++i) {
            if (e->scalars[i].name == y_needs_positive) e->y_needs_positive = i;
          }
          return make_call(name, std::move(spec.signature), std::move(e));
        });
}

}  // namespace dlk
