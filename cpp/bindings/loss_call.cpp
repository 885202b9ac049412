// Losses of arrays of one shape, element by element.
#include <algorithm>
#include <cstring>

#include "../target.h"
#include "losses.h"

namespace dlk {

void LossExecutor::fill(const Spec& spec, const std::string& which, const std::vector<std::string>& allowed) {
  pass = which == "value" ? Pass::value : which == "value_and_grad" ? Pass::value_and_grad : Pass::backward;
  reduction_slot = spec.slot("reduction");
  dy_slot = spec.slot_or_none("dy");
  out_slot = spec.slot_or_none("out");
  for (const std::string& r : allowed) {
    reductions.emplace_back(r, r == "none"   ? Reduction::none
                               : r == "sum"  ? Reduction::sum
                               : r == "mean" ? Reduction::mean
                                             : Reduction::batchmean);
  }
}

Reduction LossExecutor::reduction(PyObject* const* slot) const {
  if (slot[reduction_slot] == nullptr) return reductions.front().second;
  const std::string asked = string_argument(slot[reduction_slot], op.c_str(), "reduction");
  std::vector<std::string> wanted;
  for (const auto& [name, r] : reductions) {
    if (name == asked) return r;
    wanted.push_back("\"" + name + "\"");
  }
  check::fail_value(op + ": reduction must be " + alternatives(wanted) + ", got \"" + asked + "\".");
}

bool LossExecutor::denominator(PyObject* const* slot, std::size_t at, bool fallback) const {
  if (at == kMaxArguments || slot[at] == nullptr) return fallback;
  const std::string asked = string_argument(slot[at], op.c_str(), "denominator");
  if (asked != "weight" && asked != "count") {
    check::fail_value(op + ": denominator must be \"weight\" or \"count\", got \"" + asked + "\".");
  }
  return asked == "weight";
}

namespace {

struct ElementwiseLoss : LossExecutor {
  std::vector<ArrayArgument> arrays;  // the first decides shape, dtype and device
  std::vector<std::size_t> grads;     // which of them have a gradient
  std::vector<Scalar> scalars;
  Choices choices;                           // -> place in `entries`
  std::vector<std::pair<int, int>> entries;  // value and gradient kernel
  std::size_t weight_slot = kMaxArguments, denominator_slot = kMaxArguments, classes_slot = kMaxArguments;
  std::size_t probabilities = kMaxIn;  // which of the arrays must lie in [0, 1], if any
  bool over_weight = true;

  // How many of the hyper-parameters a kernel looks at: the first ones.
  static std::size_t used(int index) { return static_cast<std::size_t>(cpu_target().reduce->entry[index].params); }

  // An array that may repeat along dimensions of the first one.
  void read_broadcast(Array& a, PyObject* object, const char* arg, const Array& like) const {
    const char* name = op.c_str();
    read_array(a, object, name, arg);
    const char* like_arg = arrays[0].name.c_str();
    check::same_stream(name, arg, a.view, like_arg, like.view);
    check::same_element(name, arg, a.view, like_arg, like.view.element);
    const TensorView as_given = a.view;
    if (!broadcast(a.view, like.view)) {
      check::fail_value(op + ": " + arg + " must broadcast to " + like_arg + "'s shape " + shape_text(like.view) +
                        ", got " + shape_text(as_given) + ".");
    }
  }

  // One more pass on a CPU; on a device, where nothing waits for the answer, such an element is NaN.
  void check_probabilities(const Array& a) const {
    if (a.view.device != Device::cpu) return;
    static const int outside = required(find_reduce("outside_unit_interval", ""));
    double room = 0;
    TensorView count{};
    count.data = &room;
    count.element = compute_element(a.view.element);
    LossCall call{};
    call.op = op.c_str();
    call.value_index = call.grad_index = outside;
    call.dtype = dtype_of(a.view.element);
    call.in[0] = &a.view;
    call.ins = 1;
    call.value = &count;
    call.reduction = Reduction::sum;
    Scratch scratch(a);
    const Workspace workspace = scratch.workspace();
    run_released(size_of(a.view), [&] { run_elementwise_loss(call, workspace); });
    if (room == 0) return;
    const std::string& name = arrays[probabilities].name;
    check::fail_value(op + ": " + name + " must be in [0, 1], and is not everywhere. Of logits, take " +
                      op.substr(0, op.find('.')) + "_with_logits.");
  }

  // A weight that leaves only the given classes, which are on dimension 1: 1 for them, 0 for the others. It lies where x does.
  void read_classes(Result& weight, PyObject* classes, const Array& x) const {
    const char* name = op.c_str();
    const TensorView& like = x.view;
    if (like.ndim < 2) {
      check::fail_value(op + ": idc chooses among the classes on dimension 1, got " + arrays[0].name + " of shape " +
                        shape_text(like) + ".");
    }
    const std::int64_t item = item_size(like.element);
    std::vector<char> chosen(static_cast<std::size_t>(like.shape[1] * item), 0);
    for (const std::int64_t c : numbers(classes, [&](PyObject* v) { return integer_argument(v, name, "idc"); })) {
      if (c < 0 || c >= like.shape[1]) {
        check::fail_value(op + ": idc must be in [0, " + std::to_string(like.shape[1]) +
                          "), the classes on dimension 1, got " + std::to_string(c) + ".");
      }
      one(like.element, chosen.data() + c * item);
    }
    new_from_host(weight, x, like.element, like.shape[1], chosen.data(), name);
    const TensorView of_classes = weight.array.view;
    TensorView& view = weight.array.view;
    view.ndim = like.ndim;
    for (int d = 0; d < like.ndim; ++d) {
      view.shape[d] = like.shape[d];
      view.stride[d] = d == 1 ? of_classes.stride[0] : 0;
    }
  }

  // Writes 1 as a storage type.
  static void one(Element element, char* to) {
    const double f64 = 1;
    const float f32 = 1;
    const std::uint16_t half = element == Element::f16 ? 0x3c00 : 0x3f80;
    const void* bits = &half;
    if (element == Element::f64) bits = &f64;
    if (element == Element::f32) bits = &f32;
    std::memcpy(to, bits, static_cast<std::size_t>(item_size(element)));
  }

  py::object operator()(PyObject* const* slot) const override {
    const char* name = op.c_str();
    Array array[kMaxIn], weight;
    std::vector<std::pair<const Array*, const char*>> reads, like;
    LossCall call{};
    call.ins = static_cast<int>(arrays.size());
    for (std::size_t k = 0; k < arrays.size(); ++k) {
      const ArrayArgument& argument = arrays[k];
      if (argument.optional && !given(slot[argument.slot])) continue;
      const char* arg = argument.name.c_str();
      if (argument.optional) {
        read_broadcast(array[k], slot[argument.slot], arg, array[0]);
      } else {
        read_array(array[k], slot[argument.slot], name, arg);
        if (k == 0) check::floating(name, arg, array[0].view);
        const char* first = arrays[0].name.c_str();
        check::same_stream(name, arg, array[k].view, first, array[0].view);
        check::same_element(name, arg, array[k].view, first, array[0].view.element);
        check::same_shape(name, arg, array[k].view, first, array[0].view);
      }
      call.in[k] = &array[k].view;
      reads.emplace_back(&array[k], arg);
    }
    if (weight_slot != kMaxArguments && given(slot[weight_slot])) {
      read_broadcast(weight, slot[weight_slot], "weight", array[0]);
      call.weight = &weight.view;
      reads.emplace_back(&weight, "weight");
    }
    Result of_classes;
    if (classes_slot != kMaxArguments && given(slot[classes_slot])) {
      if (call.weight != nullptr) check::fail_value(op + ": wanted idc or weight, got both.");
      read_classes(of_classes, slot[classes_slot], array[0]);
      call.weight = &of_classes.array.view;
    }
    for (const std::size_t k : grads) like.emplace_back(&array[k], arrays[k].name.c_str());
    double params[kMaxScalarArguments];
    read_scalars(scalars, slot, name, params);
    const auto [value_index, grad_index] = entries[static_cast<std::size_t>(choices.chosen(slot, name))];
    for (std::size_t k = used(value_index); k < scalars.size(); ++k) {
      if (params[k] == scalars[k].fallback) continue;
      check::fail_value(op + ": " + scalars[k].name + " means nothing with these options, got " +
                        number_text(params[k]) + ".");
    }
    call.op = name;
    call.value_index = value_index;
    call.grad_index = grad_index;
    call.dtype = dtype_of(array[0].view.element);
    call.reduction = reduction(slot);
    call.over_weight = denominator(slot, denominator_slot, over_weight);
    call.params = params;
    if (probabilities != kMaxIn) check_probabilities(array[probabilities]);
    return finish(slot, call, like, array[0].view, reads, run_elementwise_loss);
  }
};

}  // namespace

void init_losses(py::module_& m) {
  using Parameters = std::vector<std::tuple<std::string, bool, bool>>;
  using Arrays = std::vector<std::pair<std::string, bool>>;  // name, optional
  m.def(
      "_make_elementwise_loss",
      [](const std::string& name, const Parameters& parameters, const std::string& entry, const std::string& pass,
         const Arrays& arrays, const std::vector<std::string>& grads, const py::list& scalars, const py::list& choices,
         const std::vector<std::string>& reductions, bool over_weight, const std::string& probabilities) {
        Spec spec = Spec::from_python(name, parameters);
        auto e = std::make_unique<ElementwiseLoss>();
        e->fill(spec, pass, reductions);
        for (const auto& [array, optional] : arrays) e->arrays.push_back({spec.slot(array), array, optional});
        for (std::size_t k = 0; k < arrays.size(); ++k) {
          if (arrays[k].first == probabilities) e->probabilities = k;
        }
        for (const std::string& grad : grads) {
          for (std::size_t k = 0; k < arrays.size(); ++k) {
            if (arrays[k].first == grad) e->grads.push_back(k);
          }
        }
        e->scalars = spec.scalars(scalars);
        e->choices = spec.choices(choices);
        e->choices.fill([&](const std::string& suffix) {
          const int value = find_reduce(entry + suffix, ""), grad = find_reduce(entry + suffix, "grad");
          if (value < 0 || grad < 0) return -1;
          e->entries.emplace_back(value, grad);
          return static_cast<int>(e->entries.size()) - 1;
        });
        std::size_t most = 0;
        for (const auto& [value, grad] : e->entries) most = std::max(most, ElementwiseLoss::used(value));
        if (most != e->scalars.size()) throw py::value_error(name + ": its kernels look at other hyper-parameters");
        e->weight_slot = spec.slot_or_none("weight");
        e->classes_slot = spec.slot_or_none("idc");
        e->denominator_slot = spec.slot_or_none("denominator");
        e->over_weight = over_weight;
        return make_call(name, std::move(spec.signature), std::move(e));
      });
}

}  // namespace dlk
