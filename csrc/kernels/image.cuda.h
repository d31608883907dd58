// Images as CUDA kernels see them: what the host must know of one to number its elements.
#pragma once

#include <cstdint>

#include "core/status.h"
#include "kernels/image.h"

namespace medkern::cuda {

// Elements of an image, below 2^31: kernels number them in 32 bits.
inline uint32_t element_count(const char* op, const Image& image) {
  const int64_t count = image.n * image.c * image.size[0] * image.size[1] * image.size[2];
  require(count <= INT32_MAX, op, ": CUDA kernels take tensors of less than 2^31 elements, got ",
          count);
  return static_cast<uint32_t>(count);
}

// Channels vary fastest in memory. An image without gaps that is not so is contiguous.
inline bool is_channels_last(const Image& image) {
  return image.c > 1 ? image.stride_c == 1 : true;
}

}  // namespace medkern::cuda
