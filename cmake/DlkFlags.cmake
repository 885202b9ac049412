# Flags that decide bits, flags that warn, and sanitizers: each an INTERFACE library, so that a target says which it wants.

# The arithmetic of DESIGN.md section 3: no contraction, no fast-math. errno and trapping are not arithmetic.
add_library(dlk_arithmetic INTERFACE)
set(DLK_ARITHMETIC_FLAGS -ffp-contract=off -fno-math-errno -fno-trapping-math)
target_compile_options(dlk_arithmetic INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${DLK_ARITHMETIC_FLAGS}>)
foreach(_flags "$ENV{CXXFLAGS}" "${CMAKE_CXX_FLAGS}" "$ENV{CUDAFLAGS}" "${CMAKE_CUDA_FLAGS}")
  if(_flags MATCHES "(-ffast-math|-Ofast|-funsafe-math|-fassociative-math|use_fast_math)")
    message(FATAL_ERROR "dlkernels promises the same bits everywhere; remove ${CMAKE_MATCH_1} from the compiler flags")
  endif()
endforeach()

# Host code has no loops over elements: what -O3 would unroll there is weight in the wheel and no speed.
add_library(dlk_host INTERFACE)
target_compile_options(dlk_host INTERFACE $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Release>>:-O2>)

add_library(dlk_warnings INTERFACE)
target_compile_options(dlk_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wdouble-promotion -Wundef>)
if(DLK_WERROR)
  target_compile_options(dlk_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>
                                                $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)
endif()

add_library(dlk_sanitize INTERFACE)
if(DLK_SANITIZE)
  target_compile_options(dlk_sanitize INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${DLK_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g>)
  target_link_options(dlk_sanitize INTERFACE -fsanitize=${DLK_SANITIZE})
endif()

# What build_info() reports.
string(TOUPPER "${CMAKE_BUILD_TYPE}" _type)
string(JOIN " " DLK_FLAGS_TEXT ${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${_type}} ${DLK_ARITHMETIC_FLAGS})
string(STRIP "${DLK_FLAGS_TEXT}" DLK_FLAGS_TEXT)
