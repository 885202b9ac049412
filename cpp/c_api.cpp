// The C interface: the checks that the Python bindings make, the same calls, error codes instead of exceptions.
#include <dlkernels/dlkernels.h>

#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "check.h"
#include "dispatch.h"
#include "parallel.h"
#include "plan.h"
#include "row_losses.h"
#include "target.h"

namespace {

using namespace dlk;

thread_local std::string last_error;

int failed(int code, const char* text) {
  last_error = text;
  return code;
}

template <class Work>
int guarded(Work work) {
  try {
    work();
    return DLK_OK;
  } catch (const Error& e) {
    switch (e.kind) {
      case Error::Kind::type:
        return failed(DLK_TYPE_ERROR, e.what());
      case Error::Kind::value:
        return failed(DLK_VALUE_ERROR, e.what());
      case Error::Kind::index:
        return failed(DLK_INDEX_ERROR, e.what());
      case Error::Kind::memory:
        return failed(DLK_MEMORY_ERROR, e.what());
      default:
        return failed(DLK_RUNTIME_ERROR, e.what());
    }
  } catch (const std::invalid_argument& e) {
    return failed(DLK_VALUE_ERROR, e.what());
  } catch (const std::bad_alloc&) {
    return failed(DLK_MEMORY_ERROR, "out of memory");
  } catch (const std::exception& e) {
    return failed(DLK_RUNTIME_ERROR, e.what());
  }
}

TensorView view(const dlk_tensor* t, const char* op, const char* arg) {
  if (t == nullptr) check::fail_value(std::string(op) + ": " + arg + " is NULL.");
  if (t->ndim < 0 || t->ndim > kMaxDims)
    check::fail_value(std::string(op) + ": " + arg + " must have 0 to 64 dimensions.");
  TensorView v;
  v.data = t->data;
  v.element = t->dtype >= DLK_F32 && t->dtype <= DLK_I64 ? static_cast<Element>(t->dtype) : Element::other;
  std::strncpy(v.type_name, "an unknown dtype", sizeof v.type_name);
  v.device = Device::cpu;
  v.device_id = 0;
  v.readonly = false;
  v.ndim = t->ndim;
  v.queue = nullptr;
  std::int64_t step = item_size(v.element);
  for (int d = t->ndim - 1; d >= 0; --d) {
    if (t->shape[d] < 0) check::fail_value(std::string(op) + ": " + arg + " has a negative dimension.");
    v.shape[d] = t->shape[d];
    v.stride[d] = t->strides == nullptr ? step : t->strides[d];
    step *= t->shape[d];
  }
  return v;
}

// `out` may be written, and has the dtype and shape of `in`
void check_like(const char* op, const TensorView& in, const char* in_arg, const TensorView& out, const char* out_arg) {
  check::floating(op, in_arg, in);
  check::same_element(op, out_arg, out, in_arg, in.element);
  check::same_shape(op, out_arg, out, in_arg, in);
  check::writable(op, out_arg, out);
}

class HostWorkspace {
 public:
  Workspace workspace() {
    return [this](std::size_t bytes) {
      return static_cast<void*>(blocks_.emplace_back(new double[bytes / sizeof(double) + 1]).get());
    };
  }

 private:
  std::vector<std::unique_ptr<double[]>> blocks_;
};

const char* text(const char* s, const char* what) {
  if (s == nullptr) check::fail_value(std::string(what) + " is NULL.");
  return s;
}

int known(int index, const char* what, const char* op, const char* pass) {
  if (index < 0) check::fail_value(std::string("no ") + what + " op \"" + op + "\" with pass \"" + pass + "\".");
  return index;
}

struct Operands {
  TensorView in[kMaxIn];
  TensorView out;
  Operands(const char* op, const dlk_tensor* from, int ins, int wanted, const dlk_tensor* to)
      : out(view(to, op, "out")) {
    if (ins != wanted)
      check::fail_value(std::string(op) + ": wanted " + std::to_string(wanted) + " inputs, got " + std::to_string(ins) +
                        ".");
    if (ins > 0 && from == nullptr) check::fail_value(std::string(op) + ": in is NULL.");
    for (int k = 0; k < ins; ++k) {
      const std::string arg = "in[" + std::to_string(k) + "]";
      in[k] = view(&from[k], op, arg.c_str());
      check_like(op, in[k], arg.c_str(), out, "out");
    }
  }
};

// value and grad of a loss; `none` is the shape of the value for DLK_NONE
template <class Call>
void attach(Call& c, const TensorView& input, const TensorView& none, const dlk_tensor* value, const dlk_tensor* grad,
            TensorView& v, TensorView& g) {
  if (value == nullptr && grad == nullptr) check::fail_value(std::string(c.op) + ": value and grad are both NULL.");
  if (value != nullptr) {
    v = view(value, c.op, "value");
    check::same_element(c.op, "value", v, "the loss (float64 for float64 input, else float32)",
                        compute_element(input.element));
    TensorView scalar;
    scalar.ndim = 0;
    check::same_shape(c.op, "value", v, "the loss", c.reduction == Reduction::none ? none : scalar);
    check::writable(c.op, "value", v);
    if (!is_contiguous(v)) check::fail_value(std::string(c.op) + ": value must be contiguous.");
    c.value = &v;
  }
  if (grad != nullptr) {
    g = view(grad, c.op, "grad");
    check_like(c.op, input, "input", g, "grad");
    c.grad[0] = &g;
    c.grads = 1;
  }
}

Reduction reduction_of(const char* op, dlk_reduction r) {
  if (r != DLK_NONE && r != DLK_MEAN && r != DLK_SUM) check::fail_value(std::string(op) + ": unknown reduction.");
  return static_cast<Reduction>(r);
}

}  // namespace

extern "C" {

int dlk_abi_version(void) { return DLK_ABI_VERSION; }
const char* dlk_version(void) { return DLK_VERSION; }
const char* dlk_last_error(void) { return last_error.c_str(); }

const char* dlk_target(void) {
  const char* name = "";
  guarded([&] { name = cpu_target().name; });
  return name;
}
int dlk_set_target(const char* name) {
  return guarded([&] { set_cpu_target(name == nullptr ? "" : name); });
}
int dlk_num_threads(void) { return num_threads(); }
int dlk_set_num_threads(int threads) {
  return guarded([&] { set_num_threads(threads); });
}

int dlk_map(const char* op, const char* pass, const dlk_tensor* in, int ins, const dlk_tensor* out,
            const double* params, int count) {
  return guarded([&] {
    const int index = known(find_map(text(op, "op"), text(pass, "pass")), "elementwise", op, pass);
    const Entry<MapArgs>& entry = cpu_target().map->entry[index];
    if (entry.needs != nothing_more || entry.outs != 1) known(-1, "elementwise", op, pass);
    if (count != entry.params)
      check::fail_value(std::string(op) + ": wanted " + std::to_string(entry.params) + " params, got " +
                        std::to_string(count) + ".");
    const Operands o(op, in, ins, entry.ins, out);
    MapCall c{};
    c.op = op;
    c.index = index;
    c.dtype = dtype_of(o.out.element);
    for (int k = 0; k < ins; ++k) c.in[k] = &o.in[k];
    c.ins = ins;
    c.out[0] = &o.out;
    c.params = params;
    run(c);
  });
}

int dlk_rows(const char* op, const char* pass, const dlk_tensor* in, int ins, const dlk_tensor* out, int axis) {
  return guarded([&] {
    const int index = known(find_rows(text(op, "op"), text(pass, "pass")), "row", op, pass);
    const Entry<RowArgs>& entry = cpu_target().rows->entry[index];
    if (entry.needs != nothing_more || entry.outs != 1 || entry.params != 0) known(-1, "row", op, pass);
    const Operands o(op, in, ins, entry.ins, out);
    RowCall c{};
    c.op = op;
    c.index = index;
    c.dtype = dtype_of(o.out.element);
    for (int k = 0; k < ins; ++k) c.in[k] = &o.in[k];
    c.ins = ins;
    c.out[0] = &o.out;
    c.axis = check::axis(op, axis, o.out);
    run(c);
  });
}

int dlk_loss(const char* op, const dlk_tensor* input, const dlk_tensor* target, dlk_reduction reduction,
             const dlk_tensor* value, const dlk_tensor* grad) {
  return guarded([&] {
    LossCall c{};
    c.op = op;
    c.value_index = known(find_reduce(text(op, "op"), ""), "loss", op, "");
    c.grad_index = known(find_reduce(op, "grad"), "loss", op, "");
    const Entry<ReduceArgs>& entry = cpu_target().reduce->entry[c.grad_index];
    if (entry.ins != 2 || entry.outs != 1 || entry.params != 0) known(-1, "loss", op, "");
    TensorView x = view(input, op, "input"), t = view(target, op, "target"), v, g;
    check::floating(op, "input", x);
    check::same_element(op, "target", t, "input", x.element);
    check::same_shape(op, "target", t, "input", x);
    c.dtype = dtype_of(x.element);
    c.in[0] = &x;
    c.in[1] = &t;
    c.ins = 2;
    c.reduction = reduction_of(op, reduction);
    attach(c, x, x, value, grad, v, g);
    HostWorkspace w;
    run_elementwise_loss(c, w.workspace());
  });
}

int dlk_cross_entropy(const dlk_tensor* input, const dlk_tensor* target, const dlk_tensor* weight, int64_t ignore_index,
                      double label_smoothing, dlk_reduction reduction, int axis, const dlk_tensor* value,
                      const dlk_tensor* grad) {
  return guarded([&] {
    const char* op = "cross_entropy";
    TensorView x = view(input, op, "input"), t = view(target, op, "target"), w, v, g;
    if (weight != nullptr) w = view(weight, op, "weight");
    if (!(label_smoothing >= 0 && label_smoothing <= 1))
      check::fail_value(std::string(op) + ": label_smoothing must be in [0, 1], got " + number_text(label_smoothing) +
                        ".");
    RowLossArrays arrays;
    arrays.row[arrays.rows++] = {&x, "input"};
    arrays.label = {&t, "target"};
    arrays.soft = true;
    if (weight != nullptr) arrays.weight = {&w, "weight"};
    const double params[] = {label_smoothing, 0};
    RowLossCall c{};
    c.op = op;
    c.axis = check::axis(op, axis, x);
    const TensorView of_rows = set_arrays(c, arrays);
    c.index = find_rows(c.label == nullptr    ? "cross_entropy.soft"
                        : label_smoothing > 0 ? "cross_entropy.smooth"
                                              : "cross_entropy",
                        "");
    c.params = params;
    c.reduction = reduction_of(op, reduction);
    c.ignore = ignore_index;
    attach(c, x, of_rows, value, grad, v, g);
    HostWorkspace workspace;
    run_row_loss(c, workspace.workspace());
  });
}

int dlk_update(const char* rule, dlk_dtype dtype, const dlk_update_tensor* tensors, int64_t tensor_count,
               const double* params, int count, int groups) {
  return guarded([&] {
    const int index = known(find_update(text(rule, "rule")), "update", rule, "");
    const Entry<UpdateArgs>& entry = cpu_target().update->entry[index];
    if (entry.outs > 0) check::fail_value(std::string(rule) + ": is no rule of its own.");
    if (count != 1 + entry.params)
      check::fail_value(std::string(rule) + ": wanted " + std::to_string(1 + entry.params) + " params a group, got " +
                        std::to_string(count) + ".");
    if (dtype < DLK_F32 || dtype > DLK_BF16)
      check::fail_type(std::string(rule) + ": dtype must be float16, bfloat16, float32 or float64.");
    if (tensor_count > 0 && tensors == nullptr) check::fail_value(std::string(rule) + ": tensors is NULL.");
    if (groups > 0 && count > 0 && params == nullptr) check::fail_value(std::string(rule) + ": params is NULL.");
    std::vector<UpdateTensor> list;
    for (int64_t i = 0; i < tensor_count; ++i) {
      const dlk_update_tensor& t = tensors[i];
      bool missing = t.n > 0 && (t.param == nullptr || t.grad == nullptr);
      for (int k = 0; k < entry.ins; ++k) missing = missing || (t.n > 0 && t.state[k] == nullptr);
      if (missing) check::fail_value(std::string(rule) + ": tensor " + std::to_string(i) + " has a NULL array.");
      if (t.n < 0 || t.group < 0 || t.group >= groups)
        check::fail_value(std::string(rule) + ": tensor " + std::to_string(i) + " has a bad size or group.");
      UpdateTensor u{};
      u.param = t.param;
      u.grad = const_cast<void*>(t.grad);
      for (int k = 0; k < entry.ins; ++k) u.state[k] = t.state[k];
      u.n = t.n;
      u.group = t.group;
      list.push_back(u);
    }
    UpdateCall call{};
    call.index = index;
    call.dtype = static_cast<Dtype>(dtype);
    call.device = Device::cpu;
    call.params = params;
    run_update(call, list);
  });
}

}  // extern "C"
