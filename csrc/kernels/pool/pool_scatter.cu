// Moving values by 64-bit flat indices within each (n, c) on CUDA: unpooling, and the gradient of
// max pooling with such indices. Indices out of range are those of no element, like -1.
//
//   scatter_add  large = 0, then large[indices[i]] += small[i]
//   scatter      large = 0, then large[indices[i]]  = small[i]: of equal indices the last wins
//   gather       small[i] = large[indices[i]], 0 where the index is -1
//
// Order     scatter: an index that points into the tile of its own element, as max pooling with
//           windows side by side gives it, is alone there. So every element of large looks whether
//           its tile's index is its own number (spread). Then a block for each plane looks for
//           indices elsewhere, and only if there are any does the plane again: each warp has a part
//           of the plane and takes 32 elements at a time in row-major order; those with equal
//           indices find each other, so that sums have that order too, without atomics.
//           gather: a thread takes an element.
// Memory    the indices twice, small and large once. Exact but for sums: of 16-bit numbers they are
//           rounded after every 32 elements at most.
#include "kernels/pool/pool.cuda.h"
#include "kernels/rows.cuh"

namespace medkern::cuda {

// The element of small in whose tile element i of large lies; -1 for none.
MK_INLINE int32_t element_over(const ScatterAxis& axis, int32_t i) {
  const auto at = static_cast<int32_t>(axis.by_tile.quotient(static_cast<uint32_t>(i)));
  return at < axis.small ? at : -1;
}

template <class T, int lanes>
MK_INLINE void spread(const ScatterKernelArgs& a) {
  const ScatterAxis &depth = a.axis[0], &height = a.axis[1], &width = a.axis[2];
  const RowPlace at = row_place<lanes>(a.rows);
  if (!at.inside) return;
  T* large = static_cast<T*>(a.large) + at.n * a.large_stride_n + at.channel * a.large_stride_c +
             at.column * width.large_stride;
  const int32_t w = element_over(width, at.column);
  const T* small = static_cast<const T*>(a.small) + at.n * a.small_stride_n +
                   at.channel * a.small_stride_c + w * width.small_stride;
  const int64_t* indices =
      a.indices + at.n * a.index_stride_n + at.channel * a.index_stride_c + w * width.index_stride;
  for (uint32_t r = 0; r < at.rows; ++r) {
    const RowNumber row = row_number(a.rows, at.first_row + r);
    const int32_t d = element_over(depth, row.d), h = element_over(height, row.h);
    Pack<T, lanes> value = {};
    if ((d | h | w) >= 0) {
      value = load_pack<lanes>(small + (d * depth.small_stride + h * height.small_stride));
      const Pack<int64_t, lanes> index =
          load_pack<lanes>(indices + (d * depth.index_stride + h * height.index_stride));
      const int64_t own = (int64_t{row.d} * height.large + row.h) * width.large + at.column;
#pragma unroll
      for (int l = 0; l < lanes; ++l) {
        if (index.at[l] != own) value.at[l] = T{};
      }
    }
    store_pack(large + (row.d * depth.large_stride + row.h * height.large_stride), value);
  }
}

// Whether the index of element i of small is neither in its tile nor that of no element.
MK_INLINE bool strays(const ScatterKernelArgs& a, uint32_t i, int64_t index) {
  if (index < 0 || index >= a.large_count) return false;
  uint32_t from = i, to = static_cast<uint32_t>(index);
  bool inside = true;
#pragma unroll
  for (int k = 2; k >= 0; --k) {
    const ScatterAxis& axis = a.axis[k];
    const uint32_t at = axis.by_small.take(from);
    inside = inside && axis.by_tile.quotient(axis.by_large.take(to)) == at;
  }
  return !inside;
}

// A block of kRowThreads threads takes a plane.
template <class T, bool adds>
MK_INLINE void settle_plane(const ScatterKernelArgs& a) {
  using W = Wide<T>;
  uint32_t n = blockIdx.x;
  const uint32_t c = a.by_channels.take(n);
  T* large = static_cast<T*>(a.large) + n * a.large_stride_n + c * a.large_stride_c;
  const T* small = static_cast<const T*>(a.small) + n * a.small_stride_n + c * a.small_stride_c;
  const int64_t* indices = a.indices + n * a.index_stride_n + c * a.index_stride_c;
  const auto count = static_cast<uint32_t>(a.small_count);
  bool again = !a.has_tiles;
  if (a.has_tiles) {
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < count; i += kRowThreads) {
      again = again || strays(a, i, indices[i * a.index_unit]);
    }
  }
  if (!__syncthreads_or(again)) return;
  for (int64_t i = threadIdx.x; i < a.large_count; i += kRowThreads) large[i * a.large_unit] = T{};
  __syncthreads();

  constexpr uint32_t kWarps = kRowThreads / kWarp;
  const uint32_t lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp;
  const int64_t begin = a.large_count * warp / kWarps, end = a.large_count * (warp + 1) / kWarps;
  constexpr uint32_t kAtOnce = 4;  // times 32 indices on their way
  for (uint32_t first = 0; first < count; first += kAtOnce * kWarp) {
    int32_t near[kAtOnce];
#pragma unroll
    for (uint32_t k = 0; k < kAtOnce; ++k) {
      const uint32_t i = first + k * kWarp + lane;
      const int64_t found = i < count ? indices[i * a.index_unit] : -1;
      near[k] = found >= begin && found < end ? static_cast<int32_t>(found) : -1;
    }
#pragma unroll
    for (uint32_t k = 0; k < kAtOnce; ++k) {
      const int32_t index = near[k];
      if (__ballot_sync(kAllLanes, index >= 0) == 0) continue;
      const uint32_t i = first + k * kWarp + lane;
      const W value = i < count ? W(small[i * a.small_unit]) : W(0);
      T* to = large + index * a.large_unit;
      W sum = adds && index >= 0 ? W(*to) : W(0);
      bool writes = index >= 0;
#pragma unroll 8
      for (uint32_t other = 0; other < kWarp; ++other) {
        const bool same = __shfl_sync(kAllLanes, index, other) == index;
        if (adds) {
          const W its = __shfl_sync(kAllLanes, value, other);
          if (same) sum += its;
        }
        if (same && (adds ? other < lane : other > lane)) writes = false;
      }
      if (writes) *to = T(adds ? sum : value);
      __syncwarp();
    }
  }
}

template <class T>
MK_INLINE void gather_elements(const ScatterKernelArgs& a) {
  const int64_t flat = int64_t{blockIdx.x} * kRowThreads + threadIdx.x;
  if (flat >= int64_t{a.planes} * a.small_count) return;
  uint32_t n = static_cast<uint32_t>(flat), c, i;
  if (a.channels_last) {
    c = a.by_channels.take(n);
    i = a.by_size.take(n);
  } else {
    i = a.by_size.take(n);
    c = a.by_channels.take(n);
  }
  const int64_t index = a.indices[n * a.index_stride_n + c * a.index_stride_c + i * a.index_unit];
  T value = {};
  if (index >= 0 && index < a.large_count) {
    value = static_cast<const T*>(
        a.large)[n * a.large_stride_n + c * a.large_stride_c + index * a.large_unit];
  }
  static_cast<T*>(a.small)[n * a.small_stride_n + c * a.small_stride_c + i * a.small_unit] = value;
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(pool_spread_f32x4, ScatterKernelArgs, 256) { spread<float, 4>(args); }
MK_KERNEL(pool_spread_f32, ScatterKernelArgs, 256) { spread<float, 1>(args); }
MK_KERNEL(pool_spread_f64, ScatterKernelArgs, 256) { spread<double, 1>(args); }
MK_KERNEL(pool_scatter_add_f32, ScatterKernelArgs, 256) { settle_plane<float, true>(args); }
MK_KERNEL(pool_scatter_add_f64, ScatterKernelArgs, 256) { settle_plane<double, true>(args); }
MK_KERNEL(pool_scatter_f32, ScatterKernelArgs, 256) { settle_plane<float, false>(args); }
MK_KERNEL(pool_scatter_f64, ScatterKernelArgs, 256) { settle_plane<double, false>(args); }
MK_KERNEL(pool_gather_f32, ScatterKernelArgs, 256) { gather_elements<float>(args); }
MK_KERNEL(pool_gather_f64, ScatterKernelArgs, 256) { gather_elements<double>(args); }

// 16-bit images.
MK_KERNEL(pool_spread_bf16x8, ScatterKernelArgs, 256) { spread<bfloat16, 8>(args); }
MK_KERNEL(pool_spread_bf16, ScatterKernelArgs, 256) { spread<bfloat16, 1>(args); }
MK_KERNEL(pool_scatter_add_bf16, ScatterKernelArgs, 256) { settle_plane<bfloat16, true>(args); }
MK_KERNEL(pool_scatter_bf16, ScatterKernelArgs, 256) { settle_plane<bfloat16, false>(args); }
MK_KERNEL(pool_gather_bf16, ScatterKernelArgs, 256) { gather_elements<bfloat16>(args); }
