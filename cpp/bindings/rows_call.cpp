// Row-wise ops along an axis: y = op(x, axis) and dx = op.backward(dy, y, axis); and numbers per row, y = op(x, axis, keepdims) and
// dx = op.backward(dy, x, axis, keepdims).
#include "../check.h"
#include "../rows.h"
#include "../target.h"
#include "losses.h"

namespace dlk {
namespace {

using Parameters = std::vector<std::tuple<std::string, bool, bool>>;

int axis_of(PyObject* value, std::int64_t fallback, const char* op, const TensorView& t) {
  return check::axis(op, value == nullptr ? fallback : integer_argument(value, op, "axis"), t);
}

struct RowsExecutor : Executor {
  int index = 0, ins = 1;
  std::size_t in_slot[2] = {}, axis_slot = 0, out_slot = 0;
  std::string in_name[2];
  std::vector<Scalar> scalars;
  std::int64_t default_axis = -1;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array in[2];
    for (int k = 0; k < ins; ++k) read_array(in[k], slot[in_slot[k]], name, in_name[k].c_str());
    const Array& last = in[ins - 1];  // y, or the only input: the others must look like it
    const char* last_name = in_name[ins - 1].c_str();
    check::floating(name, last_name, last.view);
    if (ins == 2) {
      check::same_stream(name, in_name[0].c_str(), in[0].view, last_name, last.view);
      check::same_element(name, in_name[0].c_str(), in[0].view, last_name, last.view.element);
      check::same_shape(name, in_name[0].c_str(), in[0].view, last_name, last.view);
    }
    const int axis = axis_of(slot[axis_slot], default_axis, name, last.view);
    double params[kMaxScalarArguments];
    read_scalars(scalars, slot, name, params);
    const char* first_name = in_name[0].c_str();
    Output y(slot[out_slot], last, name, last_name, {{&in[0], first_name}, {&last, last_name}});
    const TensorView& to = y.view();
    run_released(size_of(to), [&] {
      RowCall call{};
      call.op = name;
      call.index = index;
      call.dtype = dtype_of(last.view.element);
      for (int k = 0; k < ins; ++k) call.in[k] = &in[k].view;
      call.ins = ins;
      call.out[0] = &to;
      call.axis = axis;
      call.params = params;
      run(call);
    });
    return y.take();
  }
};

// What value and gradient of a number per row have in common.
struct RowValueExecutor : Executor {
  int index = 0;
  std::size_t x_slot = 0, axis_slot = 0, keepdims_slot = 0, out_slot = 0;

  RowCall call_on(const Array& x, PyObject* const* slot) const {
    check::floating(op.c_str(), "x", x.view);
    RowCall call{};
    call.op = op.c_str();
    call.index = index;
    call.dtype = dtype_of(x.view.element);
    call.in[0] = &x.view;
    call.ins = 1;
    call.axis = axis_of(slot[axis_slot], -1, op.c_str(), x.view);
    return call;
  }
  TensorView shape_of_value(const TensorView& x, int axis, PyObject* keepdims) const {
    const bool keeps = keepdims != nullptr && bool_argument(keepdims, op.c_str(), "keepdims");
    TensorView t;
    t.ndim = 0;
    for (int d = 0; d < x.ndim; ++d) {
      if (d != axis) {
        t.shape[t.ndim++] = x.shape[d];
      } else if (keeps) {
        t.shape[t.ndim++] = 1;
      }
    }
    return t;
  }
};

struct RowValue : RowValueExecutor {
  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array x, given_out;
    read_array(x, slot[x_slot], name, "x");
    RowCall call = call_on(x, slot);
    const TensorView shape = shape_of_value(x.view, call.axis, slot[keepdims_slot]);
    const Element element = compute_element(x.view.element);
    Result y;
    PyObject* const out = slot[out_slot];
    if (given(out)) {
      read_array(given_out, out, name, "out");
      check::same_stream(name, "out", given_out.view, "x", x.view);
      check::same_element(name, "out", given_out.view, "the result (float64 for float64 x, else float32)", element);
      check::same_shape(name, "out", given_out.view, "the result", shape);
      check::writable(name, "out", given_out.view);
      if (!is_contiguous(given_out.view)) check::fail_value(op + ": out must be contiguous.");
      refuse_overlap(given_out, x, name, "out", "x");
      call.value[0] = given_out.view.data;
    } else {
      new_array(y, x, element, shape.ndim, shape.shape, name);
      call.value[0] = y.array.view.data;
    }
    run_released(size_of(x.view), [&] { run(call); });
    return given(out) ? py::reinterpret_borrow<py::object>(out) : finished(y, x.object);
  }
};

struct RowValueBackward : RowValueExecutor {
  std::size_t dy_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array dy, x;
    read_array(dy, slot[dy_slot], name, "dy");
    read_array(x, slot[x_slot], name, "x");
    RowCall call = call_on(x, slot);
    check::same_stream(name, "dy", dy.view, "x", x.view);
    check::same_element(name, "dy", dy.view, "the forward result (float64 for float64 x, else float32)",
                        compute_element(x.view.element));
    check::same_shape(name, "dy", dy.view, "the forward result",
                      shape_of_value(x.view, call.axis, slot[keepdims_slot]));
    Scratch scratch(x);
    call.scalar[0].data = contiguous(dy.view, name, scratch.workspace());
    Output dx(slot[out_slot], x, name, "x", {{&x, "x"}});
    dx.refuse(dy, name, "dy");
    call.out[0] = &dx.view();
    run_released(size_of(x.view), [&] { run(call); });
    return dx.take();
  }
};

template <class Executor>
py::object make_row_value(const std::string& name, const Parameters& parameters, const std::string& entry,
                          const char* pass) {
  Spec spec = Spec::from_python(name, parameters);
  auto e = std::make_unique<Executor>();
  e->index = find_rows(entry, pass);
  if (e->index < 0) throw py::value_error("no rows kernel " + entry + " " + pass);
  e->x_slot = spec.slot("x");
  e->axis_slot = spec.slot("axis");
  e->keepdims_slot = spec.slot("keepdims");
  e->out_slot = spec.slot("out");
  if constexpr (std::is_same_v<Executor, RowValueBackward>) e->dy_slot = spec.slot("dy");
  return make_call(name, std::move(spec.signature), std::move(e));
}

}  // namespace

void init_rows(py::module_& m) {
  m.def("_make_rows",
        [](const std::string& name, const Parameters& parameters, const std::string& entry, const std::string& pass,
           const std::vector<std::string>& arrays, const py::list& scalars, std::int64_t default_axis) {
          Spec spec = Spec::from_python(name, parameters);
          auto e = std::make_unique<RowsExecutor>();
          e->index = find_rows(entry, pass);
          if (e->index < 0) throw py::value_error("no rows kernel " + entry + " " + pass);
          e->ins = static_cast<int>(arrays.size());
          for (std::size_t k = 0; k < arrays.size(); ++k) {
            e->in_slot[k] = spec.slot(arrays[k]);
            e->in_name[k] = arrays[k];
          }
          e->scalars = spec.scalars(scalars);
          e->axis_slot = spec.slot("axis");
          e->out_slot = spec.slot("out");
          e->default_axis = default_axis;
          return make_call(name, std::move(spec.signature), std::move(e));
        });
  m.def("_make_row_value", [](const std::string& name, const Parameters& parameters, const std::string& entry) {
    return make_row_value<RowValue>(name, parameters, entry, "");
  });
  m.def("_make_row_value_backward",
        [](const std::string& name, const Parameters& parameters, const std::string& entry) {
          return make_row_value<RowValueBackward>(name, parameters, entry, "grad");
        });
}

}  // namespace dlk
