/* Matrix products: gemm, fully connected layers with their backward passes, and the gradient of a
 * bias. */
#ifndef MEDKERN_GEMM_H
#define MEDKERN_GEMM_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How CUDA devices multiply float32 numbers, in products and convolutions, and in recurrent layers
 * where all steps are multiplied at once (a step's own product is float32's): as float32 (at
 * first), or rounded to tf32 (11 bits) or bf16 (8 bits) and summed in float32. For the process; the
 * CPU always computes as float32. */
typedef enum mk_precision {
  MK_PRECISION_FLOAT32 = 0,
  MK_PRECISION_TF32 = 1,
  MK_PRECISION_BF16 = 2
} mk_precision;
MK_API mk_status mk_set_matmul_precision(int32_t precision);
MK_API int32_t mk_get_matmul_precision(void);

/* Bytes of scratch memory for mk_gemm of these two. */
MK_API mk_status mk_gemm_workspace(const DLTensor* a, const DLTensor* b, size_t* bytes);

/* c = act(a b + bias). Either all have 2 dimensions or all have 3, the first of which is a batch.
 *   a     [M, K] or [B, M, K]  float32 or float64 (CUDA: float16 and bfloat16 too), any strides
 *   b     [K, N] or [B, K, N]  dtype of a, any strides
 *   bias  [N]                  dtype of a, contiguous; may be NULL
 *   activation                 an mk_activation
 *   c     [M, N] or [B, M, N]  dtype of a, contiguous, overwritten */
MK_API mk_status mk_gemm(const DLTensor* a, const DLTensor* b, const DLTensor* bias,
                         int32_t activation, DLTensor* c, void* workspace, size_t workspace_bytes);

/* y = act(x weight^T + bias), over the last axis of x.
 *   x       [..., I]  float32 or float64 (CUDA: float16 and bfloat16 too), contiguous
 *   weight  [O, I]    dtype of x, any strides
 *   bias    [O]       dtype of x, contiguous; may be NULL
 *   y       [..., O]  dtype of x, contiguous, overwritten */
MK_API mk_status mk_linear_workspace(const DLTensor* x, const DLTensor* weight, size_t* bytes);
MK_API mk_status mk_linear_forward(const DLTensor* x, const DLTensor* weight, const DLTensor* bias,
                                   int32_t activation, DLTensor* y, void* workspace,
                                   size_t workspace_bytes);

/* The weight of mk_linear_forward packed once for many calls. `packed` is memory of the caller's,
 * aligned to 64 bytes; it keeps the weight's shape and dtype too, and serves the instruction set
 * that was in use when it was packed. Results have the same bits as mk_linear_forward's. */
MK_API mk_status mk_linear_packed_bytes(const DLTensor* weight, size_t* bytes);
MK_API mk_status mk_linear_pack(const DLTensor* weight, void* packed, size_t packed_bytes);
/* Shape of y, as many sizes as x has dimensions, and scratch bytes for this x. */
MK_API mk_status mk_linear_packed_output_shape(const void* packed, size_t packed_bytes,
                                               const DLTensor* x, int64_t* shape);
MK_API mk_status mk_linear_packed_workspace(const void* packed, size_t packed_bytes,
                                            const DLTensor* x, size_t* bytes);
MK_API mk_status mk_linear_packed_forward(const void* packed, size_t packed_bytes,
                                          const DLTensor* x, const DLTensor* bias,
                                          int32_t activation, DLTensor* y, void* workspace,
                                          size_t workspace_bytes);

/* dx = dy weight.
 *   dy [..., O] contiguous, weight [O, I] any strides, dx [..., I] contiguous, overwritten */
MK_API mk_status mk_linear_backward_input_workspace(const DLTensor* dy, const DLTensor* weight,
                                                    size_t* bytes);
MK_API mk_status mk_linear_backward_input(const DLTensor* dy, const DLTensor* weight, DLTensor* dx,
                                          void* workspace, size_t workspace_bytes);

/* dweight = dy^T x, summed over all leading axes.
 *   dy [..., O] contiguous, x [..., I] contiguous, dweight [O, I] contiguous, overwritten */
MK_API mk_status mk_linear_backward_weight_workspace(const DLTensor* dy, const DLTensor* x,
                                                     size_t* bytes);
MK_API mk_status mk_linear_backward_weight(const DLTensor* dy, const DLTensor* x, DLTensor* dweight,
                                           void* workspace, size_t workspace_bytes);

/* dbias = sum of dy over all axes but `axis`: 1 for images, the last for linear layers.
 *   dy     float32 or float64 (CUDA: float16 and bfloat16 too), contiguous or channels-last
 *   dbias  [size of that axis]  dtype of dy (or float32 beside 16 bits), contiguous, overwritten */
MK_API mk_status mk_bias_backward_workspace(const DLTensor* dy, int32_t axis, size_t* bytes);
MK_API mk_status mk_bias_backward(const DLTensor* dy, int32_t axis, DLTensor* dbias,
                                  void* workspace, size_t workspace_bytes);

#ifdef __cplusplus
}
#endif

#endif
