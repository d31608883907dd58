// Nearest and linear resizing on CUDA, forward and backward.
//
//   nearest   y[n, c, o] = x[n, c, floor(o * ratio)]
//   linear    y[n, c, o] = sum over the 2 neighbors along each axis of weight * x[n, c, neighbor]
//   backward  dx[n, c, i] = sum of weight * dy[n, c, o] over the outputs o that read i
//
// Order     threads run along a row of the result (pixels, and in channels-last memory channels);
//           each takes its column down several rows, so that what concerns columns is computed
//           once, and what the next row of y reads too is kept. Backward gathers: no atomics.
// Work      2 flops per neighbor. Memory  x (dy) once, y (dx) once.
// Numerics  coordinates in float64, but for nearest, where they are float32 as everywhere in the
//           field. Neighbors of weight 0 are not read, so their NaN or infinity does not spread.
#include "kernels/resize/resize.cuda.h"
#include "kernels/rows.cuh"

namespace medkern::cuda {

// What an output reads: x[first] and, if weight > 0, x[first + 1] with that weight.
struct ResizeSource {
  int32_t first;
  double weight;
};

MK_INLINE ResizeSource source_of(const ResizeAxis& axis, int32_t o) {
  const int32_t last = axis.size - 1;
  if (!axis.linear) {
    const float at = static_cast<float>(o) * static_cast<float>(axis.ratio);
    return {at < static_cast<float>(last) ? static_cast<int32_t>(at) : last, 0};
  }
  const double position = o;
  double at = axis.align_corners ? position * axis.ratio : (position + 0.5) * axis.ratio - 0.5;
  if (at < 0) at = 0;
  if (at >= last) return {last, 0};
  const int32_t first = static_cast<int32_t>(at);
  return {first, at - first};
}

// The first output that reads no element before `i` as its first: outputs are ordered. A guess by
// the formula, put right by a step or two.
MK_INLINE int32_t first_output(const ResizeAxis& axis, int32_t i) {
  int32_t o = 0;
  if (axis.ratio > 0 && i > 0) {
    const double half = axis.linear && !axis.align_corners ? 0.5 : 0;
    const double guess = (i + half) / axis.ratio - half;
    o = guess >= axis.count ? axis.count : static_cast<int32_t>(guess);
  }
  while (o > 0 && source_of(axis, o - 1).first >= i) --o;
  while (o < axis.count && source_of(axis, o).first < i) ++o;
  return o;
}

// Outputs from `begin` on that may read an element.
struct ResizeReaders {
  int32_t begin, count;
};
MK_INLINE ResizeReaders readers_of(const ResizeAxis& axis, int32_t i) {
  const int32_t begin = first_output(axis, axis.linear ? i - 1 : i);
  return {begin, first_output(axis, i + 1) - begin};
}

// The weight output `o` gives to element i, one of the two it may read.
MK_INLINE double weight_on(const ResizeAxis& axis, int32_t o, int32_t i) {
  const ResizeSource source = source_of(axis, o);
  return source.first == i ? 1 - source.weight : source.weight;
}

template <class T, int lanes>
MK_INLINE Pack<T, lanes> blended(const Pack<T, lanes>& p, const Pack<T, lanes>& q, T weight) {
  Pack<T, lanes> sum;
#pragma unroll
  for (int i = 0; i < lanes; ++i) sum.at[i] = fma(q.at[i], weight, p.at[i] * (1 - weight));
  return sum;
}

// What a row of y reads.
template <class T>
struct RowSource {
  int32_t d, h;
  T weight_d, weight_h;
  int64_t to;  // the row's place in y
};

template <class T, int lanes>
MK_INLINE void resize_forward(const ResizeKernelArgs& a) {
  using W = Wide<T>;
  const ResizeAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
  const RowPlace at = row_place<lanes>(a.rows);
  RowSource<W>* sources = shared<RowSource<W>>();
  if (threadIdx.x < at.rows) {
    const RowNumber row = row_number(a.rows, at.first_row + threadIdx.x);
    const ResizeSource of_d = source_of(depth, row.d), of_h = source_of(height, row.h);
    sources[threadIdx.x] = {of_d.first, of_h.first, static_cast<W>(of_d.weight),
                            static_cast<W>(of_h.weight),
                            row.d * depth.y_stride + row.h * height.y_stride};
  }
  __syncthreads();
  if (!at.inside) return;

  const ResizeSource of_w = source_of(width, at.column);
  const W weight_w = static_cast<W>(of_w.weight);
  const T* x = static_cast<const T*>(a.from) + at.n * a.x_stride_n + at.channel * a.x_stride_c +
               of_w.first * width.x_stride;
  T* y = static_cast<T*>(a.to) + at.n * a.y_stride_n + at.channel * a.y_stride_c +
         at.column * width.y_stride;
  // Of row (d, h) of x: its neighbors along W blended, and those of the next along D.
  const auto line = [&](int64_t offset) {
    const Pack<W, lanes> left = load_wide<lanes>(x + offset);
    if (!(weight_w > 0)) return left;
    return blended(left, load_wide<lanes>(x + offset + width.x_stride), weight_w);
  };
  const auto lines = [&](const RowSource<W>& s, int32_t h) {
    const int64_t offset = s.d * depth.x_stride + h * height.x_stride;
    if (!(s.weight_d > 0)) return line(offset);
    return blended(line(offset), line(offset + depth.x_stride), s.weight_d);
  };
  RowSource<W> before = {-1, -2, 0, 0, 0};
  Pack<W, lanes> low = {}, high = {};
  bool has_high = false;
  for (uint32_t r = 0; r < at.rows; ++r) {
    const RowSource<W> s = sources[r];
    const bool same_depth = s.d == before.d && s.weight_d == before.weight_d;
    if (same_depth && has_high && s.h == before.h + 1) {
      low = high;
      has_high = false;
    } else if (!same_depth || s.h != before.h) {
      low = lines(s, s.h);
      has_high = false;
    }
    if (s.weight_h > 0 && !has_high) {
      high = lines(s, s.h + 1);
      has_high = true;
    }
    before = s;
    store_rounded(y + s.to, s.weight_h > 0 ? blended(low, high, s.weight_h) : low);
  }
}

// The outputs along one axis that read an element, with the first of their weights.
template <class T>
struct KeptReaders {
  ResizeReaders readers;
  int32_t element;
  T weight[kKeptReaders];

  MK_INLINE void find(const ResizeAxis& axis, int32_t i) {
    element = i;
    readers = readers_of(axis, i);
#pragma unroll 1
    for (int32_t k = 0; k < min(readers.count, kKeptReaders); ++k) {
      weight[k] = static_cast<T>(weight_on(axis, readers.begin + k, i));
    }
  }
  MK_INLINE T operator()(const ResizeAxis& axis, int32_t k) const {
    return k < kKeptReaders ? weight[k]
                            : static_cast<T>(weight_on(axis, readers.begin + k, element));
  }
};

template <class T, int lanes>
MK_INLINE void resize_backward(const ResizeKernelArgs& a) {
  using W = Wide<T>;
  const ResizeAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
  const RowPlace at = row_place<lanes>(a.rows);
  KeptReaders<W>* of_rows = shared<KeptReaders<W>>();  // [row][depth, height]
  W* kept = reinterpret_cast<W*>(of_rows + 2 * kMostRows) + threadIdx.x;
  if (threadIdx.x < 2 * at.rows) {
    const RowNumber row = row_number(a.rows, at.first_row + threadIdx.x / 2);
    const bool first = threadIdx.x % 2 == 0;
    of_rows[threadIdx.x].find(first ? depth : height, first ? row.d : row.h);
  }
  const ResizeReaders columns = readers_of(width, at.column);
  const int32_t kept_columns = min(columns.count, kKeptReaders);
#pragma unroll 1
  for (int32_t k = 0; k < kept_columns; ++k) {
    kept[k * kRowThreads] = static_cast<W>(weight_on(width, columns.begin + k, at.column));
  }
  __syncthreads();
  if (!at.inside) return;

  const T* dy = static_cast<const T*>(a.from) + at.n * a.y_stride_n + at.channel * a.y_stride_c +
                columns.begin * width.y_stride;
  T* dx = static_cast<T*>(a.to) + at.n * a.x_stride_n + at.channel * a.x_stride_c +
          at.column * width.x_stride;
  for (uint32_t r = 0; r < at.rows; ++r) {
    const KeptReaders<W>&ds = of_rows[2 * r], &hs = of_rows[2 * r + 1];
    Pack<W, lanes> total = {};
    for (int32_t i = 0; i < ds.readers.count; ++i) {
      const W weight_d = ds(depth, i);
      for (int32_t j = 0; j < hs.readers.count; ++j) {
        const W weight = weight_d * hs(height, j);
        if (weight == 0) continue;
        const T* from =
            dy + (ds.readers.begin + i) * depth.y_stride + (hs.readers.begin + j) * height.y_stride;
        Pack<W, lanes> part = {};
        const auto add = [&](int32_t k, W weight_w) {
          if (weight_w == 0) return;
          const Pack<W, lanes> value = load_wide<lanes>(from + k * width.y_stride);
#pragma unroll
          for (int l = 0; l < lanes; ++l) part.at[l] = fma(value.at[l], weight_w, part.at[l]);
        };
#pragma unroll 4
        for (int32_t k = 0; k < kept_columns; ++k) add(k, kept[k * kRowThreads]);
#pragma unroll 1
        for (int32_t k = kept_columns; k < columns.count; ++k) {
          add(k, static_cast<W>(weight_on(width, columns.begin + k, at.column)));
        }
#pragma unroll
        for (int l = 0; l < lanes; ++l) total.at[l] = fma(part.at[l], weight, total.at[l]);
      }
    }
    store_rounded(dx + ds.element * depth.x_stride + hs.element * height.x_stride, total);
  }
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(resize_forward_f32x4, ResizeKernelArgs, 256) { resize_forward<float, 4>(args); }
MK_KERNEL(resize_forward_f32, ResizeKernelArgs, 256) { resize_forward<float, 1>(args); }
MK_KERNEL(resize_forward_f64, ResizeKernelArgs, 256) { resize_forward<double, 1>(args); }
MK_KERNEL(resize_backward_f32x4, ResizeKernelArgs, 256) { resize_backward<float, 4>(args); }
MK_KERNEL(resize_backward_f32, ResizeKernelArgs, 256) { resize_backward<float, 1>(args); }
MK_KERNEL(resize_backward_f64, ResizeKernelArgs, 256) { resize_backward<double, 1>(args); }

// 16-bit images.
MK_KERNEL(resize_forward_bf16x8, ResizeKernelArgs, 256) { resize_forward<bfloat16, 8>(args); }
MK_KERNEL(resize_forward_bf16, ResizeKernelArgs, 256) { resize_forward<bfloat16, 1>(args); }
MK_KERNEL(resize_backward_bf16x8, ResizeKernelArgs, 256, 4) { resize_backward<bfloat16, 8>(args); }
MK_KERNEL(resize_backward_bf16, ResizeKernelArgs, 256, 4) { resize_backward<bfloat16, 1>(args); }
