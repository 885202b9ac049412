// Activations with a number that is learned: y = op(x, number), and backward, which gives (dx, dnumber) for a number in an array and dx
// for a plain one. An array has one element, or one for each channel: dimension 1 of x.
#include "../check.h"
#include "../slopes.h"
#include "../target.h"
#include "losses.h"

namespace dlk {
namespace {

struct SlopeExecutor : Executor {
  std::string number_name;
  std::size_t x_slot = 0, number_slot = 0, dy_slot = kMaxArguments, out_slot = 0;
  double fallback = 1;                   // of a number that is not given
  int plain_index = -1, map_index = -1;  // with a plain number as parameter, with an array as operand
  int rows_index = -1, columns_index = -1;

  bool backward() const { return dy_slot != kMaxArguments; }

  void read_number(Array& number, PyObject* object, const Array& x) const {
    const char* name = op.c_str();
    const char* arg = number_name.c_str();
    read_array(number, object, name, arg);
    check::same_stream(name, arg, number.view, "x", x.view);
    check::same_element(name, arg, number.view, "x", x.view.element);
    const std::int64_t channels = x.view.ndim < 2 ? 1 : x.view.shape[1];
    const TensorView& n = number.view;
    if (n.ndim > 1 || (n.ndim == 1 && n.shape[0] != 1 && n.shape[0] != channels)) {
      check::fail_value(op + ": " + number_name + " must have one element, or one for each of the " +
                        std::to_string(channels) + " channels of x (dimension 1), got shape " + shape_text(n) + ".");
    }
  }

  // Where the gradient of the numbers goes: the caller's contiguous array, or a new one.
  void place_slope(Result& fresh, Array& passed, PyObject* out, const Array& number, const Array& x, const Array& dy,
                   const Output& dx) const {
    const char* name = op.c_str();
    const Element wide = compute_element(x.view.element);
    if (!given(out)) {
      new_array(fresh, number, wide, number.view.ndim, number.view.shape, name);
      return;
    }
    read_array(passed, out, name, "out");
    check::same_stream(name, "out", passed.view, "x", x.view);
    check::same_element(name, "out", passed.view, "the sum (float64 for float64 x, else float32)", wide);
    check::same_shape(name, "out", passed.view, number_name.c_str(), number.view);
    check::writable(name, "out", passed.view);
    if (!is_contiguous(passed.view)) check::fail_value(op + ": out of the sum must be contiguous.");
    // It is written before dx is computed from all of these.
    refuse_shared(passed, x, name, "out", "x");
    refuse_shared(passed, dy, name, "out", "dy");
    refuse_shared(passed, number, name, "out", number_name.c_str());
    dx.refuse_shared(passed, name);
  }

  py::object plain(PyObject* const* slot, const Array& x) const {
    const char* name = op.c_str();
    PyObject* const object = slot[number_slot];
    const double number = object == nullptr ? fallback : real_argument(object, name, number_name.c_str());
    MapCall call = map_call(name, plain_index, x);
    call.params = &number;
    Array dy;
    if (backward()) read_dy(dy, slot, x);
    Output result(slot[out_slot], x, name, "x", {{&x, "x"}});
    if (backward()) result.refuse(dy, name, "dy");
    call.in[call.ins++] = backward() ? &dy.view : &x.view;
    if (backward()) call.in[call.ins++] = &x.view;
    const TensorView& to = result.view();
    call.out[0] = &to;
    run_released(size_of(to), [&] { run(call); });
    return result.take();
  }

  void read_dy(Array& dy, PyObject* const* slot, const Array& x) const {
    const char* name = op.c_str();
    read_array(dy, slot[dy_slot], name, "dy");
    check::same_stream(name, "dy", dy.view, "x", x.view);
    check::same_element(name, "dy", dy.view, "x", x.view.element);
    check::same_shape(name, "dy", dy.view, "x", x.view);
  }

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array x;
    read_array(x, slot[x_slot], name, "x");
    check::floating(name, "x", x.view);
    PyObject* const object = slot[number_slot];
    if (object == nullptr || PyObject_HasAttrString(object, "__dlpack__") == 0) return plain(slot, x);
    Array number;
    read_number(number, object, x);
    const TensorView operand = repeated(number.view, x.view);
    MapCall call = map_call(name, map_index, x);
    if (!backward()) {
      Output y(slot[out_slot], x, name, "x", {{&x, "x"}, {&number, number_name.c_str()}});
      const TensorView& to = y.view();
      call.in[0] = &x.view;
      call.in[1] = &operand;
      call.ins = 2;
      call.out[0] = &to;
      run_released(size_of(to), [&] { run(call); });
      return y.take();
    }
    Array dy, passed;
    read_dy(dy, slot, x);
    const std::vector<PyObject*> out = outputs_of(slot[out_slot], 2, name);
    Output dx(out[0], x, name, "x", {{&dy, "dy"}, {&x, "x"}, {&number, number_name.c_str()}});
    Result fresh;
    place_slope(fresh, passed, out[1], number, x, dy, dx);
    const TensorView& to = dx.view();
    call.in[0] = &dy.view;
    call.in[1] = &x.view;
    call.in[2] = &operand;
    call.ins = 3;
    call.out[0] = &to;
    void* const sum = given(out[1]) ? passed.view.data : fresh.array.view.data;
    Scratch scratch(x);
    const Workspace workspace = scratch.workspace();
    run_released(size_of(to), [&] {  // the sum first: dx may overwrite dy or x
      run_slope(SlopeCall{name, rows_index, columns_index, &dy.view, &x.view, &number.view, sum}, workspace);
      run(call);
    });
    py::object slope = given(out[1]) ? py::reinterpret_borrow<py::object>(out[1]) : finished(fresh, number.object);
    return py::make_tuple(dx.take(), slope);
  }
};

}  // namespace

void init_slopes(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  m.def("_make_slope", [](const std::string& name, const Parameters& parameters, const std::string& entry,
                          const std::string& plain, const std::string& number, double fallback) {
    Spec spec = Spec::from_python(name, parameters);
    auto e = std::make_unique<SlopeExecutor>();
    e->number_name = number;
    e->fallback = fallback;
    e->x_slot = spec.slot("x");
    e->number_slot = spec.slot(number);
    e->dy_slot = spec.slot_or_none("dy");
    e->out_slot = spec.slot("out");
    e->plain_index = find_map(plain, e->backward() ? "grad" : "");
    e->map_index = find_map(entry, e->backward() ? "scaled_grad" : "scaled");
    e->rows_index = find_rows(entry, "rows");
    e->columns_index = find_rows(entry, "columns");
    for (const int index : {e->plain_index, e->map_index, e->rows_index, e->columns_index}) {
      if (index < 0) throw py::value_error("a kernel of " + entry + " is missing");
    }
    return make_call(name, std::move(spec.signature), std::move(e));
  });
}

}  // namespace dlk
