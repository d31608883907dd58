/* Pooling over the spatial dimensions of (N, C, W), (N, C, H, W) or (N, C, D, H, W) tensors: max,
 * average, both in the adaptive form, and max unpooling. Tensors are float32 or float64 (CUDA:
 * bfloat16 too), contiguous or channels-last. */
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
  int64_t dilation[3];   /* 1 for all but max pooling */
} mk_pool_desc;

/* The shape of y: (N, C, floor((size + padding - dilation (kernel_size - 1) - 1) / stride) + 1
 * ...), of max and of average pooling.
 *   shape  [spatial_rank + 2]  overwritten */
MK_API mk_status mk_max_pool_output_shape(const mk_pool_desc* desc, const DLTensor* x,
                                          int64_t* shape);
MK_API mk_status mk_avg_pool_output_shape(const mk_pool_desc* desc, const DLTensor* x,
                                          int64_t* shape);

/* y = max of x over each window; padding never wins, a NaN in the window does, ties go to the
 * first.
 *   x        [N, C, spatial]
 *   y        [N, C, output]   dtype of x
 *   indices  [N, C, output]   int64: flat spatial offset of the winner in x (-1 where a window
 *            holds padding only); uint8: its number among the window's positions, row by row, for
 *            kernels of at most 256 positions. May be NULL */
MK_API mk_status mk_max_pool_forward(const mk_pool_desc* desc, const DLTensor* x, DLTensor* y,
                                     DLTensor* indices);

/* dx = sum of dy over the windows each element of x won.
 *   dy, indices  as y and indices of mk_max_pool_forward; an index out of range is an error
 *   dx           [N, C, spatial]  shape and dtype of x, overwritten */
MK_API mk_status mk_max_pool_backward(const mk_pool_desc* desc, const DLTensor* dy,
                                      const DLTensor* indices, DLTensor* dx);

/* y = mean of x over each window. The sum is divided by the number of the window's positions in x,
 * or, with count_include_pad, in x and its padding.
 *   x  [N, C, spatial]
 *   y  [N, C, output]   dtype of x */
MK_API mk_status mk_avg_pool_forward(const mk_pool_desc* desc, int32_t count_include_pad,
                                     const DLTensor* x, DLTensor* y);

/* dx = sum over the windows each element lies in of dy / divisor.
 *   dy  as y of mk_avg_pool_forward
 *   dx  shape and dtype of x, overwritten */
MK_API mk_status mk_avg_pool_backward(const mk_pool_desc* desc, int32_t count_include_pad,
                                      const DLTensor* dy, DLTensor* dx);

/* Adaptive pooling divides x into output sizes of the caller's choice: output o of `count` takes
 * elements floor(o size / count) to ceil((o + 1) size / count) - 1 along each axis. Output size 1
 * is global pooling. The spatial sizes of x and y are at least 1.
 *   x        [N, C, spatial]
 *   y        [N, C, output]   dtype of x
 *   indices  [N, C, output]   int64: flat spatial offset of the winner in x. May be NULL */
MK_API mk_status mk_adaptive_avg_pool_forward(int32_t spatial_rank, const DLTensor* x, DLTensor* y);
MK_API mk_status mk_adaptive_avg_pool_backward(int32_t spatial_rank, const DLTensor* dy,
                                               DLTensor* dx);
MK_API mk_status mk_adaptive_max_pool_forward(int32_t spatial_rank, const DLTensor* x, DLTensor* y,
                                              DLTensor* indices);
MK_API mk_status mk_adaptive_max_pool_backward(int32_t spatial_rank, const DLTensor* dy,
                                               const DLTensor* indices, DLTensor* dx);
/* The shape of y: (N, C, output_size...), where an output_size of -1 keeps the size of x. */
MK_API mk_status mk_adaptive_pool_output_shape(int32_t spatial_rank, const int64_t* output_size,
                                               const DLTensor* x, int64_t* shape);

/* The shape of y of unpooling with the windows of a max pooling: (N, C, (size - 1) stride - padding
 * + kernel_size ...), or (N, C, output_size...) if output_size is not NULL; it may differ from the
 * former by less than a stride. ceil_mode is ignored. */
MK_API mk_status mk_max_unpool_output_shape(const mk_pool_desc* desc, const int64_t* output_size,
                                            const DLTensor* x, int64_t* shape);

/* y = 0 but for y[indices] = x within each (n, c). Where indices repeat, the last in row-major
 * order wins; -1 stands for no element.
 *   x        [N, C, spatial]
 *   indices  [N, C, spatial]  int64, flat spatial offsets in y
 *   y        [N, C, output]   dtype of x */
MK_API mk_status mk_max_unpool_forward(int32_t spatial_rank, const DLTensor* x,
                                       const DLTensor* indices, DLTensor* y);

/* dx = dy[indices], 0 where the index is -1. */
MK_API mk_status mk_max_unpool_backward(int32_t spatial_rank, const DLTensor* dy,
                                        const DLTensor* indices, DLTensor* dx);

#ifdef __cplusplus
}
#endif

#endif
