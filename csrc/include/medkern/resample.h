/* Reading images at any places: where a grid says (spatial transformers, registration), or where an
 * affine map and a smooth displacement lead (augmentation). Tensors are float32 or float64. */
#ifndef MEDKERN_RESAMPLE_H
#define MEDKERN_RESAMPLE_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mk_resample_mode {
  MK_RESAMPLE_NEAREST = 0, /* the element nearest to the place */
  MK_RESAMPLE_LINEAR = 1   /* linear along each axis: bilinear, trilinear */
} mk_resample_mode;

/* What lies beyond the edges of x. */
typedef enum mk_resample_padding {
  MK_RESAMPLE_CONSTANT = 0,   /* `value` */
  MK_RESAMPLE_BORDER = 1,     /* the nearest element of the edge */
  MK_RESAMPLE_REFLECTION = 2, /* the image mirrored, again and again */
  MK_RESAMPLE_WRAP = 3        /* the image again and again */
} mk_resample_padding;

typedef enum mk_resample_spline {
  MK_RESAMPLE_SPLINE_LINEAR = 1,
  MK_RESAMPLE_SPLINE_CUBIC = 3 /* uniform B-spline */
} mk_resample_spline;

/* Coordinates of the grid run from -1 to 1 over each axis of x, the last axis first (x, y, z), from
 * the center of the first to that of the last element with align_corners, else from the outer edge
 * of the first to that of the last. Mirrors stand where -1 and 1 are; halves go to the even element
 * in mode nearest. */
typedef struct mk_grid_sample_desc {
  size_t struct_size;
  int32_t spatial_rank;  /* 2 or 3 */
  int32_t mode;          /* mk_resample_mode */
  int32_t padding;       /* mk_resample_padding */
  int32_t align_corners; /* not 0: -1 and 1 are the centers of the corner elements */
  double value;          /* beyond the edges for MK_RESAMPLE_CONSTANT; finite */
} mk_grid_sample_desc;

/* The shape of y: (N, C, spatial sizes of the grid).
 *   x      [N, C, spatial]             contiguous or channels-last, spatial sizes at least 1
 *   grid   [N, spatial of y, rank]     contiguous, dtype of x
 *   shape  [spatial_rank + 2]          overwritten */
MK_API mk_status mk_grid_sample_output_shape(const mk_grid_sample_desc* desc, const DLTensor* x,
                                             const DLTensor* grid, int64_t* shape);

/* Bytes of scratch memory, aligned to 64, that each pass takes; x stands for dx in the second. */
MK_API mk_status mk_grid_sample_forward_workspace(const mk_grid_sample_desc* desc,
                                                  const DLTensor* x, const DLTensor* grid,
                                                  size_t* bytes);
MK_API mk_status mk_grid_sample_backward_input_workspace(const mk_grid_sample_desc* desc,
                                                         const DLTensor* dx, const DLTensor* grid,
                                                         size_t* bytes);
MK_API mk_status mk_grid_sample_backward_grid_workspace(const mk_grid_sample_desc* desc,
                                                        const DLTensor* x, const DLTensor* grid,
                                                        size_t* bytes);

/* y[n, c, o] = x[n, c] at grid[n, o].
 *   y  [N, C, spatial of the grid]  dtype of x, contiguous or channels-last */
MK_API mk_status mk_grid_sample_forward(const mk_grid_sample_desc* desc, const DLTensor* x,
                                        const DLTensor* grid, DLTensor* y, void* workspace,
                                        size_t workspace_bytes);

/* dx = sum of dy over the outputs that read each element, times its weight.
 *   dy  as y of the forward pass
 *   dx  shape and dtype of x, overwritten */
MK_API mk_status mk_grid_sample_backward_input(const mk_grid_sample_desc* desc, const DLTensor* dy,
                                               const DLTensor* grid, DLTensor* dx, void* workspace,
                                               size_t workspace_bytes);

/* dgrid[n, o, i] = sum over channels of dy times the slope of y along coordinate i; 0 in mode
 * nearest, and where a coordinate was brought back to the border.
 *   dgrid  shape and dtype of the grid, overwritten */
MK_API mk_status mk_grid_sample_backward_grid(const mk_grid_sample_desc* desc, const DLTensor* dy,
                                              const DLTensor* x, const DLTensor* grid,
                                              DLTensor* dgrid, void* workspace,
                                              size_t workspace_bytes);

/* The affine map of sample n takes the indices o of an element of y to those of its place in x:
 *   place[i] = sum over j of matrix[n, i, j] o[j] + matrix[n, i, rank] + displacement[i](o)
 * in the order of the axes, in elements of x. The displacement is a spline over control points that
 * lie evenly from the first to the last element of y along each axis; a cubic one has one more
 * point before and one behind these. Mirrors stand at the outer edges of the image; halves go up in
 * mode nearest. */
typedef struct mk_affine_resample_desc {
  size_t struct_size;
  int32_t spatial_rank; /* 2 or 3 */
  int32_t mode;         /* mk_resample_mode */
  int32_t padding;      /* mk_resample_padding */
  int32_t spline;       /* mk_resample_spline */
  double value;         /* beyond the edges for MK_RESAMPLE_CONSTANT; finite */
  int64_t size[3];      /* spatial sizes of y, at least 1 */
} mk_affine_resample_desc;

MK_API mk_status mk_affine_resample_output_shape(const mk_affine_resample_desc* desc,
                                                 const DLTensor* x, int64_t* shape);

/* Bytes of scratch memory, aligned to 64. */
MK_API mk_status mk_affine_resample_workspace(const mk_affine_resample_desc* desc,
                                              const DLTensor* x, const DLTensor* displacement,
                                              size_t* bytes);

/* y[n, c, o] = x[n, c] at the place of o.
 *   x             [N, C, spatial]              contiguous or channels-last, sizes at least 1
 *   matrix        [N, rank, rank + 1]          float64, contiguous
 *   displacement  [N, rank, control points]    dtype of x, contiguous, or NULL for none; from 2
 *                 (cubic: 4) to 256 points along each axis
 *   y             [N, C, size]                 dtype of x, contiguous or channels-last */
MK_API mk_status mk_affine_resample_forward(const mk_affine_resample_desc* desc, const DLTensor* x,
                                            const DLTensor* matrix, const DLTensor* displacement,
                                            DLTensor* y, void* workspace, size_t workspace_bytes);

#ifdef __cplusplus
}
#endif

#endif
