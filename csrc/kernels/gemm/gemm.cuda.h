// Matrix products on CUDA: what the host gives the device.
#pragma once

#include "cuda/divide.h"
#include "cuda/types.h"

namespace medkern::cuda {

// a, or b transposed: element (row, k) is at data[row row_stride + k k_stride].
struct GemmOperand {
  const void* data;
  int64_t row_stride, k_stride;
  int32_t rows;
  bool vectors;  // 16 aligned bytes, along k or along the rows, whichever is contiguous
};

// c = act(a b + bias), c += a b, or where k is cut into splits, one partial product each.
struct GemmKernelArgs {
  GemmOperand a, b;
  void* c;
  int64_t c_row;
  const void* bias;  // or nullptr
  int32_t k;
  int32_t split_k;  // k of a split, a multiple of 32; splits are blockIdx.y
  bool accumulate, relu;
  void* partial;  // [split][m][n] or nullptr
};

// c from the partial products of the splits, added in order.
struct GemmReduceArgs {
  const void* partial;
  void* c;
  int64_t c_row;
  const void* bias;
  int32_t m, n, splits;
  bool accumulate, relu;
};

// dbias[c] = sum over o, i of dy[o, c, i]. Positions q = (o, i) are cut into chunks of blocks.
struct BiasSumArgs {
  const void* dy;
  double* partial;  // [chunk][channels]
  int32_t channels, inner;
  uint32_t positions, chunk;  // outer * inner, and how many to a chunk
  Divider inner_divider;      // of planes
  int32_t across;             // of rows: channels of a block
};
struct BiasReduceArgs {
  const double* partial;
  void* dbias;
  int32_t channels, chunks;
};

}  // namespace medkern::cuda
