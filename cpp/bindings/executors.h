// The executors behind the callables, one factory each. A spec is what _op.py derives from an op's Python definition.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <initializer_list>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "../dispatch.h"
#include "arrays.h"
#include "call.h"

namespace dlk {

struct Scalar {
  std::size_t slot;
  std::string name;
  double fallback;
};

struct Spec {
  std::string name;
  std::vector<Parameter> signature;

  static Spec from_python(const std::string& name, const std::vector<std::tuple<std::string, bool, bool>>& parameters);
  std::size_t slot(const std::string& parameter) const;          // throws if absent
  std::size_t slot_or_none(const std::string& parameter) const;  // kMaxArguments if absent
  std::vector<Scalar> scalars(const std::vector<std::pair<std::string, double>>& names) const;
};

// Fills values[i] from the slot or the default.
void read_scalars(const std::vector<Scalar>& scalars, PyObject* const* slot, const char* op, double* values);

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

void init_map(py::module_& m);
void init_rows(py::module_& m);
void init_losses(py::module_& m);
void init_distance(py::module_& m);
void init_engine(py::module_& m);

}  // namespace dlk
