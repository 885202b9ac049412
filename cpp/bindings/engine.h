// The optimizer engine: holds the parameters and their state, takes the gradients of each step, and runs one multi-tensor update.
// Everything is checked before anything is written, so a refused step changes no byte.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "../plan.h"
#include "executors.h"

namespace dlk {

class Engine {
 public:
  // All parameters have one dtype and live on one device; states[k][i] belongs to params[i], and so do scales[k][i] where a state is kept in
  // bytes and masters[i] where the precision has them.
  Engine(std::string name, const std::string& rule, const py::list& params, const std::vector<py::list>& states,
         const std::vector<std::string>& kept, const std::vector<py::list>& scales, const std::string& precision,
         const py::list& masters, const std::vector<std::int64_t>& first);

  // A parameter may be given only once, whatever its dtype or rule.
  static void refuse_shared_memory(const std::vector<Engine*>& engines);
  // Reads the gradients of all of them; no gradient is a parameter or state of another one, nor, if it is written, another gradient.
  static void read_all(const std::vector<Engine*>& engines, const std::vector<py::list>& grads, bool zero_grads);

  // Takes the gradients of this step, one for each parameter, None where there is none. The calls below are about them.
  void read(const py::list& grads, bool zero_grads);
  // The sum of squares, or what `how` says, of all of them together.
  double magnitude(const std::string& how);
  // The sums of squares of each parameter's value and of each gradient: (params, grads); 0 where there is no gradient.
  std::pair<std::vector<double>, std::vector<double>> squares_of_each();
  // row[i]: which row of `values` (rows x columns) applies to parameter i. Returns the rule's sums of each parameter, 0 where there is no
  // gradient.
  std::vector<double> step(const std::vector<int>& row, const std::vector<double>& values, bool zero_grads,
                           std::uint64_t seed, std::uint64_t offset);

  // For a step on a device (device_step.cpp).
  const std::string& name() const { return name_; }
  std::size_t size() const { return tensors_.size(); }
  bool has_gradient(std::size_t i) const { return there_[i] != 0; }
  const TensorView& gradient(std::size_t i) const { return lent_[i].view; }
  const std::vector<void*>& gradients() const { return grad_; }  // null where there is none
  const std::string& there() const { return there_; }  // a byte for each parameter, 1 where there is a gradient
  const std::vector<UpdateTensor>& tensors() const { return tensors_; }
  const Array& first_parameter() const { return *held_[0]; }
  int moves() const { return moves_; }  // how often a parameter's memory has been replaced
  const TensorView& parameter() const { return held_[0]->view; }
  // params[0] with the stream that was current when the gradients were read.
  const TensorView& now() const { return call_.device == Device::cuda ? now_ : parameter(); }
  const UpdateCall& call() const { return call_; }
  // The tensors that have a gradient; row: of all of them.
  std::vector<UpdateTensor> active(const std::vector<int>& row) const;
  void forget();  // what was borrowed

 private:
  const Array& hold(const py::object& object, const std::string& what);
  void* beside(const py::object& object, const std::string& what, std::size_t param, Element wanted);
  void read_gradient(PyObject* g, std::size_t i, bool written);
  void follow();
  void note_written();
  void refuse_shared_gradients() const;
  [[noreturn]] static void refuse(const Engine& a, int i, const Engine& b, int j);

  std::string name_;
  UpdateCall call_{};
  std::size_t columns_ = 0, sums_ = 0;
  std::vector<std::unique_ptr<Array>> held_;
  std::vector<std::string> what_, grad_name_;
  std::vector<py::object> owners_;
  std::vector<std::size_t> param_at_;
  std::vector<bool> fixed_;  // parameters that cannot move
  std::vector<UpdateTensor> tensors_;
  std::vector<MemoryRange> written_;  // sorted
  // The gradients, and the parameter's stream then. What each was read from: a weak reference, because the memory of an array of CuPy stays where it is, and the same object need
  // not be read again; null: it has to be.
  TensorView now_{};
  std::vector<Array> lent_;
  std::vector<py::object> seen_;
  std::vector<void*> grad_;
  std::string there_;
  bool borrowed_ = false;  // some hold on to what lent them
  int moves_ = 0;
  bool apart_ = false;  // the gradients are known not to share memory
};

}  // namespace dlk
