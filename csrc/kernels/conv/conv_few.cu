// Convolution of few channels on CUDA (first layers): as conv.cu, but k = (tap, channel) is not
// padded to vectors of channels, so that a 3x3 window of 1 or 3 channels is one slice, and the
// source is read in any layout, number by number: a thread keeps to a pixel and goes along k, so
// that neighboring threads read neighboring pixels. Where every k lies is found once for a block.
//
// Bound by the result's memory for up to 64 result channels.
#include "cuda/tile.h"
#include "kernels/conv/conv.cuh"

namespace medkern::cuda {

template <class T, class Math>
MK_INLINE void conv_few(const ConvKernelArgs& p) {
  using A = Slice<T::kRows, false>;
  using B = Slice<T::kColumns, true>;
  constexpr int kStep = T::kThreads / T::kRows, kLines = T::kThreads / kDepth;
  const ConvClass c = class_of_block(p);
  const TilePlace at = tile_place(c.pixels, p.columns, T::kRows, T::kColumns);
  if (at.row >= c.pixels || at.column >= p.columns) return;
  const int group = blockIdx.y, slices = (c.k + kDepth - 1) / kDepth;
  ConvTap* taps = reinterpret_cast<ConvTap*>(shared<float>() + kStages * T::kStageFloats);
  find_all_k<T::kThreads>(p, c, slices * kDepth, taps);

  const int row = threadIdx.x % T::kRows, first_k = threadIdx.x / T::kRows;
  const int line = threadIdx.x / kDepth, lane = threadIdx.x % kDepth;
  const float* source =
      static_cast<const float*>(p.source.data) + group * p.channels * p.source.stride_c;
  const int column_floats = p.kernel[0] * p.kernel[1] * p.kernel[2] * p.channels;
  const float* weights = static_cast<const float*>(p.weights) +
                         (int64_t{group} * p.columns + at.column + line) * column_floats;
  const int columns_left = p.columns - at.column - line;
  uint32_t from = 0, inside = 0;
  if (at.row + row < c.pixels) {
    const ConvStart s = start_of(p, c, at.row + row);
    from = static_cast<uint32_t>(s.at);
    inside = taps_inside(s.d, c.d, p.source.size[0], 0) |
             taps_inside(s.h, c.h, p.source.size[1], c.d.taps) |
             taps_inside(s.w, c.w, p.source.size[2], c.d.taps + c.h.taps);
  }
  const auto load = [&](float* a, float* b, int s) {
    const ConvTap* slice = taps + s * kDepth;
#pragma unroll 8
    for (int k = first_k; k < kDepth; k += kStep) {
      const ConvTap t = slice[k];
      cp_async4(a + A::at(row, k), source + static_cast<int32_t>(from + t.source),
                (inside & t.needed) == t.needed);
    }
    const ConvTap t = slice[lane];
#pragma unroll 8
    for (int i = 0; i < T::kColumns; i += kLines) {
      cp_async4(b + B::at(line + i, lane), weights + int64_t{i} * column_floats + t.weight,
                t.needed != kNever && i < columns_left);
    }
  };
  sum_and_store<T, Math, A, B>(
      slices, load, [&](int r, int column, float (&v)[8], uint32_t wanted) {
        store_results<float>(p, c, group, 0, at.row + r, at.column + column, v, wanted);
      });
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(conv_few_f32_narrow, ConvKernelArgs, 128) { conv_few<Narrow, Exact>(args); }
MK_KERNEL(conv_few_f32_small, ConvKernelArgs, kSmallBound) { conv_few<Small, Exact>(args); }
MK_KERNEL(conv_few_tf32_narrow, ConvKernelArgs, 128) { conv_few<Narrow, Tf32>(args); }
MK_KERNEL(conv_few_tf32_small, ConvKernelArgs, kSmallBound) { conv_few<Small, Tf32>(args); }
MK_KERNEL(conv_few_bf16_narrow, ConvKernelArgs, 128) { conv_few<Narrow, Bf16>(args); }
MK_KERNEL(conv_few_bf16_small, ConvKernelArgs, kSmallBound) { conv_few<Small, Bf16>(args); }
