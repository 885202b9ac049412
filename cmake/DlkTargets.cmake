# The CPU targets: cpp/cpu/*.cpp compiled once per instruction set with -DDLK_TARGET=<name>, each set an OBJECT library
# dlk_cpu_<name>. cpp/target.cpp learns which exist from DLK_HAVE_<NAME>. x86-64 gets avx512, avx2 and base; aarch64 gets neon, which is
# its baseline; any other machine gets base, which needs nothing but C++.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
  set(DLK_CPU_TARGETS avx512 avx2 base)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(DLK_CPU_TARGETS neon)
else()
  set(DLK_CPU_TARGETS base)
endif()
# For a quick build while writing kernels: -DDLK_ONLY_TARGETS=avx2
set(DLK_ONLY_TARGETS "" CACHE STRING "Build these CPU targets only (a list; empty: all of this machine)")
set(_all_targets ${DLK_CPU_TARGETS})
if(DLK_ONLY_TARGETS)
  set(DLK_CPU_TARGETS ${DLK_ONLY_TARGETS})
endif()

# -march=x86-64 first: a -march=native in CXXFLAGS must not leak into a target that older machines run.
set(_flags_avx512 -march=x86-64 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma -mf16c -mprefer-vector-width=512)
set(_flags_avx2 -march=x86-64 -mavx2 -mfma -mf16c)
set(_flags_base)
if("avx2" IN_LIST _all_targets)
  set(_flags_base -march=x86-64 -Os)  # every fma is a call: it is slow anyway, and was two thirds of the library
endif()
set(_flags_neon)

# Kernels use no exceptions, RTTI, guarded statics or stack canaries: so no table and no symbol of a run-time library is emitted.
# -fno-tree-loop-distribute-patterns: the loop over a partial vector must not become a call of memcpy.
# -Wno-psabi: passing a 64-byte vector changed ABI once; every such function here is inlined and has internal linkage.
set(_kernel_flags -O3 -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-stack-protector
  -fno-asynchronous-unwind-tables -Wno-psabi)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")  # Clang: -fno-builtin would lose the memcpy that is a move
  # GCC 12 warns of uninitialized values inside its own AVX-512 header (its bug 105593), and of overflows in loops that end at n.
  list(APPEND _kernel_flags -fno-tree-loop-distribute-patterns -Wno-maybe-uninitialized -Wno-uninitialized -Wno-stringop-overflow)
  # The kernels are vectors already. Copies of their loops for each outcome of a test that is the same for all elements, and vector
  # loops made of the copies of less than a vector, were two thirds of the object code and of the compile time (docs/decisions/0009).
  list(APPEND _kernel_flags -fno-unswitch-loops -fno-split-loops -fno-tree-vectorize --param=max-completely-peel-times=8)
endif()

file(GLOB _kernels CONFIGURE_DEPENDS cpp/cpu/*.cpp)
set(DLK_TARGET_DEFINITIONS)
add_custom_target(dlk_objects)  # what tests/test_objects.py builds
foreach(_name IN LISTS DLK_CPU_TARGETS)
  add_library(dlk_cpu_${_name} OBJECT ${_kernels})
  add_dependencies(dlk_objects dlk_cpu_${_name})
  target_compile_definitions(dlk_cpu_${_name} PRIVATE DLK_TARGET=${_name})
  target_compile_options(dlk_cpu_${_name} PRIVATE ${_kernel_flags} ${_flags_${_name}})
  target_link_libraries(dlk_cpu_${_name} PRIVATE dlk_arithmetic dlk_warnings dlk_sanitize)
  string(TOUPPER ${_name} _upper)
  list(APPEND DLK_TARGET_DEFINITIONS DLK_HAVE_${_upper}=1)
  # The manifest for the same test: a line "<target>;<object>;<object>..." each.
  string(APPEND _manifest "${_name};$<JOIN:$<TARGET_OBJECTS:dlk_cpu_${_name}>,;>\n")
endforeach()
file(GENERATE OUTPUT "${PROJECT_BINARY_DIR}/objects.txt" CONTENT "${_manifest}")
