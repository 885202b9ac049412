// Calls on a list of gradients that are nobody's parameters: how large they are together, and clipping them where they lie.
#include <memory>

#include "../check.h"
#include "../device.h"
#include "../plan.h"
#include "../target.h"
#include "executors.h"

namespace dlk {
namespace {

// Contiguous arrays of one dtype on one device.
struct GradientList {
  std::vector<std::unique_ptr<Array>> held;
  std::int64_t elements = 0;

  GradientList(const char* op, const py::list& arrays) {
    for (std::size_t i = 0; i < arrays.size(); ++i) {
      const std::string what = "grads[" + std::to_string(i) + "]";
      held.push_back(std::make_unique<Array>());
      const TensorView& g = held.back()->view;
      read_array(*held.back(), py::object(arrays[i]).ptr(), op, what.c_str());
      check::floating(op, what.c_str(), g);
      check::same_element(op, what.c_str(), g, "grads[0]", first().element);
      check::same_stream(op, what.c_str(), g, "grads[0]", first());
      if (!is_contiguous(g)) {
        check::fail_value(std::string(op) + ": " + what + " must be contiguous. Pass numpy.ascontiguousarray of it.");
      }
      elements += size_of(g);
    }
  }
  const TensorView& first() const { return held[0]->view; }
};

// On a GPU: queued. The last number of the array is the result.
py::object magnitude_on_device(const GradientList& grads, const std::string& how,
                               const std::vector<PlainTensor>& list) {
  const char* const op = "global_grad_norm";
  const OnDevice on_device(op, grads.first());
  const std::int64_t room = magnitude_on_device_room(list);
  Result scratch;
  new_array(scratch, *grads.held[0], Element::f64, 1, &room, op);
  auto* const memory = static_cast<double*>(scratch.array.view.data);
  clear(op, grads.first(), memory, room * 8);
  dlk::magnitude_on_device(how.c_str(), dtype_of(grads.first().element), list, memory, grads.first().queue);
  return scratch.owner;
}

py::object magnitude_of(const py::list& arrays, const std::string& how) {
  const GradientList grads("global_grad_norm", arrays);
  if (grads.held.empty()) return py::float_(0.0);
  std::vector<PlainTensor> list;
  for (const auto& g : grads.held) list.push_back({g->view.data, size_of(g->view)});
  if (grads.first().device == Device::cuda) return magnitude_on_device(grads, how, list);
  double result = 0;
  run_released(grads.elements,
               [&] { result = magnitude(how.c_str(), dtype_of(grads.first().element), grads.first().device, list); });
  return py::float_(result);
}

// A rule that looks at the arrays alone, in place.
void apply_to(const std::string& op, const std::string& rule, const py::list& arrays, std::vector<double> values) {
  const GradientList grads(op.c_str(), arrays);
  if (grads.held.empty()) return;
  std::vector<UpdateTensor> list;
  std::vector<MemoryRange> ranges;
  for (std::size_t i = 0; i < grads.held.size(); ++i) {
    const TensorView& g = grads.held[i]->view;
    check::writable(op.c_str(), ("grads[" + std::to_string(i) + "]").c_str(), g);
    const Extent e = extent_of(g);
    if (e.first != e.last) ranges.push_back({e.first, e.last, static_cast<int>(i)});
    UpdateTensor t{};
    t.param = t.grad = g.data;
    t.n = size_of(g);
    list.push_back(t);
  }
  const auto [first, second] = find_overlap(ranges);
  if (first >= 0) {
    check::fail_value(op + ": grads[" + std::to_string(first) + "] and grads[" + std::to_string(second) +
                      "] share memory.");
  }
  const OnDevice on_device(op.c_str(), grads.first());
  values.insert(values.begin(), 1.0);
  UpdateCall call{};
  call.index = required(find_update(rule));
  call.dtype = dtype_of(grads.first().element);
  call.device = grads.first().device;
  call.queue = grads.first().queue;
  call.params = values.data();
  run_released(grads.elements, [&] { run_update(call, list); });
}

}  // namespace

void init_gradient_lists(py::module_& m) {
  m.def("apply_to", &apply_to);
  m.def("magnitude", &magnitude_of);
}

}  // namespace dlk
