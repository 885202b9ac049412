// Losses: loss(input, target, ...), loss.value_and_grad(...) in one pass, and loss.backward(dy, input, target, ...).
#include <memory>
#include <optional>
#include <vector>

#include "../check.h"
#include "../cross_entropy.h"
#include "../target.h"
#include "executors.h"

namespace dlk {
namespace {

enum class Pass { value, value_and_grad, backward };

// Intermediate results for the time of one call, on the device of the call.
class Scratch {
 public:
  explicit Scratch(const Array& like) : like_(like) {}
  Workspace workspace() {
    return [this](std::size_t bytes) { return take(bytes); };
  }

 private:
  void* take(std::size_t bytes) {
    if (like_.view.device == Device::cpu) {
      host_.push_back(std::make_unique<char[]>(bytes + 64));
      const auto at = reinterpret_cast<std::uintptr_t>(host_.back().get());
      return reinterpret_cast<void*>((at + 63) / 64 * 64);
    }
    const py::gil_scoped_acquire acquire;  // device memory comes from the caller's array library and its pool
    Result& r = *device_.emplace_back(std::make_unique<Result>());
    const std::int64_t words = static_cast<std::int64_t>(bytes / 8 + 1);
    new_array(r, like_, Element::f64, 1, &words, "workspace");
    return r.array.view.data;
  }

  const Array& like_;
  std::vector<std::unique_ptr<char[]>> host_;
  std::vector<std::unique_ptr<Result>> device_;
};

struct LossExecutor : Executor {
  Pass pass = Pass::value;
  std::size_t input_slot = 0, target_slot = 0, reduction_slot = 0, dy_slot = kMaxArguments, out_slot = kMaxArguments;

  Reduction reduction(PyObject* const* slot) const {
    if (slot[reduction_slot] == nullptr) return Reduction::mean;
    const std::string r = string_argument(slot[reduction_slot], op.c_str(), "reduction");
    if (r == "mean") return Reduction::mean;
    if (r == "sum") return Reduction::sum;
    if (r == "none") return Reduction::none;
    check::fail_value(op + ": reduction must be \"none\", \"mean\" or \"sum\", got \"" + r + "\".");
  }

  // Completes the call with what every loss has in common, runs it and returns what this pass promises.
  // value_shape: the shape of the loss for reduction "none".
  template <class Run>
  py::object finish(PyObject* const* slot, const Array& input, LossCall& call, int value_ndim,
                    const std::int64_t* value_shape, const std::vector<std::pair<const Array*, const char*>>& reads,
                    Run run_it) const {
    const char* name = op.c_str();
    const Element value_element = compute_element(input.view.element);
    const bool none = call.reduction == Reduction::none;
    Array dy;
    if (pass == Pass::backward) {
      read_array(dy, slot[dy_slot], name, "dy");
      check::same_device(name, "dy", dy.view, "input", input.view);
      check::same_element(name, "dy", dy.view, "the loss (float64 for float64 input, else float32)", value_element);
      TensorView shape;
      shape.ndim = none ? value_ndim : 0;
      for (int d = 0; d < shape.ndim; ++d) shape.shape[d] = value_shape[d];
      check::same_shape(name, "dy", dy.view, "the loss", shape);
      call.upstream = &dy.view;
    }
    Result value;
    std::optional<Output> grad;
    if (pass != Pass::value) {
      grad.emplace(out_slot == kMaxArguments ? nullptr : slot[out_slot], input, name, "input",
                   Output::Reads{{&input, "input"}});
      for (const auto& [array, arg] : reads) grad->refuse(*array, name, arg);
      if (call.upstream != nullptr) grad->refuse(dy, name, "dy");
      call.grad = &grad->view();
    }
    if (pass != Pass::backward) {
      new_array(value, input, value_element, none ? value_ndim : 0, value_shape, name);
      call.value = &value.array.view;
    }
    Scratch scratch(input);
    const Workspace workspace = scratch.workspace();
    run_released(size_of(input.view), [&] { run_it(call, workspace); });
    if (pass == Pass::backward) return grad->take();
    py::object v = finished(value, input.object);
    return pass == Pass::value ? v : py::make_tuple(v, grad->take());
  }
};

// Losses of two arrays of one shape.
struct ElementwiseLoss : LossExecutor {
  int index = 0, map_value = 0, map_grad = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array input, target;
    read_array(input, slot[input_slot], name, "input");
    read_array(target, slot[target_slot], name, "target");
    check::floating(name, "input", input.view);
    check::same_device(name, "target", target.view, "input", input.view);
    check::same_element(name, "target", target.view, "input", input.view.element);
    check::same_shape(name, "target", target.view, "input", input.view);
    LossCall call{};
    call.op = name;
    call.index = index;
    call.map_value = map_value;
    call.map_grad = map_grad;
    call.dtype = dtype_of(input.view.element);
    call.input = &input.view;
    call.target = &target.view;
    call.reduction = reduction(slot);
    return finish(slot, input, call, input.view.ndim, input.view.shape, {{&target, "target"}}, run_elementwise_loss);
  }
};

// cross_entropy(input, target, weight, ignore_index, label_smoothing, reduction, axis)
struct CrossEntropy : LossExecutor {
  std::size_t weight_slot = 0, ignore_slot = 0, smoothing_slot = 0, axis_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array input, target, weight;
    read_array(input, slot[input_slot], name, "input");
    read_array(target, slot[target_slot], name, "target");
    std::vector<std::pair<const Array*, const char*>> reads = {{&target, "target"}};
    const bool weighted = given(slot[weight_slot]);
    if (weighted) {
      read_array(weight, slot[weight_slot], name, "weight");
      reads.emplace_back(&weight, "weight");
    }
    const std::int64_t ignore =
        slot[ignore_slot] == nullptr ? -100 : integer_argument(slot[ignore_slot], name, "ignore_index");
    const double smoothing =
        slot[smoothing_slot] == nullptr ? 0 : real_argument(slot[smoothing_slot], name, "label_smoothing");
    CrossEntropyCall c;
    prepare_cross_entropy(c, name, input.view, target.view, weighted ? &weight.view : nullptr,
                          the_axis(slot, input.view), ignore, smoothing, reduction(slot));
    return finish(slot, input, c.call, c.per_row.ndim, c.per_row.shape, reads, run_row_loss);
  }

  // Classes are on dimension 1; a single vector of logits has them on dimension 0, as in PyTorch.
  int the_axis(PyObject* const* slot, const TensorView& input) const {
    if (slot[axis_slot] == nullptr) return input.ndim < 2 ? 0 : 1;
    return check::axis(op.c_str(), integer_argument(slot[axis_slot], op.c_str(), "axis"), input);
  }
};

Pass pass_of(const std::string& pass) {
  return pass == "value" ? Pass::value : pass == "value_and_grad" ? Pass::value_and_grad : Pass::backward;
}

void fill_common(LossExecutor& e, const Spec& spec, const std::string& pass) {
  e.pass = pass_of(pass);
  e.input_slot = spec.slot("input");
  e.target_slot = spec.slot("target");
  e.reduction_slot = spec.slot("reduction");
  e.dy_slot = spec.slot_or_none("dy");
  e.out_slot = spec.slot_or_none("out");
}

}  // namespace

void init_losses(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  m.def("_make_elementwise_loss",
        [](const std::string& name, const Parameters& parameters, const std::string& entry, const std::string& pass) {
          Spec spec = Spec::from_python(name, parameters);
          auto e = std::make_unique<ElementwiseLoss>();
          fill_common(*e, spec, pass);
          e->index = find_reduce(entry);
          e->map_value = find_map(entry, "");
          e->map_grad = find_map(entry, "grad");
          if (e->index < 0 || e->map_value < 0 || e->map_grad < 0) throw py::value_error("no loss kernels " + entry);
          return make_call(name, std::move(spec.signature), std::move(e));
        });
  m.def("_make_cross_entropy", [](const std::string& name, const Parameters& parameters, const std::string& pass) {
    Spec spec = Spec::from_python(name, parameters);
    auto e = std::make_unique<CrossEntropy>();
    fill_common(*e, spec, pass);
    e->weight_slot = spec.slot("weight");
    e->ignore_slot = spec.slot("ignore_index");
    e->smoothing_slot = spec.slot("label_smoothing");
    e->axis_slot = spec.slot("axis");
    return make_call(name, std::move(spec.signature), std::move(e));
  });
}

}  // namespace dlk
