// Elementwise ops: y = op(x) and dx = op.backward(dy, x) or (dy, y=y).
#include "../check.h"
#include "../target.h"
#include "executors.h"

namespace dlk {

Spec Spec::from_python(const std::string& name, const std::vector<std::tuple<std::string, bool, bool>>& parameters) {
  Spec s;
  s.name = name;
  for (const auto& [parameter, required, keyword_only] : parameters) {
    PyObject* interned = PyUnicode_InternFromString(parameter.c_str());
    s.signature.push_back({py::reinterpret_steal<py::object>(interned), required, keyword_only});
  }
  return s;
}

std::size_t Spec::slot_or_none(const std::string& parameter) const {
  for (std::size_t i = 0; i < signature.size(); ++i) {
    if (py::cast<std::string>(signature[i].name) == parameter) return i;
  }
  return kMaxArguments;
}

std::size_t Spec::slot(const std::string& parameter) const {
  const std::size_t i = slot_or_none(parameter);
  if (i == kMaxArguments) throw py::value_error(name + " has no parameter " + parameter);
  return i;
}

std::vector<Scalar> Spec::scalars(const std::vector<std::pair<std::string, double>>& names) const {
  std::vector<Scalar> s;
  for (const auto& [parameter, fallback] : names) s.push_back({slot(parameter), parameter, fallback});
  return s;
}

void read_scalars(const std::vector<Scalar>& scalars, PyObject* const* slot, const char* op, double* values) {
  for (std::size_t i = 0; i < scalars.size(); ++i) {
    PyObject* value = slot[scalars[i].slot];
    values[i] = value == nullptr ? scalars[i].fallback : real_argument(value, op, scalars[i].name.c_str());
  }
}

Output::Output(PyObject* out, const Array& like, const char* op, const char* like_arg, Reads reads)
    : passed_(given(out) ? out : nullptr), like_(like.object) {
  if (passed_ == nullptr) {
    new_like(fresh_, like, like.view.element, op);
    return;
  }
  read_array(given_, passed_, op, "out");
  check::same_device(op, "out", given_.view, like_arg, like.view);
  check::same_element(op, "out", given_.view, like_arg, like.view.element);
  check::same_shape(op, "out", given_.view, like_arg, like.view);
  check::writable(op, "out", given_.view);
  for (const auto& [array, arg] : reads) refuse_overlap(given_, *array, op, "out", arg);
}

namespace {

constexpr int kMaxScalars = 8;

// Which entry: one, or one per value of a string argument (gelu's `approximate`).
struct Variants {
  std::size_t slot = kMaxArguments;
  std::string parameter, fallback;
  std::map<std::string, int> entry;

  int chosen(PyObject* const* slots, const char* op) const {
    if (slot == kMaxArguments || slots[slot] == nullptr) return entry.at(fallback);
    const std::string value = string_argument(slots[slot], op, parameter.c_str());
    const auto found = entry.find(value);
    if (found != entry.end()) return found->second;
    std::string wanted;
    for (const auto& [name, index] : entry) wanted += (wanted.empty() ? "\"" : " or \"") + name + "\"";
    check::fail_value(std::string(op) + ": " + parameter + " must be " + wanted + ", got \"" + value + "\".");
  }
};

struct MapExecutor : Executor {
  std::vector<Scalar> scalars;
  Variants variants;
  std::size_t x_slot = 0, out_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array x;
    read_array(x, slot[x_slot], name, "x");
    check::floating(name, "x", x.view);
    double params[kMaxScalars];
    read_scalars(scalars, slot, name, params);
    const int index = variants.chosen(slot, name);
    Output y(slot[out_slot], x, name, "x", {{&x, "x"}});
    const TensorView& to = y.view();
    run_released(size_of(to), [&] { run(MapCall{name, index, dtype_of(x.view.element), {&x.view}, 1, &to, params}); });
    return y.take();
  }
};

// dropout(x, p, seed=, offset=): one random word per element, counted in C order.
struct RandomExecutor : Executor {
  int index = 0;
  std::string x_name;
  std::size_t x_slot = 0, p_slot = 0, seed_slot = 0, offset_slot = 0, out_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array x;
    read_array(x, slot[x_slot], name, x_name.c_str());
    check::floating(name, x_name.c_str(), x.view);
    const double p = slot[p_slot] == nullptr ? 0.5 : real_argument(slot[p_slot], name, "p");
    if (!(p >= 0 && p <= 1)) check::fail_value(op + ": p must be in [0, 1], got " + number_text(p) + ".");
    const std::uint64_t seed = unsigned_argument(slot[seed_slot], name, "seed");
    const std::uint64_t offset =
        slot[offset_slot] == nullptr ? 0 : unsigned_argument(slot[offset_slot], name, "offset");
    Output y(slot[out_slot], x, name, x_name.c_str(), {{&x, x_name.c_str()}});
    const TensorView& to = y.view();
    run_released(size_of(to), [&] {
      run(MapCall{name, index, dtype_of(x.view.element), {&x.view}, 1, &to, &p, seed, offset, true});
    });
    return y.take();
  }
};

struct MapBackward : Executor {
  std::vector<Scalar> scalars;
  Variants variants;                             // from x
  int from_y = -1;                               // entry of the gradient from the output, if there is one
  std::size_t y_needs_positive = kMaxArguments;  // index of a scalar that must be > 0 for y to be enough
  std::size_t dy_slot = 0, x_slot = 0, y_slot = 0, out_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    double params[kMaxScalars];
    read_scalars(scalars, slot, name, params);
    const bool has_x = given(slot[x_slot]);
    const bool has_y = y_slot != kMaxArguments && given(slot[y_slot]);
    if (has_x == has_y) {
      check::fail_type(op + (y_slot == kMaxArguments
                                 ? ": x, the input of the forward pass, is missing."
                                 : ": wanted exactly one of x (the forward pass's input) and y (its output)."));
    }
    if (has_y && y_needs_positive != kMaxArguments && !(params[y_needs_positive] > 0)) {
      check::fail_value(op + ": the output y is enough only for " + scalars[y_needs_positive].name + " > 0, got " +
                        number_text(params[y_needs_positive]) + ". Pass x instead.");
    }
    const char* kept_arg = has_x ? "x" : "y";
    Array dy, kept;
    read_array(dy, slot[dy_slot], name, "dy");
    read_array(kept, slot[has_x ? x_slot : y_slot], name, kept_arg);
    check::floating(name, kept_arg, kept.view);
    check::same_device(name, "dy", dy.view, kept_arg, kept.view);
    check::same_element(name, "dy", dy.view, kept_arg, kept.view.element);
    check::same_shape(name, "dy", dy.view, kept_arg, kept.view);
    const int index = has_x ? variants.chosen(slot, name) : from_y;
    Output dx(slot[out_slot], kept, name, kept_arg, {{&dy, "dy"}, {&kept, kept_arg}});
    const TensorView& to = dx.view();
    run_released(size_of(to), [&] {
      run(MapCall{name, index, dtype_of(kept.view.element), {&dy.view, &kept.view}, 2, &to, params});
    });
    return dx.take();
  }
};

Variants make_variants(const Spec& spec, const std::string& parameter, const std::string& fallback,
                       const std::map<std::string, std::string>& entries, const std::string& pass) {
  Variants v;
  v.slot = spec.slot_or_none(parameter);
  v.parameter = parameter;
  v.fallback = fallback;
  for (const auto& [value, entry] : entries) {
    const int index = find_map(entry, pass);
    if (index < 0) throw py::value_error("no map kernel " + entry + " " + pass);
    v.entry[value] = index;
  }
  return v;
}

}  // namespace

void init_map(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  using Scalars = std::vector<std::pair<std::string, double>>;
  using Entries = std::map<std::string, std::string>;
  m.def("_make_map", [](const std::string& name, const Parameters& parameters, const Scalars& scalars,
                        const std::string& variant, const std::string& fallback, const Entries& entries) {
    Spec spec = Spec::from_python(name, parameters);
    auto e = std::make_unique<MapExecutor>();
    e->scalars = spec.scalars(scalars);
    e->variants = make_variants(spec, variant, fallback, entries, "");
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
          e->seed_slot = spec.slot("seed");
          e->offset_slot = spec.slot("offset");
          e->out_slot = spec.slot("out");
          return make_call(name, std::move(spec.signature), std::move(e));
        });
  m.def("_make_map_backward",
        [](const std::string& name, const Parameters& parameters, const Scalars& scalars, const std::string& variant,
           const std::string& fallback, const Entries& entries, const std::string& y_needs_positive) {
          Spec spec = Spec::from_python(name, parameters);
          auto e = std::make_unique<MapBackward>();
          e->scalars = spec.scalars(scalars);
          e->variants = make_variants(spec, variant, fallback, entries, "grad");
          e->dy_slot = spec.slot("dy");
          e->x_slot = spec.slot("x");
          e->y_slot = spec.slot_or_none("y");
          e->out_slot = spec.slot("out");
          if (e->y_slot != kMaxArguments) e->from_y = find_map(entries.at(fallback), "grad_y");
          for (std::size_t i = 0; i < e->scalars.size(); ++i) {
            if (e->scalars[i].name == y_needs_positive) e->y_needs_positive = i;
          }
          return make_call(name, std::move(spec.signature), std::move(e));
        });
}

}  // namespace dlk
