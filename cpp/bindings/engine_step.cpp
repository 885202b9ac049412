// The calls of an engine whose gradients have been read: how large they are, and the step.
#include <algorithm>

#include "../device.h"
#include "../target.h"
#include "engine.h"

namespace dlk {

std::vector<UpdateTensor> Engine::active(const std::vector<int>& row) const {
  std::vector<UpdateTensor> some;
  some.reserve(tensors_.size());
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (there_[i] == 0) continue;
    if (row[i] < 0) throw py::index_error("step: row");
    some.push_back(tensors_[i]);
    some.back().grad = grad_[i];
    some.back().group = row[i];
  }
  return some;
}

void Engine::forget() {
  if (!borrowed_) return;
  for (Array& a : lent_) {
    if (a.exported) a.exported = py::object();
  }
  borrowed_ = false;
}

double Engine::magnitude(const std::string& how) {
  std::vector<PlainTensor> list;  // in their places among all of the optimizer; what is not there counts as 0
  std::int64_t elements = 0, end = 0;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    if (there_[i] == 0) continue;
    if (tensors_[i].first > end) list.push_back({nullptr, tensors_[i].first - end});
    list.push_back({grad_[i], tensors_[i].n});
    elements += tensors_[i].n;
    end = tensors_[i].first + tensors_[i].n;
  }
  double result = 0;
  run_released(elements, [&] { result = dlk::magnitude(how.c_str(), call_.dtype, call_.device, list); });
  return result;
}

std::pair<std::vector<double>, std::vector<double>> Engine::squares_of_each() {
  std::vector<PlainTensor> values, gradients;
  std::int64_t elements = 0;
  const bool master = call_.precision == Precision::master;
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    values.push_back({master ? tensors_[i].master : tensors_[i].param, there_[i] != 0 ? tensors_[i].n : 0});
    gradients.push_back({there_[i] != 0 ? grad_[i] : nullptr, values.back().n});
    elements += 2 * values.back().n;
  }
  std::pair<std::vector<double>, std::vector<double>> result;
  const Dtype wide = dtype_of(compute_element(parameter().element));
  run_released(elements, [&] {
    result.first = magnitude_of_each("squares", master ? wide : call_.dtype, call_.device, values);
    result.second = magnitude_of_each("squares", call_.dtype, call_.device, gradients);
  });
  return result;
}

std::vector<double> Engine::step(const std::vector<int>& row, const std::vector<double>& values, bool zero_grads,
                                 std::uint64_t seed, std::uint64_t offset) {
  const int rows = row.empty() ? 0 : *std::max_element(row.begin(), row.end()) + 1;
  if (row.size() != tensors_.size() || values.size() != static_cast<std::size_t>(rows) * columns_) {
    throw py::value_error("step: wrong number of rows or values");
  }
  const std::vector<UpdateTensor> some = active(row);
  std::vector<double> found(some.size() * sums_), sums(tensors_.size() * sums_);
  if (some.empty()) return sums;
  std::int64_t elements = 0;
  for (const UpdateTensor& t : some) elements += t.n;
  const OnDevice on_device(name_.c_str(), now());
  UpdateCall call = call_;
  call.queue = now().queue;
  call.params = values.data();
  call.zero_grads = zero_grads;
  call.seed = seed;
  call.offset = offset;
  run_released(elements, [&] { run_update(call, some, sums_ > 0 ? found.data() : nullptr); });
  std::size_t at = 0;
  for (std::size_t i = 0; sums_ > 0 && i < tensors_.size(); ++i) {
    if (there_[i] == 0) continue;
    for (std::size_t j = 0; j < sums_; ++j) sums[i * sums_ + j] = found[at++];
  }
  return sums;
}

void init_engine(py::module_& m) {
  py::class_<Engine>(m, "Engine")
      .def(py::init<std::string, const std::string&, const py::list&, const std::vector<py::list>&,
                    const std::vector<std::string>&, const std::vector<py::list>&, const std::string&, const py::list&,
                    const std::vector<std::int64_t>&>())
      .def_static("refuse_shared_memory", &Engine::refuse_shared_memory)
      .def_static("read_all", &Engine::read_all)
      .def("read", &Engine::read)
      .def("forget", &Engine::forget)
      .def("magnitude", &Engine::magnitude)
      .def("squares_of_each", &Engine::squares_of_each)
      .def("step", &Engine::step);
}

}  // namespace dlk
