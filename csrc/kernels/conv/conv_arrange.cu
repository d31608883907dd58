// Weights and images in the order the kernels of convolution read them: channels next to each
// other, those of each group padded with zeros to whole vectors.
//
// Elements are moved as integers of their size; zeros are all bits 0.
//
// Weights: one thread for all taps of a channel and row; it reads them in one piece, and
// neighboring threads write neighboring channels. Images: tiles of 32 pixels x 32 channels go
// through shared memory where pixels are next to each other in the image. Memory-bound: each
// element is read and written once.
#include "cuda/device.h"
#include "kernels/conv/conv.cuda.h"

namespace medkern::cuda {

template <class T>
MK_INLINE void arrange_weights(const ArrangeWeightsArgs& p) {
  const int64_t count = int64_t{p.groups} * p.rows * p.padded;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count;
       i += int64_t{gridDim.x} * blockDim.x) {
    const int channel = i % p.padded;
    const int64_t row = i / p.padded, group = row / p.rows;
    const T* from = static_cast<const T*>(p.weight) + group * p.group_stride +
                    (row - group * p.rows) * p.row_stride + channel * p.channel_stride;
    T* to = static_cast<T*>(p.arranged) + row * p.taps * p.padded + channel;
    for (int tap = 0; tap < p.taps; ++tap) {
      to[int64_t{tap} * p.padded] = channel < p.channels ? from[tap] : T(0);
    }
  }
}

// blockIdx: 32 pixels, 32 channels of the arranged image.
template <class T>
MK_INLINE void arrange_image(const ArrangeImageArgs& p) {
  constexpr int kSide = 32;
  T* tile = shared<T>();  // [channel][pixel], rows of 33
  const int lane = threadIdx.x % kSide, line = threadIdx.x / kSide;
  const int lines = blockDim.x / kSide, all = p.groups * p.padded;
  const int64_t first_pixel = int64_t{blockIdx.x} * kSide;
  const int first_channel = blockIdx.y * kSide;
  const bool pixels_first = p.image.stride_c != 1;
  for (int i = line; i < kSide; i += lines) {
    const int64_t number = first_pixel + (pixels_first ? lane : i);
    const int channel = first_channel + (pixels_first ? i : lane);
    T value = 0;
    if (number < p.pixels && channel < all) {
      const int group = p.padded_counts.quotient(channel), inner = channel - group * p.padded;
      uint32_t pixel = number;
      const int64_t w = p.size[2].take(pixel), h = p.size[1].take(pixel);
      const int64_t d = p.size[0].take(pixel);
      if (inner < p.channels) {
        value = static_cast<const T*>(
            p.image.data)[pixel * p.image.stride_n + d * p.image.stride[0] + h * p.image.stride[1] +
                          w * p.image.stride[2] + (group * p.channels + inner) * p.image.stride_c];
      }
    }
    tile[pixels_first ? i * (kSide + 1) + lane : lane * (kSide + 1) + i] = value;
  }
  __syncthreads();
  for (int i = line; i < kSide; i += lines) {
    const int channel = first_channel + lane;
    if (first_pixel + i < p.pixels && channel < all) {
      static_cast<T*>(p.arranged)[(first_pixel + i) * all + channel] = tile[lane * (kSide + 1) + i];
    }
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(conv_arrange_weights_2, ArrangeWeightsArgs, 256) { arrange_weights<uint16_t>(args); }
MK_KERNEL(conv_arrange_weights_4, ArrangeWeightsArgs, 256) { arrange_weights<uint32_t>(args); }
MK_KERNEL(conv_arrange_weights_8, ArrangeWeightsArgs, 256) { arrange_weights<uint64_t>(args); }
MK_KERNEL(conv_arrange_image_2, ArrangeImageArgs, 256) { arrange_image<uint16_t>(args); }
MK_KERNEL(conv_arrange_image_4, ArrangeImageArgs, 256) { arrange_image<uint32_t>(args); }
