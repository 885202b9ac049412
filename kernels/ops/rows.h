// Everything the rows loop runs. An op that needs traits which the CUDA loop does not have yet is refused there by name.
#pragma once
#include "rows/channels.h"
#include "rows/columns.h"
#include "rows/cross_entropy.h"
#include "rows/norms.h"
#include "rows/softmax.h"
#include "slopes.h"

DLK_BEGIN

<<<<<<< HEAD
using row_ops = join<softmax_ops, cross_entropy_ops, column_ops, slope_rows>;
=======
using row_ops = join<softmax_ops, cross_entropy_ops, column_ops, norm_ops, channel_ops>;
>>>>>>> 59320ca (Normalization: layer, rms, batch, group and instance norm; residual and ReLU fused, deterministic gradients, layers)

DLK_END
