// distance_transform_edt(mask, sampling, axes=, out=): the result is float64 unless `out` is float32.
#include <map>
#include <numeric>

#include "../check.h"
#include "../distance.h"
#include "executors.h"
#include "losses.h"

namespace dlk {
namespace {

struct DistanceExecutor : Executor {
  std::size_t mask_slot = 0, sampling_slot = 0, axes_slot = 0, out_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array mask;
    read_array(mask, slot[mask_slot], name, "mask");
    if (mask.view.element != Element::u8 && mask.view.element != Element::b8) {
      check::fail_type(op + ": mask must be bool or uint8 (0 is background), got " + element_name(mask.view) +
                       ". Compare it: mask != 0.");
    }
    DistanceCall call{};
    call.op = name;
    call.mask = &mask.view;
    read_axes(call, slot[axes_slot], slot[sampling_slot]);
    Result fresh;
    Array passed;
    const bool made = !given(slot[out_slot]);
    if (made) {
      new_array(fresh, mask, Element::f64, mask.view.ndim, mask.view.shape, name);
    } else {
      read_array(passed, slot[out_slot], name, "out");
      if (passed.view.element != Element::f32 && passed.view.element != Element::f64)
        check::fail_type(op + ": out must be float32 or float64, got " + element_name(passed.view) + ".");
      check::same_stream(name, "out", passed.view, "mask", mask.view);
      check::same_shape(name, "out", passed.view, "mask", mask.view);
      check::writable(name, "out", passed.view);
      refuse_overlap(passed, mask, name, "out", "mask");
    }
    call.out = made ? &fresh.array.view : &passed.view;
    Scratch scratch(mask);
    const Workspace workspace = scratch.workspace();
    run_released(size_of(mask.view), [&] { run(call, workspace); });
    return made ? finished(fresh, mask.object) : py::reinterpret_borrow<py::object>(slot[out_slot]);
  }

  // The axes in ascending order, each with its spacing: the order in which squares are added.
  void read_axes(DistanceCall& call, PyObject* axes, PyObject* sampling) const {
    const char* name = op.c_str();
    std::vector<int> axis(static_cast<std::size_t>(call.mask->ndim));
    std::iota(axis.begin(), axis.end(), 0);
    if (given(axes)) {
      axis = numbers(
          axes, [&](PyObject* item) { return check::axis(name, integer_argument(item, name, "axes"), *call.mask); });
    }
    if (axis.empty() || call.mask->ndim == 0) {
      check::fail_value(op + ": wanted at least one axis to measure along, got none for a mask of shape " +
                        shape_text(*call.mask) + ".");
    }
    std::vector<double> spacing(axis.size(), 1.0);
    if (given(sampling)) {
      spacing = numbers(sampling, [&](PyObject* item) { return real_argument(item, name, "sampling"); });
      if (PySequence_Check(sampling) == 0) spacing.resize(axis.size(), spacing[0]);
    }
    if (spacing.size() != axis.size()) {
      check::fail_value(op + ": sampling must be one number, or one for each of " + std::to_string(axis.size()) +
                        " axes, got " + std::to_string(spacing.size()) + " numbers.");
    }
    std::map<int, double> sorted;
    for (std::size_t k = 0; k < axis.size(); ++k) {
      if (!(spacing[k] >= 1e-100 && spacing[k] <= 1e100))
        check::fail_value(op + ": sampling must be in [1e-100, 1e+100], got " + number_text(spacing[k]) + ".");
      if (!sorted.emplace(axis[k], spacing[k]).second)
        check::fail_value(op + ": axes must be different, got " + std::to_string(axis[k]) + " twice.");
    }
    for (const auto& [at, step] : sorted) {
      call.axis[call.axes] = at;
      call.spacing[call.axes++] = step;
    }
  }
};

}  // namespace

void init_distance(py::module_& m) {
  m.def("_make_distance",
        [](const std::string& name, const std::vector<std::tuple<std::string, bool, bool>>& parameters) {
          Spec spec = Spec::from_python(name, parameters);
          auto e = std::make_unique<DistanceExecutor>();
          e->mask_slot = spec.slot("mask");
          e->sampling_slot = spec.slot("sampling");
          e->axes_slot = spec.slot("axes");
          e->out_slot = spec.slot("out");
          return make_call(name, std::move(spec.signature), std::move(e));
        });
}

}  // namespace dlk
