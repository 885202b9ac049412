// What a producer of another library lends for a call, and when it gets it back. Of host memory: when the call ends. The kernels that read
// memory of a GPU are only queued by then, and the producer would give it to somebody else who works on another stream: so it is kept until
// they are done. (CuPy's and PyTorch's memory comes back in the order of their streams, and is not lent.)
#pragma once
#include <pybind11/pybind11.h>

#include <utility>

#include "../tensor.h"

namespace dlk {

namespace py = pybind11;

class Loan {
 public:
  Loan() = default;
  Loan(py::object owner) : owner_(owner.release().ptr()) {}
  // Of memory that is read on the queue of `t`. The owner has a hold on that stream too: a loan may outlive the call.
  Loan(py::object owner, const TensorView& t);
  Loan(Loan&& other) noexcept { *this = std::move(other); }
  Loan& operator=(Loan&& other) noexcept {
    std::swap(owner_, other.owner_);
    std::swap(device_, other.device_);
    std::swap(queue_, other.queue_);
    other.end();
    return *this;
  }
  ~Loan() { end(); }

  explicit operator bool() const { return owner_ != nullptr; }

 private:
  void end() noexcept {
    if (owner_ != nullptr) give_back();
  }
  void give_back() noexcept;

  PyObject* owner_ = nullptr;
  int device_ = -1;  // of a GPU
  void* queue_ = nullptr;
};

// Gives back what is no longer read by now; waits for nothing.
void give_back_finished() noexcept;

}  // namespace dlk
