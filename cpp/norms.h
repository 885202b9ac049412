// Normalization. Arguments are checked before they come here.
#pragma once
#include "dispatch.h"

namespace dlk {

// layer_norm and rms_norm, over the last `axes` dimensions.
struct RowNormCall {
  const char* op;    // also the name of the kernels
  const char* name;  // "layer_norm" or "rms_norm"
  const TensorView* x;
  int axes;
  const TensorView* weight = nullptr;  // contiguous or not; null: 1
  const TensorView* bias = nullptr;
  double params[2];  // eps, weight offset
};
// residual: x + residual goes to `sum` and is what is normalized; both may be null. stats: mean (layer_norm) and r, one per row, each of
// which may be null; contiguous.
void run_row_norm(const RowNormCall& call, const TensorView* residual, const TensorView* sum, const TensorView& y,
                  void* const* stats, const Workspace& workspace);
// stats as run_row_norm gave them, or null: computed again. added: one more gradient of x; may be null. dweight, dbias: compute type, one per
// column; may be null.
void run_row_norm_grad(const RowNormCall& call, const TensorView& dy, const void* const* stats, const TensorView* added,
                       const TensorView& dx, void* dweight, void* dbias, const Workspace& workspace);

// batch_norm, group_norm and instance_norm of x (N, C, ...): channels on dimension 1.
struct ChannelNormCall {
  const char* op;
  const TensorView* x;
  std::int64_t groups;  // 0: over the batch, one group per channel
  const TensorView* weight = nullptr;
  const TensorView* bias = nullptr;
  double eps;
  double lowest;  // 0 for a ReLU, -inf for nothing
};
// Numbers per group in the compute type, contiguous: (C) over the batch, else (N, groups).
struct ChannelStats {
  void* mean;
  void* rstd;
  void* var;  // biased; may be null
};
void channel_moments(const ChannelNormCall& call, const ChannelStats& stats, const Workspace& workspace);
// stats.rstd from a variance that is given (running_var, compute type).
void rstd_of(const ChannelNormCall& call, const void* var, void* rstd);
void run_normalize(const ChannelNormCall& call, const ChannelStats& stats, const TensorView& y,
                   const Workspace& workspace);
// constant: the moments do not depend on x (running statistics). dweight, dbias: compute type, one per channel.
void run_normalize_grad(const ChannelNormCall& call, const TensorView& dy, const ChannelStats& stats, bool constant,
                        const TensorView& dx, void* dweight, void* dbias, const Workspace& workspace);
// one number per channel, from one contiguous array of the compute type to another
void copy_numbers(const ChannelNormCall& call, const void* from, void* to);
// running = (1 - momentum) running + momentum scale batch: n numbers of the compute type
void update_running(const ChannelNormCall& call, void* running, const void* batch, double momentum, double scale);

}  // namespace dlk
