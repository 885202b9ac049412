// What the executors of losses share: loss(...), loss.value_and_grad(...) in one pass, loss.backward(dy, ...).
#pragma once
#include <deque>
#include <memory>

#include "../check.h"
#include "executors.h"

namespace dlk {

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
      host_.emplace_back(new char[bytes + 64]);
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
  std::size_t reduction_slot = 0, dy_slot = kMaxArguments, out_slot = kMaxArguments;
  std::vector<std::pair<std::string, Reduction>> reductions;  // allowed; the first is the default

  void fill(const Spec& spec, const std::string& which, const std::vector<std::string>& allowed);
  Reduction reduction(PyObject* const* slot) const;
  // Does the mean divide by the weights? Otherwise by the count.
  bool denominator(PyObject* const* slot, std::size_t at, bool fallback) const;

  // Completes the call with what every loss has in common, runs it and returns what this pass promises.
  // like[k]: what gradient k looks like, and its argument. per_value: the shape of the loss for reduction "none".
  // reads: every array that the call reads; an `out` may be one of them, but must not overlap it in another way.
  template <class Call, class Run>
  py::object finish(PyObject* const* slot, Call& call, const std::vector<std::pair<const Array*, const char*>>& like,
                    const TensorView& per_value, const std::vector<std::pair<const Array*, const char*>>& reads,
                    Run run_it) const {
    const char* name = op.c_str();
    const Array& input = *like[0].first;
    const Element value_element = compute_element(input.view.element);
    const bool none = call.reduction == Reduction::none;
    TensorView of_value;
    of_value.ndim = none ? per_value.ndim : 0;
    for (int d = 0; d < of_value.ndim; ++d) of_value.shape[d] = per_value.shape[d];
    Array dy;
    if (pass == Pass::backward) {
      read_array(dy, slot[dy_slot], name, "dy");
      check::same_stream(name, "dy", dy.view, like[0].second, input.view);
      check::same_element(name, "dy", dy.view, "the loss (float64 for float64 input, else float32)", value_element);
      check::same_shape(name, "dy", dy.view, "the loss", of_value);
      call.upstream = &dy.view;
    }
    std::deque<Output> grads;
    if (pass != Pass::value) {
      PyObject* const out = out_slot == kMaxArguments ? nullptr : slot[out_slot];
      const std::vector<PyObject*> each =
          like.size() == 1 ? std::vector<PyObject*>{out} : outputs_of(out, like.size(), name);
      for (std::size_t k = 0; k < like.size(); ++k) {
        Output& grad = grads.emplace_back(each[k], *like[k].first, name, like[k].second, Output::Reads{});
        for (const auto& [array, arg] : reads) grad.refuse(*array, name, arg);
        if (call.upstream != nullptr) grad.refuse(dy, name, "dy");
        for (std::size_t j = 0; j < k; ++j) grad.refuse_shared(grads[j], name);
        call.grad[call.grads++] = &grad.view();
      }
    }
    Result value;
    if (pass != Pass::backward) {
      new_array(value, input, value_element, of_value.ndim, of_value.shape, name);
      call.value = &value.array.view;
    }
    Scratch scratch(input);
    const Workspace workspace = scratch.workspace();
    run_released(size_of(input.view), [&] { run_it(call, workspace); });
    if (pass == Pass::value) return finished(value, input.object);
    py::object gradient = grads[0].take();
    if (grads.size() > 1) {
      py::tuple all(grads.size());
      all[0] = gradient;
      for (std::size_t k = 1; k < grads.size(); ++k) all[k] = grads[k].take();
      gradient = all;
    }
    if (pass == Pass::backward) return gradient;
    return py::make_tuple(finished(value, input.object), gradient);
  }
};

}  // namespace dlk
