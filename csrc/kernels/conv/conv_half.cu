// Convolution of float16 and bfloat16 images on CUDA, all three passes: as conv.cu and
// conv_weight.cu, with slices of 64 k (taps and channels, or pixels) and 8 channels in 16 bytes.
//
//   result[pixel, column] = act(sum over k of source[pixel, k] weights[column, k] + bias[column])
//   dweight[row, (tap, channel)] = sum over pixels of dy[pixel, row] x[pixel at tap, channel]
//
// Products on the tensor cores, sums and parts of sums in float32 (cuda/half_tile.h), rounded once
// to the type of the result. What has no tiles (depthwise, windows of more taps than there are
// bits) goes by conv_plain.
//
// Work 2 pixels columns k flops. Memory: half of float32's.
#include "cuda/half_tile.h"
#include "cuda/plain_tile.h"
#include "kernels/conv/conv.cuh"
#include "kernels/conv/conv_weight.cuh"

namespace medkern::cuda {

template <class T, class Element>
MK_INLINE void conv_halves(const ConvKernelArgs& p) {
  using A = HalfSlice<T::kRows, true>;
  using B = HalfSlice<T::kColumns, true>;
  conv_tile<T, Element, A, B>(p, [](int slices, auto load, auto store, auto look) {
    Sums<T> sums;
    sum_halves<T, Element, A, B>(slices, load, sums);
    sums.each([&](int row, int column, float (&v)[8], int, int) { store(row, column, v, 255u); });
    look(sums);
  });
}

template <class T, class Element>
MK_INLINE void conv_weight_halves(const ConvWeightKernelArgs& p) {
  using A = HalfSlice<T::kRows, false>;
  using B = HalfSlice<T::kColumns, false>;
  const int columns = p.taps * p.channels;
  const TilePlace at = tile_place(p.rows, columns, T::kRows, T::kColumns);
  float* partial = part_of_block(p);
  conv_weight_tile<T, Element, A, B>(p, at, [&](int slices, auto load) {
    Sums<T> sums;
    sum_halves<T, Element, A, B>(slices, load, sums);
    each_pair(sums, [&](int row, int column, float first, float second) {
      row += at.row;
      column += at.column;
      if (row >= p.rows || column >= columns) return;  // columns come in whole vectors
      *reinterpret_cast<float2*>(partial + int64_t{row} * columns + column) = {first, second};
    });
  });
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(conv_half_f16_large, ConvKernelArgs, 256, 2) { conv_halves<Large, float16>(args); }
MK_KERNEL(conv_half_f16_narrow, ConvKernelArgs, 128) { conv_halves<Narrow, float16>(args); }
MK_KERNEL(conv_half_f16_small, ConvKernelArgs, 128) { conv_halves<Small, float16>(args); }
MK_KERNEL(conv_half_f16_plain, ConvKernelArgs, 256) { conv_plain<float16>(args); }
MK_KERNEL(conv_half_f16_reduce, ConvReduceArgs, 256) { conv_reduce<float16>(args); }
MK_KERNEL(conv_half_f16_weight_large, ConvWeightKernelArgs, 256, 2) {
  conv_weight_halves<Large, float16>(args);
}
MK_KERNEL(conv_half_f16_weight_small, ConvWeightKernelArgs, 128) {
  conv_weight_halves<Small, float16>(args);
}
MK_KERNEL(conv_half_f16_weight_plain, ConvWeightKernelArgs, 256) {
  conv_weight_plain<float16>(args);
}
MK_KERNEL(conv_half_f16_weight_reduce, ConvWeightReduceArgs, 256) {
  conv_weight_reduce<float16, float>(args);
}

MK_KERNEL(conv_half_bf16_large, ConvKernelArgs, 256, 2) { conv_halves<Large, bfloat16>(args); }
MK_KERNEL(conv_half_bf16_narrow, ConvKernelArgs, 128) { conv_halves<Narrow, bfloat16>(args); }
MK_KERNEL(conv_half_bf16_small, ConvKernelArgs, 128) { conv_halves<Small, bfloat16>(args); }
MK_KERNEL(conv_half_bf16_plain, ConvKernelArgs, 256) { conv_plain<bfloat16>(args); }
MK_KERNEL(conv_half_bf16_reduce, ConvReduceArgs, 256) { conv_reduce<bfloat16>(args); }
MK_KERNEL(conv_half_bf16_weight_large, ConvWeightKernelArgs, 256, 2) {
  conv_weight_halves<Large, bfloat16>(args);
}
MK_KERNEL(conv_half_bf16_weight_small, ConvWeightKernelArgs, 128) {
  conv_weight_halves<Small, bfloat16>(args);
}
MK_KERNEL(conv_half_bf16_weight_plain, ConvWeightKernelArgs, 256) {
  conv_weight_plain<bfloat16>(args);
}
MK_KERNEL(conv_half_bf16_weight_reduce, ConvWeightReduceArgs, 256) {
  conv_weight_reduce<bfloat16, float>(args);
}
