// The Python module `_cuda`: the CUDA target in a capsule, and whether this machine can run it. It links cudart statically and libcuda
// never, so it imports on a machine without a GPU and says there what is missing. Everything else goes through `_core`.
#include <pybind11/pybind11.h>

#include <sstream>
#include <string>

#include "../target.h"

namespace py = pybind11;

namespace dlk {
namespace cuda {
extern const Target target;                  // kernels/cuda/target.cu
int probe(int* devices, const char** text);  // kernels/cuda/probe.cu
int built_with();
}  // namespace cuda
}  // namespace dlk

namespace {

std::string version(int v) { return std::to_string(v / 1000) + "." + std::to_string(v % 1000 / 10); }

std::string explain(int code, const char* text) {
  const std::string cuda = version(dlk::cuda::built_with());
  switch (code) {
    case 0:
      return "usable";
    case 35:
      return "the NVIDIA driver is missing, or older than CUDA " + cuda + " needs. Install or update the driver.";
    case 100:
      return "there is a driver, but no CUDA device that this process may see. Check nvidia-smi and "
             "CUDA_VISIBLE_DEVICES.";
    case 209:
      return "the device's architecture is not in this build (" DLK_CUDA_ARCHS
             "). Build for it: DLKERNELS_CUDA_ARCHS=native pip install "
             "--force-reinstall --no-binary dlkernels dlkernels";
    default:
      return "CUDA error " + std::to_string(code) + ": " + text;
  }
}

py::dict status() {
  int devices = 0;
  const char* text = "";
  const int code = dlk::cuda::probe(&devices, &text);
  py::dict d;
  d["code"] = code;
  d["message"] = explain(code, text);
  d["devices"] = devices;
  return d;
}

py::list archs() {
  py::list names;
  std::istringstream text(DLK_CUDA_ARCHS);
  for (std::string name; std::getline(text, name, ',');) names.append(name);
  return names;
}

}  // namespace

PYBIND11_MODULE(_cuda, m, py::mod_gil_not_used()) {
  m.def("status", status,
        "Can the CUDA target run here? code 0: yes; 35: driver missing or too old; 100: no device; 209: built for "
        "others");
  m.def("target", [] { return py::capsule(&dlk::cuda::target, "dlkernels.target"); });
  m.attr("archs") = archs();
  m.attr("cuda_version") = version(dlk::cuda::built_with());
  m.attr("__version__") = DLK_VERSION;
}
