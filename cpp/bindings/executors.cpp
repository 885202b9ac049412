// What executors share: arguments that are numbers or choices, and outputs.
#include "executors.h"

#include "../check.h"

namespace dlk {

Spec Spec::from_python(const std::string& name, const std::vector<std::tuple<std::string, bool, bool>>& parameters) {
  Spec s;
  s.name = name;
  for (const auto& [parameter, required, keyword_only] : parameters) {
    PyObject* interned = PyUnicode_InternFromString(parameter.c_str());
    s.signature.push_back({py::reinterpret_steal<py::object>(interned), required, keyword_only});
  }
  return s;
}

std::size_t Spec::slot_or_none(const std::string& parameter) const {
  for (std::size_t i = 0; i < signature.size(); ++i) {
    if (py::cast<std::string>(signature[i].name) == parameter) return i;
  }
  return kMaxArguments;
}

std::size_t Spec::slot(const std::string& parameter) const {
  const std::size_t i = slot_or_none(parameter);
  if (i == kMaxArguments) throw py::value_error(name + ": no parameter " + parameter);
  return i;
}

std::vector<Scalar> Spec::scalars(const py::list& described) const {
  std::vector<Scalar> all;
  for (const py::handle d : described) {
    Scalar s;
    s.name = d["name"].cast<std::string>();
    s.slot = slot(s.name);
    s.fallback = d["fallback"].cast<double>();
    s.flag = d["flag"].cast<bool>();
    s.optional = d["optional"].cast<bool>();
    s.whole = d["whole"].cast<bool>();
    s.limit = d["limit"].cast<std::string>();
    s.low = d["low"].cast<double>();
    s.high = d["high"].cast<double>();
    s.low_open = d["low_open"].cast<bool>();
    s.at_least = d["at_least"].cast<int>();
    s.high_open = d["high_open"].cast<bool>();
    all.push_back(s);
  }
  if (all.size() > kMaxScalarArguments) throw py::value_error(name + ": too many hyper-parameters");
  return all;
}

Choices Spec::choices(const py::list& described) const {
  Choices all;
  for (const py::handle d : described) {
    Choice c;
    c.name = d["name"].cast<std::string>();
    c.slot = slot(c.name);
    c.fallback = d["fallback"].cast<std::string>();
    for (const auto& item : d["of"].cast<py::dict>()) {
      c.of.emplace_back(py::reinterpret_borrow<py::object>(item.first), item.second.cast<std::string>());
    }
    all.choice.push_back(std::move(c));
  }
  return all;
}

std::string alternatives(const std::vector<std::string>& of) {
  std::string text;
  for (std::size_t i = 0; i < of.size(); ++i) text += (i == 0 ? "" : i + 1 < of.size() ? ", " : " or ") + of[i];
  return text;
}

std::string Choice::suffix(PyObject* const* slots, const char* op) const {
  PyObject* const value = slots[slot];
  if (value == nullptr) return fallback;
  std::vector<std::string> wanted;
  for (const auto& [option, text] : of) {
    if (Py_TYPE(option.ptr()) == Py_TYPE(value) && option.equal(py::handle(value))) return text;
    wanted.push_back(PyUnicode_Check(option.ptr()) ? "\"" + py::cast<std::string>(option) + "\""
                                                   : py::cast<std::string>(py::repr(option)));
  }
  if (!PyUnicode_Check(of.front().first.ptr())) {
    const bool flag = PyBool_Check(of.front().first.ptr());
    const std::string text = std::string(op) + ": " + name + " must be " + (flag ? "a bool" : alternatives(wanted)) +
                             ", got " + py::cast<std::string>(py::repr(py::handle(value))) + ".";
    flag ? check::fail_type(text) : check::fail_value(text);
  }
  const std::string got = string_argument(value, op, name.c_str());
  check::fail_value(std::string(op) + ": " + name + " must be " + alternatives(wanted) + ", got \"" + got + "\".");
}

std::string Choices::chosen_suffix(PyObject* const* slots, const char* op) const {
  std::string suffix;
  for (const Choice& c : choice) suffix += c.suffix(slots, op);
  return suffix;
}

int Choices::chosen(PyObject* const* slots, const char* op) const {
  if (choice.empty()) return index.front().second;
  const std::string suffix = chosen_suffix(slots, op);
  for (const auto& [text, found] : index) {
    if (text == suffix) return found;
  }
  check::fail_value(std::string(op) + ": these options do not go together.");
}

std::vector<std::string> Choices::all_suffixes() const {
  std::vector<std::string> all = {""};
  for (const Choice& c : choice) {
    std::vector<std::string> longer;
    for (const std::string& so_far : all) {
      for (const auto& [value, suffix] : c.of) longer.push_back(so_far + suffix);
    }
    all = std::move(longer);
  }
  return all;
}

void read_scalars(const std::vector<Scalar>& scalars, PyObject* const* slot, const char* op, double* values) {
  for (std::size_t i = 0; i < scalars.size(); ++i) {
    const Scalar& s = scalars[i];
    PyObject* const value = slot[s.slot];
    if (value == nullptr || (s.optional && value == Py_None)) {
      values[i] = s.fallback;
      continue;
    }
    if (s.flag) {
      values[i] = bool_argument(value, op, s.name.c_str()) ? 1 : 0;
      continue;
    }
    values[i] = s.whole ? static_cast<double>(integer_argument(value, op, s.name.c_str()))
                        : real_argument(value, op, s.name.c_str());
    if (s.limit.empty()) continue;
    const double low = s.at_least < 0 ? s.low : values[s.at_least];
    const bool above = s.low_open ? values[i] > low : values[i] >= low;
    const bool below = s.high_open ? values[i] < s.high : values[i] <= s.high;
    if (!above || !below) {
      check::fail_value(std::string(op) + ": " + s.name + " must be " + s.limit + ", got " + number_text(values[i]) +
                        ".");
    }
  }
}

Axes axes_argument(PyObject* value, const char* op, const char* arg, const TensorView& t, int first) {
  if (!given(value)) {
    const int begin = first < t.ndim ? first : t.ndim > 0 ? t.ndim - 1 : 0;
    return {begin, t.ndim > begin ? t.ndim - begin : 1};
  }
  if (!PyTuple_Check(value)) return {check::axis(op, integer_argument(value, op, arg), t), 1};
  const auto n = static_cast<int>(PyTuple_GET_SIZE(value));
  Axes axes{0, n};
  for (int i = 0; i < n; ++i) {
    const int d = check::axis(op, integer_argument(PyTuple_GET_ITEM(value, i), op, arg), t);
    if (i == 0) axes.first = d;
    if (d != axes.first + i) axes.count = 0;
  }
  if (axes.count == 0) {
    check::fail_value(std::string(op) + ": " + arg + " must be neighboring dimensions in order, got " +
                      py::cast<std::string>(py::repr(py::handle(value))) +
                      ". Pass views with moved axes, such as numpy.moveaxis(x, 0, 1).");
  }
  return axes;
}

Output::Output(PyObject* out, const Array& like, const char* op, const char* like_arg, Reads reads)
    : passed_(given(out) ? out : nullptr), like_(like.object) {
  if (passed_ == nullptr) {
    new_like(fresh_, like, like.view.element, op);
    return;
  }
  read_array(given_, passed_, op, "out");
  check::same_stream(op, "out", given_.view, like_arg, like.view);
  check::same_element(op, "out", given_.view, like_arg, like.view.element);
  check::same_shape(op, "out", given_.view, like_arg, like.view);
  check::writable(op, "out", given_.view);
  for (const auto& [array, arg] : reads) refuse_overlap(given_, *array, op, "out", arg);
}

void Output::refuse_shared(const Output& other, const char* op) const {
  if (passed_ != nullptr && other.passed_ != nullptr)
    dlk::refuse_shared(given_, other.given_, op, "out", "another out");
}

std::vector<PyObject*> outputs_of(PyObject* out, std::size_t wanted, const char* op) {
  std::vector<PyObject*> each(wanted, nullptr);
  if (!given(out)) return each;
  if (!PyTuple_Check(out) || static_cast<std::size_t>(PyTuple_GET_SIZE(out)) != wanted) {
    check::fail_type(std::string(op) + ": out must be a tuple of " + std::to_string(wanted) + " arrays, got " +
                     Py_TYPE(out)->tp_name + ".");
  }
  for (std::size_t k = 0; k < wanted; ++k) each[k] = PyTuple_GET_ITEM(out, static_cast<Py_ssize_t>(k));
  return each;
}

}  // namespace dlk
