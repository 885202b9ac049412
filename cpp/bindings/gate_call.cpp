// Gates: y = op(first, second), or op(packed) with both halves in one array along an axis; and their backward passes.
#include "../check.h"
#include "../target.h"
#include "executors.h"

namespace dlk {
namespace {

// One half of a packed array along `axis`: a view.
Array half_of(const Array& packed, int axis, int which) {
  Array half;
  half.view = packed.view;
  half.object = packed.object;
  half.numpy = packed.numpy;
  half.view.shape[axis] /= 2;
  if (which == 1) {
    half.view.data = static_cast<char*>(packed.view.data) + half.view.shape[axis] * packed.view.stride[axis];
  }
  return half;
}

struct GateExecutor : Executor {
  Choices choices;
  std::string array_name[2];
  std::size_t array_slot[2] = {}, axis_slot = 0, first_slot = 0, dy_slot = kMaxArguments, out_slot = 0;
  bool gate_is_first = true;  // of the two arguments, and by default of the two halves

  bool backward() const { return dy_slot != kMaxArguments; }

  int axis(PyObject* const* slot, const Array& x) const {
    const char* name = op.c_str();
    const std::int64_t asked = slot[axis_slot] == nullptr ? -1 : integer_argument(slot[axis_slot], name, "axis");
    return check::axis(name, asked, x.view);
  }
  // The same, of an array that is to be split there.
  int split_axis(PyObject* const* slot, const Array& x) const {
    const int axis = this->axis(slot, x);
    if (x.view.ndim == 0 || x.view.shape[axis] % 2 != 0) {
      check::fail_value(op + ": " + array_name[0] + " without " + array_name[1] +
                        " must hold both, in the halves of axis " + std::to_string(axis) +
                        ", which therefore has an even length; got shape " + shape_text(x.view) + ".");
    }
    return axis;
  }

  bool gate_first(PyObject* const* slot) const {
    PyObject* const value = slot[first_slot];
    return value == nullptr ? gate_is_first : bool_argument(value, op.c_str(), "gate_first");
  }

  void read_dy(Array& dy, PyObject* const* slot, const Array& like, const char* like_arg) const {
    const char* name = op.c_str();
    read_array(dy, slot[dy_slot], name, "dy");
    check::same_stream(name, "dy", dy.view, like_arg, like.view);
    check::same_element(name, "dy", dy.view, like_arg, like.view.element);
    check::same_shape(name, "dy", dy.view, like_arg, like.view);
  }

  // half[0], half[1]: the arguments, or the halves of the first; `gate` tells which of them is the gate.
  void run_value(PyObject* const* slot, const Array* half, int gate, const TensorView& y) const {
    MapCall call = map_call(op.c_str(), choices.chosen(slot, op.c_str()), half[0]);
    call.in[0] = &half[gate].view;
    call.in[1] = &half[1 - gate].view;
    call.ins = 2;
    call.out[0] = &y;
    run_released(size_of(y), [&] { run(call); });
  }
  void run_grad(PyObject* const* slot, const Array& dy, const Array* half, int gate, const TensorView& dfirst,
                const TensorView& dsecond) const {
    MapCall call = map_call(op.c_str(), choices.chosen(slot, op.c_str()), dy);
    call.in[0] = &dy.view;
    call.in[1] = &half[gate].view;
    call.in[2] = &half[1 - gate].view;
    call.ins = 3;
    call.out[0] = gate == 0 ? &dfirst : &dsecond;
    call.out[1] = gate == 0 ? &dsecond : &dfirst;
    call.outs = 2;
    run_released(size_of(dy.view), [&] { run(call); });
  }

  py::object packed(PyObject* const* slot, const Array& x) const {
    const char* name = op.c_str();
    const char* arg = array_name[0].c_str();
    const int along = split_axis(slot, x);
    const int gate = gate_first(slot) ? 0 : 1;
    const std::string half_of_it = "half of " + array_name[0];
    const Array half[2] = {half_of(x, along, 0), half_of(x, along, 1)};
    if (!backward()) {
      Output y(slot[out_slot], half[0], name, half_of_it.c_str(), {{&half[0], arg}, {&half[1], arg}});
      run_value(slot, half, gate, y.view());
      return y.take();
    }
    Array dy;
    read_dy(dy, slot, half[0], half_of_it.c_str());
    Output dx(slot[out_slot], x, name, arg, {{&dy, "dy"}, {&x, arg}});
    Array to;
    to.view = dx.view();
    const Array part[2] = {half_of(to, along, 0), half_of(to, along, 1)};
    run_grad(slot, dy, half, gate, part[0].view, part[1].view);
    return dx.take();
  }

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    const char* arg[2] = {array_name[0].c_str(), array_name[1].c_str()};
    Array x[2];
    read_array(x[0], slot[array_slot[0]], name, arg[0]);
    check::floating(name, arg[0], x[0].view);
    if (!given(slot[array_slot[1]])) return packed(slot, x[0]);
    read_array(x[1], slot[array_slot[1]], name, arg[1]);
    check::same_stream(name, arg[1], x[1].view, arg[0], x[0].view);
    check::same_element(name, arg[1], x[1].view, arg[0], x[0].view.element);
    check::same_shape(name, arg[1], x[1].view, arg[0], x[0].view);
    axis(slot, x[0]);  // has no meaning for two arrays, but a wrong one is a slip all the same
    const int gate = gate_is_first ? 0 : 1;
    if (!backward()) {
      Output y(slot[out_slot], x[0], name, arg[0], {{&x[0], arg[0]}, {&x[1], arg[1]}});
      run_value(slot, x, gate, y.view());
      return y.take();
    }
    Array dy;
    read_dy(dy, slot, x[0], arg[0]);
    const std::vector<PyObject*> out = outputs_of(slot[out_slot], 2, name);
    Output dfirst(out[0], x[0], name, arg[0], {{&dy, "dy"}, {&x[0], arg[0]}, {&x[1], arg[1]}});
    Output dsecond(out[1], x[1], name, arg[1], {{&dy, "dy"}, {&x[0], arg[0]}, {&x[1], arg[1]}});
    dsecond.refuse_shared(dfirst, name);
    run_grad(slot, dy, x, gate, dfirst.view(), dsecond.view());
    return py::make_tuple(dfirst.take(), dsecond.take());
  }
};

}  // namespace

void init_gates(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  m.def("_make_gate",
        [](const std::string& name, const Parameters& parameters, const py::list& choices, const std::string& entry,
           const std::string& pass, const std::vector<std::string>& arrays, bool gate_is_first) {
          Spec spec = Spec::from_python(name, parameters);
          auto e = std::make_unique<GateExecutor>();
          e->choices = spec.choices(choices);
          e->choices.fill([&](const std::string& suffix) { return find_map(entry + suffix, pass); });
          for (int k = 0; k < 2; ++k) {
            e->array_name[k] = arrays[static_cast<std::size_t>(k)];
            e->array_slot[k] = spec.slot(e->array_name[k]);
          }
          e->axis_slot = spec.slot("axis");
          e->first_slot = spec.slot("gate_first");
          e->dy_slot = spec.slot_or_none("dy");
          e->out_slot = spec.slot("out");
          e->gate_is_first = gate_is_first;
          return make_call(name, std::move(spec.signature), std::move(e));
        });
}

}  // namespace dlk
