// Everything the rows loop runs. An op that needs traits which the CUDA loop does not have yet is refused there by name.
#pragma once
#include "rows/bias_act.h"
#include "rows/channels.h"
#include "rows/classes.h"
#include "rows/columns.h"
#include "rows/cross_entropy.h"
#include "rows/metric.h"
#include "rows/norms.h"
#include "rows/overlap.h"
#include "rows/softmax.h"
#include "rows/tempered.h"
#include "slopes.h"

DLK_BEGIN

using row_ops = join<softmax_ops, tempered_ops, cross_entropy_ops, class_ops, overlap_ops, metric_ops, column_ops,
                     norm_ops, channel_ops, slope_rows, bias_act_ops>;

// What the CUDA target has today.
using row_ops_on_cuda = join<softmax_ops, cross_entropy_ops>;

DLK_END
