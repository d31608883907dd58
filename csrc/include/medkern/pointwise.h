/* Functions of single elements: of one tensor, of two with broadcasting, choice and comparison.
 * Tensors may have any strides. A result may share memory with an input if both are the same
 * elements in the same places; results must not overlap themselves. */
#ifndef MEDKERN_POINTWISE_H
#define MEDKERN_POINTWISE_H

#include "medkern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* a and b are the numbers given with x. The last column says what mk_unary_backward needs. */
typedef enum mk_unary_op {
  MK_RELU = 0,        /* max(x, 0)                                  y */
  MK_LEAKY_RELU = 1,  /* x if x > 0, else a x                       x */
  MK_ELU = 2,         /* x if x > 0, else a (exp(x) - 1)            x */
  MK_SIGMOID = 3,     /* 1 / (1 + exp(-x))                          y */
  MK_TANH = 4,        /* tanh(x)                                    y */
  MK_SILU = 5,        /* x sigmoid(x)                               x */
  MK_GELU = 6,        /* x (1 + erf(x / sqrt(2))) / 2               x */
  MK_SOFTPLUS = 7,    /* log(1 + exp(x))                            x */
  MK_EXP = 8,         /* exp(x)                                     y */
  MK_EXPM1 = 9,       /* exp(x) - 1                                 y */
  MK_LOG = 10,        /* log(x)                                     x */
  MK_LOG1P = 11,      /* log(1 + x)                                 x */
  MK_SQRT = 12,       /* sqrt(x)                                    y */
  MK_ABS = 13,        /* |x|                                        x */
  MK_NEG = 14,        /* -x                                         y */
  MK_SQUARE = 15,     /* x x                                        x */
  MK_RECIPROCAL = 16, /* 1 / x                                     y */
  MK_CLAMP = 17,      /* min(max(x, a), b); a <= b, may be infinite x */
  MK_POW = 18,        /* x^a                                        x */
  MK_ERF = 19         /* erf(x)                                     x */
} mk_unary_op;

/* y = op(x).  x float32 or float64 (CUDA, up to tanh: bfloat16 too); y of its shape and dtype. */
MK_API mk_status mk_unary(mk_unary_op op, const DLTensor* x, double a, double b, DLTensor* y);

/* dx = dy * (derivative of op).  saved is x or y of the forward pass, as listed above; all of one
 * shape and dtype. */
MK_API mk_status mk_unary_backward(mk_unary_op op, const DLTensor* dy, const DLTensor* saved,
                                   double a, double b, DLTensor* dx);

/* What two shapes broadcast to: aligned at the last dimension, sizes of 1 stretch. shape has room
 * for MK_MAX_RANK sizes; rank is how many were written. */
MK_API mk_status mk_binary_output_shape(const DLTensor* a, const DLTensor* b, int64_t* shape,
                                        int32_t* rank);

typedef enum mk_binary_op {
  MK_ADD = 0,
  MK_SUB = 1,
  MK_MUL = 2,
  MK_DIV = 3,
  MK_MAXIMUM = 4, /* NaN if either is */
  MK_MINIMUM = 5,
  MK_ADD_RELU = 6 /* max(a + b, 0), where the branches of a residual block meet */
} mk_binary_op;

/* y = a op b.  a, b  float32 or float64 (CUDA: bfloat16), alike; a tensor of rank 0 is a number.
 *   y  the shape they broadcast to, their dtype */
MK_API mk_status mk_binary(mk_binary_op op, const DLTensor* a, const DLTensor* b, DLTensor* y);

typedef enum mk_compare_op {
  MK_EQUAL = 0,
  MK_NOT_EQUAL = 1,
  MK_LESS = 2,
  MK_LESS_EQUAL = 3,
  MK_GREATER = 4,
  MK_GREATER_EQUAL = 5
} mk_compare_op;

/* y = 1 where a op b holds, else 0.  a, b  any type, the same for both.
 *   y  the shape they broadcast to, uint8 or bool */
MK_API mk_status mk_compare(mk_compare_op op, const DLTensor* a, const DLTensor* b, DLTensor* y);

/* The same for three shapes. */
MK_API mk_status mk_where_output_shape(const DLTensor* mask, const DLTensor* a, const DLTensor* b,
                                       int64_t* shape, int32_t* rank);

/* y = a where mask is not 0, else b.  mask  uint8 or bool; a, b  any type, the same for both.
 *   y  the shape the three broadcast to, dtype of a */
MK_API mk_status mk_where(const DLTensor* mask, const DLTensor* a, const DLTensor* b, DLTensor* y);

#ifdef __cplusplus
}
#endif

#endif
