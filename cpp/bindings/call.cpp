#include "call.h"

#include <cxxabi.h>
#include <structmember.h>
#include <unistd.h>

#include <cstddef>
#include <new>
#include <stdexcept>

#include "../check.h"

namespace dlk {
namespace {

struct CallObject {
  PyObject ob_base;
  PyObject* dict;  // __doc__, __name__, reference, backward, ...: set by _op.py
  vectorcallfunc vectorcall;
  std::string* name;
  std::vector<Parameter>* signature;
  Executor* executor;
};

PyTypeObject* call_type = nullptr;

[[noreturn]] void argument_error(const CallObject* self, const std::string& text) {
  std::string s = *self->name + "(";
  bool star = false;
  for (std::size_t i = 0; i < self->signature->size(); ++i) {
    const Parameter& p = (*self->signature)[i];
    if (i > 0) s += ", ";
    if (p.keyword_only && !star) {
      s += "*, ";
      star = true;
    }
    s += py::cast<std::string>(p.name) + (p.required ? "" : "=");
  }
  check::fail_type(*self->name + ": " + text + ". Its arguments: " + s + ").");
}

std::size_t keyword_slot(const CallObject* self, PyObject* key) {
  const auto& signature = *self->signature;
  for (std::size_t i = 0; i < signature.size(); ++i) {
    if (signature[i].name.ptr() == key) return i;
  }
  for (std::size_t i = 0; i < signature.size(); ++i) {  // a keyword that is not interned
    if (PyUnicode_Compare(signature[i].name.ptr(), key) == 0) return i;
  }
  argument_error(self, "unknown argument '" + py::cast<std::string>(py::handle(key)) + "'");
}

void parse(const CallObject* self, PyObject* const* args, Py_ssize_t positional, PyObject* kwnames, PyObject** slot) {
  const auto& signature = *self->signature;
  std::size_t allowed = 0;
  while (allowed < signature.size() && !signature[allowed].keyword_only) ++allowed;
  if (static_cast<std::size_t>(positional) > allowed) {
    argument_error(
        self, "wanted at most " + std::to_string(allowed) + " positional arguments, got " + std::to_string(positional));
  }
  for (Py_ssize_t i = 0; i < positional; ++i) slot[i] = args[i];
  const Py_ssize_t keywords = kwnames == nullptr ? 0 : PyTuple_GET_SIZE(kwnames);
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    const std::size_t i = keyword_slot(self, PyTuple_GET_ITEM(kwnames, k));
    if (slot[i] != nullptr)
      argument_error(self, "argument '" + py::cast<std::string>(signature[i].name) + "' is given twice");
    slot[i] = args[positional + k];
  }
  for (std::size_t i = 0; i < signature.size(); ++i) {
    if (signature[i].required && slot[i] == nullptr) {
      argument_error(self, "argument '" + py::cast<std::string>(signature[i].name) + "' is missing");
    }
  }
}

PyObject* call(PyObject* object, PyObject* const* args, std::size_t nargsf, PyObject* kwnames) {
  const auto* self = reinterpret_cast<CallObject*>(object);
  try {
    PyObject* slot[kMaxArguments] = {};
    parse(self, args, PyVectorcall_NARGS(nargsf), kwnames, slot);
    return (*self->executor)(slot).release().ptr();
  } catch (...) {
    set_python_error();
    return nullptr;
  }
}

int traverse(PyObject* object, visitproc visit, void* arg) {
  auto* self = reinterpret_cast<CallObject*>(object);
  Py_VISIT(self->dict);
  Py_VISIT(Py_TYPE(object));
  return 0;
}

int clear(PyObject* object) {
  Py_CLEAR(reinterpret_cast<CallObject*>(object)->dict);
  return 0;
}

void dealloc(PyObject* object) {
  PyTypeObject* type = Py_TYPE(object);
  PyObject_GC_UnTrack(object);
  auto* self = reinterpret_cast<CallObject*>(object);
  Py_CLEAR(self->dict);
  delete self->name;
  delete self->signature;
  delete self->executor;
  PyObject_GC_Del(object);
  Py_DECREF(type);
}

PyObject* repr(PyObject* object) {
  return PyUnicode_FromFormat("<dlkernels op %s>", reinterpret_cast<CallObject*>(object)->name->c_str());
}

// Ops are module-level names: pickled and copied by name, as functions are.
PyObject* reduce(PyObject* object, PyObject*) {
  return PyUnicode_FromString(reinterpret_cast<CallObject*>(object)->name->c_str());
}

PyMemberDef members[] = {{"__dictoffset__", T_PYSSIZET, offsetof(CallObject, dict), READONLY, nullptr},
                         {"__vectorcalloffset__", T_PYSSIZET, offsetof(CallObject, vectorcall), READONLY, nullptr},
                         {nullptr, 0, 0, 0, nullptr}};
PyGetSetDef getset[] = {{"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
                        {nullptr, nullptr, nullptr, nullptr, nullptr}};
PyMethodDef methods[] = {{"__reduce__", reduce, METH_NOARGS, nullptr}, {nullptr, nullptr, 0, nullptr}};
PyType_Slot slots[] = {{Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
                       {Py_tp_members, members},
                       {Py_tp_getset, getset},
                       {Py_tp_methods, methods},
                       {Py_tp_traverse, reinterpret_cast<void*>(traverse)},
                       {Py_tp_clear, reinterpret_cast<void*>(clear)},
                       {Py_tp_dealloc, reinterpret_cast<void*>(dealloc)},
                       {Py_tp_repr, reinterpret_cast<void*>(repr)},
                       {0, nullptr}};
PyType_Spec spec = {"dlkernels._core.Op", sizeof(CallObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                        Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
                    slots};

std::string got(PyObject* value) {
  return std::string("got ") + Py_TYPE(value)->tp_name + " " + py::cast<std::string>(py::repr(py::handle(value)));
}

// numbers.Real: Python's and NumPy's scalars, Fraction; no Decimal, string, complex or array.
bool is_real_number(py::handle value) {
  static PyObject* const real = py::object(py::module_::import("numbers").attr("Real")).release().ptr();
  return py::isinstance(value, real);
}

py::object as_index(PyObject* value, const char* op, const char* arg) {
  if (PyBool_Check(value) || PyIndex_Check(value) == 0)
    check::fail_type(std::string(op) + ": " + arg + " must be an integer, " + got(value) + ".");
  py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(value));
  if (!index) throw py::error_already_set();
  return index;
}

}  // namespace

py::object make_call(const std::string& name, std::vector<Parameter> signature, std::unique_ptr<Executor> executor) {
  if (signature.size() > kMaxArguments) throw py::value_error("too many parameters");
  auto* self = PyObject_GC_New(CallObject, call_type);
  if (self == nullptr) throw py::error_already_set();
  self->dict = nullptr;
  self->vectorcall = call;
  self->name = new std::string(name);
  self->signature = new std::vector<Parameter>(std::move(signature));
  self->executor = executor.release();
  self->executor->op = name;
  PyObject_GC_Track(reinterpret_cast<PyObject*>(self));
  return py::reinterpret_steal<py::object>(reinterpret_cast<PyObject*>(self));
}

double real_argument(PyObject* value, const char* op, const char* arg) {
  if (PyFloat_CheckExact(value)) return PyFloat_AS_DOUBLE(value);
  const bool real =
      !PyBool_Check(value) && (PyFloat_Check(value) || PyLong_Check(value) || is_real_number(py::handle(value)));
  const double v = real ? PyFloat_AsDouble(value) : -1;
  if (!real || (v == -1.0 && PyErr_Occurred() != nullptr)) {
    PyErr_Clear();
    check::fail_type(std::string(op) + ": " + arg + " must be a real number, " + got(value) + ".");
  }
  return v;
}

bool bool_argument(PyObject* value, const char* op, const char* arg) {
  if (!PyBool_Check(value)) {
    check::fail_type(std::string(op) + ": " + arg + " must be a bool, got " +
                     py::cast<std::string>(py::repr(py::handle(value))) + ".");
  }
  return value == Py_True;
}

std::int64_t integer_argument(PyObject* value, const char* op, const char* arg) {
  const long long v = PyLong_AsLongLong(as_index(value, op, arg).ptr());
  if (v == -1 && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    check::fail_value(std::string(op) + ": " + arg + " must be in [-2**63, 2**63), " + got(value) + ".");
  }
  return v;
}

std::uint64_t unsigned_argument(PyObject* value, const char* op, const char* arg) {
  const unsigned long long v = PyLong_AsUnsignedLongLong(as_index(value, op, arg).ptr());
  if (v == static_cast<unsigned long long>(-1) && PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    check::fail_value(std::string(op) + ": " + arg + " must be in [0, 2**64), " + got(value) + ".");
  }
  return v;
}

std::string string_argument(PyObject* value, const char* op, const char* arg) {
  if (!PyUnicode_Check(value))
    check::fail_type(std::string(op) + ": " + arg + " must be a string, " + got(value) + ".");
  return py::cast<std::string>(py::handle(value));
}

void restore_thread(PyThreadState* state) {
  try {
    PyEval_RestoreThread(state);
  } catch (abi::__forced_unwind&) {
    for (;;) ::pause();
  }
}

void set_python_error() {
  try {
    throw;
  } catch (py::error_already_set& e) {
    e.restore();
  } catch (const Error& e) {
    PyObject* type = e.kind == Error::Kind::type     ? PyExc_TypeError
                     : e.kind == Error::Kind::value  ? PyExc_ValueError
                     : e.kind == Error::Kind::index  ? PyExc_IndexError
                     : e.kind == Error::Kind::memory ? PyExc_MemoryError
                                                     : PyExc_RuntimeError;
    PyErr_SetString(type, e.what());
  } catch (const std::invalid_argument& e) {
    PyErr_SetString(PyExc_ValueError, e.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& e) {
    PyErr_SetString(PyExc_RuntimeError, e.what());
  }
}

void init_call(py::module_& m) {
  PyObject* type = PyType_FromSpec(&spec);
  if (type == nullptr) throw py::error_already_set();
  call_type = reinterpret_cast<PyTypeObject*>(type);
  m.attr("Op") = py::reinterpret_steal<py::object>(type);
  Py_INCREF(type);
}

}  // namespace dlk
