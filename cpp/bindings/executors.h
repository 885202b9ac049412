// The executors behind the callables, one factory each. A spec is what _op.py derives from an op's Python definition.
#pragma once
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <string>
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
  std::size_t slot(const std::string& parameter) const;      // throws if absent
  std::size_t slot_or_none(const std::string& parameter) const;  // kMaxArguments if absent
  std::vector<Scalar> scalars(const std::vector<std::pair<std::string, double>>& names) const;
};

// Fills values[i] from the slot or the default.
void read_scalars(const std::vector<Scalar>& scalars, PyObject* const* slot, const char* op, double* values);

// The checks of an output that the caller passed, against the array it must look like.
void check_out(const Array& out, const Array& like, Element element, const char* op, const char* like_arg);

void init_map(py::module_& m);
void init_rows(py::module_& m);
void init_losses(py::module_& m);
void init_engine(py::module_& m);

}  // namespace dlk
