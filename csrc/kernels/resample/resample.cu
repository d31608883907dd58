// Reading images at any places on CUDA, forward and backward.
//
//   y[n, c, o] = sum over the 2^rank elements around place o of weight * x[n, c, element]
//   dx[n, c, i] = sum of weight * dy[n, c, o] over the outputs o that read i
//   dgrid[n, o, axis] = scale * sum over c of dy[n, c, o] * (slopes of the weights along axis) x
//
// Order     channels-last: a thread takes a vector of channels of a pixel of y, so that warps read
//           and write stretches of memory; planes: a pixel and up to 8 channels, which share its
//           place. dgrid: a warp or a thread to a pixel.
// dx        outputs add to what they read, in any order: sums are in whole numbers, which are the
//           same in any order. A multiple of 2^(e - 62 + h), where a sample's |dy| are below 2^e
//           and it has at most 2^h outputs: nothing overflows, and what is rounded away is below
//           2^-40 of the largest for 2^20 outputs. float64 keeps the rest in a second number.
//           Cheaper than to sort outputs by the elements they read, which takes several passes, and
//           as fast as float atomics. What is not finite is kept as flags.
// Work      2 flops per neighbor and channel. Memory  x (dy) once while neighbors are in the cache,
//           y once; dx three times.
// Numerics  coordinates and weights in T, affine maps in float64.
#include "kernels/resample/places.cuh"
#include "kernels/resample/resample.cuda.h"

namespace medkern::cuda {

// A thread's place: sample, pixel of y, first channel and how many.
struct ResampleItem {
  uint32_t n, pixel;
  int32_t channel, count;
};

template <int lanes, bool pixels>
MK_INLINE ResampleItem resample_item(const ResampleKernelArgs& a, uint32_t item) {
  ResampleItem at;
  at.n = item;
  if (pixels) {
    at.channel = static_cast<int32_t>(a.by_groups.take(at.n)) * lanes;
    at.pixel = a.by_pixels.take(at.n);
    at.count = lanes;
  } else {
    at.pixel = a.by_pixels.take(at.n);
    at.channel = static_cast<int32_t>(a.by_groups.take(at.n)) * kResampleChannels;
    at.count = min(kResampleChannels, a.channels - at.channel);
  }
  return at;
}

template <class T, int lanes, bool pixels>
MK_INLINE void resample_forward(const ResampleKernelArgs& a) {
  const uint32_t item = blockIdx.x * kResampleThreads + threadIdx.x;
  if (item >= a.items) return;
  const ResampleItem at = resample_item<lanes, pixels>(a, item);
  T place[3];
  find_place(a, at.n, at.pixel, place);
  Neighbors<T> near;
  find_neighbors(a, place, near);
  const T* x = static_cast<const T*>(a.x) + at.n * a.x_stride_n + at.channel * a.x_stride_c;
  T* y = static_cast<T*>(a.y) + at.n * a.y_stride_n + at.channel * a.y_stride_c +
         static_cast<int64_t>(at.pixel) * a.y_step;
  const T outside =
      a.beyond == kBeyondConstant ? static_cast<T>(a.value) * near.outside : static_cast<T>(0);
  const int count = pixels ? 1 : at.count;
#pragma unroll 2
  for (int c = 0; c < count; ++c, x += a.x_stride_c, y += a.y_stride_c) {
    Pack<T, lanes> total;
#pragma unroll
    for (int l = 0; l < lanes; ++l) total.at[l] = outside;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      if (near.weight[k] == 0) continue;
      const Pack<T, lanes> value = load_pack<lanes>(x + near.offset[k]);
#pragma unroll
      for (int l = 0; l < lanes; ++l) {
        total.at[l] = fma(value.at[l], near.weight[k], total.at[l]);
      }
    }
    store_pack(y, total);
  }
}

// ---------------------------------------------------------------- dgrid

// A warp takes a pixel, its lanes the channels; or a thread does.
template <class T, bool warps>
MK_INLINE void resample_backward_grid(const ResampleKernelArgs& a) {
  const uint32_t thread = blockIdx.x * kResampleThreads + threadIdx.x;
  const uint32_t item = warps ? thread / kWarp : thread;
  if (item >= a.items) return;  // whole warps
  uint32_t n = item;
  const uint32_t pixel = a.by_pixels.take(n);
  T place[3];
  find_place(a, n, pixel, place);
  Ends<T> ends[3];
  find_ends(a, place, ends);
  const T* x = static_cast<const T*>(a.x) + n * a.x_stride_n;
  const T* dy =
      static_cast<const T*>(a.y) + n * a.y_stride_n + static_cast<int64_t>(pixel) * a.y_step;
  // Sums over channels of dy times each neighbor, and of dy.
  T dots[8], total = 0;
#pragma unroll
  for (int k = 0; k < 8; ++k) dots[k] = 0;
  const int first = warps ? static_cast<int>(threadIdx.x % kWarp) : 0, step = warps ? kWarp : 1;
  for (int c = first; c < a.channels; c += step) {
    const T gradient = dy[c * a.y_stride_c];
    total += gradient;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      if (k >= 4 && a.rank == 2) continue;
      const int i = k / 4, j = k / 2 % 2, l = k % 2;
      // Read only where some axis has a slope there.
      const T z = ends[0].weight[i], y = ends[1].weight[j], w = ends[2].weight[l];
      const T dz = ends[0].slope[i], dh = ends[1].slope[j], dw = ends[2].slope[l];
      if (dz * y * w == 0 && z * dh * w == 0 && z * y * dw == 0) continue;
      const int32_t offset = neighbor_offset(a, ends, i, j, l);
      dots[k] = fma(gradient, x[c * a.x_stride_c + offset], dots[k]);
    }
  }
  if (warps) {
    total = sum_warp(total);
#pragma unroll
    for (int k = 0; k < 8; ++k) dots[k] = sum_warp(dots[k]);
    if (threadIdx.x % kWarp != 0) return;
  }
  const T value = a.beyond == kBeyondConstant ? static_cast<T>(a.value) * total : static_cast<T>(0);
  T* dgrid = static_cast<T*>(a.dgrid) + (static_cast<int64_t>(n) * a.pixels + pixel) * a.rank;
#pragma unroll
  for (int axis = 0; axis < 3; ++axis) {
    if (axis < 3 - a.rank) continue;
    T slope = 0;
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const int at[3] = {k / 4, k / 2 % 2, k % 2};
      T weight = 1;
#pragma unroll
      for (int other = 0; other < 3; ++other) {
        weight *= other == axis ? ends[other].slope[at[other]] : ends[other].weight[at[other]];
      }
      if (weight != 0) slope = fma(dots[k], weight, slope);
    }
    T outside = -(ends[axis].slope[0] + ends[axis].slope[1]);
#pragma unroll
    for (int other = 0; other < 3; ++other) {
      if (other != axis) outside *= ends[other].inside;
    }
    slope = fma(value, outside, slope);
    dgrid[2 - axis] = slope * static_cast<T>(a.axis[axis].scale);
  }
}

// ---------------------------------------------------------------- dx

// Each sample's largest finite |dy|: blocks are [n][part].
template <class T>
MK_INLINE void resample_largest(const ResampleKernelArgs& a) {
  const int64_t count = static_cast<int64_t>(a.pixels) * a.channels;
  const T* dy = static_cast<const T*>(a.y) + blockIdx.y * a.y_stride_n;
  T largest = 0;
  for (int64_t i = blockIdx.x * kResampleThreads + threadIdx.x; i < count;
       i += static_cast<int64_t>(gridDim.x) * kResampleThreads) {
    const T size = fabs(dy[i]);
    if (size < static_cast<T>(INFINITY) && size > largest) largest = size;
  }
  largest = max_warp(largest);
  if (threadIdx.x % kWarp == 0) {
    // Of numbers that are not negative, bits are in the order of the numbers.
    atomicMax(reinterpret_cast<unsigned long long*>(a.largest) + blockIdx.y,
              static_cast<unsigned long long>(__double_as_longlong(static_cast<double>(largest))));
  }
}

// 2^result times a number is in the units of sums.
MK_INLINE int unit_of(const ResampleKernelArgs& a, uint32_t n) {
  const int exponent = static_cast<int>(a.largest[n] >> 52) - 1022;  // largest < 2^exponent
  return max(-1000, min(1000, 62 - a.headroom - exponent));
}

template <class T>
MK_INLINE void add_exactly(const ResampleKernelArgs& a, int64_t at, T part, double unit) {
  if (!(fabs(part) < static_cast<T>(INFINITY))) {
    atomicOr(a.flags + at, part != part ? 1u : part > 0 ? 2u : 4u);
    return;
  }
  const double scaled = static_cast<double>(part) * unit;
  const long long whole = __double2ll_rn(scaled);
  auto* sum = reinterpret_cast<unsigned long long*>(a.sums) + at * a.words;
  atomicAdd(sum, static_cast<unsigned long long>(whole));
  if (a.words == 1) return;
  const double rest = (scaled - static_cast<double>(whole)) * ldexp(1.0, 62 - a.headroom);
  atomicAdd(sum + 1, static_cast<unsigned long long>(__double2ll_rn(rest)));
}

template <class T, bool pixels>
MK_INLINE void resample_scatter(const ResampleKernelArgs& a) {
  const uint32_t item = blockIdx.x * kResampleThreads + threadIdx.x;
  if (item >= a.items) return;
  const ResampleItem at = resample_item<1, pixels>(a, item);
  T place[3];
  find_place(a, at.n, at.pixel, place);
  Neighbors<T> near;
  find_neighbors(a, place, near);
  const double unit = ldexp(1.0, unit_of(a, at.n));
  const T* dy =
      static_cast<const T*>(a.y) + at.n * a.y_stride_n + static_cast<int64_t>(at.pixel) * a.y_step;
  const int64_t sample = at.n * a.x_stride_n;
  for (int c = at.channel; c < at.channel + at.count; ++c) {
    const T gradient = dy[c * a.y_stride_c];
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      if (near.weight[k] == 0) continue;
      add_exactly(a, sample + c * a.x_stride_c + near.offset[k], near.weight[k] * gradient, unit);
    }
  }
}

// dx from the sums: blocks are [part][n].
template <class T>
MK_INLINE void resample_settle(const ResampleKernelArgs& a) {
  const uint32_t element = blockIdx.x * kResampleThreads + threadIdx.x;
  if (element >= a.elements) return;
  const int64_t at = static_cast<int64_t>(blockIdx.y) * a.elements + element;
  const int unit = unit_of(a, blockIdx.y);
  const auto* sum = reinterpret_cast<const long long*>(a.sums) + at * a.words;
  double total = static_cast<double>(sum[0]);
  if (a.words == 2) total += ldexp(static_cast<double>(sum[1]), a.headroom - 62);
  total = ldexp(total, -unit);
  const uint32_t flags = a.flags[at];
  if (flags != 0) {
    total = (flags & 1) != 0 || flags == 6 ? static_cast<double>(NAN)
            : flags == 2                   ? static_cast<double>(INFINITY)
                                           : -static_cast<double>(INFINITY);
  }
  static_cast<T*>(a.dx)[at] = static_cast<T>(total);
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(resample_forward_f32x4, ResampleKernelArgs, 256) {
  resample_forward<float, 4, true>(args);
}
MK_KERNEL(resample_forward_f32, ResampleKernelArgs, 256) { resample_forward<float, 1, true>(args); }
MK_KERNEL(resample_forward_f64, ResampleKernelArgs, 256) {
  resample_forward<double, 1, true>(args);
}
MK_KERNEL(resample_planes_f32, ResampleKernelArgs, 256) { resample_forward<float, 1, false>(args); }
MK_KERNEL(resample_planes_f64, ResampleKernelArgs, 256) {
  resample_forward<double, 1, false>(args);
}

MK_KERNEL(resample_grid_by_warp_f32, ResampleKernelArgs, 256) {
  resample_backward_grid<float, true>(args);
}
MK_KERNEL(resample_grid_by_warp_f64, ResampleKernelArgs, 256) {
  resample_backward_grid<double, true>(args);
}
MK_KERNEL(resample_grid_f32, ResampleKernelArgs, 256) {
  resample_backward_grid<float, false>(args);
}
MK_KERNEL(resample_grid_f64, ResampleKernelArgs, 256) {
  resample_backward_grid<double, false>(args);
}

MK_KERNEL(resample_largest_f32, ResampleKernelArgs, 256) { resample_largest<float>(args); }
MK_KERNEL(resample_largest_f64, ResampleKernelArgs, 256) { resample_largest<double>(args); }
MK_KERNEL(resample_scatter_f32, ResampleKernelArgs, 256) { resample_scatter<float, true>(args); }
MK_KERNEL(resample_scatter_f64, ResampleKernelArgs, 256) { resample_scatter<double, true>(args); }
MK_KERNEL(resample_scatter_planes_f32, ResampleKernelArgs, 256) {
  resample_scatter<float, false>(args);
}
MK_KERNEL(resample_scatter_planes_f64, ResampleKernelArgs, 256) {
  resample_scatter<double, false>(args);
}
MK_KERNEL(resample_settle_f32, ResampleKernelArgs, 256) { resample_settle<float>(args); }
MK_KERNEL(resample_settle_f64, ResampleKernelArgs, 256) { resample_settle<double>(args); }
