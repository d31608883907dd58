/* Resizing the spatial dimensions of (N, C, W), (N, C, H, W) or (N, C, D, H, W) tensors. Tensors
 * are float32 or float64 (CUDA: bfloat16 too), contiguous or channels-last. */
#ifndef MEDKERN_RESIZE_H
#define MEDKERN_RESIZE_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mk_resize_mode {
  MK_RESIZE_NEAREST = 0, /* the element at or before the coordinate */
  MK_RESIZE_LINEAR = 1   /* linear along each axis: linear, bilinear, trilinear */
} mk_resize_mode;

/* Along each axis output o lies at coordinate
 *   o * ratio                 nearest
 *   (o + 1/2) * ratio - 1/2   linear, at least 0
 *   o * (size - 1) / (output size - 1)   linear with align_corners
 * of x. ratio is size / output size, or 1 / scale_factor where that is given. Only the first
 * spatial_rank entries of each array are read. */
typedef struct mk_resize_desc {
  size_t struct_size;
  int32_t spatial_rank;   /* 1, 2 or 3 */
  int32_t mode;           /* mk_resize_mode */
  int32_t align_corners;  /* not 0: the corner elements of x and y coincide; linear only */
  int32_t by_scale;       /* not 0: scale_factor gives the output size, else size does */
  int64_t size[3];        /* of the output, at least 1 */
  double scale_factor[3]; /* output size over input size, above 0; the output is rounded down */
} mk_resize_desc;

/* The shape of y: (N, C, size...) or (N, C, floor(size of x * scale_factor) ...).
 *   shape  [spatial_rank + 2]  overwritten */
MK_API mk_status mk_resize_output_shape(const mk_resize_desc* desc, const DLTensor* x,
                                        int64_t* shape);

/* y = x at the coordinates of each output.
 *   x  [N, C, spatial]  spatial sizes at least 1
 *   y  [N, C, output]   dtype of x */
MK_API mk_status mk_resize_forward(const mk_resize_desc* desc, const DLTensor* x, DLTensor* y);

/* dx = sum of dy over the outputs each element of x took part in, times its weights.
 *   dy  as y of mk_resize_forward
 *   dx  shape and dtype of x, overwritten */
MK_API mk_status mk_resize_backward(const mk_resize_desc* desc, const DLTensor* dy, DLTensor* dx);

#ifdef __cplusplus
}
#endif

#endif
