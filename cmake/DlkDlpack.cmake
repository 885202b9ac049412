# Finds dlpack.h and sets DLK_DLPACK_INCLUDE, a folder in which it is dlpack/dlpack.h. It comes with apache-tvm-ffi, which pip brings; a build
# without isolation, on a machine that cannot fetch anything, takes the copy of an installed CuPy or PyTorch. Nothing of them is imported.
execute_process(COMMAND "${Python_EXECUTABLE}" -m tvm_ffi.config --dlpack-includedir
  OUTPUT_VARIABLE DLK_DLPACK_INCLUDE OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(NOT EXISTS "${DLK_DLPACK_INCLUDE}/dlpack/dlpack.h")
  execute_process(COMMAND "${Python_EXECUTABLE}" -c [[
import importlib.util as u, pathlib
for name, path in (("cupy", "_core/include/cupy/_dlpack/dlpack.h"), ("torch", "include/ATen/dlpack.h")):
    spec = u.find_spec(name)
    header = pathlib.Path((spec.submodule_search_locations or [""])[0], path) if spec else None
    if header and header.exists() and "DLManagedTensorVersioned" in header.read_text():  # of DLPack 1.0 or newer
        print(header.as_posix())
        break]]
    OUTPUT_VARIABLE _header OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT _header)
    message(FATAL_ERROR "dlpack/dlpack.h not found: pip install apache-tvm-ffi (it is in build-system.requires)")
  endif()
  message(STATUS "dlpack.h: ${_header}")
  set(DLK_DLPACK_INCLUDE "${PROJECT_BINARY_DIR}/dlpack_include")
  configure_file("${_header}" "${DLK_DLPACK_INCLUDE}/dlpack/dlpack.h" COPYONLY)
endif()
