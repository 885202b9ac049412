// The optimizer engine: holds the parameters and their state, takes the gradients of each step, and runs one multi-tensor update.
// Everything is checked before anything is written, so a refused step changes no byte.
#include <algorithm>
#include <memory>

#include "../check.h"
#include "../plan.h"
#include "../target.h"
#include "executors.h"

namespace dlk {
namespace {

std::string item(const char* list, std::size_t i) { return std::string(list) + "[" + std::to_string(i) + "]"; }

class Engine {
 public:
  // All parameters have one dtype and live on one device; states[k][i] belongs to params[i].
  Engine(std::string name, const std::string& rule, const py::list& params, const std::vector<py::list>& states)
      : name_(std::move(name)), index_(find_update(rule)) {
    if (index_ < 0) throw py::value_error("no update rule " + rule);
    const Entry<UpdateArgs>& entry = cpu_target().update->entry[index_];
    columns_ = static_cast<std::size_t>(entry.params);
    if (states.size() != static_cast<std::size_t>(entry.ins))
      throw py::value_error(rule + " wants " + std::to_string(entry.ins) + " state lists");
    for (std::size_t i = 0; i < params.size(); ++i) {
      const Array& p = hold(params[i], item("params", i));
      check::floating(name_.c_str(), item("params", i).c_str(), p.view);
      if (i > 0) {
        check::same_element(name_.c_str(), item("params", i).c_str(), p.view, "params[0]", first().element);
        check::same_device(name_.c_str(), item("params", i).c_str(), p.view, "params[0]", first());
      }
      UpdateTensor t{};
      t.at[0] = p.view.data;
      t.n = size_of(p.view);
      const std::size_t at = held_.size() - 1;
      for (std::size_t k = 0; k < states.size(); ++k) {
        const std::string state = "state " + std::to_string(k) + " of " + item("params", i);
        const Array& s = hold(states[k][i], state);
        check::same_element(name_.c_str(), state.c_str(), s.view, "its parameter's compute type",
                            compute_element(first().element));
        check::same_shape(name_.c_str(), state.c_str(), s.view, item("params", i).c_str(), held_[at]->view);
        check::same_device(name_.c_str(), state.c_str(), s.view, "params[0]", first());
        t.at[2 + k] = s.view.data;
      }
      param_at_.push_back(at);
      grad_name_.push_back(item("grads", i));
      tensors_.push_back(t);
    }
    for (std::size_t i = 0; i < held_.size(); ++i) {
      const Extent e = extent_of(held_[i]->view);
      if (e.first != e.last) written_.push_back({e.first, e.last, static_cast<int>(i)});
    }
    const auto [a, b] = find_overlap(written_);
    if (a >= 0) refuse(*this, a, *this, b);
  }

  // The same across engines: a parameter may be given only once, whatever its dtype or rule.
  static void refuse_shared_memory(const std::vector<Engine*>& engines) {
    std::vector<MemoryRange> all;
    std::vector<std::pair<const Engine*, int>> who;
    for (const Engine* e : engines) {
      for (const MemoryRange& r : e->written_) {
        all.push_back({r.first, r.last, static_cast<int>(who.size())});
        who.emplace_back(e, r.owner);
      }
    }
    const auto [a, b] = find_overlap(all);
    if (a < 0) return;
    const auto& [first, i] = who[static_cast<std::size_t>(a)];
    const auto& [second, j] = who[static_cast<std::size_t>(b)];
    refuse(*first, i, *second, j);
  }

  // Checks the gradients of a step (None: that parameter is left alone) and returns which parameters have one.
  std::vector<bool> check(const py::list& grads) {
    if (grads.size() != tensors_.size()) {
      check::fail_value(name_ + ": wanted " + std::to_string(tensors_.size()) +
                        " gradients, one per parameter (None to skip it), got " + std::to_string(grads.size()) + ".");
    }
    std::vector<bool> present(tensors_.size());
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      PyObject* g = PyList_GET_ITEM(grads.ptr(), static_cast<Py_ssize_t>(i));
      if (g == Py_None) continue;
      present[i] = true;
      (void)read_gradient(g, i);
    }
    return present;
  }

  // row[i]: which row of `values` (rows x columns) applies to parameter i. Checks again what check() did, then writes.
  void step(const py::list& grads, const std::vector<int>& row, const std::vector<double>& values) {
    const int rows = row.empty() ? 0 : *std::max_element(row.begin(), row.end()) + 1;
    if (grads.size() != tensors_.size() || row.size() != tensors_.size() ||
        values.size() != static_cast<std::size_t>(rows) * columns_) {
      throw py::value_error("step: wrong number of gradients, rows or values");
    }
    std::vector<UpdateTensor> active;
    std::vector<std::unique_ptr<Array>> lent;  // keeps foreign gradients alive during the update
    std::int64_t elements = 0;
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      PyObject* g = PyList_GET_ITEM(grads.ptr(), static_cast<Py_ssize_t>(i));
      if (g == Py_None) continue;
      if (row[i] < 0) throw py::index_error("step: row");
      UpdateTensor t = tensors_[i];
      lent.push_back(read_gradient(g, i));
      t.at[1] = lent.back()->view.data;
      t.group = row[i];
      elements += t.n;
      active.push_back(t);
    }
    if (active.empty()) return;
    const Device device = first().device;
    const Dtype dtype = dtype_of(first().element);
    run_released(elements, [&] { run_update(index_, dtype, device, lent[0]->view.queue, active, values.data()); });
  }

 private:
  const TensorView& first() const { return held_[0]->view; }

  const Array& hold(const py::object& object, const std::string& what) {
    auto a = std::make_unique<Array>();
    read_array(*a, object.ptr(), name_.c_str(), what.c_str());
    check::writable(name_.c_str(), what.c_str(), a->view);
    if (a->view.element != Element::other && !is_contiguous(a->view))  // of another dtype: refused as such
      check::fail_value(name_ + ": " + what +
                        " must be contiguous. Pass numpy.ascontiguousarray of it, and use that array from then on.");
    owners_.push_back(object);
    held_.push_back(std::move(a));
    what_.push_back(what);
    return *held_.back();
  }

  std::unique_ptr<Array> read_gradient(PyObject* g, std::size_t i) const {
    auto a = std::make_unique<Array>();
    const std::string& what = grad_name_[i];
    const std::string& param = what_[param_at_[i]];
    const TensorView& p = held_[param_at_[i]]->view;
    read_array(*a, g, name_.c_str(), what.c_str());
    check::same_element(name_.c_str(), what.c_str(), a->view, param.c_str(), p.element);
    check::same_shape(name_.c_str(), what.c_str(), a->view, param.c_str(), p);
    check::same_device(name_.c_str(), what.c_str(), a->view, param.c_str(), p);
    if (!is_contiguous(a->view))
      check::fail_value(name_ + ": " + what + " must be contiguous. Pass numpy.ascontiguousarray of it.");
    const Extent e = extent_of(a->view);
    // the last written range that begins at or before the gradient's end
    auto after = std::lower_bound(written_.begin(), written_.end(), e.last,
                                  [](const MemoryRange& r, std::uintptr_t at) { return r.first < at; });
    if (e.first != e.last && after != written_.begin() && (after - 1)->last > e.first) {
      check::fail_value(name_ + ": " + what + " shares memory with " +
                        what_[static_cast<std::size_t>((after - 1)->owner)] +
                        ". A gradient must be an array of its own.");
    }
    return a;
  }

  [[noreturn]] static void refuse(const Engine& a, int i, const Engine& b, int j) {
    check::fail_value(a.name_ + ": " + a.what_[static_cast<std::size_t>(i)] + " and " +
                      b.what_[static_cast<std::size_t>(j)] +
                      " share memory (the same array twice, or views of one array). Pass each parameter once.");
  }

  std::string name_;
  int index_;
  std::size_t columns_ = 0;
  std::vector<std::unique_ptr<Array>> held_;
  std::vector<std::string> what_, grad_name_;
  std::vector<py::object> owners_;
  std::vector<std::size_t> param_at_;
  std::vector<UpdateTensor> tensors_;
  std::vector<MemoryRange> written_;  // sorted
};

}  // namespace

void init_engine(py::module_& m) {
  py::class_<Engine>(m, "Engine")
      .def(py::init<std::string, const std::string&, const py::list&, const std::vector<py::list>&>())
      .def_static("refuse_shared_memory", &Engine::refuse_shared_memory)
      .def("check", &Engine::check)
      .def("step", &Engine::step);
}

}  // namespace dlk
