// Resizing on CUDA: what the host gives the device.
#pragma once

#include "cuda/types.h"
#include "kernels/rows.cuda.h"

namespace medkern::cuda {

// Weights of one axis that are kept; others are computed again.
constexpr int kKeptReaders = 8;

// One spatial axis of x (dx) and y (dy).
struct ResizeAxis {
  int32_t size, count;  // of x and of y
  double ratio;         // elements of x per element of y
  bool linear, align_corners;
  int64_t x_stride, y_stride;
};

struct ResizeKernelArgs {
  const void* from;
  void* to;
  ResizeAxis axis[3];
  ImageRows rows;  // of the result
  int64_t x_stride_n, x_stride_c, y_stride_n, y_stride_c;
};

}  // namespace medkern::cuda
