#include "kernels/conv/conv_arrange.h"

#include "core/status.h"
#include "cuda/align.h"
#include "cuda/launch.h"

namespace medkern::cuda {
namespace {

// By the bytes of an element.
Kernel weights_2{"conv_arrange", "conv_arrange_weights_2"};
Kernel weights_4{"conv_arrange", "conv_arrange_weights_4"};
Kernel weights_8{"conv_arrange", "conv_arrange_weights_8"};
Kernel image_2{"conv_arrange", "conv_arrange_image_2"};
Kernel image_4{"conv_arrange", "conv_arrange_image_4"};

constexpr int64_t kSide = 32;  // of a tile of pixels and channels

}  // namespace

int64_t pixels_of(const Image& image) {
  return image.n * image.size[0] * image.size[1] * image.size[2];
}

int64_t taps_of(const Window& window) {
  return window.kernel[0] * window.kernel[1] * window.kernel[2];
}

bool has_vectors(const Image& image, int64_t groups, int64_t vector) {
  bool vectors = image.c / groups % vector == 0 && image.stride_c == 1 &&
                 image.stride_n % vector == 0 && is_aligned(image.data);
  for (int i = 0; i < 3; ++i) vectors &= image.stride[i] % vector == 0;
  return vectors;
}

bool is_linear(const Image& image) {
  int64_t step = image.stride[2] != 0 ? image.stride[2] : image.c;
  for (int i = 2; i >= 0; --i) {
    if (image.size[i] > 1 && image.stride[i] != step) return false;
    step *= image.size[i];
  }
  return image.n <= 1 || image.stride_n == step;
}

bool fits_32_bits(const Image& image) {
  int64_t last = (image.n - 1) * image.stride_n + (image.c - 1) * image.stride_c;
  for (int i = 0; i < 3; ++i) last += (image.size[i] - 1) * image.stride[i];
  return last <= INT32_MAX;
}

Image arranged_image(const Image& image, int64_t groups, int64_t vector, void* arranged) {
  Image to = image;
  to.data = arranged;
  to.c = padded_channels(image.c / groups, vector) * groups;
  to.stride_c = 1;
  int64_t step = to.c;
  for (int i = 2; i >= 0; --i) {
    to.stride[i] = step;
    step *= image.size[i];
  }
  to.stride_n = step;
  return to;
}

ConvImage device_image(const Image& image) {
  ConvImage to{image.data, image.stride_n, image.stride_c, {}, {}};
  for (int i = 0; i < 3; ++i) {
    to.stride[i] = image.stride[i];
    to.size[i] = static_cast<int32_t>(image.size[i]);
  }
  return to;
}

void arrange_image(Dtype dtype, const Image& image, int64_t groups, void* arranged) {
  ArrangeImageArgs p{};
  p.image = device_image(image);
  p.arranged = arranged;
  p.pixels = static_cast<int32_t>(pixels_of(image));
  p.groups = static_cast<int32_t>(groups);
  p.channels = static_cast<int32_t>(image.c / groups);
  p.padded = static_cast<int32_t>(padded_channels(p.channels, vector_of(dtype)));
  for (int i = 0; i < 3; ++i) p.size[i] = divider_of(image.size[i]);
  p.padded_counts = divider_of(p.padded);
  const Grid grid{static_cast<uint32_t>(divide_up(p.pixels, kSide)),
                  static_cast<uint32_t>(divide_up(groups * p.padded, kSide))};
  launch(is_half(dtype) ? image_2 : image_4, grid, 256, kSide * (kSide + 1) * size_of(dtype), p);
}

void arrange_weights(Dtype dtype, const void* weight, bool transposed, int64_t groups, int64_t rows,
                     int64_t channels, int64_t padded, int64_t taps, void* arranged) {
  ArrangeWeightsArgs p{};
  p.weight = weight;
  p.arranged = arranged;
  p.group_stride = rows * channels * taps;
  p.row_stride = transposed ? taps : channels * taps;
  p.channel_stride = transposed ? rows * taps : taps;
  p.groups = static_cast<int32_t>(groups);
  p.rows = static_cast<int32_t>(rows);
  p.channels = static_cast<int32_t>(channels);
  p.padded = static_cast<int32_t>(padded);
  p.taps = static_cast<int32_t>(taps);
  launch(is_half(dtype)        ? weights_2
         : dtype == Dtype::f32 ? weights_4
                               : weights_8,
         {blocks_for(groups * rows * padded, 256)}, 256, 0, p);
}

void expect_conv_sizes(const char* op, const Image& image) {
  require(pixels_of(image) <= INT32_MAX && image.c <= INT32_MAX / 64, op,
          ": CUDA kernels take images of less than 2^31 pixels in a batch, got ", pixels_of(image),
          " with ", image.c, " channels");
}

}  // namespace medkern::cuda
