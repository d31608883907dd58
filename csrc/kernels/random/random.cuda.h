// Random numbers: what the device's kernels are given.
#pragma once

#include "cuda/walk.h"

namespace medkern::cuda {

// A thread takes one block of four words after the other; `blocks` of them hold all numbers.
struct RandomKernelArgs {
  void* y;
  uint64_t seed, offset;
  double shift, scale, below;
  int64_t count;
  int32_t aligned;  // y to 16 bytes
};

struct DropoutKernelArgs {
  const void* x;
  void* y;
  uint8_t* mask;
  uint64_t seed, offset, threshold;
  double scale;
  int64_t count;
  int32_t aligned;  // x and y to 16 bytes, mask to 4
};

struct MaskKernelArgs {
  Walk<3> walk;  // dx, dy, mask
  void* dx;
  const void* dy;
  const uint8_t* mask;
  double scale;
};

}  // namespace medkern::cuda
