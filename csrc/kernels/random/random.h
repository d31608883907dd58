// Random numbers: what the kernels are given once every argument has been checked.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/tensor.h"

namespace medkern {

struct RandomArgs {
  Dtype dtype;
  uint64_t seed, offset;  // offset: number of the first block
  double shift, scale;    // y = shift + scale * number
  double below;           // uniform numbers stay at or below this
  void* y;
  int64_t count;
};

struct DropoutArgs {
  Dtype dtype;
  uint64_t seed, offset;
  uint64_t threshold;  // words below it are dropped, 0 .. 2^32
  double scale;        // 1 / (1 - p), 0 for p = 1
  const void* x;
  void* y;
  uint8_t* mask;
  int64_t count;
};

// dx = dy * mask * scale on tensors of the same shape; dx has the strides of dy.
struct MaskArgs {
  Dtype dtype;
  double scale;
  TensorView dy, mask;
  void* dx;
};

struct RandomKernels {
  void (*uniform)(const RandomArgs&);
  void (*normal)(const RandomArgs&);
  void (*dropout)(const DropoutArgs&);
  void (*apply_mask)(const MaskArgs&);
};

}  // namespace medkern
