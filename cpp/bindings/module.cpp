// The only PYBIND11_MODULE of the CPU side. It wires the executors together and says what was built; it knows no numerics.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "../check.h"
#include "../device.h"
#include "../parallel.h"
#include "../target.h"
#include "executors.h"

namespace py = pybind11;

namespace {

void init_runtime(py::module_& m) {
  m.def("built_targets", dlk::built_targets);
  m.def("supported_targets", dlk::supported_targets);
  m.def("target", [] { return std::string(dlk::cpu_target().name); });
  m.def("set_target", dlk::set_cpu_target);
  m.def("num_threads", dlk::num_threads);
  m.def("set_num_threads", dlk::set_num_threads);
  m.def("stream_threshold", dlk::stream_threshold);
  m.def("register_cuda_target",
        [](const py::capsule& target) { dlk::register_cuda_target(target.get_pointer<const dlk::Target>()); });
  m.def("synchronize", [](int device) {
    {
      const py::gil_scoped_release others_go_on;
      dlk::synchronize(device);
    }
    dlk::give_back_finished();
  });
  m.attr("max_threads") = dlk::kMaxThreads;
  m.attr("compiler") = "GCC-compatible " __VERSION__;
  m.attr("flags") = dlk::build_flags();
  m.attr("__version__") = DLK_VERSION;
}

}  // namespace

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const dlk::Error&) {
      dlk::set_python_error();
    }
  });
  (void)dlk::cpu_target();  // an impossible DLKERNELS_TARGET is an error now, not at the first call
  dlk::init_arrays(m);
  dlk::init_call(m);
  dlk::init_map(m);
  dlk::init_rows(m);
  dlk::init_losses(m);
  dlk::init_distance(m);
  dlk::init_rescale(m);
  dlk::init_row_losses(m);
  dlk::init_gates(m);
  dlk::init_slopes(m);
  dlk::init_norms(m);
  dlk::init_bias_act(m);
  dlk::init_channel_norms(m);
  dlk::init_engine(m);
  dlk::init_device_step(m);
  dlk::init_gradient_lists(m);
  init_runtime(m);
}
