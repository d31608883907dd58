/* Optimizer steps: parameters and their state are updated in place. */
#ifndef MEDKERN_OPTIM_H
#define MEDKERN_OPTIM_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* All tensors of a step have one shape, dtype (float32 or float64) and memory layout, contiguous or
 * channels-last, and share no memory. The functions of many parameters take one after the other,
 * all of one dtype, on one device, which costs a CUDA device few launches. */

typedef struct mk_sgd_desc {
  size_t struct_size;
  int32_t nesterov; /* not 0: d = g + momentum b; needs a momentum above 0 and no dampening */
  double lr;        /* at least 0, as all below but dampening */
  double momentum;
  double dampening; /* finite */
  double weight_decay;
} mk_sgd_desc;

/* g = grad + weight_decay param
 *
 * b = momentum b + (1 - dampening) g, b being momentum_buffer, zeros before the first step
 *
 * param -= lr d, d = b (nesterov: g + momentum b)
 *
 * momentum_buffer may be NULL where momentum is 0; then d = g. */
MK_API mk_status mk_sgd_step(const mk_sgd_desc* desc, DLTensor* param, const DLTensor* grad,
                             DLTensor* momentum_buffer);

/* The same for `count` parameters; buffers is NULL, or all of it or none are. rounded is NULL or,
 * for each parameter, NULL or a bfloat16 tensor that gets its new values: float32 on a CUDA device
 * only.
 */
MK_API mk_status mk_sgd_steps(const mk_sgd_desc* desc, int64_t count, DLTensor* const* params,
                              const DLTensor* const* grads, DLTensor* const* buffers,
                              DLTensor* const* rounded);

typedef struct mk_adam_desc {
  size_t struct_size;
  int32_t decoupled; /* not 0: AdamW */
  int64_t step;      /* the number of this step, from 1 */
  double lr;         /* at least 0 */
  double beta1;      /* 0 <= beta < 1 */
  double beta2;
  double eps;          /* at least 0 */
  double weight_decay; /* at least 0 */
} mk_adam_desc;

/* decoupled: param *= 1 - lr weight_decay, g = grad; otherwise g = grad + weight_decay param
 *
 * m = beta1 m + (1 - beta1) g, v = beta2 v + (1 - beta2) g^2 (exp_avg and exp_avg_sq, zeros before
 * the first step)
 *
 * param -= lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps) */
MK_API mk_status mk_adam_step(const mk_adam_desc* desc, DLTensor* param, const DLTensor* grad,
                              DLTensor* exp_avg, DLTensor* exp_avg_sq);

/* The same for `count` parameters; rounded as for mk_sgd_steps. */
MK_API mk_status mk_adam_steps(const mk_adam_desc* desc, int64_t count, DLTensor* const* params,
                               const DLTensor* const* grads, DLTensor* const* exp_avgs,
                               DLTensor* const* exp_avg_sqs, DLTensor* const* rounded);

#ifdef __cplusplus
}
#endif

#endif
