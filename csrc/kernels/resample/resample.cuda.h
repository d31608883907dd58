// Reading images at any places on CUDA: what the host gives the device.
#pragma once

#include "cuda/divide.h"
#include "cuda/types.h"

namespace medkern::cuda {

constexpr int kResampleThreads = 256;
// Channels of an image in planes that a thread takes, one after the other.
constexpr int kResampleChannels = 8;

enum ResampleBeyond { kBeyondConstant, kBeyondBorder, kBeyondReflection, kBeyondWrap };

struct ResampleAxis {
  int32_t size, out;  // of x and of y
  int32_t control;    // control points of the displacement
  double scale, shift;
};

struct ResampleKernelArgs {
  const void* x;
  void* y;  // or dy
  const void* grid;
  void* dgrid;
  const double* matrix;
  const void* displacement;
  ResampleAxis axis[3];
  int32_t rank, beyond;
  bool linear, ties_up, mirrors_at_centers, cubic;
  double value;
  int64_t x_stride_n, y_stride_n;
  int64_t x_stride_c, y_stride_c;
  int32_t x_step, y_step;
  int32_t channels;
  uint32_t pixels;    // of a sample of y
  uint32_t items;     // of all threads (or warps)
  Divider by_groups;  // vectors or stretches of channels: items are [n][pixel][vector] where
                      // channels lie side by side, else [n][stretch][pixel]
  Divider by_pixels, by_height, by_width;

  // dx: what a sample's largest |dy| is, as the bits of a double; sums in whole numbers, `words` to
  // an element; and what was not finite: 1 NaN, 2 infinity, 4 minus infinity.
  uint64_t* largest;
  uint64_t* sums;
  uint32_t* flags;
  void* dx;
  int32_t words, headroom;  // 2^headroom outputs at least
  uint32_t elements;        // of a sample of dx
};

}  // namespace medkern::cuda
