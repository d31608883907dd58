// Softmax and log-softmax along any axis on CUDA, forward and backward.
//
//   softmax      y = exp(x - m) / s,  m = max x, s = sum of exp(x - m);  dx = y (dy - sum of dy y)
//   log-softmax  y = (x - m) - log(s);                        dx = dy - exp(y) sum of dy
//
// Order and memory as softmax.cuh says: what fits shared memory or registers is read once. One
// exponential per number in tiles, else two.
#include "kernels/softmax/softmax.cuh"

namespace medkern::cuda {

// What turns x into y: m, and 1 / s or log(s).
template <class T>
struct Scale {
  T m, share;

  MK_INLINE Scale(T largest, double sum, bool logarithmic)
      : m(largest), share(static_cast<T>(logarithmic ? log(sum) : 1 / sum)) {}
  MK_INLINE T operator()(T x, bool logarithmic) const {
    return logarithmic ? (x - m) - share : exp(x - m) * share;
  }
};

template <class T>
MK_INLINE T gradient_of(T y, T dy, T sum, bool logarithmic) {
  return logarithmic ? fma(-exp(y), sum, dy) : y * (dy - sum);
}

template <class T>
MK_INLINE T gradient_sum(const Line<T>& y, const Line<T>& dy, bool logarithmic) {
  return static_cast<T>(
      line_sum<T>(y.axis, [&](uint32_t a) { return logarithmic ? dy(a) : dy(a) * y(a); }));
}

// Leaves x - m or exp(x - m) in the tile.
template <class T>
MK_INLINE void forward_tile(const SoftmaxKernelArgs& s) {
  const SoftmaxTile t = softmax_tile(s);
  T *x = shared<T>(), *shares = x + tile_numbers(s);
  load_tile(s, t, s.x, x);
  tile_arrived();
  for (uint32_t e = threadIdx.x; e < t.count; e += kSoftmaxThreads) {
    T* line = x + e * s.pitch;
    const T m = line_max(tile_line(s, x, e));
    const double sum = line_sum<T>(s.axis, [&](uint32_t a) {
      const T d = line[a * s.step] - m, power = exp(d);
      line[a * s.step] = s.logarithmic ? d : power;
      return power;
    });
    shares[e] = Scale<T>(m, sum, s.logarithmic).share;
  }
  __syncthreads();
  write_tile<T>(s, t, s.y, [&](uint32_t at, uint32_t element, uint32_t) {
    return s.logarithmic ? x[at] - shares[element] : x[at] * shares[element];
  });
}

template <class T>
MK_INLINE void backward_tile(const SoftmaxKernelArgs& s) {
  const SoftmaxTile t = softmax_tile(s);
  T *y = shared<T>(), *dy = y + tile_numbers(s), *sums = dy + tile_numbers(s);
  load_tile(s, t, s.x, y);
  load_tile(s, t, s.dy, dy);
  tile_arrived();
  for (uint32_t e = threadIdx.x; e < t.count; e += kSoftmaxThreads) {
    sums[e] = gradient_sum(tile_line(s, y, e), tile_line(s, dy, e), s.logarithmic);
  }
  __syncthreads();
  write_tile<T>(s, t, s.y, [&](uint32_t at, uint32_t element, uint32_t) {
    return gradient_of(y[at], dy[at], sums[element], s.logarithmic);
  });
}

template <class T>
MK_INLINE void forward_line(const SoftmaxKernelArgs& s) {
  const int64_t element = int64_t{blockIdx.x} * kSoftmaxThreads + threadIdx.x;
  if (element >= s.elements) return;
  const int64_t offset = line_offset(s, element);
  const Line<T> x = {static_cast<const T*>(s.x) + offset, s.inner, s.axis};
  T* y = static_cast<T*>(s.y) + offset;
  const T m = line_max(x);
  const double sum = line_sum<T>(s.axis, [&](uint32_t a) { return exp(x(a) - m); });
  const Scale<T> scale(m, sum, s.logarithmic);
#pragma unroll 4
  for (uint32_t a = 0; a < s.axis; ++a) y[a * s.inner] = scale(x(a), s.logarithmic);
}

template <class T>
MK_INLINE void backward_line(const SoftmaxKernelArgs& s) {
  const int64_t element = int64_t{blockIdx.x} * kSoftmaxThreads + threadIdx.x;
  if (element >= s.elements) return;
  const int64_t offset = line_offset(s, element);
  const Line<T> y = {static_cast<const T*>(s.x) + offset, s.inner, s.axis};
  const Line<T> dy = {static_cast<const T*>(s.dy) + offset, s.inner, s.axis};
  T* dx = static_cast<T*>(s.y) + offset;
  const T sum = gradient_sum(y, dy, s.logarithmic);
#pragma unroll 4
  for (uint32_t a = 0; a < s.axis; ++a) {
    dx[a * s.inner] = gradient_of(y(a), dy(a), sum, s.logarithmic);
  }
}

template <class T, class Row>
MK_INLINE void forward_row(const SoftmaxKernelArgs& s) {
  const TeamRow i = team_row<Row::kThreads>(s);
  const Row row(static_cast<const T*>(s.x) + i.row * s.axis, s.axis);
  const T m = row_max<Row, T>(row, s.axis);
  double sum[1] = {0};
  row.for_each(s.axis, [&](auto slot, uint32_t) { sum[0] += exp(row.at(slot) - m); });
  merge_team<Row::kThreads>(sum, Sum());
  const Scale<T> scale(m, sum[0], s.logarithmic);
  row.write(static_cast<T*>(s.y) + i.row * s.axis, i.written,
            [&](auto slot, uint32_t) { return scale(row.at(slot), s.logarithmic); });
}

template <class T, class Row>
MK_INLINE void backward_row(const SoftmaxKernelArgs& s) {
  const TeamRow i = team_row<Row::kThreads>(s);
  const Row y(static_cast<const T*>(s.x) + i.row * s.axis, s.axis);
  const Row dy(static_cast<const T*>(s.dy) + i.row * s.axis, s.axis);
  double sum[1] = {0};
  y.for_each(s.axis, [&](auto slot, uint32_t) {
    sum[0] += s.logarithmic ? dy.at(slot) : dy.at(slot) * y.at(slot);
  });
  merge_team<Row::kThreads>(sum, Sum());
  const T all = static_cast<T>(sum[0]);
  y.write(static_cast<T*>(s.y) + i.row * s.axis, i.written, [&](auto slot, uint32_t) {
    return gradient_of(y.at(slot), dy.at(slot), all, s.logarithmic);
  });
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(softmax_tile_f32, SoftmaxKernelArgs, 256) { forward_tile<float>(args); }
MK_KERNEL(softmax_tile_f64, SoftmaxKernelArgs, 256) { forward_tile<double>(args); }
MK_KERNEL(softmax_line_f32, SoftmaxKernelArgs, 256) { forward_line<float>(args); }
MK_KERNEL(softmax_line_f64, SoftmaxKernelArgs, 256) { forward_line<double>(args); }
MK_KERNEL(softmax_short_row_f32x4, SoftmaxKernelArgs, 256) {
  forward_row<float, RegisterRow<float, 4, 1>>(args);
}
MK_KERNEL(softmax_short_row_f32x2, SoftmaxKernelArgs, 256) {
  forward_row<float, RegisterRow<float, 2, 1>>(args);
}
MK_KERNEL(softmax_group_row_f32x4, SoftmaxKernelArgs, 256) {
  forward_row<float, RegisterRow<float, 4, kRowGroup>>(args);
}
MK_KERNEL(softmax_warp_row_f32x4, SoftmaxKernelArgs, 256) {
  forward_row<float, RegisterRow<float, 4, 32>>(args);
}
MK_KERNEL(softmax_warp_row_f32, SoftmaxKernelArgs, 256) {
  forward_row<float, MemoryRow<float, 32>>(args);
}
MK_KERNEL(softmax_warp_row_f64, SoftmaxKernelArgs, 256) {
  forward_row<double, MemoryRow<double, 32>>(args);
}
MK_KERNEL(softmax_block_row_f32x4, SoftmaxKernelArgs, 256) {
  forward_row<float, RegisterRow<float, 4, 256>>(args);
}
MK_KERNEL(softmax_block_row_f32, SoftmaxKernelArgs, 256) {
  forward_row<float, MemoryRow<float, 256>>(args);
}
MK_KERNEL(softmax_block_row_f64, SoftmaxKernelArgs, 256) {
  forward_row<double, MemoryRow<double, 256>>(args);
}

MK_KERNEL(softmax_backward_tile_f32, SoftmaxKernelArgs, 256) { backward_tile<float>(args); }
MK_KERNEL(softmax_backward_tile_f64, SoftmaxKernelArgs, 256) { backward_tile<double>(args); }
MK_KERNEL(softmax_backward_line_f32, SoftmaxKernelArgs, 256) { backward_line<float>(args); }
MK_KERNEL(softmax_backward_line_f64, SoftmaxKernelArgs, 256) { backward_line<double>(args); }
MK_KERNEL(softmax_backward_short_row_f32x4, SoftmaxKernelArgs, 256) {
  backward_row<float, RegisterRow<float, 4, 1>>(args);
}
MK_KERNEL(softmax_backward_short_row_f32x2, SoftmaxKernelArgs, 256) {
  backward_row<float, RegisterRow<float, 2, 1>>(args);
}
MK_KERNEL(softmax_backward_group_row_f32x4, SoftmaxKernelArgs, 256) {
  backward_row<float, RegisterRow<float, 4, kRowGroup>>(args);
}
MK_KERNEL(softmax_backward_warp_row_f32x4, SoftmaxKernelArgs, 256) {
  backward_row<float, RegisterRow<float, 4, 32>>(args);
}
MK_KERNEL(softmax_backward_warp_row_f32, SoftmaxKernelArgs, 256) {
  backward_row<float, MemoryRow<float, 32>>(args);
}
MK_KERNEL(softmax_backward_warp_row_f64, SoftmaxKernelArgs, 256) {
  backward_row<double, MemoryRow<double, 32>>(args);
}
MK_KERNEL(softmax_backward_block_row_f32x4, SoftmaxKernelArgs, 256) {
  backward_row<float, RegisterRow<float, 4, 256>>(args);
}
MK_KERNEL(softmax_backward_block_row_f32, SoftmaxKernelArgs, 256) {
  backward_row<float, MemoryRow<float, 256>>(args);
}
MK_KERNEL(softmax_backward_block_row_f64, SoftmaxKernelArgs, 256) {
  backward_row<double, MemoryRow<double, 256>>(args);
}
