// Row-wise ops along an axis: y = op(x, axis) and dx = op.backward(dy, y, axis).
#include "../check.h"
#include "../target.h"
#include "executors.h"

namespace dlk {
namespace {

struct RowsExecutor : Executor {
  int index = 0, ins = 1;
  std::size_t in_slot[2] = {}, axis_slot = 0, out_slot = 0;
  std::string in_name[2];
  std::int64_t default_axis = -1;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array in[2];
    for (int k = 0; k < ins; ++k) read_array(in[k], slot[in_slot[k]], name, in_name[k].c_str());
    const Array& last = in[ins - 1];  // y, or the only input: the others must look like it
    const char* last_name = in_name[ins - 1].c_str();
    check::floating(name, last_name, last.view);
    if (ins == 2) {
      check::same_device(name, in_name[0].c_str(), in[0].view, last_name, last.view);
      check::same_element(name, in_name[0].c_str(), in[0].view, last_name, last.view.element);
      check::same_shape(name, in_name[0].c_str(), in[0].view, last_name, last.view);
    }
    const std::int64_t asked =
        slot[axis_slot] == nullptr ? default_axis : integer_argument(slot[axis_slot], name, "axis");
    const int axis = check::axis(name, asked, last.view);
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
      run(call);
    });
    return y.take();
  }
};

}  // namespace

void init_rows(py::module_& m) {
  m.def("_make_rows", [](const std::string& name, const std::vector<std::tuple<std::string, bool, bool>>& parameters,
                         const std::string& entry, const std::string& pass, const std::vector<std::string>& arrays,
                         std::int64_t default_axis) {
    Spec spec = Spec::from_python(name, parameters);
    auto e = std::make_unique<RowsExecutor>();
    e->index = find_rows(entry, pass);
    if (e->index < 0) throw py::value_error("no rows kernel " + entry + " " + pass);
    e->ins = static_cast<int>(arrays.size());
    for (std::size_t k = 0; k < arrays.size(); ++k) {
      e->in_slot[k] = spec.slot(arrays[k]);
      e->in_name[k] = arrays[k];
    }
    e->axis_slot = spec.slot("axis");
    e->out_slot = spec.slot("out");
    e->default_axis = default_axis;
    return make_call(name, std::move(spec.signature), std::move(e));
  });
}

}  // namespace dlk
