// Moving values by 64-bit flat indices within each (n, c) on CUDA: unpooling, and the gradient of
// max pooling with such indices. Indices out of range are those of no element, like -1.
//
//   scatter_add  large[indices[i]] += small[i]
//   scatter      large[indices[i]]  = small[i]: of equal indices the last wins
//   gather       small[i] = large[indices[i]], 0 where the index is -1
//
// Order     scatter: a warp takes a plane, 32 elements at a time in row-major order; those with
// equal
//           indices find each other, so that sums have that order too, without atomics. `large` has
//           been cleared. gather: a thread takes an element.
// Memory    the indices and small once, large once and at random. Exact but for sums.
#include "cuda/device.h"
#include "kernels/pool/pool.cuda.h"

namespace medkern::cuda {

template <class T, bool adds>
MK_INLINE void scatter_planes(const ScatterKernelArgs& a) {
  const uint32_t lane = threadIdx.x % kWarp;
  uint32_t n = blockIdx.x * (kRowThreads / kWarp) + threadIdx.x / kWarp;
  if (n >= a.planes) return;
  const uint32_t c = a.by_channels.take(n);
  T* large = static_cast<T*>(a.large) + n * a.large_stride_n + c * a.large_stride_c;
  const T* small = static_cast<const T*>(a.small) + n * a.small_stride_n + c * a.small_stride_c;
  const int64_t* indices = a.indices + n * a.index_stride_n + c * a.index_stride_c;
  const int64_t count = a.small_count;
  const auto index_at = [&](int64_t i) {
    const int64_t index = i < count ? indices[i * a.index_unit] : -1;
    return index >= 0 && index < a.large_size ? static_cast<int32_t>(index) : -1;
  };
  const auto value_at = [&](int64_t i) { return i < count ? small[i * a.small_unit] : T(0); };
  int32_t next_index = index_at(lane);
  T next_value = value_at(lane);
  for (int64_t first = 0; first < count; first += kWarp) {
    const int32_t index = next_index;
    const T value = next_value;
    next_index = index_at(first + kWarp + lane);
    next_value = value_at(first + kWarp + lane);
    T* to = large + index * a.large_unit;
    T sum = adds && index >= 0 ? *to : T(0);
    bool writes = index >= 0;
#pragma unroll 8
    for (uint32_t other = 0; other < kWarp; ++other) {
      const bool same = __shfl_sync(kAllLanes, index, other) == index;
      if (adds) {
        const T its = __shfl_sync(kAllLanes, value, other);
        if (same) sum += its;
      }
      if (same && (adds ? other < lane : other > lane)) writes = false;
    }
    if (writes) *to = adds ? sum : value;
    __syncwarp();
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
  T value = 0;
  if (index >= 0 && index < a.large_size) {
    value = static_cast<const T*>(
        a.large)[n * a.large_stride_n + c * a.large_stride_c + index * a.large_unit];
  }
  static_cast<T*>(a.small)[n * a.small_stride_n + c * a.small_stride_c + i * a.small_unit] = value;
}

}  // namespace medkern::cuda

using namespace medkern::cuda;

MK_KERNEL(pool_scatter_add_f32, ScatterKernelArgs, 256) { scatter_planes<float, true>(args); }
MK_KERNEL(pool_scatter_add_f64, ScatterKernelArgs, 256) { scatter_planes<double, true>(args); }
MK_KERNEL(pool_scatter_f32, ScatterKernelArgs, 256) { scatter_planes<float, false>(args); }
MK_KERNEL(pool_scatter_f64, ScatterKernelArgs, 256) { scatter_planes<double, false>(args); }
MK_KERNEL(pool_gather_f32, ScatterKernelArgs, 256) { gather_elements<float>(args); }
MK_KERNEL(pool_gather_f64, ScatterKernelArgs, 256) { gather_elements<double>(args); }
