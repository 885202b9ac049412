// rescale(x, shift, scale, offset, low=, high=, dtype=, out=): the result has the dtype that is asked for, else x's, float32 for uint8.
#include "../rescale.h"

#include <limits>
#include <optional>

#include "../check.h"
#include "executors.h"

namespace dlk {
namespace {

constexpr const char* kNumberNames[] = {"shift", "scale", "offset"};

struct RescaleExecutor : Executor {
  std::size_t x_slot = 0, number_slot[3] = {}, low_slot = 0, high_slot = 0, dtype_slot = 0, out_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array x, number[3];
    double single[3];
    read_array(x, slot[x_slot], name, "x");
    if (x.view.element != Element::u8) check::floating(name, "x", x.view);
    RescaleCall call{};
    call.op = name;
    call.in = &x.view;
    for (int j = 0; j < 3; ++j) {
      read_number(number[j], single[j], slot[number_slot[j]], kNumberNames[j], x);
      call.number[j] = &number[j].view;
    }
    call.low = bound(slot[low_slot], "low", -std::numeric_limits<double>::infinity());
    call.high = bound(slot[high_slot], "high", std::numeric_limits<double>::infinity());
    if (!(call.low <= call.high)) {
      check::fail_value(op + ": low must be at most high, got " + number_text(call.low) + " and " +
                        number_text(call.high) + ".");
    }
    Result fresh;
    Array passed;
    const bool made = !given(slot[out_slot]);
    const Element element = result_element(slot[dtype_slot], x);
    if (made) {
      new_like(fresh, x, element, name);
    } else {
      read_array(passed, slot[out_slot], name, "out");
      check::same_stream(name, "out", passed.view, "x", x.view);
      check::same_shape(name, "out", passed.view, "x", x.view);
      if (given(slot[dtype_slot])) {
        check::same_element(name, "out", passed.view, "dtype", element);
      } else {
        check::floating(name, "out", passed.view);
      }
      check::writable(name, "out", passed.view);
      refuse_overlap(passed, x, name, "out", "x");
      for (int j = 0; j < 3; ++j) {
        if (number[j].object != nullptr) refuse_overlap(passed, number[j], name, "out", kNumberNames[j]);
      }
    }
    call.out = made ? &fresh.array.view : &passed.view;
    run_released(size_of(x.view), [&] { run(call); });
    return made ? finished(fresh, x.object) : py::reinterpret_borrow<py::object>(slot[out_slot]);
  }

  // A number, or a float64 array that repeats along dimensions of x.
  void read_number(Array& a, double& single, PyObject* value, const char* arg, const Array& x) const {
    const char* name = op.c_str();
    TensorView& t = a.view;
    const bool number = value != nullptr && (PyFloat_Check(value) || PyLong_Check(value) ||
                                             (PyObject_HasAttrString(value, "__float__") != 0 &&
                                              PyObject_HasAttrString(value, "__dlpack__") == 0 &&
                                              PyObject_HasAttrString(value, "__cuda_array_interface__") == 0));
    if (value == nullptr || number) {
      single = value == nullptr ? 0.0 : real_argument(value, name, arg);
      t = x.view;
      t.data = &single;
      t.device = Device::cpu;
      t.element = Element::f64;
      t.ndim = 0;
    } else {
      read_array(a, value, name, arg);
      check::same_stream(name, arg, t, "x", x.view);
      check::same_element(name, arg, t, "every statistic", Element::f64);
    }
    const TensorView as_given = t;
    if (!broadcast(t, x.view)) {
      check::fail_value(op + ": " + arg + " must broadcast to x's shape " + shape_text(x.view) + ", got " +
                        shape_text(as_given) + ".");
    }
  }

  double bound(PyObject* value, const char* arg, double fallback) const {
    return value == nullptr ? fallback : real_argument(value, op.c_str(), arg);
  }

  Element result_element(PyObject* dtype, const Array& x) const {
    if (!given(dtype)) return x.view.element == Element::u8 ? Element::f32 : x.view.element;
    TensorView named;
    named.element = dtype_argument(dtype, op.c_str(), named);
    check::floating(op.c_str(), "dtype", named);
    return named.element;
  }
};

}  // namespace

void init_rescale(py::module_& m) {
  m.def("_make_rescale",
        [](const std::string& name, const std::vector<std::tuple<std::string, bool, bool>>& parameters) {
          Spec spec = Spec::from_python(name, parameters);
          auto e = std::make_unique<RescaleExecutor>();
          e->x_slot = spec.slot("x");
          for (int j = 0; j < 3; ++j) e->number_slot[j] = spec.slot(kNumberNames[j]);
          e->low_slot = spec.slot("low");
          e->high_slot = spec.slot("high");
          e->dtype_slot = spec.slot("dtype");
          e->out_slot = spec.slot("out");
          return make_call(name, std::move(spec.signature), std::move(e));
        });
}

}  // namespace dlk
