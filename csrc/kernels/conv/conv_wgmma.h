// Convolution by warpgroups on compute capability 9.0, forward and backward: what is asked of the
// host sides of its kernels, and the images in patches for the copy engine that they share.
#pragma once

#include "cuda/encode.h"
#include "kernels/conv/conv_arrange.h"

namespace medkern::cuda {

// Results and gradients of the input (conv_wgmma.cuda.cpp). Splits are those that leave partial
// sums; `source` and `weights` as arranged.
bool takes_warpgroups(const ConvArgs& a);
bool warpgroups_give_moments(const ConvArgs& a);
int64_t warpgroup_splits(const ConvArgs& a);
void run_warpgroups(const ConvArgs& a, const Image& source, const void* weights, void* partial);
// Gradients of the weights (conv_weight_wgmma.cuda.cpp).
bool takes_warpgroups(const ConvWeightArgs& a);
int64_t warpgroup_splits(const ConvWeightArgs& a);
void run_warpgroups(const ConvWeightArgs& a, const Image& x, const Image& dy, void* partial);

constexpr int64_t kPatchPixels = 64, kBlockChannels = 64, kBlockBytes = 128;

// float32 is rounded to tf32 on its way.
inline TensorType tensor_type(Dtype dtype) {
  return dtype == Dtype::f16    ? TensorType::f16
         : dtype == Dtype::bf16 ? TensorType::bf16
                                : TensorType::tf32;
}
constexpr int64_t kMostSpan = 8;   // rows that taps along h add to a patch
constexpr int64_t kMostSteps = 8;  // of the copy engine, from pixel to pixel
// Shared memory that all blocks may have, and what is kept of it for barriers.
constexpr int64_t kSharedBytes = 227 << 10, kBarrierBytes = 1 << 10;

// Bytes a clock from L2: of a multiprocessor, of all.
constexpr double kL2One = 64, kL2All = 33 * 132;

// How positions are cut into patches, 2^shift of them wide.
struct Patches {
  int64_t shift, across[3], count;
  int64_t copy_bytes;  // of lines of 128 bytes of a patch with `span` rows more
};
Patches patches_of(const int64_t (&positions)[3], int64_t span, int64_t step);

// Whether a pixel of the result comes from one of the source, the same.
bool is_pointwise(const Window& window);
// Whether the pixels of an image lie in one line, or those of all images; and so seen.
bool in_line(const Image& image, bool all);
Image as_line(const Image& image, bool all);

// The image for boxes of a patch, pixels `step_h` and `step_w` apart.
TensorMap map_of_image(Dtype dtype, const Image& image, const Patches& patches, int64_t span,
                       int64_t step_h, int64_t step_w);

}  // namespace medkern::cuda
