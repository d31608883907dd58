// Pooling on CUDA: what the host gives the device. Elements of y are numbered in the order of its
// memory, so that neighboring threads read and write neighboring elements.
#pragma once

#include "cuda/divide.h"
#include "cuda/types.h"

namespace medkern::cuda {

// One spatial axis.
struct PoolAxis {
  int32_t size;  // of x
  int32_t kernel, stride, pad, dilation;
  int64_t x_stride;  // in elements
};

struct MaxPoolKernelArgs {
  const void* x;
  void* y;
  void* indices;   // of the type in the kernel's name; nullptr if not wanted
  uint32_t count;  // elements of y
  bool channels_last;
  // A number of an element of y is ((n D + d) H + h) W + w) C + c in channels-last memory, else
  // (((n C + c) D + d) H + h) W + w.
  Divider channels, depth, height, width;  // of y
  int64_t x_stride_n, x_stride_c;
  PoolAxis axis[3];
};

}  // namespace medkern::cuda
