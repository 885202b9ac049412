// layer_norm and rms_norm: y = op(x, weight, ...) and their backward.
#include "../norms.h"

#include "losses.h"

namespace dlk {
namespace {

// A result: what the caller gets if there is one, in the order of the definition; alone if there is only one.
py::object results(std::vector<py::object> all) {
  if (all.size() == 1) return all[0];
  py::tuple t(all.size());
  for (std::size_t k = 0; k < all.size(); ++k) t[k] = all[k];
  return t;
}

struct RowNorm : Executor {
  std::string kernel;
  bool backward = false, has_mean = true;  // mean, bias and its gradient: layer_norm
  std::vector<Scalar> scalars;
  std::size_t dy_slot = kMaxArguments, x_slot = 0, weight_slot = 0, bias_slot = kMaxArguments, shape_slot = 0,
              residual_slot = kMaxArguments, return_slot = kMaxArguments, stats_slot = kMaxArguments,
              dh_slot = kMaxArguments, out_slot = 0;

  PyObject* optional(PyObject* const* slot, std::size_t at) const {
    return at == kMaxArguments || !given(slot[at]) ? nullptr : slot[at];
  }

  void read_like(Array& a, PyObject* object, const char* arg, const Array& x) const {
    read_array(a, object, op.c_str(), arg);
    check::same_stream(op.c_str(), arg, a.view, "x", x.view);
    check::same_element(op.c_str(), arg, a.view, "x", x.view.element);
    check::same_shape(op.c_str(), arg, a.view, "x", x.view);
  }

  // How many trailing dimensions are normalized: those of normalized_shape, else of the weight, else one.
  int axes(PyObject* const* slot, const Array& x, const Array* weight) const {
    std::vector<std::int64_t> shape;
    PyObject* const asked = optional(slot, shape_slot);
    if (asked != nullptr && (PyTuple_Check(asked) || PyList_Check(asked))) {
      for (const py::handle n : py::reinterpret_borrow<py::sequence>(asked)) {
        shape.push_back(integer_argument(n.ptr(), op.c_str(), "normalized_shape"));
      }
    } else if (asked != nullptr) {
      shape.push_back(integer_argument(asked, op.c_str(), "normalized_shape"));
    } else if (weight != nullptr) {
      shape.assign(weight->view.shape, weight->view.shape + weight->view.ndim);
    } else if (x.view.ndim > 0) {
      shape.push_back(x.view.shape[x.view.ndim - 1]);
    }
    const int n = static_cast<int>(shape.size());
    bool fits = n >= 1 && n <= x.view.ndim;
    for (int d = 0; fits && d < n; ++d) fits = shape[static_cast<std::size_t>(d)] == x.view.shape[x.view.ndim - n + d];
    if (!fits) {
      TensorView wanted;
      wanted.ndim = 0;
      for (const std::int64_t s : shape) {
        if (wanted.ndim < kMaxDims) wanted.shape[wanted.ndim++] = s;
      }
      check::fail_value(op + ": " + (asked != nullptr || weight == nullptr ? "normalized_shape" : "weight's shape") +
                        " must be the last dimensions of x, which has shape " + shape_text(x.view) + ", got " +
                        shape_text(wanted) + ".");
    }
    return n;
  }

  void check_like_weight(const char* arg, const Array& a, const Array& x, int n) const {
    check::same_stream(op.c_str(), arg, a.view, "x", x.view);
    check::same_element(op.c_str(), arg, a.view, "x", x.view.element);
    TensorView wanted;
    wanted.ndim = n;
    for (int d = 0; d < n; ++d) wanted.shape[d] = x.view.shape[x.view.ndim - n + d];
    check::same_shape(op.c_str(), arg, a.view, "the normalized dimensions of x", wanted);
  }

  // The shape of the statistics: x's without the normalized dimensions.
  static TensorView per_row(const Array& x, int n) {
    TensorView v;
    v.ndim = x.view.ndim - n;
    for (int d = 0; d < v.ndim; ++d) v.shape[d] = x.view.shape[d];
    return v;
  }

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array x, weight, bias;
    read_array(x, slot[x_slot], name, "x");
    check::floating(name, "x", x.view);
    PyObject* const weight_object = optional(slot, weight_slot);
    PyObject* const bias_object = optional(slot, bias_slot);
    if (weight_object != nullptr) read_array(weight, weight_object, name, "weight");
    const int n = axes(slot, x, weight_object == nullptr ? nullptr : &weight);
    if (weight_object != nullptr) check_like_weight("weight", weight, x, n);
    if (bias_object != nullptr) {
      read_array(bias, bias_object, name, "bias");
      check_like_weight("bias", bias, x, n);
    }
    RowNormCall c{};
    c.op = name;
    c.name = kernel.c_str();
    c.x = &x.view;
    c.axes = n;
    c.weight = weight_object == nullptr ? nullptr : &weight.view;
    c.bias = bias_object == nullptr ? nullptr : &bias.view;
    read_scalars(scalars, slot, name, c.params);
    return backward ? gradient(slot, c, x, weight) : value(slot, c, x, weight, bias);
  }

  py::object value(PyObject* const* slot, RowNormCall& c, const Array& x, const Array& weight,
                   const Array& bias) const {
    const char* name = op.c_str();
    Array residual;
    PyObject* const residual_object = optional(slot, residual_slot);
    if (residual_object != nullptr) read_like(residual, residual_object, "residual", x);
    PyObject* const wanted = optional(slot, return_slot);
    const bool return_stats = wanted != nullptr && bool_argument(wanted, name, "return_stats");
    Output y(slot[out_slot], x, name, "x", {{&x, "x"}});
    if (c.weight != nullptr) y.refuse(weight, name, "weight");
    if (c.bias != nullptr) y.refuse(bias, name, "bias");
    Result sum, stats[2];
    if (residual_object != nullptr) {
      y.refuse(residual, name, "residual");
      new_like(sum, x, x.view.element, name);
    }
    void* stats_data[2] = {};
    const int numbers = has_mean ? 2 : 1;
    const TensorView shape = per_row(x, c.axes);
    for (int k = 0; return_stats && k < numbers; ++k) {
      new_array(stats[k], x, compute_element(x.view.element), shape.ndim, shape.shape, name);
      stats_data[k] = stats[k].array.view.data;
    }
    Scratch scratch(x);
    const Workspace workspace = scratch.workspace();
    run_released(size_of(x.view), [&] {
      run_row_norm(c, residual_object == nullptr ? nullptr : &residual.view,
                   residual_object == nullptr ? nullptr : &sum.array.view, y.view(), stats_data, workspace);
    });
    std::vector<py::object> all = {y.take()};
    if (residual_object != nullptr) all.push_back(finished(sum, x.object));
    if (return_stats) {
      std::vector<py::object> of_rows;
      for (int k = 0; k < numbers; ++k) of_rows.push_back(finished(stats[k], x.object));
      all.push_back(results(of_rows));
    }
    return results(all);
  }

  py::object gradient(PyObject* const* slot, RowNormCall& c, const Array& x, const Array& weight) const {
    const char* name = op.c_str();
    const Element wide = compute_element(x.view.element);
    const int numbers = has_mean ? 2 : 1;
    Array dy, dh, stats[2];
    read_like(dy, slot[dy_slot], "dy", x);
    PyObject* const dh_object = optional(slot, dh_slot);
    if (dh_object != nullptr) read_like(dh, dh_object, "dh", x);
    const void* stats_data[2] = {};
    PyObject* const stats_object = optional(slot, stats_slot);
    if (stats_object != nullptr) {
      if (numbers == 2 && (!PyTuple_Check(stats_object) || PyTuple_GET_SIZE(stats_object) != 2)) {
        check::fail_type(op + ": stats must be the tuple (mean, rstd) that the forward pass returned.");
      }
      const TensorView shape = per_row(x, c.axes);
      for (int k = 0; k < numbers; ++k) {
        read_array(stats[k], numbers == 1 ? stats_object : PyTuple_GET_ITEM(stats_object, k), name, "stats");
        check::same_stream(name, "stats", stats[k].view, "x", x.view);
        check::same_element(name, "stats", stats[k].view, "the statistics (float64 for float64 x, else float32)", wide);
        check::same_shape(name, "stats", stats[k].view, "x without the normalized dimensions", shape);
        if (!is_contiguous(stats[k].view)) check::fail_value(op + ": stats must be contiguous.");
        stats_data[k] = stats[k].view.data;
      }
    }
    Output dx(slot[out_slot], x, name, "x", {{&x, "x"}, {&dy, "dy"}});
    if (dh_object != nullptr) dx.refuse(dh, name, "dh");
    if (c.weight != nullptr) dx.refuse(weight, name, "weight");
    for (int k = 0; stats_object != nullptr && k < numbers; ++k) dx.refuse(stats[k], name, "stats");
    Result sums[2];
    void* sums_data[2] = {};
    for (int k = 0; c.weight != nullptr && k < numbers; ++k) {
      new_array(sums[k], x, wide, weight.view.ndim, weight.view.shape, name);
      sums_data[k] = sums[k].array.view.data;
    }
    Scratch scratch(x);
    const Workspace workspace = scratch.workspace();
    run_released(size_of(x.view), [&] {
      run_row_norm_grad(c, dy.view, stats_data, dh_object == nullptr ? nullptr : &dh.view, dx.view(), sums_data[0],
                        sums_data[1], workspace);
    });
    std::vector<py::object> all = {dx.take()};
    for (int k = 0; c.weight != nullptr && k < numbers; ++k) all.push_back(finished(sums[k], x.object));
    return results(all);
  }
};

}  // namespace

void init_norms(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  m.def("_make_row_norm", [](const std::string& name, const Parameters& parameters, const std::string& kernel,
                             const py::list& scalars, bool backward, bool has_mean) {
    Spec spec = Spec::from_python(name, parameters);
    auto e = std::make_unique<RowNorm>();
    e->kernel = kernel;
    e->backward = backward;
    e->has_mean = has_mean;
    e->scalars = spec.scalars(scalars);
    e->dy_slot = spec.slot_or_none("dy");
    e->x_slot = spec.slot("x");
    e->weight_slot = spec.slot("weight");
    e->bias_slot = spec.slot_or_none("bias");
    e->shape_slot = spec.slot("normalized_shape");
    e->residual_slot = spec.slot_or_none("residual");
    e->return_slot = spec.slot_or_none("return_stats");
    e->stats_slot = spec.slot_or_none("stats");
    e->dh_slot = spec.slot_or_none("dh");
    e->out_slot = spec.slot("out");
    return make_call(name, std::move(spec.signature), std::move(e));
  });
}

}  // namespace dlk
