#include "loan.h"

#include <atomic>
#include <deque>
#include <mutex>
#include <vector>

#include "../device.h"
#include "call.h"

namespace dlk {
namespace {

// An owner whose memory is read by the work before a marker.
struct InUse {
  PyObject* owner;
  void* marker;
};
constexpr std::size_t kMostInUse = 512;

// Under the lock there are only questions to the device, which are answered at once: whoever holds it needs no GIL and runs no Python.
std::mutex lock;
std::deque<InUse>& in_use() {
  static auto* const list =
      new std::deque<InUse>;  // what is left at exit is not given back: the process ends, its kernels may not have
  return *list;
}

// Takes off the list what is no longer read. Work on one stream is done in order, so it is enough to begin with the oldest; `all` looks at
// those of other streams behind it too.
void take_finished(std::vector<InUse>& finished, bool all) {
  std::deque<InUse>& list = in_use();
  for (auto at = list.begin(); at != list.end();) {
    if (passed(at->marker)) {
      finished.push_back(*at);
      at = list.erase(at);
    } else if (all) {
      ++at;
    } else {
      return;
    }
  }
}

// Runs code of the producers: never under the lock.
void release(const std::vector<InUse>& finished) {
  const py::error_scope no_error_of_the_call;
  for (const InUse& k : finished) {
    drop_marker(k.marker);
    Py_DECREF(k.owner);
  }
}

void at_exit_give_back() {
  static std::atomic<bool> registered{false};
  if (registered.exchange(true)) return;
  py::module_::import("atexit").attr("register")(py::cpp_function(&give_back_finished));
}

}  // namespace

Loan::Loan(py::object owner, const TensorView& t) {
  at_exit_give_back();
  owner_ = owner.release().ptr();
  device_ = t.device_id;
  queue_ = t.queue;
}

void Loan::give_back() noexcept {
  const int device = std::exchange(device_, -1);
  PyObject* const owner = std::exchange(owner_, nullptr);
  if (device < 0) {
    Py_DECREF(owner);
    return;
  }
  const InUse now{owner, mark(device, queue_)};
  if (now.marker == nullptr) return;  // a graph may be launched at any time: kept for good
  std::vector<InUse> finished;
  InUse oldest{};
  {
    const std::lock_guard<std::mutex> guard(lock);
    in_use().push_back(now);
    take_finished(finished, false);
    if (in_use().size() > kMostInUse) {
      oldest = in_use().front();
      in_use().pop_front();
    }
  }
  if (oldest.owner != nullptr) {
    PyThreadState* const state = PyEval_SaveThread();
    wait_for(oldest.marker);
    restore_thread(state);
    finished.push_back(oldest);
  }
  release(finished);
}

void give_back_finished() noexcept {
  std::vector<InUse> finished;
  {
    const std::lock_guard<std::mutex> guard(lock);
    take_finished(finished, true);
  }
  release(finished);
}

}  // namespace dlk
