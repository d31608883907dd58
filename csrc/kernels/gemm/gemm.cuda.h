// Matrix products on CUDA: what the host gives the device.
#pragma once

#include "cuda/divide.h"
#include "cuda/tensor_map.h"
#include "cuda/types.h"

namespace medkern::cuda {

// a, or b transposed: element (row, k) is at data[row row_stride + k k_stride].
struct GemmOperand {
  const void* data;
  int64_t row_stride, k_stride, item_stride;
  int32_t rows;
  bool vectors;  // 16 aligned bytes, along k or along the rows, whichever is contiguous
};

// c = act(a b + bias), c += a b, or where k is cut into splits, one partial product each.
struct GemmKernelArgs {
  GemmOperand a, b;
  void* c;
  int64_t c_row, c_item;
  const void* bias;  // or nullptr
  int32_t k;
  int32_t split_k;  // k of a split, a multiple of 32; splits are blockIdx.y, items blockIdx.z
  bool accumulate, relu;
  void* partial;  // [item][split][m][n] or nullptr
};

enum class GemmType : int32_t { f32, bf16, f16 };

// c = act(a b + bias) for each item, in tiles: gemm_wgmma.sm_90a.cu.
struct GemmWgmmaArgs {
  TensorMap a, b;  // k and rows, whichever is contiguous first, then items
  void* c;
  int64_t c_row, c_item, c_split;
  const void* bias;  // or nullptr
  GemmType type;     // of c and bias
  int32_t m, n, slices;
  int32_t split_slices, splits, items;
  uint32_t tiles;                  // of an item
  bool a_moves, b_moves;           // from item to item
  bool accumulate, relu, vectors;  // vectors: c in fours, aligned
};

// An operand as the copy engine can read it: lines of `inner` numbers, one after the other.
struct GemmPack {
  const void* from;
  void* to;
  int64_t inner_stride, outer_stride, item_stride;  // of `from`
  int64_t to_line;                                  // a multiple of 8
  int32_t inner, outer;
  uint32_t blocks, items;  // blocks of an item; no items: nothing to do
  bool vectors;            // `from` in eights along `inner`, aligned
};
// Two of them at once, one after the other in blockIdx.x.
struct GemmPackArgs {
  GemmPack operand[2];
};

// c from the partial products of the splits, added in order.
struct GemmReduceArgs {
  const void* partial;
  void* c;
  int64_t c_row, c_item;
  const void* bias;
  int32_t m, n, splits, items;
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
