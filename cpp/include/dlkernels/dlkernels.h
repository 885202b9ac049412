/* The C interface of dlkernels: the kernels of the Python package for any other host. Plain C99; link libdlkernels.
 *
 * Every function returns DLK_OK or an error code; dlk_last_error() then says what was wrong (op, argument, wanted, got), for the calling
 * thread. Nothing is written before all arguments are checked. Nothing is allocated for the caller, nothing is printed, no exception
 * crosses. Arrays are on the CPU; results are the same bits for any thread count, instruction set and memory layout.
 * An output may be one of the inputs (same address, same strides); any other overlap is the caller's error and is not detected here.
 */
#ifndef DLKERNELS_DLKERNELS_H
#define DLKERNELS_DLKERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DLK_API __attribute__((visibility("default")))
#else
#define DLK_API
#endif

#define DLK_ABI_VERSION 1

typedef enum { DLK_F32 = 0, DLK_F64 = 1, DLK_F16 = 2, DLK_BF16 = 3, DLK_I32 = 4, DLK_I64 = 5 } dlk_dtype;
typedef enum {
  DLK_OK = 0,
  DLK_TYPE_ERROR = 1,
  DLK_VALUE_ERROR = 2,
  DLK_INDEX_ERROR = 3,
  DLK_MEMORY_ERROR = 4,
  DLK_RUNTIME_ERROR = 5
} dlk_status;
typedef enum { DLK_NONE = 0, DLK_MEAN = 1, DLK_SUM = 2 } dlk_reduction;

/* strides are in bytes and may be NULL for C order; shape and strides have ndim entries (at most 64). */
typedef struct {
  void* data;
  dlk_dtype dtype;
  int ndim;
  const int64_t* shape;
  const int64_t* strides;
} dlk_tensor;

DLK_API int dlk_abi_version(void);
DLK_API const char* dlk_version(void);
DLK_API const char* dlk_last_error(void);

DLK_API const char* dlk_target(void); /* "avx512", "avx2", "neon" or "base" */
DLK_API int dlk_set_target(const char* name);
DLK_API int dlk_num_threads(void);
DLK_API int dlk_set_num_threads(int threads);

/* Elementwise: out = op(in). op "relu", "leaky_relu" {negative_slope}, "sigmoid", "tanh", "silu", "gelu", "gelu_tanh", "elu" {alpha}.
 * pass "" has in = {x}; "grad" has in = {dy, x}; "grad_y" (relu, leaky_relu, sigmoid, tanh, elu) has in = {dy, y}.
 * params are the hyper-parameters in the order given here. */
DLK_API int dlk_map(const char* op, const char* pass, const dlk_tensor* in, int ins, const dlk_tensor* out,
                    const double* params, int count);

/* Row-wise along `axis`: op "softmax" or "log_softmax"; pass "" has in = {x}, "grad" has in = {dy, y}. */
DLK_API int dlk_rows(const char* op, const char* pass, const dlk_tensor* in, int ins, const dlk_tensor* out, int axis);

/* Elementwise loss ("mse_loss"). value and grad may be NULL, not both. value: float64 for float64 input, else float32; 0-d, or of
 * input's shape for DLK_NONE. grad: input's dtype and shape. */
DLK_API int dlk_loss(const char* op, const dlk_tensor* input, const dlk_tensor* target, dlk_reduction reduction,
                     const dlk_tensor* value, const dlk_tensor* grad);

/* Softmax cross-entropy along `axis`. target: class ids (int32, int64; input's shape without `axis`) or probabilities (as input).
 * weight may be NULL. value and grad as in dlk_loss; DLK_NONE has one value per row. */
DLK_API int dlk_cross_entropy(const dlk_tensor* input, const dlk_tensor* target, const dlk_tensor* weight,
                              int64_t ignore_index, double label_smoothing, dlk_reduction reduction, int axis,
                              const dlk_tensor* value, const dlk_tensor* grad);

/* One tensor of an optimizer step, n contiguous elements. state arrays are float64 for float64 parameters, else float32. */
typedef struct {
  void* param;
  const void* grad;
  void* state[4];
  int64_t n;
  int group; /* which row of params applies */
} dlk_update_tensor;

/* Multi-tensor update in one parallel region. params: `count` doubles for each of `groups` groups, first what its gradients are multiplied
 * by (1; -1 to maximize; unscaling and clipping too), then the rule's: "sgd" {lr, weight_decay}; "sgd_momentum" {lr, weight_decay, keep,
 * take, direct, through}; "adam" {weight_decay, 1-beta1, 1-beta2, lr*decoupled_decay, lr/(1-beta1^t), 1/sqrt(1-beta2^t), eps, 0, 0}; and
 * those of kernels/ops/optimizers.h. */
DLK_API int dlk_update(const char* rule, dlk_dtype dtype, const dlk_update_tensor* tensors, int64_t tensor_count,
                       const double* params, int count, int groups);

#ifdef __cplusplus
}
#endif
#endif
