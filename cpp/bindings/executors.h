// The executors behind the callables, one factory each. A spec is what _op.py derives from an op's Python definition.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "../dispatch.h"
#include "arrays.h"
#include "call.h"

namespace dlk {

constexpr int kMaxScalarArguments = 10;

// A hyper-parameter: a number or a bool, which reaches the kernel as 0 or 1. An optional one may be None and is then `fallback`.
struct Scalar {
  std::size_t slot;
  std::string name;
  double fallback;
  bool flag, optional, whole;
  std::string limit;  // as error texts say it; empty: any number
  double low, high;
  bool low_open, high_open;
  int at_least;  // the place of another one that this one must not be below, or -1
};

// Arguments whose values choose the kernel: its name is the op's and a suffix for each.
struct Choice {
  std::size_t slot;
  std::string name, fallback;                          // suffix of the default
  std::vector<std::pair<py::object, std::string>> of;  // value -> suffix

  std::string suffix(PyObject* const* slots, const char* op) const;
};
struct Choices {
  std::vector<Choice> choice;
  std::vector<std::pair<std::string, int>> index;  // suffix -> what the factory found for it

  int chosen(PyObject* const* slots, const char* op) const;
  std::string chosen_suffix(PyObject* const* slots, const char* op) const;
  // `find` tells the index of a suffix, negative if there is none.
  template <class Find>
  void fill(Find find) {
    for (const std::string& suffix : all_suffixes()) {
      const int found = find(suffix);
      if (found < 0) throw py::value_error("no kernel for the suffix \"" + suffix + "\"");
      index.emplace_back(suffix, found);
    }
  }

 private:
  std::vector<std::string> all_suffixes() const;
};

struct Spec {
  std::string name;
  std::vector<Parameter> signature;

  static Spec from_python(const std::string& name, const std::vector<std::tuple<std::string, bool, bool>>& parameters);
  std::size_t slot(const std::string& parameter) const;          // throws if absent
  std::size_t slot_or_none(const std::string& parameter) const;  // kMaxArguments if absent
  std::vector<Scalar> scalars(const py::list& described) const;  // _op.py: _scalars
  Choices choices(const py::list& described) const;              // _op.py: _choices
};

// Fills values[i] from the slot or the default; checks limits.
void read_scalars(const std::vector<Scalar>& scalars, PyObject* const* slot, const char* op, double* values);

// "a", "b" or "c": for error texts
std::string alternatives(const std::vector<std::string>& of);

// An array argument in its slot.
struct ArrayArgument {
  std::size_t slot;
  std::string name;
  bool optional;
};

// Where a call writes: the array that the caller passed as `out`, or a new one.
class Output {
 public:
  using Reads = std::initializer_list<std::pair<const Array*, const char*>>;

  // A passed `out` must look like `like` (`like_arg` in error texts), be writable, and be disjoint from or identical to what is read.
  Output(PyObject* out, const Array& like, const char* op, const char* like_arg, Reads reads);
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  // One more array that a passed `out` must not overlap.
  void refuse(const Array& read, const char* op, const char* arg) const {
    if (passed_ != nullptr) refuse_overlap(given_, read, op, "out", arg);
  }
  // Another output, of which this one must not share a byte.
  void refuse_shared(const Output& other, const char* op) const;
  void refuse_shared(const Array& other, const char* op) const {
    if (passed_ != nullptr) dlk::refuse_shared(given_, other, op, "out", "another out");
  }
  const TensorView& view() const { return passed_ == nullptr ? fresh_.array.view : given_.view; }
  py::object take() {
    return passed_ == nullptr ? finished(fresh_, like_) : py::reinterpret_borrow<py::object>(passed_);
  }

 private:
  PyObject* passed_;
  PyObject* like_;
  Array given_;
  Result fresh_;
};

// The dimensions that an argument `axes` names: an integer or a tuple of neighbors. Not given: all from `first` on, at least one.
struct Axes {
  int first, count;
};
Axes axes_argument(PyObject* value, const char* op, const char* arg, const TensorView& t, int first);

// `out` of a call with several results: absent, or a tuple with an array or None for each.
std::vector<PyObject*> outputs_of(PyObject* out, std::size_t wanted, const char* op);

// An elementwise call that has no operands yet.
inline MapCall map_call(const char* op, int index, const Array& like) {
  MapCall call{};
  call.op = op;
  call.index = index;
  call.dtype = dtype_of(like.view.element);
  return call;
}

void init_map(py::module_& m);
void init_rows(py::module_& m);
void init_losses(py::module_& m);
void init_distance(py::module_& m);
void init_rescale(py::module_& m);
void init_row_losses(py::module_& m);
void init_gates(py::module_& m);
void init_slopes(py::module_& m);
void init_norms(py::module_& m);
void init_bias_act(py::module_& m);
void init_channel_norms(py::module_& m);
void init_engine(py::module_& m);
void init_device_step(py::module_& m);
void init_gradient_lists(py::module_& m);

}  // namespace dlk
