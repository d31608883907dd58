// Images: tensors of shape (N, C, W), (N, C, H, W) or (N, C, D, H, W), seen by kernels as 3-D
// whatever their rank (the missing leading spatial dimensions have size 1), and the sliding windows
// that run over them.
#pragma once

#include <cstdint>

#include "core/tensor.h"

namespace medkern {

struct Image {
  void* data;
  int64_t n, c, size[3];                  // batch, channels, depth height width
  int64_t stride_n, stride_c, stride[3];  // in elements
};

// The image of a checked view of rank 3, 4 or 5. Strides of dimensions of size 1 are 0.
Image image_of(const TensorView& x);

// A window in 3-D; unused leading dimensions are 1, 1, 0, 1.
struct Window {
  int64_t kernel[3], stride[3], pad_before[3], pad_after[3], dilation[3];
};

// Checks kernel_size, stride, dilation (all at least 1) and promotes them to 3-D.
Window window_of(const char* op, int rank, const int64_t* kernel, const int64_t* stride,
                 const int64_t padding[][2], const int64_t* dilation);

// The number of window positions along each axis:
//   floor((size + pad_before + pad_after - dilation (kernel - 1) - 1) / stride) + 1,
// with ceil instead of floor if ceil_mode, less the last position if it begins in the padding
// after. Fails if a window is larger than its padded input. `size` and `output` are in 3-D.
void window_output_size(const char* op, const Window& window, const int64_t size[3], bool ceil_mode,
                        int64_t output[3]);

// The spatial rank in 1 .. 3 of an (N, C, spatial...) tensor, checked against the rank the caller
// states.
void expect_image(const char* op, const TensorView& x, int spatial_rank);

}  // namespace medkern
