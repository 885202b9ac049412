#include "arrays.h"

#include <dlpack/dlpack.h>

#include <cstring>
#include <string>

#include "../check.h"

namespace dlk {
namespace {

// Set once at import, never freed: they must outlive every array.
struct Known {
  PyObject* descr[8] = {};  // NumPy's dtype objects in the order of Element
  PyObject* helpers = nullptr;
  PyTypeObject* ndarray = nullptr;
  PyTypeObject* cupy = nullptr;     // cupy.ndarray, once one has been seen
  PyObject* cupy_stream = nullptr;  // cupy.cuda.get_current_stream
};
Known known;

struct Names {
  PyObject *dlpack, *data, *ptr, *device_id, *shape, *strides, *dtype;
};
Names names;

Element element_of(PyObject* descr, TensorView& t) {
  for (int e = 0; e < 8; ++e) {
    if (descr == known.descr[e]) return static_cast<Element>(e);
  }
  for (int e = 0; e < 8; ++e) {  // an equal dtype object that is not the singleton (metadata, long long)
    const int equal = PyObject_RichCompareBool(descr, known.descr[e], Py_EQ);
    if (equal == 1) return static_cast<Element>(e);
    if (equal < 0) PyErr_Clear();
  }
  const std::string name = py::str(py::handle(descr));
  std::strncpy(t.type_name, name.c_str(), sizeof t.type_name - 1);
  t.type_name[sizeof t.type_name - 1] = '\0';
  return Element::other;
}

void read_numpy(Array& a, PyObject* object) {
  const auto* p = py::detail::array_proxy(object);
  TensorView& t = a.view;
  t.data = p->data;
  t.device = Device::cpu;
  t.device_id = 0;
  t.queue = nullptr;
  t.readonly = (p->flags & py::detail::npy_api::NPY_ARRAY_WRITEABLE_) == 0;
  t.ndim = p->nd;
  for (int d = 0; d < t.ndim; ++d) {
    t.shape[d] = p->dimensions[d];
    t.stride[d] = p->strides[d];
  }
  t.element = element_of(p->descr, t);
  a.numpy = true;
}

std::string type_name(PyObject* object) { return Py_TYPE(object)->tp_name; }

[[noreturn]] void not_an_array(PyObject* object, const char* op, const char* arg, const std::string& why = "") {
  const std::string argument = std::string(op) + ": " + arg;
  if (!why.empty())
    check::fail_type(argument + " must be an array whose memory can be read as it is, got " + type_name(object) + ": " +
                     why);
  check::fail_type(argument + " must be a NumPy, CuPy, PyTorch or JAX array, got " + type_name(object) +
                   ". Convert it, for example with numpy.asarray.");
}

Element dlpack_element(const DLDataType& d, TensorView& t) {
  if (d.lanes == 1) {
    if (d.code == kDLFloat && d.bits == 32) return Element::f32;
    if (d.code == kDLFloat && d.bits == 64) return Element::f64;
    if (d.code == kDLFloat && d.bits == 16) return Element::f16;
    if (d.code == kDLBfloat && d.bits == 16) return Element::bf16;
    if (d.code == kDLInt && d.bits == 32) return Element::i32;
    if (d.code == kDLInt && d.bits == 64) return Element::i64;
    if (d.code == kDLUInt && d.bits == 8) return Element::u8;
    if (d.code == kDLBool && d.bits == 8) return Element::b8;
  }
  const char* kind = d.code == kDLInt       ? "int"
                     : d.code == kDLUInt    ? "uint"
                     : d.code == kDLBool    ? "bool"
                     : d.code == kDLComplex ? "complex"
                                            : "dtype";
  const std::string name = kind + std::to_string(d.bits) + (d.lanes == 1 ? "" : "x" + std::to_string(d.lanes));
  std::strncpy(t.type_name, name.c_str(), sizeof t.type_name - 1);
  t.type_name[sizeof t.type_name - 1] = '\0';
  return Element::other;
}

void read_dltensor(Array& a, const DLTensor& d, bool readonly, const char* op, const char* arg) {
  TensorView& t = a.view;
  if (d.ndim > kMaxDims) check::fail_value(std::string(op) + ": " + arg + " has more than 64 dimensions.");
  t.data = static_cast<char*>(d.data) + d.byte_offset;
  t.device = Device::cpu;
  t.device_id = 0;
  t.queue = nullptr;
  t.readonly = readonly;
  t.ndim = d.ndim;
  t.element = dlpack_element(d.dtype, t);
  const std::int64_t item = (d.dtype.bits * d.dtype.lanes + 7) / 8;
  std::int64_t compact = item;
  for (int k = d.ndim - 1; k >= 0; --k) {
    t.shape[k] = d.shape[k];
    t.stride[k] = d.strides == nullptr ? compact : d.strides[k] * item;
    compact *= d.shape[k];
  }
}

py::object helper(const char* name) { return py::reinterpret_borrow<py::object>(known.helpers).attr(name); }

constexpr const char* unreadable_capsule = "its DLPack capsule is of a version this library does not read.";

template <class Managed>
void release(PyObject* capsule, const char* used) {
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule, used));
  if (m != nullptr && m->deleter != nullptr) m->deleter(m);
}

// Takes the capsule's tensor over, as the protocol asks: renamed, and its deleter called exactly once, when the capsule goes.
bool take_capsule(Array& a, const py::object& capsule, const char* op, const char* arg, DLDevice& device) {
  PyObject* c = capsule.ptr();
  if (PyCapsule_IsValid(c, "dltensor_versioned")) {
    auto* m = static_cast<DLManagedTensorVersioned*>(PyCapsule_GetPointer(c, "dltensor_versioned"));
    if (m->version.major != DLPACK_MAJOR_VERSION) return false;
    PyCapsule_SetName(c, "used_dltensor_versioned");
    PyCapsule_SetDestructor(c,
                            [](PyObject* self) { release<DLManagedTensorVersioned>(self, "used_dltensor_versioned"); });
    device = m->dl_tensor.device;
    read_dltensor(a, m->dl_tensor, (m->flags & DLPACK_FLAG_BITMASK_READ_ONLY) != 0, op, arg);
  } else if (PyCapsule_IsValid(c, "dltensor")) {
    auto* m = static_cast<DLManagedTensor*>(PyCapsule_GetPointer(c, "dltensor"));
    PyCapsule_SetName(c, "used_dltensor");
    PyCapsule_SetDestructor(c, [](PyObject* self) { release<DLManagedTensor>(self, "used_dltensor"); });
    device = m->dl_tensor.device;
    read_dltensor(a, m->dl_tensor, false, op, arg);
  } else {
    return false;
  }
  return true;
}

// stream: as the protocol names it, which the producer makes wait for its work; null on a CPU.
py::object export_dlpack(PyObject* object, const char* op, const char* arg, const py::object& stream = {}) {
  const py::handle h(object);
  py::dict options(py::arg("max_version") = py::make_tuple(DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION),
                   py::arg("copy") = false);
  if (stream) options["stream"] = stream;
  try {
    return h.attr(names.dlpack)(**options);
  } catch (py::error_already_set& e) {
    if (!e.matches(PyExc_TypeError))
      not_an_array(object, op, arg, "its library will not lend it: " + std::string(py::str(e.value())));
  }
  try {  // producers from before DLPack 1.0
    options.clear();
    if (stream) options["stream"] = stream;
    return h.attr(names.dlpack)(**options);
  } catch (py::error_already_set& e) {
    not_an_array(object, op, arg, "its library will not lend it: " + std::string(py::str(e.value())));
  }
}

py::object attribute(PyObject* object, PyObject* name) {
  PyObject* const value = PyObject_GetAttr(object, name);
  if (value == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(value);
}

// (pointer, readonly, shape, strides in bytes or None, dtype, device, stream, lent on)
void read_cuda(Array& a, const py::tuple& t, const char* op, const char* arg) {
  TensorView& v = a.view;
  v.data = reinterpret_cast<void*>(t[0].cast<std::uintptr_t>());
  v.readonly = t[1].cast<bool>();
  const py::tuple shape = t[2];
  v.ndim = static_cast<int>(shape.size());
  if (v.ndim > kMaxDims) check::fail_value(std::string(op) + ": " + arg + " has more than 64 dimensions.");
  v.device = Device::cuda;
  v.device_id = t[5].cast<int>();
  v.queue = reinterpret_cast<void*>(t[6].cast<std::uintptr_t>());
  v.element = element_of(py::dtype::from_args(t[4]).ptr(), v);
  std::int64_t compact = item_size(v.element);
  for (int d = v.ndim - 1; d >= 0; --d) {
    v.shape[d] = shape[static_cast<std::size_t>(d)].cast<std::int64_t>();
    v.stride[d] = t[3].is_none() ? compact : t[3][py::int_(d)].cast<std::int64_t>();
    compact *= v.shape[d];
  }
  if (!t[7].is_none()) a.exported = Loan(py::make_tuple(py::handle(a.object), t[7]), v);
}

// stream: of CuPy, on which the array will be read; the protocol calls the legacy one 1.
void read_cuda_dlpack(Array& a, PyObject* object, const py::object& stream, const char* op, const char* arg) {
  void* const queue = PyLong_AsVoidPtr(attribute(stream.ptr(), names.ptr).ptr());
  const auto number = reinterpret_cast<std::uintptr_t>(queue);
  const py::object capsule = export_dlpack(object, op, arg, py::int_(number == 0 ? 1 : number));
  DLDevice device;
  if (!take_capsule(a, capsule, op, arg, device)) not_an_array(object, op, arg, unreadable_capsule);
  if (device.device_type != kDLCUDA && device.device_type != kDLCUDAManaged)
    not_an_array(object, op, arg, "its __dlpack_device__ is a GPU, and what it lends is not there.");
  a.view.device = Device::cuda;
  a.view.device_id = device.device_id;
  a.view.queue = queue;
  a.view.readonly = a.view.readonly || helper("immutable")(py::handle(object)).cast<bool>();
  a.exported = Loan(py::make_tuple(capsule, stream), a.view);
}

// A cupy.ndarray by its own attributes: its __cuda_array_interface__ would be a dictionary to make and to take apart in each call.
void read_cupy(Array& a, PyObject* object, const char* op, const char* arg) {
  TensorView& v = a.view;
  const py::object data = attribute(object, names.data);
  v.data = PyLong_AsVoidPtr(attribute(data.ptr(), names.ptr).ptr());
  v.device = Device::cuda;
  v.device_id = static_cast<int>(PyLong_AsLong(attribute(data.ptr(), names.device_id).ptr()));
  v.readonly = false;
  const py::object shape = attribute(object, names.shape), strides = attribute(object, names.strides);
  v.ndim = static_cast<int>(PyTuple_GET_SIZE(shape.ptr()));
  if (v.ndim > kMaxDims) check::fail_value(std::string(op) + ": " + arg + " has more than 64 dimensions.");
  for (int d = 0; d < v.ndim; ++d) {
    v.shape[d] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape.ptr(), d));
    v.stride[d] = PyLong_AsLongLong(PyTuple_GET_ITEM(strides.ptr(), d));
  }
  v.element = element_of(attribute(object, names.dtype).ptr(), v);
  const py::object device = attribute(data.ptr(), names.device_id);
  PyObject* const stream = PyObject_CallOneArg(known.cupy_stream, device.ptr());
  if (stream == nullptr) throw py::error_already_set();
  v.queue = PyLong_AsVoidPtr(attribute(py::reinterpret_steal<py::object>(stream).ptr(), names.ptr).ptr());
  if (PyErr_Occurred() != nullptr) throw py::error_already_set();
}

// Takes the fast way from now on if this was a cupy.ndarray.
void remember_cupy(PyObject* object) {
  const py::dict modules = py::module_::import("sys").attr("modules");
  if (known.cupy != nullptr || !modules.contains("cupy")) return;
  const py::object cupy = modules["cupy"];
  if (!py::type::of(py::handle(object)).is(cupy.attr("ndarray"))) return;
  known.cupy_stream = py::object(cupy.attr("cuda").attr("get_current_stream")).release().ptr();
  known.cupy = reinterpret_cast<PyTypeObject*>(py::object(cupy.attr("ndarray")).release().ptr());
}

py::object finish_foreign(const Result& r, PyObject* like) { return helper("finish")(py::handle(like), r.owner); }

py::tuple shape_tuple(int ndim, const std::int64_t* shape) {
  py::tuple t(static_cast<std::size_t>(ndim));
  for (int d = 0; d < ndim; ++d) t[static_cast<std::size_t>(d)] = py::int_(shape[d]);
  return t;
}

std::string name_of(Element element) {
  TensorView named;
  named.element = element;
  return element_name(named);
}

void adopt(Result& r, py::object array, const char* op) {
  r.owner = std::move(array);
  read_array(r.array, r.owner.ptr(), op, "out");
  r.finish = finish_foreign;
}

void new_foreign(Result& r, const Array& like, Element element, int ndim, const std::int64_t* shape, const char* op) {
  adopt(r, helper("empty")(py::handle(like.object), shape_tuple(ndim, shape), name_of(element)), op);
}

void new_numpy(Result& r, Element element, int ndim, const std::int64_t* shape, const std::int64_t* strides) {
  PyObject* descr = known.descr[static_cast<int>(element)];
  Py_INCREF(descr);  // NewFromDescr steals it
  Py_intptr_t dims[kMaxDims], steps[kMaxDims];
  for (int d = 0; d < ndim; ++d) {
    dims[d] = static_cast<Py_intptr_t>(shape[d]);
    if (strides != nullptr) steps[d] = static_cast<Py_intptr_t>(strides[d]);
  }
  PyObject* array = py::detail::npy_api::get().PyArray_NewFromDescr_(
      known.ndarray, descr, ndim, dims, strides == nullptr ? nullptr : steps, nullptr, 0, nullptr);
  if (array == nullptr) throw py::error_already_set();
  r.owner = py::reinterpret_steal<py::object>(array);
  r.array.object = array;
  read_numpy(r.array, array);
}

}  // namespace

void init_arrays(py::module_& m) {
  known.ndarray = py::detail::npy_api::get().PyArray_Type_;
  const py::object bf16 = py::module_::import("ml_dtypes").attr("bfloat16");
  const py::object dtypes[] = {py::dtype("float32"),       py::dtype("float64"), py::dtype("float16"),
                               py::dtype::from_args(bf16), py::dtype("int32"),   py::dtype("int64"),
                               py::dtype("uint8"),         py::dtype("bool")};
  for (int e = 0; e < 8; ++e) known.descr[e] = dtypes[e].inc_ref().ptr();
  names = {PyUnicode_InternFromString("__dlpack__"), PyUnicode_InternFromString("data"),
           PyUnicode_InternFromString("ptr"),        PyUnicode_InternFromString("device_id"),
           PyUnicode_InternFromString("shape"),      PyUnicode_InternFromString("strides"),
           PyUnicode_InternFromString("dtype")};
  m.def(
      "_set_array_helpers", [](const py::object& helpers) { known.helpers = helpers.inc_ref().ptr(); },
      "Registers the module that knows the other array libraries (python/dlkernels/_arrays.py).");
}

bool is_cupy(PyObject* array) { return Py_TYPE(array) == known.cupy; }

void read_array(Array& a, PyObject* object, const char* op, const char* arg) {
  a.object = object;
  if (Py_TYPE(object) == known.ndarray) {
    read_numpy(a, object);
    return;
  }
  if (Py_TYPE(object) == known.cupy) {
    read_cupy(a, object, op, arg);
    return;
  }
  if (py::detail::npy_api::get().PyArray_Check_(object)) {
    if (PyObject_HasAttrString(object, "mask") != 0)
      not_an_array(object, op, arg, "its mask would be lost. Pass its filled() data.");
    read_numpy(a, object);  // memmap, matrix: plain memory; the result is a plain ndarray
    return;
  }
  py::object cuda;
  try {
    cuda = helper("foreign_view")(py::handle(object));
  } catch (py::error_already_set& e) {
    if (!e.matches(PyExc_TypeError)) throw;
    not_an_array(object, op, arg, py::str(e.value()));
  }
  if (PyTuple_Check(cuda.ptr())) {
    read_cuda(a, cuda, op, arg);
    remember_cupy(object);
    return;
  }
  if (!cuda.is_none()) {
    read_cuda_dlpack(a, object, cuda, op, arg);
    return;
  }
  if (PyObject_HasAttr(object, names.dlpack) == 0) not_an_array(object, op, arg);
  DLDevice device;
  const py::object capsule = export_dlpack(object, op, arg);
  if (!take_capsule(a, capsule, op, arg, device)) not_an_array(object, op, arg, unreadable_capsule);
  if (device.device_type != kDLCPU && device.device_type != kDLCUDAHost) {
    not_an_array(object, op, arg, "it lives on a device that dlkernels has no target for.");
  }
  a.exported = capsule;
  a.view.readonly = a.view.readonly || helper("immutable")(py::handle(object)).cast<bool>();
}

Element dtype_argument(PyObject* value, const char* op, TensorView& named) {
  try {
    return element_of(py::dtype::from_args(py::reinterpret_borrow<py::object>(value)).ptr(), named);
  } catch (py::error_already_set& e) {
    if (!e.matches(PyExc_TypeError)) throw;
    check::fail_type(std::string(op) + ": dtype must be a NumPy dtype, got " + type_name(value) + ".");
  }
}

void new_array(Result& r, const Array& result_of, Element element, int ndim, const std::int64_t* shape,
               const char* op) {
  if (result_of.numpy) {
    new_numpy(r, element, ndim, shape, nullptr);
  } else {
    new_foreign(r, result_of, element, ndim, shape, op);
  }
}

void new_like(Result& r, const Array& like, Element element, const char* op) {
  const TensorView& t = like.view;
  if (!like.numpy) {
    if (is_contiguous(t) || t.device == Device::cpu) {
      new_foreign(r, like, element, t.ndim, t.shape, op);
    } else {  // in the same order, or the kernel would have to walk
      adopt(r, helper("empty_like")(py::handle(like.object), name_of(element)), op);
    }
    return;
  }
  if (is_contiguous(t)) {
    new_numpy(r, element, t.ndim, t.shape, nullptr);
    return;
  }
  // Same order of dimensions in memory as `like`, without its gaps.
  int order[kMaxDims];
  for (int d = 0; d < t.ndim; ++d) {
    int at = d;
    for (; at > 0 && std::llabs(t.stride[order[at - 1]]) < std::llabs(t.stride[d]); --at) order[at] = order[at - 1];
    order[at] = d;
  }
  std::int64_t strides[kMaxDims];
  std::int64_t step = item_size(element);
  for (int k = t.ndim - 1; k >= 0; --k) {
    strides[order[k]] = step;
    step *= t.shape[order[k]] > 0 ? t.shape[order[k]] : 1;
  }
  new_numpy(r, element, t.ndim, t.shape, strides);
}

void new_from_host(Result& r, const Array& beside, Element element, std::int64_t n, const void* values,
                   const char* op) {
  Result host;
  new_numpy(host, element, 1, &n, nullptr);
  std::memcpy(host.array.view.data, values, static_cast<std::size_t>(n * item_size(element)));
  if (beside.view.device == Device::cpu) {
    r = std::move(host);
  } else {
    adopt(r, helper("device_array")(py::handle(beside.object), host.owner), op);
  }
}
py::object finished(Result& r, PyObject* like) { return r.finish == nullptr ? std::move(r.owner) : r.finish(r, like); }

namespace {

bool shares_memory(const TensorView& one, const TensorView& other) {
  const Extent a = extent_of(one), b = extent_of(other);
  if (a.last <= b.first || b.last <= a.first || a.first == a.last || b.first == b.last) return false;
  // Interleaved views may still be disjoint; NumPy's exact solver decides, from addresses and strides alone.
  const auto described = [](const TensorView& t) {
    py::tuple strides(static_cast<std::size_t>(t.ndim));
    for (int d = 0; d < t.ndim; ++d) strides[static_cast<std::size_t>(d)] = py::int_(t.stride[d]);
    return py::make_tuple(reinterpret_cast<std::uintptr_t>(t.data), shape_tuple(t.ndim, t.shape), strides,
                          item_size(t.element));
  };
  return helper("shares_memory")(described(one), described(other)).cast<bool>();
}

}  // namespace

void refuse_overlap(const Array& out, const Array& in, const char* op, const char* out_arg, const char* in_arg) {
  if (!same_layout(out.view, in.view) && shares_memory(out.view, in.view)) check::overlap(op, out_arg, in_arg);
}

void refuse_shared(const Array& out, const Array& other, const char* op, const char* out_arg, const char* other_arg) {
  if (shares_memory(out.view, other.view)) check::shared(op, out_arg, other_arg);
}

}  // namespace dlk
