// Weights and images brought into the order of the CUDA kernels of convolution, and the numbers the
// host sides of its passes share.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/conv/conv.cuda.h"
#include "kernels/conv/conv.h"

namespace medkern::cuda {

// Channels that tiles take at once, 16 bytes, and channels in whole vectors of them.
inline int64_t vector_of(Dtype dtype) { return is_half(dtype) ? 8 : 4; }
inline int64_t padded_channels(int64_t channels, int64_t vector) {
  return divide_up(channels, vector) * vector;
}
// k in a slice of a tile: 128 bytes.
inline int64_t slice_of(Dtype dtype) { return is_half(dtype) ? 64 : 32; }
// Of float16 and bfloat16.
inline int half_number(Dtype dtype) { return dtype == Dtype::bf16; }
inline Divider divider_of(int64_t size) {
  return divider(static_cast<uint32_t>(std::max<int64_t>(size, 1)));
}

// Blocks of scratch memory one after the other.
struct Scratch {
  size_t bytes = 0;
  size_t take(int64_t elements, Dtype dtype) {
    const size_t at = bytes;
    bytes += (elements * size_of(dtype) + 255) / 256 * 256;
    return at;
  }
};

int64_t pixels_of(const Image& image);
int64_t taps_of(const Window& window);

// Whether the channels of each group lie next to each other in whole aligned vectors.
bool has_vectors(const Image& image, int64_t groups, int64_t vector);
// Whether pixel number i of the image lies at i stride[2].
bool is_linear(const Image& image);
// The distance from the first to the last element is below 2^31.
bool fits_32_bits(const Image& image);

// What the image becomes in `arranged`: channels-last, those of each group padded.
Image arranged_image(const Image& image, int64_t groups, int64_t vector, void* arranged);
void arrange_image(Dtype dtype, const Image& image, int64_t groups, void* arranged);

// [group][row][tap][channel] from [output channels][input channels / groups][kernel]; rows are
// output channels, or input channels if `transposed`; channels are padded to `padded`.
void arrange_weights(Dtype dtype, const void* weight, bool transposed, int64_t groups, int64_t rows,
                     int64_t channels, int64_t padded, int64_t taps, void* arranged);

ConvImage device_image(const Image& image);
ConvAxisClass device_class(const AxisClass& c);

// Fails if an image is too large for the numbers of the kernels.
void expect_conv_sizes(const char* op, const Image& image);

}  // namespace medkern::cuda
