// Convolution on CUDA: what the host gives the device. Images lie channels-last, with the channels
// of a group next to each other and padded to whole vectors where kernels want vectors.
#pragma once

#include "cuda/divide.h"
#include "cuda/tensor_map.h"
#include "cuda/types.h"
#include "kernels/moments.h"

namespace medkern::cuda {

constexpr int kMostClasses = 16;  // of an axis, in one launch

// A residue class of the positions of the result along an axis (kernels/conv/conv.h), and its sizes
// to divide by.
struct ConvAxisClass {
  int32_t out_first, out_step, count;
  int32_t in_first, in_step, in_tap_step;
  int32_t tap_first, tap_step, taps;
  Divider counts, tap_counts;
};

struct ConvImage {
  void* data;
  int64_t stride_n, stride_c, stride[3];  // in elements
  int32_t size[3];
};

// result[pixel, column] = act(sum over taps and channels of source * weights + bias): blockIdx.x is
// the tile of a class, y the split and the group, z the class.
struct ConvKernelArgs {
  ConvImage source, result;
  const void* weights;  // [group][column][kernel][channel]
  const void* bias;     // or nullptr
  void* partial;        // [split][pixel][group][column] or nullptr; there is one class then
  double* moments;      // of the result (kernels/moments.h) or nullptr; likewise, and one split
  int32_t images, groups;
  int32_t channels, columns;  // of a group
  int32_t kernel[3];
  int32_t split_k;  // k of a split, a multiple of a slice's
  bool relu;
  bool half_bias;  // of the images' 16-bit type, else float32
  Divider channel_counts;
  int32_t classes[3];
  ConvAxisClass axis[3][kMostClasses];
};

constexpr int kMostWgmmaClasses = 4;  // of an axis

// The same in patches of up to 64 pixels, fed by the copy engine: conv_wgmma.sm_90a.cu. There is
// one group; classes are combined, the last axis first.
struct ConvWgmmaArgs {
  TensorMap source;   // (channel, w, h, d, image): a patch, with its rows for all taps along h
  TensorMap weights;  // (channel, tap, column, 1, 1)
  ConvImage result;
  const void* bias;        // or nullptr
  void* partial;           // [split][pixel][column] or nullptr; there is one class then
  double* moments;         // of the result, of 16 bits, or nullptr: all patches are whole then
  int32_t images, pixels;  // pixels: of all images, where there is `partial`
  int32_t patches;         // of a class, the largest
  int32_t patch_shift;     // patches are 2^patch_shift pixels wide
  uint32_t copy_bytes;     // of a patch of the source
  int32_t a_stages, b_stages;
  uint32_t tiles, work;    // of a class; in all
  int32_t columns, steps;  // steps: of 128 bytes of channels
  int32_t kernel[3];
  int32_t split_groups;  // groups of products (see there) that are summed apart
  int32_t block_groups;  // and those of a block: as many, or all
  bool shared_rows;      // between the taps along h
  bool relu, half_bias;  // half_bias: as above
  bool vectors;          // result channels in aligned eights
  Divider across[3];     // patches of a class along the axes
  Divider step_counts, tile_counts, split_counts;
  int32_t classes[3];
  ConvAxisClass axis[3][kMostWgmmaClasses];
};

// The result from the partial sums of the splits, added in order.
struct ConvReduceArgs {
  const void* partial;
  ConvImage result;
  const void* bias;
  int32_t pixels, splits, channels;
  bool relu, half_bias;
  Divider size[3];
};

// partial[split][group][row][tap][channel] = sum over the split's pixels of dy[pixel, row]
// x[pixel at tap, channel]: blockIdx.x is the tile, y the split, z the group.
struct ConvWeightKernelArgs {
  ConvImage x, dy;
  void* partial;
  int32_t pixels, split_k;       // of dy; of a split, a multiple of a slice's
  int32_t rows, channels, taps;  // of a group: of dy, of x
  int32_t dy_group;              // channels from one group of dy to the next
  int32_t stride[3], pad[3], dilation[3];
  Divider size[3];  // of dy
  Divider channel_counts, kernel[3];
};

// The same of one group by patches of 64 pixels, fed by the copy engine:
// conv_weight_wgmma.sm_90a.cu.
struct ConvWeightWgmmaArgs {
  TensorMap dy, x;  // (channel, w, h, d, image): a patch; with its rows for all taps of a job
  void* partial;
  int32_t patches, split_patches;
  int32_t patch_shift;  // patches are 2^patch_shift pixels wide
  uint32_t copy_bytes;  // of a patch of x
  int32_t stages;
  int32_t rows, channels;
  int32_t kernel[3], stride[3], pad[3], dilation[3];
  uint32_t work;
  Divider across[3];  // patches along the axes
  Divider row_tiles, job_tiles, channel_blocks, tap_sets, taps_w;
};

// dweight[group][row][channel][tap] from the partial sums, added in order.
struct ConvWeightReduceArgs {
  const void* partial;
  void* dweight;
  int32_t splits, rows;  // rows of all groups
  int32_t channels, padded, taps;
};

// arranged[group][row][tap][channel] = weight[group group_stride + row row_stride + channel
// channel_stride + tap], 0 for the channels of the padding.
struct ArrangeWeightsArgs {
  const void* weight;
  void* arranged;
  int64_t group_stride, row_stride, channel_stride;
  int32_t groups, rows, channels, padded, taps;
};

// arranged[pixel][group][channel] = image, 0 for the channels of the padding.
struct ArrangeImageArgs {
  ConvImage image;
  void* arranged;
  int32_t pixels, groups, channels, padded;
  Divider size[3], padded_counts;
};

}  // namespace medkern::cuda
