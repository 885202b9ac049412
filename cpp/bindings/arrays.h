// Python arrays as TensorViews, without a copy: NumPy directly, CPU arrays of other libraries through DLPack, GPU arrays through their
// own library's interface (python/dlkernels/_arrays.py, which is asked only for arrays that are not NumPy's).
//
// py::array_t is never used: its conversions would write results into temporaries that the caller does not see.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "../tensor.h"
#include "loan.h"

namespace dlk {

namespace py = pybind11;

// An array argument for the time of one call.
struct Array {
  TensorView view;
  PyObject* object = nullptr;  // borrowed from the caller
  bool numpy = false;
  Loan exported;  // what a producer lent us
};

// What the module learns from Python once: dtypes and the helpers of _arrays.py.
void init_arrays(py::module_& m);

// Throws dlk::Error for anything that is not an array that a kernel can read as it lies.
void read_array(Array& a, PyObject* object, const char* op, const char* arg);

// Is this a cupy.ndarray that has been read? Its memory cannot be replaced while it lives; NumPy's may be resized, PyTorch's swapped.
bool is_cupy(PyObject* array);

// What a dtype argument names: a NumPy dtype, or whatever numpy.dtype takes. `named` gets its name where it is none of ours.
Element dtype_argument(PyObject* value, const char* op, TensorView& named);

// A result of the given shape, from the array library of `like`. finish() makes it what the caller gets.
struct Result {
  Array array;
  py::object owner;
  py::object (*finish)(const Result&, PyObject* like) = nullptr;
};
// Same shape and memory order as `like`.
void new_like(Result& r, const Array& like, Element element, const char* op);
// C order. `result_of` decides the library and the device.
void new_array(Result& r, const Array& result_of, Element element, int ndim, const std::int64_t* shape, const char* op);
py::object finished(Result& r, PyObject* like);
// n numbers that are in the host's memory, as an array on the device of `beside`.
void new_from_host(Result& r, const Array& beside, Element element, std::int64_t n, const void* values, const char* op);

// Throws unless `out` is disjoint from `in` or exactly the same elements.
void refuse_overlap(const Array& out, const Array& in, const char* op, const char* out_arg, const char* in_arg);
// `out` must not share a byte with `other`, nor be the same array.
void refuse_shared(const Array& out, const Array& other, const char* op, const char* out_arg, const char* other_arg);

}  // namespace dlk
