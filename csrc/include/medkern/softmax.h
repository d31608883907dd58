/* Softmax, log-softmax and the cross-entropy of logits. */
#ifndef MEDKERN_SOFTMAX_H
#define MEDKERN_SOFTMAX_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mk_softmax_desc {
  size_t struct_size;
  int32_t dim;         /* the axis, -rank to rank - 1 */
  int32_t logarithmic; /* not 0: log-softmax */
} mk_softmax_desc;

/* y = exp(x) / sum of exp(x) along the axis, or the logarithm of it.
 *
 * x, y any shape of at least one axis, float32 or float64, contiguous or channels-last alike */
MK_API mk_status mk_softmax_forward(const mk_softmax_desc* desc, const DLTensor* x, DLTensor* y);

/* dx = y (dy - sum of dy y), or for the logarithm dx = dy - exp(y) sum of dy.
 *
 * dy, y, dx as x and y of the forward pass */
MK_API mk_status mk_softmax_backward(const mk_softmax_desc* desc, const DLTensor* dy,
                                     const DLTensor* y, DLTensor* dx);

typedef enum mk_reduction {
  MK_REDUCE_NONE = 0, /* a loss per element of target */
  MK_REDUCE_SUM = 1,
  MK_REDUCE_MEAN = 2 /* the sum divided by the sum of weight[target] over what is not ignored */
} mk_reduction;

typedef struct mk_cross_entropy_desc {
  size_t struct_size;
  int32_t reduction;      /* an mk_reduction */
  int64_t ignore_index;   /* elements with this target count for nothing */
  double label_smoothing; /* 0 to 1 */
} mk_cross_entropy_desc;

MK_API mk_status mk_cross_entropy_workspace(const DLTensor* logits, size_t* bytes);

/* With p = softmax(logits) over axis 1 and t = target:
 *
 * loss = -(1 - e) weight[t] log p[t] - e / C sum over c of weight[c] log p[c], e = label_smoothing
 *
 * The mean over elements whose weights add up to 0, such as no elements at all, is 0.
 *
 * logits [N, C] or [N, C, spatial], C >= 1, contiguous or channels-last; target [N] or
 * [N, spatial], int64, int32 or uint8, contiguous; weight [C], dtype of logits, NULL stands for 1;
 * loss [] or the shape of target, dtype of logits, contiguous; total_weight [] float64, the divisor
 * of the mean */
MK_API mk_status mk_cross_entropy_forward(const mk_cross_entropy_desc* desc, const DLTensor* logits,
                                          const DLTensor* target, const DLTensor* weight,
                                          DLTensor* loss, DLTensor* total_weight, void* workspace,
                                          size_t workspace_bytes);

/* dlogits [N, C, spatial] = dloss (a p - a[c]), where a[c] is the factor of -log p[c] in the loss
 * and a the sum of them. dloss has the shape of loss, dlogits the layout of logits. */
MK_API mk_status mk_cross_entropy_backward(const mk_cross_entropy_desc* desc, const DLTensor* dloss,
                                           const DLTensor* logits, const DLTensor* target,
                                           const DLTensor* weight, const DLTensor* total_weight,
                                           DLTensor* dlogits);

#ifdef __cplusplus
}
#endif

#endif
