#include "check.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "target.h"

namespace dlk {

std::string element_name(const TensorView& t) {
  switch (t.element) {
    case Element::f32:
      return "float32";
    case Element::f64:
      return "float64";
    case Element::f16:
      return "float16";
    case Element::bf16:
      return "bfloat16";
    case Element::i32:
      return "int32";
    case Element::i64:
      return "int64";
    case Element::u8:
      return "uint8";
    case Element::b8:
      return "bool";
    default:
      return t.type_name;
  }
}

std::string shape_text(const TensorView& t) {
  std::string s = "(";
  for (int d = 0; d < t.ndim; ++d) {
    s += std::to_string(t.shape[d]);
    if (d + 1 < t.ndim || t.ndim == 1) s += ",";
    if (d + 1 < t.ndim) s += " ";
  }
  return s + ")";
}

std::string number_text(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10g", v);
  return text;
}

namespace check {
namespace {

std::string at(const char* op, const char* arg) { return std::string(op) + ": " + arg; }

std::string device_name(const TensorView& t) {
  return t.device == Device::cpu ? "the CPU" : "CUDA device " + std::to_string(t.device_id);
}

void native_order(const char* op, const char* arg, const TensorView& t) {
  if (t.element != Element::other || t.type_name[0] != '>') return;
  fail_value(at(op, arg) + " must be in this machine's byte order, got " + t.type_name + ". Convert it: " + arg +
             ".astype(" + arg + ".dtype.newbyteorder(\"=\")).");
}

std::string name_of(Element e) {
  TensorView t;
  t.element = e;
  return element_name(t);
}

}  // namespace

void fail_value(const std::string& text) { throw Error(Error::Kind::value, text); }
void fail_type(const std::string& text) { throw Error(Error::Kind::type, text); }

void floating(const char* op, const char* arg, const TensorView& t) {
  if (is_float(t.element)) return;
  native_order(op, arg, t);
  fail_type(at(op, arg) + " must be float16, bfloat16, float32 or float64, got " + element_name(t) +
            ". Cast it: " + arg + ".astype(\"float32\").");
}

void class_ids(const char* op, const char* arg, const TensorView& t) {
  if (t.element == Element::i32 || t.element == Element::i64) return;
  native_order(op, arg, t);
  fail_type(at(op, arg) +
            " must hold class ids as int32 or int64, or probabilities with input's shape and dtype, got " +
            element_name(t) + " of shape " + shape_text(t) + ". Cast class ids: " + arg + ".astype(\"int64\").");
}

void same_element(const char* op, const char* arg, const TensorView& t, const char* other_arg, Element wanted) {
  if (t.element == wanted) return;
  native_order(op, arg, t);
  fail_type(at(op, arg) + " must be " + name_of(wanted) + " as " + other_arg + " requires, got " + element_name(t) +
            ". Cast it: " + arg + ".astype(\"" + name_of(wanted) + "\").");
}

void same_shape(const char* op, const char* arg, const TensorView& t, const char* other_arg, const TensorView& other) {
  if (dlk::same_shape(t, other)) return;
  fail_value(at(op, arg) + " must have the shape of " + other_arg + ", " + shape_text(other) + ", got " +
             shape_text(t) + ". Nothing is broadcast or resized.");
}

void same_device(const char* op, const char* arg, const TensorView& t, const char* other_arg, const TensorView& other) {
  if (t.device == other.device && (t.device == Device::cpu || t.device_id == other.device_id)) return;
  fail_value(at(op, arg) + " is on " + device_name(t) + " but " + other_arg + " is on " + device_name(other) +
             ": different devices. Move one of them first.");
}

void same_stream(const char* op, const char* arg, const TensorView& t, const char* other_arg, const TensorView& other) {
  same_device(op, arg, t, other_arg, other);
  const auto number = [](const TensorView& of) {  // 0 and 1 are two names of the legacy stream
    const auto queue = reinterpret_cast<std::uintptr_t>(of.queue);
    return queue == 1 ? 0 : queue;
  };
  if (number(t) == number(other)) return;
  fail_value(at(op, arg) + " is worked on in CUDA stream " + std::to_string(number(t)) + " but " + other_arg +
             " in stream " + std::to_string(number(other)) +
             ": the current streams of two libraries. Make one of them current in both, for example with " +
             "cupy.cuda.Stream.from_external(torch.cuda.current_stream()).");
}

void writable(const char* op, const char* arg, const TensorView& t) {
  if (t.readonly) fail_value(at(op, arg) + " is read-only. Pass a writable array, for example a copy of it.");
  // Sorted by stride, each dimension must step over everything the smaller ones reach.
  std::vector<std::pair<std::int64_t, std::int64_t>> dims;  // |stride|, extent
  for (int d = 0; d < t.ndim; ++d) {
    if (t.shape[d] == 0) return;
    if (t.shape[d] > 1) dims.emplace_back(std::llabs(t.stride[d]), t.shape[d]);
  }
  std::sort(dims.begin(), dims.end());
  std::int64_t reach = item_size(t.element);
  for (const auto& [stride, extent] : dims) {
    if (stride < reach) {
      fail_value(at(op, arg) +
                 " has several elements at one address (it is a broadcast or overlapping view). Pass an array of its "
                 "own, such as " +
                 arg + ".copy().");
    }
    reach += stride * (extent - 1);
  }
}

int axis(const char* op, std::int64_t axis, const TensorView& t) {
  const std::int64_t n = t.ndim == 0 ? 1 : t.ndim;  // a 0-d array is a row of one element
  if (axis < -n || axis >= n) {
    fail_value(at(op, "axis") + " must be in [" + std::to_string(-n) + ", " + std::to_string(n) + ") for an array of " +
               std::to_string(t.ndim) + " dimensions, got " + std::to_string(axis) + ".");
  }
  return static_cast<int>(axis < 0 ? axis + n : axis);
}

void overlap(const char* op, const char* out, const char* in) {
  fail_value(at(op, out) + " shares memory with " + in + " without being the same array. Pass " + in +
             " itself to work in place, or a separate " + out + ".");
}

void shared(const char* op, const char* out, const char* other) {
  fail_value(at(op, out) + " shares memory with " + other + ". Pass an array of its own.");
}

namespace {
std::string label_text(const BadLabel& bad) {
  return "[" + std::to_string(bad.row) + "] is " + std::to_string(bad.label) + ", wanted a class id in [0, " +
         std::to_string(bad.classes) + ") or ignore_index (" + std::to_string(bad.ignore) + ").";
}
}  // namespace

void label_range(const char* op, const char* arg, const BadLabel& bad) {
  throw Error(Error::Kind::index, at(op, arg) + label_text(bad));
}

void earlier_label(const char* op, const BadLabel& bad) {
  throw Error(Error::Kind::index,
              std::string(op) + ": an earlier loss on this device was given a target that is no class: target" +
                  label_text(bad) + " Its loss is NaN. (Reported now: calls on a GPU do not wait.)");
}

void cuda_layout(const char* op) {
  fail_value(std::string(op) + ": on a GPU, arrays must be made of at most " + std::to_string(kWalkDims) +
             " evenly spaced dimensions of whole elements. Pass contiguous arrays, such as copies.");
}

void not_on_this_target(const char* op, const char* target) {
  fail_value(std::string(op) + ": the target " + target + " does not have this op yet. Pass CPU arrays.");
}

void device_status(const char* op, int code) {
  if (code != 0) device_failed(op, code);
}

void device_failed(const char* op, int code) {
  const DeviceCalls& device = *target_for(Device::cuda).device;
  const std::string words = device.failure();
  throw Error(device.no_memory(code) ? Error::Kind::memory : Error::Kind::runtime,
              std::string(op) + ": " + (words.empty() ? "the device failed" : words) + " (CUDA error " +
                  std::to_string(code) + ").");
}

}  // namespace check
}  // namespace dlk
