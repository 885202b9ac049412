// batch_norm, group_norm and instance_norm: y = op(x, ...) and their backward.
#include "../norms.h"

#include <cmath>

#include "losses.h"

namespace dlk {
namespace {

enum class Over { batch, groups, instance };

struct ChannelNorm : Executor {
  Over over = Over::batch;
  bool backward = false;
  std::vector<Scalar> scalars;  // eps, then, for batch_norm forward, momentum
  std::size_t dy_slot = kMaxArguments, x_slot = 0, groups_slot = kMaxArguments, weight_slot = 0, bias_slot = 0,
              mean_slot = kMaxArguments, var_slot = kMaxArguments, training_slot = kMaxArguments,
              activation_slot = kMaxArguments, return_slot = kMaxArguments, stats_slot = kMaxArguments, out_slot = 0;

  PyObject* optional(PyObject* const* slot, std::size_t at) const {
    return at == kMaxArguments || !given(slot[at]) ? nullptr : slot[at];
  }
  bool flag(PyObject* const* slot, std::size_t at, const char* arg) const {
    PyObject* const value = optional(slot, at);
    return value != nullptr && bool_argument(value, op.c_str(), arg);
  }

  // An array with one number per channel.
  const TensorView* per_channel(Array& a, PyObject* object, const char* arg, const Array& x, Element wanted,
                                const char* like) const {
    if (object == nullptr) return nullptr;
    const char* name = op.c_str();
    read_array(a, object, name, arg);
    check::same_stream(name, arg, a.view, "x", x.view);
    check::same_element(name, arg, a.view, like, wanted);
    if (a.view.ndim != 1 || a.view.shape[0] != x.view.shape[1]) {
      check::fail_value(op + ": " + arg + " must have shape (" + std::to_string(x.view.shape[1]) +
                        ",), one per channel (dimension 1 of x), got " + shape_text(a.view) + ".");
    }
    return &a.view;
  }

  // What a call works with.
  struct Operands {
    Array x, dy, weight, bias, running[2], stats[2];
    ChannelNormCall call{};
    bool has_running = false, training = true;
    TensorView stats_shape;
    double params[kMaxScalarArguments];
  };

  void read(PyObject* const* slot, Operands& o) const {
    const char* name = op.c_str();
    read_array(o.x, slot[x_slot], name, "x");
    check::floating(name, "x", o.x.view);
    if (o.x.view.ndim < 2) {
      check::fail_value(op + ": x must have at least 2 dimensions (N, C, ...), got shape " + shape_text(o.x.view) +
                        ".");
    }
    const std::int64_t batch = o.x.view.shape[0], channels = o.x.view.shape[1];
    if (backward) {
      read_array(o.dy, slot[dy_slot], name, "dy");
      check::same_stream(name, "dy", o.dy.view, "x", o.x.view);
      check::same_element(name, "dy", o.dy.view, "x", o.x.view.element);
      check::same_shape(name, "dy", o.dy.view, "x", o.x.view);
    }
    o.call.op = name;
    o.call.x = &o.x.view;
    o.call.groups = over == Over::batch ? 0 : channels;
    if (over == Over::groups) {
      o.call.groups = integer_argument(slot[groups_slot], name, "num_groups");
      if (o.call.groups < 1 || channels % o.call.groups != 0) {
        check::fail_value(op + ": num_groups must divide the number of channels, " + std::to_string(channels) +
                          ", got " + std::to_string(o.call.groups) + ".");
      }
    }
    const Element element = o.x.view.element, wide = compute_element(element);
    o.call.weight = per_channel(o.weight, optional(slot, weight_slot), "weight", o.x, element, "x");
    o.call.bias = per_channel(o.bias, optional(slot, bias_slot), "bias", o.x, element, "x");
    o.training = over != Over::batch || flag(slot, training_slot, "training");
    const char* like = "the statistics (float64 for float64 x, else float32)";
    PyObject* const mean = optional(slot, mean_slot);
    PyObject* const var = optional(slot, var_slot);
    if ((mean == nullptr) != (var == nullptr))
      check::fail_type(op + ": running_mean and running_var come together or not at all.");
    o.has_running = mean != nullptr;
    if (o.has_running) {
      per_channel(o.running[0], mean, "running_mean", o.x, wide, like);
      per_channel(o.running[1], var, "running_var", o.x, wide, like);
      const char* names[] = {"running_mean", "running_var"};
      for (int k = 0; k < 2; ++k) {
        if (!is_contiguous(o.running[k].view)) check::fail_value(op + ": " + names[k] + " must be contiguous.");
        if (o.training && !backward) check::writable(name, names[k], o.running[k].view);
      }
      if (o.training && !backward) refuse_running(o);
    } else if (!o.training) {
      check::fail_type(op + ": without training=True, running_mean and running_var are needed.");
    }
    const std::int64_t all = size_of(o.x.view);
    const std::int64_t per_group = over == Over::batch ? all / (channels > 0 ? channels : 1)
                                                       : all / (batch * o.call.groups > 0 ? batch * o.call.groups : 1);
    if (o.training && over != Over::groups && per_group < 2 && (all > 0 || over == Over::batch)) {
      check::fail_value(op + ": needs more than one value per channel to normalize, got x of shape " +
                        shape_text(o.x.view) + ".");
    }
    read_scalars(scalars, slot, name, o.params);
    o.call.eps = o.params[0];
    o.call.lowest = -HUGE_VAL;
    if (PyObject* const activation = optional(slot, activation_slot)) {
      const std::string a = string_argument(activation, name, "activation");
      if (a != "none" && a != "relu")
        check::fail_value(op + ": activation must be \"none\" or \"relu\", got \"" + a + "\".");
      if (a == "relu") o.call.lowest = 0;
    }
    o.stats_shape.ndim = 0;
    if (over != Over::batch) o.stats_shape.shape[o.stats_shape.ndim++] = batch;
    o.stats_shape.shape[o.stats_shape.ndim++] = over == Over::batch ? channels : o.call.groups;
  }

  // Running statistics are written: they must be arrays of their own.
  void refuse_running(const Operands& o) const {
    const char* name = op.c_str();
    for (int k = 0; k < 2; ++k) {
      const char* arg = k == 0 ? "running_mean" : "running_var";
      refuse_shared(o.running[k], o.x, name, arg, "x");
      if (o.call.weight != nullptr) refuse_shared(o.running[k], o.weight, name, arg, "weight");
      if (o.call.bias != nullptr) refuse_shared(o.running[k], o.bias, name, arg, "bias");
    }
    refuse_shared(o.running[0], o.running[1], name, "running_mean", "running_var");
  }

  py::object operator()(PyObject* const* slot) const override {
    Operands o;
    read(slot, o);
    return backward ? gradient(slot, o) : value(slot, o);
  }

  void refuse_operands(Output& out, const Operands& o) const {
    const char* name = op.c_str();
    if (o.call.weight != nullptr) out.refuse(o.weight, name, "weight");
    if (o.call.bias != nullptr) out.refuse(o.bias, name, "bias");
    if (o.has_running) {
      out.refuse(o.running[0], name, "running_mean");
      out.refuse(o.running[1], name, "running_var");
    }
  }

  py::object value(PyObject* const* slot, Operands& o) const {
    const char* name = op.c_str();
    const bool return_stats = flag(slot, return_slot, "return_stats");
    Output y(slot[out_slot], o.x, name, "x", {{&o.x, "x"}});
    refuse_operands(y, o);
    const Element wide = compute_element(o.x.view.element);
    Result mean, rstd, var;
    for (Result* r : {&mean, &rstd, &var}) new_array(*r, o.x, wide, o.stats_shape.ndim, o.stats_shape.shape, name);
    Scratch scratch(o.x);
    const Workspace workspace = scratch.workspace();
    run_released(size_of(o.x.view), [&] {
      ChannelStats stats{mean.array.view.data, rstd.array.view.data, var.array.view.data};
      if (o.training) {
        channel_moments(o.call, stats, workspace);
      } else {
        copy_numbers(o.call, o.running[0].view.data, stats.mean);
        rstd_of(o.call, o.running[1].view.data, stats.rstd);
      }
      run_normalize(o.call, stats, y.view(), workspace);
      if (!o.training || !o.has_running) return;
      const double n = static_cast<double>(size_of(o.x.view) / o.x.view.shape[1]), momentum = o.params[1];
      update_running(o.call, o.running[0].view.data, stats.mean, momentum, 1);
      update_running(o.call, o.running[1].view.data, stats.var, momentum, n / (n - 1));
    });
    py::object result = y.take();
    if (!return_stats) return result;
    return py::make_tuple(result, py::make_tuple(finished(mean, o.x.object), finished(rstd, o.x.object)));
  }

  py::object gradient(PyObject* const* slot, Operands& o) const {
    const char* name = op.c_str();
    const Element wide = compute_element(o.x.view.element);
    PyObject* const stats_object = optional(slot, stats_slot);
    if (stats_object != nullptr) {
      if (!PyTuple_Check(stats_object) || PyTuple_GET_SIZE(stats_object) != 2)
        check::fail_type(op + ": stats must be the tuple (mean, rstd) that the forward pass returned.");
      for (int k = 0; k < 2; ++k) {
        Array& s = o.stats[k];
        read_array(s, PyTuple_GET_ITEM(stats_object, k), name, "stats");
        check::same_stream(name, "stats", s.view, "x", o.x.view);
        check::same_element(name, "stats", s.view, "the statistics (float64 for float64 x, else float32)", wide);
        check::same_shape(name, "stats", s.view, "the statistics", o.stats_shape);
        if (!is_contiguous(s.view)) check::fail_value(op + ": stats must be contiguous.");
      }
    }
    Output dx(slot[out_slot], o.x, name, "x", {{&o.x, "x"}, {&o.dy, "dy"}});
    refuse_operands(dx, o);
    for (int k = 0; stats_object != nullptr && k < 2; ++k) dx.refuse(o.stats[k], name, "stats");
    Result mean, rstd, dweight, dbias;
    for (Result* r : {&mean, &rstd}) new_array(*r, o.x, wide, o.stats_shape.ndim, o.stats_shape.shape, name);
    for (Result* r : {&dweight, &dbias}) new_array(*r, o.x, wide, 1, &o.x.view.shape[1], name);
    Scratch scratch(o.x);
    const Workspace workspace = scratch.workspace();
    run_released(size_of(o.x.view), [&] {
      ChannelStats stats{mean.array.view.data, rstd.array.view.data, nullptr};
      if (stats_object != nullptr) {
        stats = {o.stats[0].view.data, o.stats[1].view.data, nullptr};
      } else if (o.training) {
        channel_moments(o.call, stats, workspace);
      } else {
        stats.mean = o.running[0].view.data;
        rstd_of(o.call, o.running[1].view.data, stats.rstd);
      }
      run_normalize_grad(o.call, o.dy.view, stats, !o.training, dx.view(), dweight.array.view.data,
                         dbias.array.view.data, workspace);
    });
    py::object result = dx.take();
    if (o.call.weight == nullptr) return result;
    return py::make_tuple(result, finished(dweight, o.x.object), finished(dbias, o.x.object));
  }
};

}  // namespace

void init_channel_norms(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  m.def("_make_channel_norm", [](const std::string& name, const Parameters& parameters, const std::string& over,
                                 const py::list& scalars, bool backward) {
    Spec spec = Spec::from_python(name, parameters);
    auto e = std::make_unique<ChannelNorm>();
    e->over = over == "batch" ? Over::batch : over == "groups" ? Over::groups : Over::instance;
    e->backward = backward;
    e->scalars = spec.scalars(scalars);
    e->dy_slot = spec.slot_or_none("dy");
    e->x_slot = spec.slot("x");
    e->groups_slot = spec.slot_or_none("num_groups");
    e->weight_slot = spec.slot("weight");
    e->bias_slot = spec.slot("bias");
    e->mean_slot = spec.slot_or_none("running_mean");
    e->var_slot = spec.slot_or_none("running_var");
    e->training_slot = spec.slot_or_none("training");
    e->activation_slot = spec.slot_or_none("activation");
    e->return_slot = spec.slot_or_none("return_stats");
    e->stats_slot = spec.slot_or_none("stats");
    e->out_slot = spec.slot("out");
    return make_call(name, std::move(spec.signature), std::move(e));
  });
}

}  // namespace dlk
