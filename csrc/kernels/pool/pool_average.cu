// Average pooling, sliding and adaptive, on CUDA, forward and backward.
//
//   y[n, c, o] = (sum of x[n, c, i] over the window of o) / divisor(o)
//   dx[n, c, i] = sum of dy[n, c, o] / divisor(o) over the windows o that i lies in
//
// divisor: the number of positions of the window inside x, or inside x and its padding.
//
// Order     as pool.cu; large windows have a warp or a block of threads, or, in channels-last
//           memory, rows of threads, for each output.
// Work      one addition per window position. Memory  x (dy) once, y (dx) once.
// Numerics  sums of more than kFewTaps terms are merged in float64 every kFewTaps terms or, of
//           large windows, at once. Gradients are added in row-major order of the windows.
#include "cuda/reduce.h"
#include "kernels/pool/pool.cuh"

namespace medkern::cuda {

constexpr int kFewTaps = 64;

// The window of an output, as for_window takes it: dilation is 1.
MK_INLINE PoolTaps taps_in(const PoolSide& side) { return {side.begin, 0, side.end - side.begin}; }

template <class T>
MK_INLINE T divisor_of(const PoolSide& d, const PoolSide& h, const PoolSide& w) {
  return static_cast<T>(d.divisor) * static_cast<T>(h.divisor) * static_cast<T>(w.divisor);
}

// sum / count, given share = 1 / count: the product, put right by what it leaves.
template <class T>
MK_INLINE T divided(T sum, T count, T share) {
  const T guess = sum * share, rest = fma(-guess, count, sum);
  return rest == rest ? fma(rest, share, guess) : guess;  // infinity and NaN stay
}

template <class T, int lanes, int kh, int kw>
MK_INLINE void average_forward(const PoolKernelArgs& a) {
  const PoolAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
  using W = Wide<T>;
  const RowPlace at = row_place<lanes>(a.rows);
  if (!at.inside) return;
  const T* x = static_cast<const T*>(a.x) + at.n * a.x_stride_n + at.channel * a.x_stride_c;
  T* y = static_cast<T*>(a.y) + at.n * a.y_stride_n + at.channel * a.y_stride_c +
         at.column * width.y_stride;
  const PoolSide w = side_of<(kh > 0)>(a, width, at.column);
  for (uint32_t r = 0; r < at.rows; ++r) {
    const RowNumber row = row_number(a.rows, at.first_row + r);
    const PoolSide d = side_of<(kh > 0)>(a, depth, row.d), h = side_of<(kh > 0)>(a, height, row.h);
    Pack<W, lanes> sum = {};
    double total[lanes] = {};
    int pending = 0;
    bool merged = false;
    const auto merge = [&] {
#pragma unroll
      for (int l = 0; l < lanes; ++l) {
        total[l] += sum.at[l];
        sum.at[l] = 0;
      }
      pending = 0;
      merged = true;
    };
    for_window<kh, kw, T, lanes>(a, x, taps_in(d), taps_in(h), taps_in(w),
                                 [&](const Pack<T, lanes>& value, int32_t, int32_t, int32_t) {
                                   if (kh == 0 && pending == kFewTaps) merge();
#pragma unroll
                                   for (int l = 0; l < lanes; ++l) sum.at[l] += W(value.at[l]);
                                   ++pending;
                                 });
    if (merged) {
      merge();
#pragma unroll
      for (int l = 0; l < lanes; ++l) {
        sum.at[l] = static_cast<W>(total[l] / divisor_of<double>(d, h, w));
      }
    } else {
      const W count = divisor_of<W>(d, h, w), share = W(1) / count;
#pragma unroll
      for (int l = 0; l < lanes; ++l) sum.at[l] = divided(sum.at[l], count, share);
    }
    store_rounded(y + (row.d * depth.y_stride + row.h * height.y_stride), sum);
  }
}

// Of windows that stand side by side: those at the ends may be cut off by the end of x.
template <class T, int lanes>
MK_INLINE void average_backward_tiles(const PoolKernelArgs& a) {
  const PoolAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
  using W = Wide<T>;
  const RowPlace at = row_place<lanes>(a.rows);
  if (!at.inside) return;
  const PoolTile w = tile_over(width, at.column);
  const PoolSide side_w = side_of(a, width, w.output);
  const T* dy = static_cast<const T*>(a.y) + at.n * a.y_stride_n + at.channel * a.y_stride_c +
                w.output * width.y_stride;
  T* dx = static_cast<T*>(a.x) + at.n * a.x_stride_n + at.channel * a.x_stride_c +
          at.column * width.x_stride;
  const W whole = static_cast<W>(depth.kernel) * static_cast<W>(height.kernel);
  const W usual = W(1) / (whole * static_cast<W>(side_w.divisor));
  for (uint32_t r = 0; r < at.rows; ++r) {
    const RowNumber row = row_number(a.rows, at.first_row + r);
    const PoolTile d = tile_over(depth, row.d), h = tile_over(height, row.h);
    Pack<W, lanes> gradient = {};
    if (d.output < depth.count && h.output < height.count && w.output < width.count) {
      gradient = load_wide<lanes>(dy + (d.output * depth.y_stride + h.output * height.y_stride));
      W share = usual;
      if (row.d - d.tap + depth.kernel > depth.size ||
          row.h - h.tap + height.kernel > height.size) {
        share =
            W(1) / divisor_of<W>(side_of(a, depth, d.output), side_of(a, height, h.output), side_w);
      }
#pragma unroll
      for (int l = 0; l < lanes; ++l) gradient.at[l] *= share;
    }
    store_rounded(dx + (row.d * depth.x_stride + row.h * height.x_stride), gradient);
  }
}

template <class T, int lanes>
MK_INLINE void average_backward(const PoolKernelArgs& a) {
  const PoolAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
  using W = Wide<T>;
  const RowPlace at = row_place<lanes>(a.rows);
  if (!at.inside) return;
  const T* dy = static_cast<const T*>(a.y) + at.n * a.y_stride_n + at.channel * a.y_stride_c;
  T* dx = static_cast<T*>(a.x) + at.n * a.x_stride_n + at.channel * a.x_stride_c +
          at.column * width.x_stride;
  const PoolCover ws = outputs_over(width, at.column);
  for (uint32_t r = 0; r < at.rows; ++r) {
    const RowNumber row = row_number(a.rows, at.first_row + r);
    const PoolCover ds = outputs_over(depth, row.d), hs = outputs_over(height, row.h);
    Pack<W, lanes> sum = {};
    for (int32_t od = ds.begin; od < ds.end; ++od) {
      const PoolSide d = side_of(a, depth, od);
      for (int32_t oh = hs.begin; oh < hs.end; ++oh) {
        const PoolSide h = side_of(a, height, oh);
        const T* from = dy + od * depth.y_stride + oh * height.y_stride;
#pragma unroll 2
        for (int32_t ow = ws.begin; ow < ws.end; ++ow) {
          const Pack<W, lanes> gradient = load_wide<lanes>(from + ow * width.y_stride);
          const W share = W(1) / divisor_of<W>(d, h, side_of(a, width, ow));
#pragma unroll
          for (int l = 0; l < lanes; ++l) sum.at[l] += gradient.at[l] * share;
        }
      }
    }
    store_rounded(dx + (row.d * depth.x_stride + row.h * height.x_stride), sum);
  }
}

// ---- large windows ----

// Calls visit(offset in x) for every `step`-th position of a box from `first` on.
template <class Visit>
MK_INLINE void for_box(const PoolKernelArgs& a, const PoolSide& d, const PoolSide& h,
                       const PoolSide& w, uint32_t first, uint32_t step, Visit visit) {
  const uint32_t width = max(w.end - w.begin, 1), height = max(h.end - h.begin, 1);
  const uint32_t count = (d.end - d.begin) * (h.end - h.begin) * (w.end - w.begin);
  // Place and step in the box.
  uint32_t k = first % width, j = first / width % height, i = first / width / height;
  const uint32_t step_k = step % width, step_j = step / width % height,
                 step_i = step / width / height;
#pragma unroll 4
  for (uint32_t t = first; t < count; t += step) {
    visit((d.begin + static_cast<int32_t>(i)) * a.axis[0].x_stride +
          (h.begin + static_cast<int32_t>(j)) * a.axis[1].x_stride +
          (w.begin + static_cast<int32_t>(k)) * a.axis[2].x_stride);
    k += step_k;
    j += step_j + (k >= width);
    k -= k >= width ? width : 0;
    i += step_i + (j >= height);
    j -= j >= height ? height : 0;
  }
}

// An output's place.
struct LargePlace {
  uint32_t n, c;
  int32_t d, h, w;
};
MK_INLINE LargePlace large_place(const LargePoolKernelArgs& a, uint32_t output) {
  LargePlace at;
  at.n = output;
  at.w = static_cast<int32_t>(a.by_width.take(at.n));
  at.h = static_cast<int32_t>(a.by_height.take(at.n));
  at.d = static_cast<int32_t>(a.by_depth.take(at.n));
  at.c = a.by_channels.take(at.n);
  return at;
}
MK_INLINE int64_t y_offset(const PoolKernelArgs& p, const LargePlace& at, uint32_t channel) {
  return at.n * p.y_stride_n + channel * p.y_stride_c + at.d * p.axis[0].y_stride +
         at.h * p.axis[1].y_stride + at.w * p.axis[2].y_stride;
}

template <class T, int threads>
MK_INLINE void average_of_planes(const LargePoolKernelArgs& a) {
  const PoolKernelArgs& p = a.pool;
  const uint32_t output = blockIdx.x * (kRowThreads / threads) + threadIdx.x / threads;
  if (output >= a.outputs) return;
  const LargePlace at = large_place(a, output);
  const PoolSide d = side_of(p, p.axis[0], at.d), h = side_of(p, p.axis[1], at.h),
                 w = side_of(p, p.axis[2], at.w);
  const T* x = static_cast<const T*>(p.x) + at.n * p.x_stride_n + at.c * p.x_stride_c;
  double sum = 0;
  for_box(p, d, h, w, threadIdx.x % threads, threads,
          [&](int32_t offset) { sum += Wide<T>(x[offset]); });
  if constexpr (threads == kWarp) {
    sum = sum_warp(sum);
  } else {
    sum = sum_block<threads>(sum, shared<double>());
  }
  if (threadIdx.x % threads > 0) return;
  const double mean = sum / divisor_of<double>(d, h, w);
  static_cast<T*>(p.y)[y_offset(p, at, at.c)] = T(static_cast<Wide<T>>(mean));
}

template <class T, int lanes>
MK_INLINE void average_of_pixels(const LargePoolKernelArgs& a) {
  const PoolKernelArgs& p = a.pool;
  const LargePlace at = large_place(a, blockIdx.x);
  const PoolSide d = side_of(p, p.axis[0], at.d), h = side_of(p, p.axis[1], at.h),
                 w = side_of(p, p.axis[2], at.w);
  const uint32_t row = a.by_across.quotient(threadIdx.x), across = threadIdx.x - row * a.across;
  const uint32_t vector = blockIdx.y * a.across + across;
  double sum[lanes] = {};
  if (vector < a.vectors) {
    const T* x = static_cast<const T*>(p.x) + at.n * p.x_stride_n + vector * lanes;
    for_box(p, d, h, w, row, a.down, [&](int32_t offset) {
      const auto value = load_wide<lanes>(x + offset);
#pragma unroll
      for (int l = 0; l < lanes; ++l) sum[l] += value.at[l];
    });
  }
  merge_rows(sum, shared<double>(), across, a.across, row, a.down, Sum());
  if (row > 0 || vector >= a.vectors) return;
  Pack<Wide<T>, lanes> mean;
#pragma unroll
  for (int l = 0; l < lanes; ++l) {
    mean.at[l] = static_cast<Wide<T>>(sum[l] / divisor_of<double>(d, h, w));
  }
  store_rounded(static_cast<T*>(p.y) + y_offset(p, at, vector * lanes), mean);
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(pool_average_2x2_f32x4, PoolKernelArgs, 256) { average_forward<float, 4, 2, 2>(args); }
MK_KERNEL(pool_average_2x2_f32, PoolKernelArgs, 256) { average_forward<float, 1, 2, 2>(args); }
MK_KERNEL(pool_average_3x3_f32x4, PoolKernelArgs, 256) { average_forward<float, 4, 3, 3>(args); }
MK_KERNEL(pool_average_3x3_f32, PoolKernelArgs, 256) { average_forward<float, 1, 3, 3>(args); }
MK_KERNEL(pool_average_f32x4, PoolKernelArgs, 256) { average_forward<float, 4, 0, 0>(args); }
MK_KERNEL(pool_average_f32, PoolKernelArgs, 256) { average_forward<float, 1, 0, 0>(args); }
MK_KERNEL(pool_average_f64, PoolKernelArgs, 256) { average_forward<double, 1, 0, 0>(args); }

MK_KERNEL(pool_average_by_warp_f32, LargePoolKernelArgs, 256) {
  average_of_planes<float, 32>(args);
}
MK_KERNEL(pool_average_by_warp_f64, LargePoolKernelArgs, 256) {
  average_of_planes<double, 32>(args);
}
MK_KERNEL(pool_average_by_block_f32, LargePoolKernelArgs, 256) {
  average_of_planes<float, 256>(args);
}
MK_KERNEL(pool_average_by_block_f64, LargePoolKernelArgs, 256) {
  average_of_planes<double, 256>(args);
}
MK_KERNEL(pool_average_of_pixels_f32x4, LargePoolKernelArgs, 256) {
  average_of_pixels<float, 4>(args);
}
MK_KERNEL(pool_average_of_pixels_f32, LargePoolKernelArgs, 256) {
  average_of_pixels<float, 1>(args);
}
MK_KERNEL(pool_average_of_pixels_f64, LargePoolKernelArgs, 256) {
  average_of_pixels<double, 1>(args);
}

MK_KERNEL(pool_average_backward_tiles_f32x4, PoolKernelArgs, 256) {
  average_backward_tiles<float, 4>(args);
}
MK_KERNEL(pool_average_backward_tiles_f32, PoolKernelArgs, 256) {
  average_backward_tiles<float, 1>(args);
}
MK_KERNEL(pool_average_backward_tiles_f64, PoolKernelArgs, 256) {
  average_backward_tiles<double, 1>(args);
}
MK_KERNEL(pool_average_backward_f32x4, PoolKernelArgs, 256) { average_backward<float, 4>(args); }
MK_KERNEL(pool_average_backward_f32, PoolKernelArgs, 256) { average_backward<float, 1>(args); }
MK_KERNEL(pool_average_backward_f64, PoolKernelArgs, 256) { average_backward<double, 1>(args); }

// 16-bit images.
MK_KERNEL(pool_average_2x2_bf16x8, PoolKernelArgs, 256) {
  average_forward<bfloat16, 8, 2, 2>(args);
}
MK_KERNEL(pool_average_3x3_bf16x8, PoolKernelArgs, 256) {
  average_forward<bfloat16, 8, 3, 3>(args);
}
MK_KERNEL(pool_average_bf16x8, PoolKernelArgs, 256) { average_forward<bfloat16, 8, 0, 0>(args); }
MK_KERNEL(pool_average_bf16, PoolKernelArgs, 256) { average_forward<bfloat16, 1, 0, 0>(args); }
MK_KERNEL(pool_average_by_warp_bf16, LargePoolKernelArgs, 256) {
  average_of_planes<bfloat16, 32>(args);
}
MK_KERNEL(pool_average_by_block_bf16, LargePoolKernelArgs, 256) {
  average_of_planes<bfloat16, 256>(args);
}
MK_KERNEL(pool_average_of_pixels_bf16x8, LargePoolKernelArgs, 256) {
  average_of_pixels<bfloat16, 8>(args);
}
MK_KERNEL(pool_average_of_pixels_bf16, LargePoolKernelArgs, 256) {
  average_of_pixels<bfloat16, 1>(args);
}
MK_KERNEL(pool_average_backward_tiles_bf16x8, PoolKernelArgs, 256) {
  average_backward_tiles<bfloat16, 8>(args);
}
MK_KERNEL(pool_average_backward_tiles_bf16, PoolKernelArgs, 256) {
  average_backward_tiles<bfloat16, 1>(args);
}
MK_KERNEL(pool_average_backward_bf16x8, PoolKernelArgs, 256) {
  average_backward<bfloat16, 8>(args);
}
MK_KERNEL(pool_average_backward_bf16, PoolKernelArgs, 256) { average_backward<bfloat16, 1>(args); }
