// Tensors as the copy engine of compute capability 9.0 takes them.
#pragma once

#include <cstdint>

#include "cuda/tensor_map.h"

namespace medkern::cuda {

enum class TensorType { f16, bf16, tf32 };  // tf32: of float32, which the copies round

// Lines of `inner` numbers, `lines` to an item; `line` and `item` are the strides between them, in
// numbers. A copy takes `box_inner` numbers of `box_lines` lines of an item to shared memory, lines
// of 128 bytes with the 128-byte swizzle.
struct TensorShape {
  int64_t inner, lines, items;
  int64_t line, item;
  uint32_t box_inner, box_lines;
};

// `data` is at a multiple of 16 bytes, and so are the strides.
TensorMap encode_tensor(TensorType type, const void* data, const TensorShape& shape);

// A tensor of five axes, the first of them contiguous: their sizes, the strides of the other four
// in numbers. A copy takes box[i] places along axis i, steps[i] apart (up to 8; 1 of the first
// axis): lines of the first axis, up to 128 bytes each, in the order of the axes.
struct TensorGrid {
  int64_t sizes[5], strides[4];
  uint32_t box[5], steps[5];
};
TensorMap encode_grid(TensorType type, const void* data, const TensorGrid& grid);

}  // namespace medkern::cuda
