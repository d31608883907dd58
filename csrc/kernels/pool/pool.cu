// Max pooling, sliding and adaptive, on CUDA. Average pooling: pool_average.cu; int64 indices of
// the backward pass and unpooling: pool_scatter.cu.
//
//   y[n, c, o] = max over positions t of window o of x[n, c, start(o) + t * dilation]
//   dx[n, c, i] = sum of dy[n, c, o] over the windows o that i won
//
// Order     threads run along a row of y (pixels, and in channels-last memory channels), each down
//           several rows; backward along rows of dx, where a thread looks at all windows over its
//           element: no atomics.
// Work      one comparison per window position; backward one per element of dx and window over it.
// Memory    x once, as long as a row of windows stays in the L1 cache, y and the indices once;
//           backward dy and the indices, and dx once.
// Exact but for gradients, which are summed in float32 or float64; NaN wins, and of equal values
// the first in row-major order. Gradients of overlapping windows are added in row-major order of
// the windows.
#include "kernels/pool/pool.cuh"

namespace medkern::cuda {

// What is stored for a window position: its number (uint8_t) or its flat spatial offset in x
// (int64_t). Both are base + the sum over the axes of tap * step.
template <class Index>
struct Numbering {
  int32_t base, step[3];

  MK_INLINE Numbering(const PoolKernelArgs& a, const PoolTaps& d, const PoolTaps& h,
                      const PoolTaps& w) {
    const PoolAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
    if constexpr (sizeof(Index) == 1) {
      base = 0;
      step[0] = height.kernel * width.kernel;
      step[1] = width.kernel;
      step[2] = 1;
    } else {
      const int32_t row = width.size, slice = height.size * row;
      base = d.start * slice + h.start * row + w.start;
      step[0] = depth.dilation * slice;
      step[1] = height.dilation * row;
      step[2] = width.dilation;
    }
  }
  MK_INLINE int32_t operator()(int32_t kd, int32_t kh, int32_t kw) const {
    return base + kd * step[0] + kh * step[1] + kw * step[2];
  }
};

template <class T, int lanes, class Index, int kh, int kw>
MK_INLINE void max_forward(const PoolKernelArgs& a) {
  const PoolAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
  const RowPlace at = row_place<lanes>(a.rows);
  if (!at.inside) return;
  const T* x = static_cast<const T*>(a.x) + at.n * a.x_stride_n + at.channel * a.x_stride_c;
  T* y = static_cast<T*>(a.y) + at.n * a.y_stride_n + at.channel * a.y_stride_c +
         at.column * width.y_stride;
  const int64_t index_at =
      at.n * a.index_stride_n + at.channel * a.index_stride_c + at.column * width.index_stride;
  const PoolTaps w = taps_of<(kh > 0)>(width, at.column);
  for (uint32_t r = 0; r < at.rows; ++r) {
    const RowNumber row = row_number(a.rows, at.first_row + r);
    const PoolTaps d = taps_of<(kh > 0)>(depth, row.d), h = taps_of<(kh > 0)>(height, row.h);
    const Numbering<Index> number(a, d, h, w);
    const bool empty = d.begin >= d.end || h.begin >= h.end || w.begin >= w.end;
    // Where a window lies in the padding altogether: position 0 lies there too.
    const int32_t none = sizeof(Index) == 1 ? 0 : -1;
    const int32_t first = empty ? none : number(d.begin, h.begin, w.begin);
    Pack<Wide<T>, lanes> best;
    int32_t winner[lanes];
#pragma unroll
    for (int i = 0; i < lanes; ++i) {
      best.at[i] = -Wide<T>(INFINITY);
      winner[i] = first;
    }
    for_window<kh, kw, T, lanes>(
        a, x, d, h, w, [&](const Pack<T, lanes>& value, int32_t i, int32_t j, int32_t k) {
          const bool known = kh > 0 && sizeof(Index) == 1;
          const int32_t its = known ? (i * kh + j) * kw + k : number(i, j, k);
#pragma unroll
          for (int l = 0; l < lanes; ++l) {
            const Wide<T> v = value.at[l];
            if (!(v <= best.at[l]) && best.at[l] == best.at[l]) {  // NaN wins
              best.at[l] = v;
              winner[l] = its;
            }
          }
        });
    store_rounded(y + (row.d * depth.y_stride + row.h * height.y_stride), best);
    if (a.indices == nullptr) continue;
    Pack<Index, lanes> indices;
#pragma unroll
    for (int l = 0; l < lanes; ++l) indices.at[l] = static_cast<Index>(winner[l]);
    store_pack(static_cast<Index*>(a.indices) + index_at + row.d * depth.index_stride +
                   row.h * height.index_stride,
               indices);
  }
}

// Of windows that stand side by side.
template <class T, int lanes>
MK_INLINE void max_backward_tiles(const PoolKernelArgs& a) {
  const PoolAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
  const RowPlace at = row_place<lanes>(a.rows);
  if (!at.inside) return;
  const PoolTile w = tile_over(width, at.column);
  const T* dy = static_cast<const T*>(a.y) + at.n * a.y_stride_n + at.channel * a.y_stride_c +
                w.output * width.y_stride;
  const uint8_t* winners = static_cast<const uint8_t*>(a.indices) + at.n * a.index_stride_n +
                           at.channel * a.index_stride_c + w.output * width.index_stride;
  T* dx = static_cast<T*>(a.x) + at.n * a.x_stride_n + at.channel * a.x_stride_c +
          at.column * width.x_stride;
  for (uint32_t r = 0; r < at.rows; ++r) {
    const RowNumber row = row_number(a.rows, at.first_row + r);
    const PoolTile d = tile_over(depth, row.d), h = tile_over(height, row.h);
    Pack<T, lanes> gradient = {};
    if (d.output < depth.count && h.output < height.count && w.output < width.count) {
      gradient = load_pack<lanes>(dy + (d.output * depth.y_stride + h.output * height.y_stride));
      const Pack<uint8_t, lanes> won = load_pack<lanes>(
          winners + (d.output * depth.index_stride + h.output * height.index_stride));
      const int32_t number = (d.tap * height.kernel + h.tap) * width.kernel + w.tap;
#pragma unroll
      for (int l = 0; l < lanes; ++l) {
        if (won.at[l] != number) gradient.at[l] = T{};
      }
    }
    store_pack(dx + (row.d * depth.x_stride + row.h * height.x_stride), gradient);
  }
}

template <class T, int lanes>
MK_INLINE void max_backward(const PoolKernelArgs& a) {
  const PoolAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
  const RowPlace at = row_place<lanes>(a.rows);
  if (!at.inside) return;
  const T* dy = static_cast<const T*>(a.y) + at.n * a.y_stride_n + at.channel * a.y_stride_c;
  const uint8_t* winners = static_cast<const uint8_t*>(a.indices) + at.n * a.index_stride_n +
                           at.channel * a.index_stride_c;
  T* dx = static_cast<T*>(a.x) + at.n * a.x_stride_n + at.channel * a.x_stride_c +
          at.column * width.x_stride;
  const PoolCover ws = outputs_over(width, at.column);
  for (uint32_t r = 0; r < at.rows; ++r) {
    const RowNumber row = row_number(a.rows, at.first_row + r);
    const PoolCover ds = outputs_over(depth, row.d), hs = outputs_over(height, row.h);
    Pack<Wide<T>, lanes> sum = {};
    for (int32_t od = ds.begin; od < ds.end; ++od) {
      for (int32_t oh = hs.begin; oh < hs.end; ++oh) {
        const int32_t kd = tap_at(depth, od, row.d), kh = tap_at(height, oh, row.h);
        const int32_t first = (kd | kh) < 0 ? -1 : (kd * height.kernel + kh) * width.kernel;
        const int32_t y_row = od * depth.y_stride + oh * height.y_stride;
        const int32_t index_row = od * depth.index_stride + oh * height.index_stride;
#pragma unroll 2
        for (int32_t ow = ws.begin; ow < ws.end; ++ow) {
          const int32_t kw = tap_at(width, ow, at.column);
          const int32_t number = (first | kw) < 0 ? -1 : first + kw;
          const auto gradient = load_wide<lanes>(dy + (y_row + ow * width.y_stride));
          const Pack<uint8_t, lanes> won =
              load_pack<lanes>(winners + (index_row + ow * width.index_stride));
#pragma unroll
          for (int l = 0; l < lanes; ++l) {
            if (won.at[l] == number) sum.at[l] += gradient.at[l];
          }
        }
      }
    }
    store_rounded(dx + (row.d * depth.x_stride + row.h * height.x_stride), sum);
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(pool_max_2x2_f32x4, PoolKernelArgs, 256) { max_forward<float, 4, uint8_t, 2, 2>(args); }
MK_KERNEL(pool_max_2x2_f32, PoolKernelArgs, 256) { max_forward<float, 1, uint8_t, 2, 2>(args); }
MK_KERNEL(pool_max_3x3_f32x4, PoolKernelArgs, 256) { max_forward<float, 4, uint8_t, 3, 3>(args); }
MK_KERNEL(pool_max_3x3_f32, PoolKernelArgs, 256) { max_forward<float, 1, uint8_t, 3, 3>(args); }
MK_KERNEL(pool_max_f32x4, PoolKernelArgs, 256) { max_forward<float, 4, uint8_t, 0, 0>(args); }
MK_KERNEL(pool_max_f32, PoolKernelArgs, 256) { max_forward<float, 1, uint8_t, 0, 0>(args); }
MK_KERNEL(pool_max_f64, PoolKernelArgs, 256) { max_forward<double, 1, uint8_t, 0, 0>(args); }
MK_KERNEL(pool_max_i64_f32x4, PoolKernelArgs, 256) { max_forward<float, 4, int64_t, 0, 0>(args); }
MK_KERNEL(pool_max_i64_f32, PoolKernelArgs, 256) { max_forward<float, 1, int64_t, 0, 0>(args); }
MK_KERNEL(pool_max_i64_f64, PoolKernelArgs, 256) { max_forward<double, 1, int64_t, 0, 0>(args); }

MK_KERNEL(pool_max_backward_tiles_f32x4, PoolKernelArgs, 256) {
  max_backward_tiles<float, 4>(args);
}
MK_KERNEL(pool_max_backward_tiles_f32, PoolKernelArgs, 256) { max_backward_tiles<float, 1>(args); }
MK_KERNEL(pool_max_backward_tiles_f64, PoolKernelArgs, 256) { max_backward_tiles<double, 1>(args); }
MK_KERNEL(pool_max_backward_f32x4, PoolKernelArgs, 256) { max_backward<float, 4>(args); }
MK_KERNEL(pool_max_backward_f32, PoolKernelArgs, 256) { max_backward<float, 1>(args); }
MK_KERNEL(pool_max_backward_f64, PoolKernelArgs, 256) { max_backward<double, 1>(args); }

// 16-bit images.
MK_KERNEL(pool_max_2x2_bf16x8, PoolKernelArgs, 256) {
  max_forward<bfloat16, 8, uint8_t, 2, 2>(args);
}
MK_KERNEL(pool_max_3x3_bf16x8, PoolKernelArgs, 256) {
  max_forward<bfloat16, 8, uint8_t, 3, 3>(args);
}
MK_KERNEL(pool_max_bf16x8, PoolKernelArgs, 256) { max_forward<bfloat16, 8, uint8_t, 0, 0>(args); }
MK_KERNEL(pool_max_bf16, PoolKernelArgs, 256) { max_forward<bfloat16, 1, uint8_t, 0, 0>(args); }
MK_KERNEL(pool_max_i64_bf16x8, PoolKernelArgs, 256) {
  max_forward<bfloat16, 8, int64_t, 0, 0>(args);
}
MK_KERNEL(pool_max_i64_bf16, PoolKernelArgs, 256) { max_forward<bfloat16, 1, int64_t, 0, 0>(args); }
MK_KERNEL(pool_max_backward_tiles_bf16x8, PoolKernelArgs, 256) {
  max_backward_tiles<bfloat16, 8>(args);
}
MK_KERNEL(pool_max_backward_tiles_bf16, PoolKernelArgs, 256) {
  max_backward_tiles<bfloat16, 1>(args);
}
MK_KERNEL(pool_max_backward_bf16x8, PoolKernelArgs, 256) { max_backward<bfloat16, 8>(args); }
MK_KERNEL(pool_max_backward_bf16, PoolKernelArgs, 256) { max_backward<bfloat16, 1>(args); }
