/* Batch, instance, group and layer normalization:
 * y = (x - mean) / sqrt(var + eps) * weight + bias. They differ in what mean and var run over. */
#ifndef MEDKERN_NORM_H
#define MEDKERN_NORM_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Common to all functions here:
 *
 * x, y, dy, dx have one shape, dtype (float32, float64; CUDA: bfloat16 too) and memory format.
 *
 * weight and bias have the dtype of x, float32 beside bfloat16; NULL stands for 1 and 0.
 *
 * mean and rstd = 1 / sqrt(var + eps) are float64 whatever x is: a float32 mean would cost the
 * digits of data that lies far from zero. The forward pass writes them, the backward pass reads
 * them.
 *
 * activation is an mk_activation that batch, group and instance normalization apply to y. Their
 * backward passes then need bias too: they compute y anew, to see where it was above 0.
 *
 * dx, dweight and dbias may be NULL where they are not wanted.
 *
 * moments [chunks, 2, C] are those of x as mk_conv_forward gives them on CUDA, or NULL: x is then
 * not read for its statistics. It is channels-last; where samples have statistics of their own,
 * the positions of one are a multiple of 64. Only in training.
 *
 * workspace holds at least the bytes that the matching _workspace function gives, aligned to 64. */

typedef struct mk_batch_norm_desc {
  size_t struct_size;
  int32_t training; /* not 0: statistics of the batch; 0: running_mean and running_var */
  double momentum;  /* running = (1 - momentum) running + momentum (of this batch); 0 to 1 */
  double eps;       /* above 0 */
  int32_t activation;
} mk_batch_norm_desc;

MK_API mk_status mk_batch_norm_workspace(const DLTensor* x, size_t* bytes);

/* One mean and variance per channel, over batch and space. In training running_mean and running_var
 * are updated in place unless they are NULL; the variance that goes into running_var is the
 * unbiased one. A batch with a single value per channel is an error in training; an empty one
 * leaves the running statistics alone.
 *
 * x [N, C] or [N, C, spatial]; weight, bias, running_mean, running_var [C]; mean, rstd [C] */
MK_API mk_status mk_batch_norm_forward(const mk_batch_norm_desc* desc, const DLTensor* x,
                                       const DLTensor* moments, const DLTensor* weight,
                                       const DLTensor* bias, DLTensor* running_mean,
                                       DLTensor* running_var, DLTensor* y, DLTensor* mean,
                                       DLTensor* rstd, void* workspace, size_t workspace_bytes);

/* With training 0, mean and rstd count as constants. dweight, dbias [C] */
MK_API mk_status mk_batch_norm_backward(const mk_batch_norm_desc* desc, const DLTensor* dy,
                                        const DLTensor* x, const DLTensor* weight,
                                        const DLTensor* bias, const DLTensor* mean,
                                        const DLTensor* rstd, DLTensor* dx, DLTensor* dweight,
                                        DLTensor* dbias, void* workspace, size_t workspace_bytes);

typedef struct mk_group_norm_desc {
  size_t struct_size;
  int64_t num_groups; /* divides C */
  double eps;         /* above 0 */
  int32_t activation;
} mk_group_norm_desc;

MK_API mk_status mk_group_norm_workspace(const mk_group_norm_desc* desc, const DLTensor* x,
                                         size_t* bytes);

/* One mean and variance per sample and group of C / num_groups adjacent channels.
 *
 * x [N, C] or [N, C, spatial]; weight, bias [C]; mean, rstd [N, num_groups] */
MK_API mk_status mk_group_norm_forward(const mk_group_norm_desc* desc, const DLTensor* x,
                                       const DLTensor* moments, const DLTensor* weight,
                                       const DLTensor* bias, DLTensor* y, DLTensor* mean,
                                       DLTensor* rstd, void* workspace, size_t workspace_bytes);

MK_API mk_status mk_group_norm_backward(const mk_group_norm_desc* desc, const DLTensor* dy,
                                        const DLTensor* x, const DLTensor* weight,
                                        const DLTensor* bias, const DLTensor* mean,
                                        const DLTensor* rstd, DLTensor* dx, DLTensor* dweight,
                                        DLTensor* dbias, void* workspace, size_t workspace_bytes);

/* Group normalization with one channel per group, of x [N, C, spatial] with at least two values
 * per channel. mean, rstd [N, C] */
MK_API mk_status mk_instance_norm_workspace(const DLTensor* x, size_t* bytes);

MK_API mk_status mk_instance_norm_forward(double eps, int32_t activation, const DLTensor* x,
                                          const DLTensor* moments, const DLTensor* weight,
                                          const DLTensor* bias, DLTensor* y, DLTensor* mean,
                                          DLTensor* rstd, void* workspace, size_t workspace_bytes);

MK_API mk_status mk_instance_norm_backward(int32_t activation, const DLTensor* dy,
                                           const DLTensor* x, const DLTensor* weight,
                                           const DLTensor* bias, const DLTensor* mean,
                                           const DLTensor* rstd, DLTensor* dx, DLTensor* dweight,
                                           DLTensor* dbias, void* workspace,
                                           size_t workspace_bytes);

typedef struct mk_layer_norm_desc {
  size_t struct_size;
  int32_t normalized_rank; /* how many trailing axes of x are normalized, at least 1 */
  int64_t normalized_shape[MK_MAX_RANK];
  double eps; /* above 0 */
} mk_layer_norm_desc;

/* One mean and variance per element of the leading axes, over the trailing ones.
 *
 * x [leading, normalized_shape], contiguous; weight, bias [normalized_shape]; mean, rstd [leading]
 */
MK_API mk_status mk_layer_norm_forward(const mk_layer_norm_desc* desc, const DLTensor* x,
                                       const DLTensor* weight, const DLTensor* bias, DLTensor* y,
                                       DLTensor* mean, DLTensor* rstd);

MK_API mk_status mk_layer_norm_backward(const mk_layer_norm_desc* desc, const DLTensor* dy,
                                        const DLTensor* x, const DLTensor* weight,
                                        const DLTensor* mean, const DLTensor* rstd, DLTensor* dx,
                                        DLTensor* dweight, DLTensor* dbias, void* workspace,
                                        size_t workspace_bytes);

/* Scratch memory, aligned to 64 bytes, that the backward pass needs. */
MK_API mk_status mk_layer_norm_workspace(const mk_layer_norm_desc* desc, const DLTensor* x,
                                         size_t* bytes);

#ifdef __cplusplus
}
#endif

#endif
