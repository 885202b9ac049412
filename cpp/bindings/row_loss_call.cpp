// Losses over rows.
#include "../cross_entropy.h"
#include "losses.h"

namespace dlk {
namespace {

// cross_entropy(input, target, weight, ignore_index, label_smoothing, reduction, axis)
struct CrossEntropy : LossExecutor {
  std::size_t input_slot = 0, target_slot = 0, weight_slot = 0, ignore_slot = 0, smoothing_slot = 0, axis_slot = 0;

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array input, target, weight;
    read_array(input, slot[input_slot], name, "input");
    read_array(target, slot[target_slot], name, "target");
    std::vector<std::pair<const Array*, const char*>> reads = {{&input, "input"}, {&target, "target"}};
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
    return finish(slot, c.call, {{&input, "input"}}, c.per_row, reads, run_row_loss);
  }

  // Classes are on dimension 1; a single vector of logits has them on dimension 0, as in PyTorch.
  int the_axis(PyObject* const* slot, const TensorView& input) const {
    if (slot[axis_slot] == nullptr) return input.ndim < 2 ? 0 : 1;
    return check::axis(op.c_str(), integer_argument(slot[axis_slot], op.c_str(), "axis"), input);
  }
};

}  // namespace

void init_row_losses(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  m.def("_make_cross_entropy", [](const std::string& name, const Parameters& parameters, const std::string& pass) {
    Spec spec = Spec::from_python(name, parameters);
    auto e = std::make_unique<CrossEntropy>();
    e->fill(spec, pass, {"mean", "sum", "none"});
    e->input_slot = spec.slot("input");
    e->target_slot = spec.slot("target");
    e->weight_slot = spec.slot("weight");
    e->ignore_slot = spec.slot("ignore_index");
    e->smoothing_slot = spec.slot("label_smoothing");
    e->axis_slot = spec.slot("axis");
    return make_call(name, std::move(spec.signature), std::move(e));
  });
}

}  // namespace dlk
