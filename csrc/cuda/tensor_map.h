// What the bulk copies of compute capability 9.0 know of a tensor: made on the host
// (cuda/tensor_maps.h), passed to a kernel within its arguments. What is in it is the driver's.
#pragma once

#include "cuda/types.h"

namespace medkern::cuda {

struct alignas(64) TensorMap {
  uint64_t words[16];
};

}  // namespace medkern::cuda
