/* Convolution over the spatial dimensions of (N, C, W), (N, C, H, W) or (N, C, D, H, W) tensors,
 * its gradients, and transposed convolution. */
#ifndef MEDKERN_CONV_H
#define MEDKERN_CONV_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the sums are formed. DIRECT adds product by product, which is exact for small integers;
 * AUTOMATIC takes what is fastest, Winograd's algorithm included, whose rounding errors are a few
 * times larger. COMPACT is AUTOMATIC, but for large weights that are packed for many calls: these
 * are not kept transformed, four times as large. */
typedef enum mk_algorithm {
  MK_ALGORITHM_AUTOMATIC = 0,
  MK_ALGORITHM_DIRECT = 1,
  MK_ALGORITHM_COMPACT = 2
} mk_algorithm;

/* What AUTOMATIC stands for from now on: itself (at first) or DIRECT, in the whole process. */
MK_API mk_status mk_conv_set_algorithm(int32_t algorithm);
MK_API int32_t mk_conv_get_algorithm(void);

/* Only the first spatial_rank entries of each array are read. The kernel's size is the weight's. */
typedef struct mk_conv_desc {
  size_t struct_size;
  int32_t spatial_rank; /* 1, 2 or 3 */
  int64_t groups;
  int64_t stride[3];
  int64_t padding[3][2]; /* zeros before and after; negative sizes crop */
  int64_t dilation[3];
  int64_t output_padding[3]; /* from 0 to stride - 1; read for transposed convolutions only */
  int32_t algorithm;         /* an mk_algorithm */
} mk_conv_desc;

/* y[n, o, p] = act(bias[o] + sum over c, t of x[n, c, p stride - padding + t dilation]
 *                                             * weight[o, c, t]),
 * where o and c are of the same group.
 *   x       [N, C, spatial]            float32 or float64; on CUDA float16, bfloat16; dense
 *   weight  [O, C / groups, kernel]    dtype of x, contiguous
 *   bias    [O]                        dtype of x, or float32 beside 16 bits; may be NULL
 *   activation                         an mk_activation
 *   y       [N, O, output]             dtype of x, contiguous or channels-last, or some channels of
 * a channels-last image; overwritten
 *   moments [chunks, 2, O]             float64, contiguous; may be NULL: see below
 * output = floor((size + padding - dilation (kernel - 1) - 1) / stride) + 1
 *
 * Ask for scratch memory with the arrays you will pass: on CUDA it may depend on where they lie. */
MK_API mk_status mk_conv_output_shape(const mk_conv_desc* desc, const DLTensor* x,
                                      const DLTensor* weight, int64_t* shape);
MK_API mk_status mk_conv_workspace(const mk_conv_desc* desc, const DLTensor* x,
                                   const DLTensor* weight, size_t* bytes);
MK_API mk_status mk_conv_forward(const mk_conv_desc* desc, const DLTensor* x,
                                 const DLTensor* weight, const DLTensor* bias, int32_t activation,
                                 DLTensor* y, DLTensor* moments, void* workspace,
                                 size_t workspace_bytes);

/* The moments of y, for a norm that follows (medkern/norm.h), come without reading y again: of
 * every 64 of its pixels, samples and then positions in order, the last ones perhaps fewer, and
 * every channel the mean and the sum of squared deviations from it. Gives the number of such
 * chunks, or 0 where they are not to be had: always on the CPU, for some shapes on CUDA and, if
 * per_sample is not 0, where a chunk would have pixels of two samples. Where all chunks are whole
 * and of one sample, its pixels may come in another order. */
MK_API mk_status mk_conv_moment_chunks(const mk_conv_desc* desc, const DLTensor* x,
                                       const DLTensor* weight, int32_t per_sample, int64_t* chunks);

/* dx[n, c, q] = sum of dy[n, o, p] weight[o, c, t] over all p, t with p stride - padding
 * + t dilation = q.
 *   dy [N, O, output], weight as above, dx [N, C, spatial] overwritten; its shape says what x was
 */
MK_API mk_status mk_conv_backward_input_workspace(const mk_conv_desc* desc, const DLTensor* dy,
                                                  const DLTensor* weight, const DLTensor* dx,
                                                  size_t* bytes);
MK_API mk_status mk_conv_backward_input(const mk_conv_desc* desc, const DLTensor* dy,
                                        const DLTensor* weight, DLTensor* dx, void* workspace,
                                        size_t workspace_bytes);

/* dweight[o, c, t] = sum over n, p of dy[n, o, p] x[n, c, p stride - padding + t dilation].
 *   dy [N, O, output], x [N, C, spatial], dweight [O, C / groups, kernel] contiguous, overwritten;
 *   of their dtype, or float32 beside 16 bits */
MK_API mk_status mk_conv_backward_weight_workspace(const mk_conv_desc* desc, const DLTensor* dy,
                                                   const DLTensor* x, const DLTensor* dweight,
                                                   size_t* bytes);
MK_API mk_status mk_conv_backward_weight(const mk_conv_desc* desc, const DLTensor* dy,
                                         const DLTensor* x, DLTensor* dweight, void* workspace,
                                         size_t workspace_bytes);

/* Transposed convolution: y = act(bias + mk_conv_backward_input(x, weight)).
 *   x       [N, C, spatial]
 *   weight  [C, O / groups, kernel]
 *   y       [N, O, output]
 *   output = (size - 1) stride - padding + dilation (kernel - 1) + output_padding + 1
 * Its gradients: with respect to x mk_conv_forward(dy, weight), with respect to the weight
 * mk_conv_backward_weight with x for dy and dy for x. */
MK_API mk_status mk_conv_transpose_output_shape(const mk_conv_desc* desc, const DLTensor* x,
                                                const DLTensor* weight, int64_t* shape);
MK_API mk_status mk_conv_transpose_workspace(const mk_conv_desc* desc, const DLTensor* x,
                                             const DLTensor* weight, size_t* bytes);
MK_API mk_status mk_conv_transpose_forward(const mk_conv_desc* desc, const DLTensor* x,
                                           const DLTensor* weight, const DLTensor* bias,
                                           int32_t activation, DLTensor* y, void* workspace,
                                           size_t workspace_bytes);

/* Weights packed once for many calls of mk_conv_forward or, if `transposed` is not 0,
 * mk_conv_transpose_forward. `packed` is memory of the caller's, aligned to 64 bytes; it keeps the
 * description too, and serves the instruction set that was in use when it was packed. For weights
 * on a CUDA device it is memory of the host that refers to them; with `arranged`, a uint8 tensor on
 * that device of as many elements as mk_conv_arranged_bytes says (0 on the CPU), they are also kept
 * there in the order in which kernels read them, which else every call brings them into; if that
 * takes no more bytes than they do, they are referred to no longer. */
MK_API mk_status mk_conv_packed_bytes(const mk_conv_desc* desc, int32_t transposed,
                                      const DLTensor* weight, size_t* bytes);
MK_API mk_status mk_conv_pack(const mk_conv_desc* desc, int32_t transposed, const DLTensor* weight,
                              void* packed, size_t packed_bytes);
MK_API mk_status mk_conv_arranged_bytes(const mk_conv_desc* desc, int32_t transposed,
                                        const DLTensor* weight, size_t* bytes);
MK_API mk_status mk_conv_pack_arranged(const mk_conv_desc* desc, int32_t transposed,
                                       const DLTensor* weight, DLTensor* arranged, void* packed,
                                       size_t packed_bytes);
MK_API mk_status mk_conv_packed_output_shape(const void* packed, size_t packed_bytes,
                                             const DLTensor* x, int64_t* shape);
MK_API mk_status mk_conv_packed_workspace(const void* packed, size_t packed_bytes,
                                          const DLTensor* x, size_t* bytes);
MK_API mk_status mk_conv_packed_forward(const void* packed, size_t packed_bytes, const DLTensor* x,
                                        const DLTensor* bias, int32_t activation, DLTensor* y,
                                        void* workspace, size_t workspace_bytes);

/* The same packed weights with another padding, of a convolution with stride 1 that is not
 * transposed. `shared` is memory of the caller's as `packed` is, refers to it and stands in its
 * place in the functions above, as long as `packed` is there. */
MK_API mk_status mk_conv_shared_bytes(size_t* bytes);
MK_API mk_status mk_conv_share(const void* packed, size_t packed_bytes, const int64_t padding[3][2],
                               void* shared, size_t shared_bytes);

#ifdef __cplusplus
}
#endif

#endif
