// GEMM: what the kernels are given once every argument has been checked.
#pragma once

#include "core/dtype.h"
#include "core/tensor.h"
#include "medkern/gemm.h"

namespace medkern {

// What is done to each element of a result as it is stored.
enum class Activation : uint8_t { none, relu };

// Checks mk_activation's values.
Activation activation_of(const char* op, int32_t activation);

// What mk_set_matmul_precision chose.
mk_precision matmul_precision();

// c[i, j] = act(sum over k of a[i, k] b[k, j] + bias[j]), or c += the sum if `accumulate`.
struct GemmArgs {
  Dtype dtype;
  int64_t m, n, k;
  const void* a;
  int64_t a_row, a_col;  // strides, any
  const void* b;         // or what pack_b made of it, if b_packed
  int64_t b_row, b_col;
  void* c;
  int64_t c_row;  // columns of c are contiguous
  // So many products of one shape, and the strides between their operands and results; the same
  // bias for all.
  int64_t items = 1;
  int64_t a_item = 0, b_item = 0, c_item = 0;
  bool accumulate = false;
  const void* bias = nullptr;  // [n]
  Activation activation = Activation::none;
  bool b_packed = false;
  void* workspace = nullptr;  // of gemm_workspace bytes, 64-byte aligned
};

// dbias[c] = sum over o, i of dy[o, c, i]; dy is contiguous (channels-last images have inner 1).
struct BiasBackwardArgs {
  Dtype dtype, dbias_dtype;  // the second may be f32 beside 16 bits
  int64_t outer, channels, inner;
  const void* dy;
  void* dbias;
  void* workspace;
};

struct GemmKernels {
  size_t (*workspace)(const GemmArgs&);
  void (*run)(const GemmArgs&);
  // b[k, n] packed once for many products: bytes, and packing.
  size_t (*packed_b_bytes)(Dtype, int64_t k, int64_t n);
  void (*pack_b)(Dtype, int64_t k, int64_t n, const void* b, int64_t b_row, int64_t b_col,
                 void* packed);
  size_t (*bias_backward_workspace)(const BiasBackwardArgs&);
  void (*bias_backward)(const BiasBackwardArgs&);
};

// Fails if the scratch memory of a product of these sizes can't be counted in 64 bits.
void expect_gemm_sizes(const char* op, int64_t m, int64_t n, int64_t k);

}  // namespace medkern
