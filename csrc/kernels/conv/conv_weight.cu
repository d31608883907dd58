// The gradient of convolution weights on CUDA, as one product for each group:
//
//   dweight[row, (tap, channel)] = sum over pixels of dy[pixel, row] x[pixel at tap, channel]
//
// Both operands are read along channels, 16 bytes at a time; a slice is 32 pixels of dy. Where a
// pixel's window begins is found once for all threads, by one warp, four slices ahead. The pixels
// are cut into splits by the shape, so that there are enough tiles; a second kernel adds the parts
// in order and brings them into the order of the weights. float64: cuda/plain_tile.h.
//
// Work 2 pixels rows taps channels flops. Memory: x once for each tap and tile of rows, dy once for
// each tile of columns, mostly from L2; the parts twice.
#include "cuda/tile.h"
#include "kernels/conv/conv_weight.cuh"

namespace medkern::cuda {

template <class T, class Math>
MK_INLINE void conv_weight_floats(const ConvWeightKernelArgs& p) {
  using A = Slice<T::kRows, false>;
  using B = Slice<T::kColumns, false>;
  const int columns = p.taps * p.channels;
  const TilePlace at = tile_place(p.rows, columns, T::kRows, T::kColumns);
  float* partial = part_of_block(p);
  conv_weight_tile<T, float, A, B>(p, at, [&](int slices, auto load) {
    sum_and_store<T, Math, A, B>(slices, load, [&](int r, int c, float (&v)[8], uint32_t wanted) {
      r += at.row;
      c += at.column;
      if (r >= p.rows) return;
      float* to = partial + int64_t{r} * columns + c;
#pragma unroll
      for (int i = 0; i < 8; i += 4) {
        if (c + i >= columns) break;  // columns come in whole vectors
        if ((wanted >> i & 15u) == 15u) {
          store16(to + i, {v[i], v[i + 1], v[i + 2], v[i + 3]});
          continue;
        }
#pragma unroll
        for (int j = i; j < i + 4; ++j) {
          if (wanted >> j & 1) to[j] = v[j];
        }
      }
    });
  });
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(conv_weight_f32_large, ConvWeightKernelArgs, 256) {
  conv_weight_floats<Large, Exact>(args);
}
MK_KERNEL(conv_weight_f32_small, ConvWeightKernelArgs, kSmallBound) {
  conv_weight_floats<Small, Exact>(args);
}
MK_KERNEL(conv_weight_tf32_large, ConvWeightKernelArgs, 256) {
  conv_weight_floats<Large, Tf32>(args);
}
MK_KERNEL(conv_weight_tf32_small, ConvWeightKernelArgs, kSmallBound) {
  conv_weight_floats<Small, Tf32>(args);
}
MK_KERNEL(conv_weight_bf16_large, ConvWeightKernelArgs, 256) {
  conv_weight_floats<Large, Bf16>(args);
}
MK_KERNEL(conv_weight_bf16_small, ConvWeightKernelArgs, kSmallBound) {
  conv_weight_floats<Small, Bf16>(args);
}
MK_KERNEL(conv_weight_plain_f32, ConvWeightKernelArgs, 256) { conv_weight_plain<float>(args); }
MK_KERNEL(conv_weight_plain_f64, ConvWeightKernelArgs, 256) { conv_weight_plain<double>(args); }
MK_KERNEL(conv_weight_reduce_f32, ConvWeightReduceArgs, 256) {
  conv_weight_reduce<float, float>(args);
}
MK_KERNEL(conv_weight_reduce_f64, ConvWeightReduceArgs, 256) {
  conv_weight_reduce<double, double>(args);
}
