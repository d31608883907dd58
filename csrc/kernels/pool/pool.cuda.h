// Pooling on CUDA: what the host gives the device.
#pragma once

#include "cuda/divide.h"
#include "cuda/types.h"
#include "kernels/rows.cuda.h"

namespace medkern::cuda {

// One spatial axis. Sliding windows stand `stride` apart; adaptive ones take elements floor(o size
// / count) .. ceil((o + 1) size / count) - 1: then these products are below 2^31.
struct PoolAxis {
  int32_t size, count;  // of x and of y
  int32_t kernel, stride, pad, pad_after, dilation;
  bool adaptive;
  Divider by_stride, by_dilation, by_size, by_count;
  int32_t x_stride, y_stride, index_stride;  // in elements: a sample has less than 2^31
};

// x is dx, y is dy in the backward passes.
struct PoolKernelArgs {
  void *x, *y;
  void* indices;   // of the type in the kernel's name; nullptr if not wanted
  ImageRows rows;  // of the result
  PoolAxis axis[3];
  int64_t x_stride_n, x_stride_c, y_stride_n, y_stride_c, index_stride_n, index_stride_c;
  bool count_include_pad;
};

// Large windows: an output is the sum of a team of threads, in memory with all channels of a pixel
// side by side one for each of `across` vectors and each of `down` rows of threads, a power of two.
struct LargePoolKernelArgs {
  PoolKernelArgs pool;
  uint32_t across, down, vectors;
  // Outputs are numbered [n][c][d][h][w], without c where channels lie side by side.
  uint32_t outputs;
  Divider by_across, by_channels, by_depth, by_height, by_width;
};

// One spatial axis of unpooling. Element i of small has the tile of `tile` elements of large from
// i tile on; what is left over at the end lies in none.
struct ScatterAxis {
  int32_t large, small;  // sizes
  Divider by_tile, by_large, by_small;
  int32_t large_stride, small_stride, index_stride;
};

// small[at] and large[indices[at]] within each (n, c), where the spatial elements of each lie at
// `unit` apart.
struct ScatterKernelArgs {
  void *large, *small;
  const int64_t* indices;
  int64_t large_count, small_count;  // spatial elements
  uint32_t planes;
  bool has_tiles;      // those whose indices all lie in their tiles have been spread
  bool channels_last;  // small, whose order gather follows
  ImageRows rows;      // of large, for spread
  ScatterAxis axis[3];
  Divider by_channels, by_size;  // by_size: of small
  int64_t large_unit, small_unit, index_unit;
  int64_t large_stride_n, large_stride_c, small_stride_n, small_stride_c, index_stride_n,
      index_stride_c;
};

}  // namespace medkern::cuda
