#pragma once
#include "math/exp.h"
#include "math/log.h"
#include "math/logistic.h"
#include "math/normal.h"
