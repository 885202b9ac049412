// Losses over rows: arrays of one shape, class ids or a number for each row, weights of the classes.
#include <algorithm>

#include "../row_losses.h"
#include "../target.h"
#include "losses.h"

namespace dlk {
namespace {

// The kernels of a loss under one choice of its options.
struct Forms {
  int plain, soft;         // against class ids, against a distribution; -1: not that
  std::vector<int> where;  // instead of plain, for a hyper-parameter that is not 0
};

struct RowLoss : LossExecutor {
  std::vector<ArrayArgument> arrays;                           // in the order of the call
  std::size_t label = kMaxArguments, per_row = kMaxArguments;  // which of them is not one more row
  std::vector<std::size_t> grads;                              // which of them have a gradient
  std::vector<Scalar> scalars;
  std::vector<std::size_t> where;  // the scalars that choose a kernel by not being 0
  Choices choices;                 // -> place in `forms`
  std::vector<Forms> forms;
  std::size_t weight_slot = kMaxArguments, ignore_slot = kMaxArguments, denominator_slot = kMaxArguments;
  std::size_t axis_slot = kMaxArguments, axes_slot = kMaxArguments;
  bool over_weight = true, soft = false;
  int first_axis = 0;  // of what a row is made by default; negative: the last

  void set_axes(RowLossCall& call, PyObject* const* slot, const TensorView& input) const {
    if (axes_slot != kMaxArguments) {
      if (first_axis == 1 && input.ndim < 2 && !given(slot[axes_slot])) {
        check::fail_value(op + ": " + arrays[0].name +
                          " must have at least 2 dimensions, the first of which counts examples, got shape " +
                          shape_text(input) + ". Of examples with one number each, pass [:, None].");
      }
      const Axes axes = axes_argument(slot[axes_slot], op.c_str(), "axes", input, first_axis);
      call.axis = axes.first;
      call.axes = axes.count;
    } else if (slot[axis_slot] != nullptr) {
      call.axis = check::axis(op.c_str(), integer_argument(slot[axis_slot], op.c_str(), "axis"), input);
    } else {  // a single row has only one dimension to choose
      const int last = input.ndim > 0 ? input.ndim - 1 : 0;
      call.axis = first_axis < 0 || first_axis > last ? last : first_axis;
    }
  }

  int kernel(PyObject* const* slot, bool distribution, const double* params) const {
    const Forms& f = forms[static_cast<std::size_t>(choices.chosen(slot, op.c_str()))];
    if (distribution) return f.soft;
    for (std::size_t k = 0; k < where.size(); ++k) {
      if (params[where[k]] != 0) return f.where[k];
    }
    return f.plain;
  }

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array array[kMaxIn + 1], weight;
    std::vector<std::pair<const Array*, const char*>> reads, like;
    RowLossArrays views;
    views.soft = soft;
    for (std::size_t k = 0; k < arrays.size(); ++k) {
      const char* arg = arrays[k].name.c_str();
      read_array(array[k], slot[arrays[k].slot], name, arg);
      reads.emplace_back(&array[k], arg);
      const RowLossArrays::Named named{&array[k].view, arg};
      (k == label ? views.label : k == per_row ? views.per_row : views.row[views.rows++]) = named;
    }
    if (weight_slot != kMaxArguments && given(slot[weight_slot])) {
      read_array(weight, slot[weight_slot], name, "weight");
      reads.emplace_back(&weight, "weight");
      views.weight = {&weight.view, "weight"};
    }
    for (const std::size_t k : grads) like.emplace_back(&array[k], arrays[k].name.c_str());
    double params[kMaxScalarArguments];
    read_scalars(scalars, slot, name, params);
    RowLossCall call{};
    call.op = name;
    set_axes(call, slot, *views.row[0].view);
    const TensorView of_rows = set_arrays(call, views);
    call.index = kernel(slot, views.label.view != nullptr && call.label == nullptr, params);
    call.params = params;
    call.reduction = reduction(slot);
    call.over_weight = denominator(slot, denominator_slot, over_weight);
    if (ignore_slot != kMaxArguments)
      call.ignore = slot[ignore_slot] == nullptr ? -100 : integer_argument(slot[ignore_slot], name, "ignore_index");
    return finish(slot, call, like, of_rows, reads, run_row_loss);
  }
};

}  // namespace

void init_row_losses(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  m.def("_make_row_loss", [](const std::string& name, const Parameters& parameters, const std::string& entry,
                             const std::string& pass, const std::vector<std::string>& arrays, const py::list& scalars,
                             const py::list& choices, const py::dict& form) {
    Spec spec = Spec::from_python(name, parameters);
    auto e = std::make_unique<RowLoss>();
    e->fill(spec, pass, {"mean", "sum", "none"});
    const auto place = [&](const py::handle& array) {
      const auto found = std::find(arrays.begin(), arrays.end(), array.cast<std::string>());
      return found == arrays.end() ? std::size_t{kMaxArguments} : static_cast<std::size_t>(found - arrays.begin());
    };
    for (const std::string& array : arrays) e->arrays.push_back({spec.slot(array), array, false});
    e->label = place(form["label"]);
    e->per_row = place(form["per_row"]);
    for (const py::handle grad : form["grads"]) e->grads.push_back(place(grad));
    e->soft = form["soft"].cast<bool>();
    e->over_weight = form["over_weight"].cast<bool>();
    e->first_axis = form["first_axis"].cast<int>();
    e->scalars = spec.scalars(scalars);
    std::vector<std::string> where;
    for (const auto& [scalar, suffix] : form["where"].cast<py::dict>()) {
      for (std::size_t k = 0; k < e->scalars.size(); ++k) {
        if (e->scalars[k].name == scalar.cast<std::string>()) e->where.push_back(k);
      }
      where.push_back(suffix.cast<std::string>());
    }
    e->choices = spec.choices(choices);
    e->choices.fill([&](const std::string& suffix) {
      Forms f{find_rows(entry + suffix, ""), e->soft ? find_rows(entry + suffix + ".soft", "") : -1, {}};
      for (const std::string& added : where) f.where.push_back(find_rows(entry + suffix + added, ""));
      const bool complete = f.plain >= 0 && (!e->soft || f.soft >= 0) && e->where.size() == f.where.size() &&
                            std::find(f.where.begin(), f.where.end(), -1) == f.where.end();
      if (!complete) return -1;
      e->forms.push_back(std::move(f));
      return static_cast<int>(e->forms.size()) - 1;
    });
    e->weight_slot = spec.slot_or_none("weight");
    e->ignore_slot = spec.slot_or_none("ignore_index");
    e->denominator_slot = spec.slot_or_none("denominator");
    e->axis_slot = spec.slot_or_none("axis");
    e->axes_slot = spec.slot_or_none("axes");
    return make_call(name, std::move(spec.signature), std::move(e));
  });
}

}  // namespace dlk
