// A step on a GPU: everything is queued, nothing is waited for. What depends on earlier steps (how many there were, and what the rules carry
// on) lies on the device, where a step that finds an infinite gradient leaves it alone; so a CUDA graph may hold a step.
#include <cstring>

#include "../check.h"
#include "../device.h"
#include "../step.h"
#include "engine.h"

namespace dlk {
namespace {

class DeviceStep {
 public:
  // members: which parameters of the optimizer are each engine's. The arrays are memory beside the parameters: StepRecord and kRowNumbers
  // for each slot, StepControl, a sum for each engine, a counter that is 0, partial sums.
  DeviceStep(std::vector<Engine*> engines, std::vector<std::vector<std::size_t>> members, const py::object& record,
             const py::object& numbers, const py::object& control, const py::object& squares, const py::object& arrived,
             const py::object& partial)
      : engines_(std::move(engines)), members_(std::move(members)) {
    record_ = static_cast<StepRecord*>(keep(record));
    numbers_ = static_cast<double*>(keep(numbers));
    control_ = static_cast<StepControl*>(keep(control));
    squares_ = static_cast<double*>(keep(squares));
    arrived_ = static_cast<unsigned*>(keep(arrived));
    partial_ = static_cast<double*>(keep(partial));
  }

  // Takes and checks the gradients; returns a byte for each parameter, 1 where there is one.
  py::bytes read(const py::list& grads, bool zero_grads) {
    std::string pattern(grads.size(), '\0');
    for (std::size_t i = 0; i < pattern.size(); ++i) {
      if (PyList_GET_ITEM(grads.ptr(), static_cast<Py_ssize_t>(i)) != Py_None) pattern[i] = 1;
    }
    if (engines_.size() == 1) {
      engines_[0]->read(grads, zero_grads);
      return pattern;
    }
    std::vector<py::list> each;
    for (const std::vector<std::size_t>& members : members_) {
      each.emplace_back();
      for (const std::size_t i : members) each.back().append(grads[i]);
    }
    Engine::read_all(engines_, each, zero_grads);
    return pattern;
  }

  // Which slot of numbers is each parameter's.
  void assign(const std::vector<int>& slot) {
    slots_.clear();
    for (const std::vector<std::size_t>& members : members_) {
      slots_.emplace_back();
      for (const std::size_t i : members) slots_.back().push_back(slot[i]);
    }
  }

  // rows: (rule, slot, maximize, options, learning rate: a number or a scalar of the device). scale: likewise.
  void step(const std::vector<std::tuple<int, int, bool, std::vector<double>, py::object>>& rows, bool checks,
            const py::object& scale, double max_norm, bool zero_grads, std::uint64_t seed, const py::object& report) {
    const char* const op = engines_[0]->name().c_str();
    const TensorView now = engines_[0]->parameter_now();
    const OnDevice on_device(op, now);
    std::vector<StepRow> row;
    for (const auto& [rule, slot, maximize, options, rate] : rows) {
      StepRow r{};
      r.option[0] = scalar(rate, "lr", r.rate, r.rate_dtype);
      std::memcpy(r.option + 1, options.data(), options.size() * sizeof(double));
      r.rule = rule;
      r.slot = slot;
      r.maximize = maximize;
      row.push_back(r);
    }
    StepArgs a{};
    a.row = row.data();
    a.rows = static_cast<std::int64_t>(row.size());
    a.record = record_;
    a.numbers = numbers_;
    a.control = control_;
    a.checks = checks;
    a.scale = scalar(scale, "grad_scale", a.scale_at, a.scale_dtype);
    a.max_norm = max_norm;
    a.queue = now.queue;
    if (!report.is_none()) {
      Array out;
      read_array(out, report.ptr(), op, "report");
      a.report = static_cast<double*>(out.view.data);
    }
    std::vector<GradientPart> parts;
    for (std::size_t e = 0; checks && e < engines_.size(); ++e) {
      parts.push_back({engines_[e]->call().dtype, {}});
      for (std::size_t i = 0; i < engines_[e]->size(); ++i) {
        if (!engines_[e]->has_gradient(i)) continue;
        const TensorView& g = engines_[e]->gradient(i);
        parts.back().tensors.push_back({g.data, size_of(g)});
      }
    }
    begin_on_device(op, parts, a, squares_, partial_, arrived_);
    for (std::size_t e = 0; e < engines_.size(); ++e) {
      UpdateCall call = engines_[e]->call();
      call.queue = now.queue;
      call.params = numbers_;
      call.control = control_;
      call.zero_grads = zero_grads;
      call.seed = seed;
      run_update(call, engines_[e]->active(slots_[e]));
      engines_[e]->forget();
    }
  }

 private:
  void* keep(const py::object& array) {
    Array a;
    read_array(a, array.ptr(), engines_[0]->name().c_str(), "memory of the step");
    kept_.push_back(array);
    return a.view.data;
  }

  // A number, or where it lies.
  double scalar(const py::object& value, const char* what, const void*& at, Dtype& dtype) const {
    if (PyFloat_Check(value.ptr()) != 0) return PyFloat_AS_DOUBLE(value.ptr());
    const char* const op = engines_[0]->name().c_str();
    Array a;
    read_array(a, value.ptr(), op, what);
    check::same_device(op, what, a.view, "params[0]", engines_[0]->parameter());
    if ((a.view.element != Element::f32 && a.view.element != Element::f64) || size_of(a.view) != 1)
      check::fail_value(std::string(op) + ": " + what + " on the device must be one float32 or float64 number.");
    at = a.view.data;
    dtype = dtype_of(a.view.element);
    return 0;
  }

  std::vector<Engine*> engines_;
  std::vector<std::vector<std::size_t>> members_;
  std::vector<std::vector<int>> slots_;  // of the members
  std::vector<py::object> kept_;
  StepRecord* record_;
  double* numbers_;
  StepControl* control_;
  double* squares_;
  unsigned* arrived_;
  double* partial_;
};

}  // namespace

void init_device_step(py::module_& m) {
  py::class_<DeviceStep>(m, "DeviceStep")
      .def(py::init<std::vector<Engine*>, std::vector<std::vector<std::size_t>>, const py::object&, const py::object&,
                    const py::object&, const py::object&, const py::object&, const py::object&>(),
           py::keep_alive<1, 2>())
      .def("read", &DeviceStep::read)
      .def("assign", &DeviceStep::assign)
      .def("step", &DeviceStep::step);
  m.attr("row_numbers") = kRowNumbers;
  m.def("magnitude_room", &magnitude_room);
  m.def("step_rule", [](const std::string& name) {
    const int rule = find_step_rule(name);
    if (rule < 0) throw py::value_error("no step rule " + name);
    return rule;
  });
  // (numbers, carried) of a step, counted from 1; options: the learning rate first.
  m.def("step_numbers",
        [](const std::string& name, const std::vector<double>& options, double step, std::vector<double> carried) {
          const int rule = find_step_rule(name);
          if (rule < 0 || options.size() != static_cast<std::size_t>(step_rule(rule).options) ||
              carried.size() != static_cast<std::size_t>(step_rule(rule).carried)) {
            throw py::value_error("step_numbers: " + name);
          }
          std::vector<double> numbers = step_numbers(rule, options, step, carried);
          return std::make_pair(std::move(numbers), std::move(carried));
        });
}

}  // namespace dlk
