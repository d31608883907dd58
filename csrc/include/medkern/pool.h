/* Max pooling over the spatial dimensions of (N, C, W), (N, C, H, W) or (N, C, D, H, W) tensors. */
#ifndef MEDKERN_POOL_H
#define MEDKERN_POOL_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A sliding window. Only the first spatial_rank entries of each array are read. */
typedef struct mk_pool_desc {
  size_t struct_size;
  int32_t spatial_rank; /* 1, 2 or 3 */
  int32_t ceil_mode;    /* not 0: also a last window that only partly covers x */
  int64_t kernel_size[3];
  int64_t stride[3];
  int64_t padding[3][2]; /* before and after; at most half the kernel's extent, at least 0 */
  int64_t dilation[3];
} mk_pool_desc;

/* The shape of y: (N, C, floor((size + padding - dilation (kernel_size - 1) - 1) / stride) + 1
 * ...). shape  [spatial_rank + 2]  overwritten */
MK_API mk_status mk_max_pool_output_shape(const mk_pool_desc* desc, const DLTensor* x,
                                          int64_t* shape);

/* y = max of x over each window; padding never wins, a NaN in the window does, ties go to the
 * first. x        [N, C, spatial]  float32 or float64, contiguous or channels-last y        [N, C,
 * output]   dtype of x indices  [N, C, output]   int64: flat spatial offset of the winner in x (-1
 * where a window holds padding only); uint8: its number among the window's positions, row by row,
 * for kernels of at most 256 positions. May be NULL */
MK_API mk_status mk_max_pool_forward(const mk_pool_desc* desc, const DLTensor* x, DLTensor* y,
                                     DLTensor* indices);

/* dx = sum of dy over the windows each element of x won.
 *   dy, indices  as y and indices of mk_max_pool_forward; an index out of range is an error
 *   dx           [N, C, spatial]  shape and dtype of x, overwritten */
MK_API mk_status mk_max_pool_backward(const mk_pool_desc* desc, const DLTensor* dy,
                                      const DLTensor* indices, DLTensor* dx);

#ifdef __cplusplus
}
#endif

#endif
