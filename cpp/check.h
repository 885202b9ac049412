// Every error text of the library, in one place. A text says the op, the argument, what was wanted, what came and the remedy.
// The bindings turn `Error` into the Python exception of its kind.
#pragma once
#include <stdexcept>
#include <string>

#include "tensor.h"

namespace dlk {

struct Error : std::runtime_error {
  enum class Kind { type, value, index, memory, runtime };
  Kind kind;
  Error(Kind k, const std::string& text) : std::runtime_error(text), kind(k) {}
};

std::string element_name(const TensorView& t);
std::string shape_text(const TensorView& t);
std::string number_text(double v);

namespace check {

void floating(const char* op, const char* arg, const TensorView& t);
void class_ids(const char* op, const char* arg, const TensorView& t);
void same_element(const char* op, const char* arg, const TensorView& t, const char* other_arg, Element wanted);
void same_shape(const char* op, const char* arg, const TensorView& t, const char* other_arg, const TensorView& other);
void same_device(const char* op, const char* arg, const TensorView& t, const char* other_arg, const TensorView& other);
// the same device, and the same stream of it: on two, one array could be read before it is made, or its memory be reused too early
void same_stream(const char* op, const char* arg, const TensorView& t, const char* other_arg, const TensorView& other);
// an output may be written: not read-only, and no two of its elements at one address
void writable(const char* op, const char* arg, const TensorView& t);
// An axis in [-ndim, ndim) becomes one in [0, ndim).
int axis(const char* op, std::int64_t axis, const TensorView& t);

[[noreturn]] void overlap(const char* op, const char* out, const char* in);
[[noreturn]] void shared(const char* op, const char* out, const char* other);
[[noreturn]] void label_range(const char* op, const char* arg, const BadLabel& bad);
[[noreturn]] void earlier_label(const char* op, const BadLabel& bad);  // found on a GPU after its call had returned
[[noreturn]] void cuda_layout(const char* op);                         // no kernel can walk such arrays
[[noreturn]] void fail_value(const std::string& text);
[[noreturn]] void fail_type(const std::string& text);
[[noreturn]] void not_on_this_target(const char* op, const char* target);
void device_status(const char* op, int code);  // of a launch
[[noreturn]] void device_failed(const char* op, int code);

}  // namespace check
}  // namespace dlk
