/* Sums, means, variances and extremes over any axes of a float32 or float64 tensor of any strides.
 */
#ifndef MEDKERN_REDUCE_H
#define MEDKERN_REDUCE_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum mk_reduce_op {
  MK_SUM = 0,
  MK_MEAN = 1, /* NaN over no elements */
  MK_VAR = 2,  /* sum of (x - mean)^2 / max(count - correction, 0) */
  MK_MAX = 3,  /* NaN if there is one; an error over no elements */
  MK_MIN = 4   /* as MK_MAX */
} mk_reduce_op;

typedef struct mk_reduce_desc {
  size_t struct_size;
  mk_reduce_op op;
  int32_t keepdim;           /* not 0: reduced axes stay, with size 1 */
  int32_t dims_count;        /* number of axes to reduce; -1 for all */
  int32_t dims[MK_MAX_RANK]; /* each from -rank to rank - 1, none twice */
  double correction; /* of MK_VAR: 1 for the estimate from a sample, 0 for the mean square */
} mk_reduce_desc;

/* The shape of y. shape has room for MK_MAX_RANK sizes; rank is how many were written. */
MK_API mk_status mk_reduce_output_shape(const mk_reduce_desc* desc, const DLTensor* x,
                                        int64_t* shape, int32_t* rank);
MK_API mk_status mk_reduce_workspace(const mk_reduce_desc* desc, const DLTensor* x, size_t* bytes);

/* y = op over the axes of desc.
 *   y        the output shape, dtype of x
 *   indices  the output shape, int64, MK_MAX and MK_MIN only: where the extreme was, as a flat
 *            index over the reduced axes in their order in x; the first of equal ones. May be NULL
 */
MK_API mk_status mk_reduce(const mk_reduce_desc* desc, const DLTensor* x, DLTensor* y,
                           DLTensor* indices, void* workspace, size_t workspace_bytes);

/* y = the element of x at each index; op and correction of desc are not read.
 *   indices  the output shape, int64, as mk_reduce gives them; y  the output shape, dtype of x */
MK_API mk_status mk_reduce_take(const mk_reduce_desc* desc, const DLTensor* x,
                                const DLTensor* indices, DLTensor* y);

/* The gradient of mk_reduce_take, and of the extremes: dx = dy at each index, 0 elsewhere.
 *   dy, indices  the output shape; dx  shape of x, dtype of dy */
MK_API mk_status mk_reduce_put(const mk_reduce_desc* desc, const DLTensor* dy,
                               const DLTensor* indices, DLTensor* dx);

#ifdef __cplusplus
}
#endif

#endif
