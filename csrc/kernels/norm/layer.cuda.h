// Layer normalization on CUDA: what the host gives the device.
#pragma once

#include "kernels/norm/norm.cuda.h"

namespace medkern::cuda {

// Columns, and rows of threads, of a block that merges what the blocks of `chunk` rows have summed.
constexpr uint32_t kMergeColumns = 32, kMergeRows = kNormThreads / kMergeColumns;

// Rows of `width` numbers.
struct LayerNormKernelArgs {
  uint32_t rows, width;
  double eps;
  uint32_t chunk, chunks;  // of rows, for the parameters' gradients
  NormTiles tiles;
  const void *x, *dy, *weight, *bias;
  void *y, *dweight, *dbias;  // y: dx in the backward pass
  double *mean, *rstd;
  double* partials;  // [chunk][2][width]: sums of dy and of dy xhat
};

}  // namespace medkern::cuda
