/* Moving elements: copies between layouts and types, joining, padding. */
#ifndef MEDKERN_COPY_H
#define MEDKERN_COPY_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* y = x, broadcast to the shape of y and converted to its type. Any strides on both sides. A float
 * becomes an integer by dropping its fraction, at the nearest value of the type where it lies
 * outside, and 0 where it is NaN; anything becomes a bool by comparing with 0. */
MK_API mk_status mk_copy(const DLTensor* x, DLTensor* y);

/* Every element of y = value, converted as mk_copy does. Any strides. */
MK_API mk_status mk_fill(double value, DLTensor* y);

/* The shape of the tensors xs[0 .. count - 1] laid end to end along an axis (0 is the first). All
 * have the same other sizes. */
MK_API mk_status mk_concat_output_shape(const DLTensor* const* xs, int32_t count, int32_t axis,
                                        int64_t* shape);

/* y = the tensors laid end to end. Any strides; all of one type. */
MK_API mk_status mk_concat(const DLTensor* const* xs, int32_t count, int32_t axis, DLTensor* y);

/* What lies outside of x:  constant: a value;  reflect: x mirrored about its edge element (c b | a
 * b c | b a); replicate: its edge element;  circular: its other end. */
typedef enum mk_pad_mode {
  MK_PAD_CONSTANT = 0,
  MK_PAD_REFLECT = 1,
  MK_PAD_REPLICATE = 2,
  MK_PAD_CIRCULAR = 3
} mk_pad_mode;

typedef struct mk_pad_desc {
  size_t struct_size;
  mk_pad_mode mode;
  int32_t rank;                    /* of x */
  double value;                    /* for MK_PAD_CONSTANT */
  int64_t padding[MK_MAX_RANK][2]; /* before and after; negative crops, with MK_PAD_CONSTANT only */
} mk_pad_desc;

/* The shape of y: each size plus its padding, at least 0. Reflection reaches less than the size of
 * x, circular padding at most that. */
MK_API mk_status mk_pad_output_shape(const mk_pad_desc* desc, const DLTensor* x, int64_t* shape);

/* y = x with its borders extended. float32 or float64 (CUDA: 16 bits too), any strides. */
MK_API mk_status mk_pad(const mk_pad_desc* desc, const DLTensor* x, DLTensor* y);

/* dx = for each element of x the sum of dy over the places it was copied to, in row-major order. */
MK_API mk_status mk_pad_backward(const mk_pad_desc* desc, const DLTensor* dy, DLTensor* dx);

#ifdef __cplusplus
}
#endif

#endif
