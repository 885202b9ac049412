// Everything the rows loop runs.
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

// In parts, for a compiler that takes long over them: each can be a translation unit.
using score_rows = join<softmax_ops, cross_entropy_ops, class_ops>;
using loss_rows = join<tempered_ops, overlap_ops, metric_ops>;
using norm_rows = join<column_ops, norm_ops, channel_ops>;
using layer_rows = join<slope_rows, bias_act_ops>;
using row_ops = join<score_rows, loss_rows, norm_rows, layer_rows>;

DLK_END
