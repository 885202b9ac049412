# Finds a CUDA compiler that really works (DLK_CUDA=AUTO|ON|OFF) and sets DLK_HAVE_CUDA; dlk_add_cuda_module builds the module.
# cudart is linked statically and libcuda never, so the module imports on a machine without a GPU and can say what is missing.
# The traps behind each line were found by trying (docs/decisions/).
set(DLK_HAVE_CUDA OFF)

# nvcc from PyPI (DLKERNELS_CUDA_WHEELS=13): pip puts it into a part of the build environment that CMAKE_PREFIX_PATH does not name,
# so Python is asked. ENV{CUDACXX}, not CMAKE_CUDA_COMPILER: the latter would skip check_language's probe. The wheels install lib/, but
# their nvcc.profile points at lib64/, hence -L.
function(_dlk_nvcc_from_wheels)
  find_package(Python COMPONENTS Interpreter QUIET)
  execute_process(COMMAND "${Python_EXECUTABLE}" -c [[
import importlib.util as u
s = u.find_spec("nvidia")
print(";".join(f"{p}/{c}/bin" for p in (s.submodule_search_locations if s else []) for c in ("cu13", "cu12")))]]
    OUTPUT_VARIABLE _hints OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  find_program(_nvcc nvcc HINTS ${_hints} NO_DEFAULT_PATH NO_CACHE)
  if(_nvcc)
    get_filename_component(_bin "${_nvcc}" DIRECTORY)
    get_filename_component(_root "${_bin}" DIRECTORY)
    set(ENV{CUDACXX} "${_nvcc}")
    set(ENV{CUDAFLAGS} "-L${_root}/lib $ENV{CUDAFLAGS}")
  endif()
endfunction()

if(NOT DLK_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "DLK_CUDA (DLKERNELS_CUDA) must be AUTO, ON or OFF, got '${DLK_CUDA}'")
endif()
if(NOT DLK_CUDA STREQUAL "OFF")
  if(NOT DEFINED CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    _dlk_nvcc_from_wheels()
  endif()
  if("${CMAKE_CUDA_ARCHITECTURES}" STREQUAL "")
    unset(CMAKE_CUDA_ARCHITECTURES)
    unset(CMAKE_CUDA_ARCHITECTURES CACHE)
  endif()
  set(_user_archs "${CMAKE_CUDA_ARCHITECTURES}")
  if("${_user_archs}" STREQUAL "")  # a GPU of this machine is the one that is meant
    execute_process(COMMAND nvidia-smi -L RESULT_VARIABLE _no_gpu OUTPUT_QUIET ERROR_QUIET)
    if(_no_gpu EQUAL 0)
      set(_user_archs native)
      set(CMAKE_CUDA_ARCHITECTURES native)
    endif()
  elseif("${_user_archs}" STREQUAL "release")
    set(CMAKE_CUDA_ARCHITECTURES OFF)
  endif()
  include(CheckLanguage)
  check_language(CUDA)  # compiles a program: a broken nvcc gives a CPU build
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)  # no find_package(CUDAToolkit): the wheels have no libcudart.so
    set(DLK_HAVE_CUDA ON)
    if(_user_archs AND NOT _user_archs STREQUAL "release")
      set(DLK_CUDA_ARCHS ${_user_archs})
      set(DLK_GENCODE)
    else()
      # What wheels hold ("release"): 80 serves 86 and 89, 100 serves 103, 120 serves 121. A build from source leaves 100 and 120 to the
      # driver, which compiles PTX at the first use: half the time of nvcc. PTX at 90, not at the newest: it also serves what comes between.
      # 90, 100 and 120 share one virtual architecture: no kernel here needs more than 90 has, and the front end, which is most of
      # the compile time, runs twice instead of four times. CMake's list cannot say this.
      set(DLK_CUDA_ARCHS 80-real 90)
      set(_from_90 compute_90,sm_90)
      if(_user_archs AND CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
        list(APPEND DLK_CUDA_ARCHS 100-real 120-real)
        string(APPEND _from_90 ",sm_100,sm_120")
      endif()
      set(CMAKE_CUDA_ARCHITECTURES OFF)
      set(DLK_GENCODE --generate-code=arch=compute_80,code=sm_80 "--generate-code=arch=compute_90,code=[${_from_90}]")
    endif()
  elseif(DLK_CUDA STREQUAL "ON")
    message(FATAL_ERROR "DLKERNELS_CUDA=ON, but no working CUDA compiler was found. Install a CUDA toolkit (12.4 or newer) and put nvcc "
      "in PATH or name it in CUDACXX; or set DLKERNELS_CUDA_WHEELS=13 to take it from PyPI; or set DLKERNELS_CUDA=OFF.")
  endif()
endif()
message(STATUS "dlkernels ${PROJECT_VERSION}: CUDA ${DLK_HAVE_CUDA} (asked: ${DLK_CUDA}) ${DLK_CUDA_ARCHS}")

# The arithmetic of DESIGN.md section 3 for nvcc, and for its host compiler.
set(DLK_CUDA_ARITHMETIC -fmad=false -prec-div=true -prec-sqrt=true -ftz=false)

function(dlk_add_cuda_module name)
  file(GLOB _cu CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/kernels/cuda/*.cu")
  pybind11_add_module(${name} NO_EXTRAS ${ARGN} ${_cu})
  string(JOIN "," _archs ${DLK_CUDA_ARCHS})
  target_compile_definitions(${name} PRIVATE DLK_VERSION="${PROJECT_VERSION}" DLK_CUDA_ARCHS="${_archs}")
  target_include_directories(${name} SYSTEM PRIVATE "${DLK_DLPACK_INCLUDE}")
  target_link_libraries(${name} PRIVATE dlkernels dlk_warnings)
  target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:${DLK_GENCODE} ${DLK_CUDA_ARITHMETIC}
    --expt-relaxed-constexpr -Xcompiler=-ffp-contract=off,-Wall,-Wextra>)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13.0)  # older drivers cannot read this compression
    target_compile_options(${name} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:--compress-mode=size>)
  endif()
  set_target_properties(${name} PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON CUDA_RUNTIME_LIBRARY Static
    CUDA_VISIBILITY_PRESET hidden CUDA_ARCHITECTURES "${CMAKE_CUDA_ARCHITECTURES}" INSTALL_RPATH "$ORIGIN/lib")
endfunction()
