#include "kernels/image.h"

namespace medkern {

Image image_of(const TensorView& x) {
  Image image{};
  image.data = x.data;
  image.n = x.shape[0];
  image.c = x.shape[1];
  image.stride_n = x.shape[0] > 1 ? x.strides[0] : 0;
  image.stride_c = x.shape[1] > 1 ? x.strides[1] : 0;
  const int missing = 5 - x.rank;
  for (int i = 0; i < 3; ++i) {
    const bool present = i >= missing;
    image.size[i] = present ? x.shape[i - missing + 2] : 1;
    image.stride[i] = present && image.size[i] > 1 ? x.strides[i - missing + 2] : 0;
  }
  return image;
}

Window window_of(const char* op, int rank, const int64_t* kernel, const int64_t* stride,
                 const int64_t padding[][2], const int64_t* dilation) {
  expect_range(op, "spatial_rank", rank, 1, 3);
  Window window;
  const int missing = 3 - rank;
  for (int i = 0; i < 3; ++i) {
    const bool present = i >= missing;
    const int j = i - missing;
    window.kernel[i] = present ? kernel[j] : 1;
    window.stride[i] = present ? stride[j] : 1;
    window.dilation[i] = present ? dilation[j] : 1;
    window.pad_before[i] = present ? padding[j][0] : 0;
    window.pad_after[i] = present ? padding[j][1] : 0;
    constexpr int64_t kMost = INT32_MAX;
    expect_range(op, "kernel_size", window.kernel[i], 1, kMost);
    expect_range(op, "stride", window.stride[i], 1, kMost);
    expect_range(op, "dilation", window.dilation[i], 1, kMost);
    expect_range(op, "padding", window.pad_before[i], -kMost, kMost);
    expect_range(op, "padding", window.pad_after[i], -kMost, kMost);
  }
  return window;
}

void window_output_size(const char* op, const Window& window, const int64_t size[3], bool ceil_mode,
                        int64_t output[3]) {
  for (int i = 0; i < 3; ++i) {
    const int64_t padded = checked_add(op, size[i], window.pad_before[i] + window.pad_after[i]);
    const int64_t extent = window.dilation[i] * (window.kernel[i] - 1) + 1;
    const int64_t room = padded - extent;
    require(room >= 0, op, ": kernel_size ", window.kernel[i], " with dilation ",
            window.dilation[i], " spans ", extent, " but x with its padding has only ", padded,
            " (size ", size[i], ", padding ", window.pad_before[i], " and ", window.pad_after[i],
            ")");
    const int64_t stride = window.stride[i];
    output[i] = room / stride + 1;
    if (ceil_mode && room % stride != 0 && output[i] * stride < size[i] + window.pad_before[i]) {
      ++output[i];
    }
  }
}

void expect_image(const char* op, const TensorView& x, int spatial_rank) {
  expect_range(op, "spatial_rank", spatial_rank, 1, 3);
  expect_rank(op, x, spatial_rank + 2);
}

}  // namespace medkern
