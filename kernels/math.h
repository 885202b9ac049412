// Elementary functions, generic over the lane type: one text for a scalar, a CPU vector and a CUDA thread, with the same bits.
// Measured errors and the test that measures them: tests/cpp/test_math.cpp.
#pragma once
#include "math/exp.h"
#include "math/gelu_tanh.h"
#include "math/log.h"
#include "math/logistic.h"
#include "math/normal.h"
#include "math/softplus.h"
