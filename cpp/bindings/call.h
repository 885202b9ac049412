// The callable that every op is in Python: one object with a signature and an executor. It is called through vectorcall and parses its
// arguments itself, because a call on a small array must cost no more than a NumPy ufunc's: no argument tuple, no keyword dict,
// no Python frame.
#pragma once
#include <pybind11/pybind11.h>

#include <exception>
#include <memory>
#include <string>
#include <vector>

namespace dlk {

namespace py = pybind11;

constexpr int kMaxArguments = 16;

struct Parameter {
  py::object name;  // interned
  bool required, keyword_only;
};

// What a call does with its arguments; slot[i] is null where the i-th was not given (None counts as not given where that is allowed).
struct Executor {
  std::string op;  // for error texts
  virtual ~Executor() = default;
  virtual py::object operator()(PyObject* const* slot) const = 0;
};

py::object make_call(const std::string& name, std::vector<Parameter> signature, std::unique_ptr<Executor> executor);

// Argument conversions: strict, and with the op and the argument in the error text.
double real_argument(PyObject* value, const char* op, const char* arg);
bool bool_argument(PyObject* value, const char* op, const char* arg);
std::int64_t integer_argument(PyObject* value, const char* op, const char* arg);
std::uint64_t unsigned_argument(PyObject* value, const char* op, const char* arg);
std::string string_argument(PyObject* value, const char* op, const char* arg);
inline bool given(PyObject* value) { return value != nullptr && value != Py_None; }

// A number, or each number of a sequence, through `read`.
template <class Read>
auto numbers(PyObject* value, Read read) {
  std::vector<decltype(read(value))> found;
  if (PySequence_Check(value) == 0) {
    found.push_back(read(value));
  } else {
    for (const py::handle item : py::reinterpret_borrow<py::sequence>(value)) found.push_back(read(item.ptr()));
  }
  return found;
}

void restore_thread(PyThreadState* state);

// Runs `work` without the GIL when it is worth releasing it. Taking it back ends the thread (pthread_exit, up to Python 3.13) if the
// interpreter is shutting down; such a thread is put to sleep instead, as Python 3.14 does: unwinding would run destructors of Python
// references without the GIL.
template <class Work>
void run_released(std::int64_t elements, Work work) {
  if (elements < (std::int64_t{1} << 16)) {
    work();
    return;
  }
  PyThreadState* const state = PyEval_SaveThread();
  std::exception_ptr failure;
  try {
    work();
  } catch (...) {
    failure = std::current_exception();
  }
  restore_thread(state);
  if (failure) std::rethrow_exception(failure);
}

void init_call(py::module_& m);

// dlk::Error, std::bad_alloc and Python errors become the current Python exception.
void set_python_error();

}  // namespace dlk
