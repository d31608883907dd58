// Pointwise operations: what the device's kernels are given.
#pragma once

#include "cuda/walk.h"

namespace medkern::cuda {

struct UnaryForwardArgs {
  Walk<2> walk;  // y, x
  void* y;
  const void* x;
  double a, b;
};

struct UnaryBackwardArgs {
  Walk<3> walk;  // dx, dy, saved
  void* dx;
  const void *dy, *saved;
  double a, b;
};

struct BinaryKernelArgs {
  Walk<3> walk;  // y, a, b
  void* y;
  const void *a, *b;
  int32_t op;
};

struct WhereKernelArgs {
  Walk<4> walk;  // y, mask, a, b
  void* y;
  const uint8_t* mask;
  const void *a, *b;
};

}  // namespace medkern::cuda
