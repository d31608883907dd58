// Pooling: what the kernels are given once every argument has been checked.
#pragma once

#include "core/dtype.h"
#include "kernels/image.h"

namespace medkern {

struct MaxPoolArgs {
  Dtype dtype;        // of x and y (or dx and dy)
  Dtype index_dtype;  // i64 or u8
  Window window;
  Image x;        // dx in the backward pass
  Image y;        // dy in the backward pass
  Image indices;  // data is nullptr if not wanted
};

struct PoolKernels {
  void (*max_forward)(const MaxPoolArgs&);
  void (*max_backward)(const MaxPoolArgs&);
};

}  // namespace medkern
