// Where a translation unit runs, said once. These are the only #ifdefs of the math room: every other header of `kernels/` is
// the same text for a CUDA thread, for an x86 or ARM vector lane, and for the SIMT emulation of the tests.
//
// DLK_TARGET is the name of the target being compiled (avx512, avx2, base, neon, cuda, simt). Everything between DLK_BEGIN and DLK_END
// lives in its own namespace with internal linkage: an inline function compiled for AVX-512 can then never be the copy that the linker
// keeps for an older machine.
#pragma once
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define DLK_FN __host__ __device__ __forceinline__
#ifndef DLK_TARGET
#define DLK_TARGET cuda
#endif
#else
#define DLK_FN inline __attribute__((always_inline))
#endif

#ifndef DLK_TARGET
#error "compile with -DDLK_TARGET=<name of the target>"
#endif

#define DLK_BEGIN        \
  namespace dlk {        \
  namespace DLK_TARGET { \
  namespace {
#define DLK_END \
  }             \
  }             \
  }

// Between float32 and 16 bits. A GPU has instructions for it that round as the formula does (PTX ISA: cvt.rn is to nearest even, subnormals
// are kept; a NaN stays one, its payload is the one thing that is not promised): one instruction in the place of 8 to 22.
#if defined(__CUDA_ARCH__)
#define DLK_WIDEN_16(instruction, to, from, formula) asm(instruction " %0, %1;" : "=f"(to) : "h"(from))
#define DLK_NARROW_16(instruction, to, from, formula) asm(instruction " %0, %1;" : "=h"(to) : "f"(from))
#else
#define DLK_WIDEN_16(instruction, to, from, formula) to = formula
#define DLK_NARROW_16(instruction, to, from, formula) to = formula
#endif

// Correctly rounded on every machine: a GPU and an FMA unit do it in one instruction, x86 without FMA calls libm's exact emulation.
#if defined(__CUDACC__)
#define DLK_FMA_F32(a, b, c) ::fmaf(a, b, c)
#define DLK_FMA_F64(a, b, c) ::fma(a, b, c)
#define DLK_SQRT_F32(a) ::sqrtf(a)
#define DLK_SQRT_F64(a) ::sqrt(a)
#else
#define DLK_FMA_F32(a, b, c) __builtin_fmaf(a, b, c)
#define DLK_FMA_F64(a, b, c) __builtin_fma(a, b, c)
#define DLK_SQRT_F32(a) __builtin_sqrtf(a)
#define DLK_SQRT_F64(a) __builtin_sqrt(a)
#endif
