#include "engine.h"

#include <algorithm>

#include "../check.h"
#include "../target.h"

namespace dlk {
namespace {

std::string item(const char* list, std::size_t i) { return std::string(list) + "[" + std::to_string(i) + "]"; }

Precision precision_of(const std::string& name) {
  if (name == "stochastic") return Precision::stochastic;
  if (name == "master") return Precision::master;
  if (name == "remainder") return Precision::remainder;
  return Precision::plain;
}
Kept kept_of(const std::string& name) {
  if (name == "bfloat16") return Kept::bf16;
  if (name == "bytes") return Kept::bytes;
  if (name == "positive_bytes") return Kept::positive_bytes;
  return Kept::wide;
}
Element element_of(Kept kept, Element parameter) {
  if (kept == Kept::wide) return compute_element(parameter);
  return kept == Kept::bf16 ? Element::bf16 : Element::u8;
}

// Whose memory, of ranges that are sorted and apart, this one meets; -1 if nobody's.
int owner_of(const std::vector<MemoryRange>& sorted, Extent e) {
  // the last range that begins before the end
  const auto after = std::lower_bound(sorted.begin(), sorted.end(), e.last,
                                      [](const MemoryRange& r, std::uintptr_t at) { return r.first < at; });
  const bool meets = e.first != e.last && after != sorted.begin() && (after - 1)->last > e.first;
  return meets ? (after - 1)->owner : -1;
}

py::object weak_reference(PyObject* object) {
  PyObject* const reference = PyWeakref_NewRef(object, nullptr);
  if (reference == nullptr) PyErr_Clear();  // then it is read at each step
  return py::reinterpret_steal<py::object>(reference);
}
bool refers_to(const py::object& reference, PyObject* object) {
#if PY_VERSION_HEX >= 0x030d0000
  PyObject* alive = nullptr;
  PyWeakref_GetRef(reference.ptr(), &alive);
  Py_XDECREF(alive);  // the caller holds `object`
  return alive == object;
#else
  return PyWeakref_GetObject(reference.ptr()) == object;
#endif
}

}  // namespace

Engine::Engine(std::string name, const std::string& rule, const py::list& params, const std::vector<py::list>& states,
               const std::vector<std::string>& kept, const std::vector<py::list>& scales, const std::string& precision,
               const py::list& masters, const std::vector<std::int64_t>& first)
    : name_(std::move(name)) {
  call_.index = find_update(rule);
  if (call_.index < 0) throw py::value_error("no update rule " + rule);
  const Entry<UpdateArgs>& entry = cpu_target().update->entry[call_.index];
  columns_ = 1 + static_cast<std::size_t>(entry.params);
  sums_ = static_cast<std::size_t>(entry.outs);
  if (states.size() != static_cast<std::size_t>(entry.ins) || kept.size() != states.size())
    throw py::value_error(rule + " wants " + std::to_string(entry.ins) + " state lists");
  call_.precision = precision_of(precision);
  for (std::size_t k = 0; k < kept.size(); ++k) call_.kept[k] = kept_of(kept[k]);
  for (std::size_t i = 0; i < params.size(); ++i) {
    const Array& p = hold(params[i], item("params", i));
    check::floating(name_.c_str(), item("params", i).c_str(), p.view);
    if (i > 0) {
      check::same_element(name_.c_str(), item("params", i).c_str(), p.view, "params[0]", parameter().element);
      check::same_device(name_.c_str(), item("params", i).c_str(), p.view, "params[0]", parameter());
    }
    UpdateTensor t{};
    t.param = p.view.data;
    t.n = size_of(p.view);
    t.first = first[i];
    const std::size_t at = held_.size() - 1;
    for (std::size_t k = 0; k < states.size(); ++k) {
      const std::string state = "state " + std::to_string(k) + " of " + item("params", i);
      t.state[k] = beside(states[k][i], state, at, element_of(call_.kept[k], parameter().element));
      if (call_.kept[k] < Kept::bytes) continue;
      const Array& s = hold(scales[k][i], "scale of " + state);
      check::same_element(name_.c_str(), what_.back().c_str(), s.view, "a scale", Element::f32);
      if (size_of(s.view) != (t.n + kScaled - 1) / kScaled)
        check::fail_value(name_ + ": " + what_.back() + " must have one number for each 256 elements.");
      t.scale[k] = static_cast<float*>(s.view.data);
    }
    if (call_.precision == Precision::master) {
      t.master = beside(masters[i], "master of " + item("params", i), at, compute_element(parameter().element));
    } else if (call_.precision == Precision::remainder) {
      const Array& m = hold(masters[i], "remainder of " + item("params", i));
      check::same_element(name_.c_str(), what_.back().c_str(), m.view, "a remainder", Element::u8);
      if (size_of(m.view) != 2 * t.n)
        check::fail_value(name_ + ": " + what_.back() + " must have two bytes for each element.");
      t.master = m.view.data;
    }
    param_at_.push_back(at);
    grad_name_.push_back(item("grads", i));
    fixed_.push_back(is_cupy(owners_[at].ptr()));
    tensors_.push_back(t);
  }
  if (tensors_.empty()) throw py::value_error(name_ + ": no parameters");
  call_.dtype = dtype_of(parameter().element);
  call_.device = parameter().device;
  lent_.resize(tensors_.size());
  seen_.resize(tensors_.size());
  grad_.resize(tensors_.size());
  there_.resize(tensors_.size());
  note_written();
}

void Engine::refuse_shared_memory(const std::vector<Engine*>& engines) {
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

void Engine::read_all(const std::vector<Engine*>& engines, const std::vector<py::list>& grads, bool zero_grads) {
  for (std::size_t e = 0; e < engines.size(); ++e) engines[e]->read(grads[e], zero_grads);
  if (engines.size() == 1) return;
  std::vector<MemoryRange> written, read;
  std::vector<std::pair<const Engine*, std::string>> who, whose;
  for (std::size_t e = 0; e < engines.size(); ++e) {
    for (const MemoryRange& r : engines[e]->written_) {
      written.push_back({r.first, r.last, static_cast<int>(who.size())});
      who.emplace_back(engines[e], engines[e]->what_[static_cast<std::size_t>(r.owner)]);
    }
    for (std::size_t i = 0; i < engines[e]->size(); ++i) {
      if (!engines[e]->has_gradient(i)) continue;
      const Extent x = extent_of(engines[e]->gradient(i));
      if (x.first == x.last) continue;
      read.push_back({x.first, x.last, static_cast<int>(whose.size())});
      whose.emplace_back(engines[e], "a gradient of " + engines[e]->what_[engines[e]->param_at_[i]]);
    }
  }
  std::sort(written.begin(), written.end(),
            [](const MemoryRange& a, const MemoryRange& b) { return a.first < b.first; });
  for (const MemoryRange& r : read) {
    const int owner = owner_of(written, {r.first, r.last});
    if (owner < 0) continue;
    const auto& [engine, name] = whose[static_cast<std::size_t>(r.owner)];
    check::fail_value(engine->name_ + ": " + name + " shares memory with " +
                      who[static_cast<std::size_t>(owner)].second + ". A gradient must be an array of its own.");
  }
  if (!zero_grads) return;
  const auto [a, b] = find_overlap(read);
  if (a < 0) return;
  check::fail_value(engines[0]->name_ + ": " + whose[static_cast<std::size_t>(a)].second + " and " +
                    whose[static_cast<std::size_t>(b)].second +
                    " share memory, so zero_grads would change one while the other is read. Set zero_grads=False.");
}

const Array& Engine::hold(const py::object& object, const std::string& what) {
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

// An array of the parameter's shape and device.
void* Engine::beside(const py::object& object, const std::string& what, std::size_t param, Element wanted) {
  const Array& a = hold(object, what);
  const std::string& of = what_[param];
  check::same_element(name_.c_str(), what.c_str(), a.view, "its parameter", wanted);
  check::same_shape(name_.c_str(), what.c_str(), a.view, of.c_str(), held_[param]->view);
  check::same_device(name_.c_str(), what.c_str(), a.view, of.c_str(), held_[param]->view);
  return a.view.data;
}

void Engine::read(const py::list& grads, bool zero_grads) {
  follow();
  if (call_.device == Device::cuda) {
    Array first;
    read_array(first, owners_[0].ptr(), name_.c_str(), what_[0].c_str());
    now_ = first.view;
  }
  if (grads.size() != tensors_.size()) {
    check::fail_value(name_ + ": wanted " + std::to_string(tensors_.size()) +
                      " gradients, one per parameter (None to skip it), got " + std::to_string(grads.size()) + ".");
  }
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    PyObject* g = PyList_GET_ITEM(grads.ptr(), static_cast<Py_ssize_t>(i));
    const char there = g != Py_None ? 1 : 0;
    const bool same = there != 0 && seen_[i] && refers_to(seen_[i], g);  // a dead reference is one to None
    if (!same || there_[i] != there) apart_ = false;
    there_[i] = there;
    if (same) continue;
    grad_[i] = nullptr;
    seen_[i] = py::object();
    if (there != 0) read_gradient(g, i, zero_grads);
  }
  if (zero_grads && !apart_) refuse_shared_gradients();
  apart_ = zero_grads;
}

void Engine::read_gradient(PyObject* g, std::size_t i, bool written) {
  Array* const a = &lent_[i];
  a->exported = py::object();
  a->numpy = false;
  const std::string& what = grad_name_[i];
  const std::string& param = what_[param_at_[i]];
  const TensorView& p = held_[param_at_[i]]->view;
  read_array(*a, g, name_.c_str(), what.c_str());
  check::same_element(name_.c_str(), what.c_str(), a->view, param.c_str(), p.element);
  check::same_shape(name_.c_str(), what.c_str(), a->view, param.c_str(), p);
  check::same_device(name_.c_str(), what.c_str(), a->view, param.c_str(), p);
  if (call_.device == Device::cuda) check::same_stream(name_.c_str(), what.c_str(), a->view, "params[0]", now_);
  if (!is_contiguous(a->view))
    check::fail_value(name_ + ": " + what + " must be contiguous. Pass numpy.ascontiguousarray of it.");
  if (written) check::writable(name_.c_str(), what.c_str(), a->view);
  if (const int owner = owner_of(written_, extent_of(a->view)); owner >= 0) {
    check::fail_value(name_ + ": " + what + " shares memory with " + what_[static_cast<std::size_t>(owner)] +
                      ". A gradient must be an array of its own.");
  }
  grad_[i] = a->view.data;
  if (a->exported) borrowed_ = true;
  if (is_cupy(g)) seen_[i] = weak_reference(g);
}

// A parameter whose memory has been replaced (torch: p.data = other) is followed there; one that has changed otherwise is refused.
void Engine::follow() {
  std::vector<std::pair<std::size_t, Array>> moved;  // all are checked before one is taken over
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (fixed_[i]) continue;
    const std::size_t at = param_at_[i];
    Array now;
    read_array(now, owners_[at].ptr(), name_.c_str(), what_[at].c_str());
    const TensorView& held = held_[at]->view;
    if (now.view.data == held.data && size_of(now.view) == tensors_[i].n && !now.view.readonly) continue;
    check::writable(name_.c_str(), what_[at].c_str(), now.view);
    check::same_element(name_.c_str(), what_[at].c_str(), now.view, "the optimizer", held.element);
    check::same_shape(name_.c_str(), what_[at].c_str(), now.view, "what the optimizer was made for", held);
    check::same_device(name_.c_str(), what_[at].c_str(), now.view, "the optimizer", held);
    if (!is_contiguous(now.view)) check::fail_value(name_ + ": " + what_[at] + " must be contiguous.");
    moved.emplace_back(i, std::move(now));
  }
  if (moved.empty()) return;
  for (auto& [i, now] : moved) {
    tensors_[i].param = now.view.data;
    *held_[param_at_[i]] = std::move(now);
  }
  ++moves_;
  note_written();
}

// What a step writes, all of it apart.
void Engine::note_written() {
  written_.clear();
  for (py::object& reference : seen_) reference = py::object();
  for (std::size_t i = 0; i < held_.size(); ++i) {
    const Extent e = extent_of(held_[i]->view);
    if (e.first != e.last) written_.push_back({e.first, e.last, static_cast<int>(i)});
  }
  const auto [a, b] = find_overlap(written_);
  if (a >= 0) refuse(*this, a, *this, b);
}

// Each may be written while another one is read.
void Engine::refuse_shared_gradients() const {
  std::vector<MemoryRange> ranges;
  for (std::size_t i = 0; i < lent_.size(); ++i) {
    if (there_[i] == 0) continue;
    const Extent e = extent_of(lent_[i].view);
    if (e.first != e.last) ranges.push_back({e.first, e.last, static_cast<int>(i)});
  }
  const auto [a, b] = find_overlap(ranges);
  if (a < 0) return;
  check::fail_value(name_ + ": " + grad_name_[static_cast<std::size_t>(a)] + " and " +
                    grad_name_[static_cast<std::size_t>(b)] +
                    " share memory, so zero_grads would change one while the other is read. Set zero_grads=False.");
}

void Engine::refuse(const Engine& a, int i, const Engine& b, int j) {
  check::fail_value(a.name_ + ": " + a.what_[static_cast<std::size_t>(i)] + " and " +
                    b.what_[static_cast<std::size_t>(j)] +
                    " share memory (the same array twice, or views of one array). Pass each parameter once.");
}

}  // namespace dlk
