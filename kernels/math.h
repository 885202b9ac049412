// Elementary functions, generic over the lane type: one text for a scalar, a CPU vector and a CUDA thread, with the
// same bits. tests/cpp/test_math.cpp measures the largest errors, in ULP:
//
//                    float32  float64                    float32  float64                    float32  float64
//   exp              .85      .83      erf               .98      .94      sigmoid_grad      .77      .76
//   expm1            .90      .86      sigmoid           1.11     .84      tanh_grad         .76      .77
//   log              .90      .75      softplus          1.22     1.30     silu_grad         .81      .76
//   log1p            .90      .76      silu              1.29     .93      gelu_grad         1.11     1.34
//   tanh             .86      .72      gelu              1.68     1.76     gelu_tanh_grad    .79      .75
//   softsign         .50      .50      gelu_tanh         1.01     .92      quick_gelu_grad   .78      .75
//   softsign_grad    1.00     .91      quick_gelu        .97      .93      mish_grad         .98      .93
//   tanhshrink       .90      .96      mish              .81      .78      tanhshrink_grad   1.12    1.04
//   log_cosh         1.02     1.08
//
// float32 over all 2^32 inputs (tanh_grad and the lines from softsign on: every 17th; log_cosh: all), float64 over two
// million. The derivatives hold their bound next to their roots too; a number times a derivative is within 2 ULP of the true product (gelu_grad: 2.2, in float64 2.4),
// unless the derivative itself is subnormal.
#pragma once
#include "math/algebraic.h"
#include "math/exp.h"
#include "math/gelu_tanh.h"
#include "math/jensen.h"
#include "math/log.h"
#include "math/log_cosh.h"
#include "math/logistic.h"
#include "math/mish.h"
#include "math/normal.h"
#include "math/pow.h"
#include "math/softplus.h"
#include "math/swish.h"
#include "math/tanhshrink.h"
#include "math/value_and_slope.h"
