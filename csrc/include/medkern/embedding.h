/* Embedding: the rows of a table that integers choose. */
#ifndef MEDKERN_EMBEDDING_H
#define MEDKERN_EMBEDDING_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The shape of y: that of indices followed by D.
 *   shape  [rank of indices + 1]  overwritten */
MK_API mk_status mk_embedding_output_shape(const DLTensor* indices, const DLTensor* weight,
                                           int64_t* shape);

/* y[..., :] = weight[indices[...], :]
 *   indices      any shape  int64 or int32, each from 0 to V - 1; contiguous
 *   weight       [V, D]     float32 or float64, contiguous
 *   padding_idx  a row that gets no gradient, from -V (counted from the end) to V - 1; NULL if
 *                there is none. Checked here and used in the backward pass
 *   y            [indices, D]  dtype of weight, contiguous */
MK_API mk_status mk_embedding_forward(const DLTensor* indices, const DLTensor* weight,
                                      const int64_t* padding_idx, DLTensor* y);

/* dweight[v, :] = sum of dy[..., :] where indices[...] = v, in the order of the indices; 0 for
 * v = padding_idx.
 *   dy, indices  as y and indices of mk_embedding_forward
 *   dweight      [V, D]  dtype of dy, contiguous, overwritten */
MK_API mk_status mk_embedding_backward(const DLTensor* dy, const DLTensor* indices,
                                       const int64_t* padding_idx, DLTensor* dweight);

#ifdef __cplusplus
}
#endif

#endif
