// Convolution on CUDA, forward and backward with respect to the input, as one product:
//
//   result[pixel, column] = act(sum over k of source[pixel, k] weights[column, k] + bias[column])
//
// with k = (tap, channel), column by column of the result's channels, for the pixels of one residue
// class (kernels/conv/conv.h). The left matrix is never formed: a slice of 32 k is copied to shared
// memory from the pixels its taps reach, 16 bytes (4 channels) at a time, zeros outside the image.
// Which taps of which axis stay inside is found once for each pixel, a bit each.
//
// float32: tiles on the tensor cores (cuda/tile.h); float64, and windows of more taps than there
// are bits: cuda/plain_tile.h. Few pixels with long sums are split along k, by the size of one
// image, and the parts are added in order.
//
// Work 2 pixels columns k flops. Memory: source once for each tile of columns and tap, mostly from
// L2; weights once for each tile of pixels; the result once.
#include "cuda/tile.h"
#include "kernels/conv/conv.cuh"

namespace medkern::cuda {

using LeanLarge = Tile<128, 128, 64, 32, 1>;
using LeanNarrow = Tile<128, 64, 64, 32, 1>;
using LeanSmall = Tile<64, 64, 32, 32, 1>;

template <class T, class Math>
MK_INLINE void conv_floats(const ConvKernelArgs& p) {
  using A = Slice<T::kRows, true>;
  using B = Slice<T::kColumns, true>;
  conv_tile<T, float, A, B>(p, [](int slices, auto load, auto store, auto look) {
    sum_and_store<T, Math, A, B>(slices, load, store, look);
  });
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(conv_f32_large, ConvKernelArgs, 256) { conv_floats<Large, Exact>(args); }
MK_KERNEL(conv_f32_narrow, ConvKernelArgs, 128) { conv_floats<Narrow, Exact>(args); }
MK_KERNEL(conv_f32_small, ConvKernelArgs, kSmallBound) { conv_floats<Small, Exact>(args); }
MK_KERNEL(conv_tf32_large, ConvKernelArgs, 256) { conv_floats<Large, Tf32>(args); }
MK_KERNEL(conv_tf32_narrow, ConvKernelArgs, 128) { conv_floats<Narrow, Tf32>(args); }
MK_KERNEL(conv_tf32_small, ConvKernelArgs, kSmallBound) { conv_floats<Small, Tf32>(args); }
MK_KERNEL(conv_bf16_large, ConvKernelArgs, 256) { conv_floats<LeanLarge, Bf16>(args); }
MK_KERNEL(conv_bf16_narrow, ConvKernelArgs, 128, 1) { conv_floats<LeanNarrow, Bf16>(args); }
MK_KERNEL(conv_bf16_small, ConvKernelArgs, kSmallBound) { conv_floats<LeanSmall, Bf16>(args); }
MK_KERNEL(conv_plain_f32, ConvKernelArgs, 256) { conv_plain<float>(args); }
MK_KERNEL(conv_plain_f64, ConvKernelArgs, 256) { conv_plain<double>(args); }
MK_KERNEL(conv_reduce_f32, ConvReduceArgs, 256) { conv_reduce<float>(args); }
