// Results that many threads have a part in, merged in an order that depends on the number of
// threads of a block alone: the same bits every run.
#pragma once

#include "cuda/device.h"

namespace medkern::cuda {

struct Sum {
  template <class T>
  MK_INLINE T operator()(T a, T b) const {
    return a + b;
  }
};
// NaN if either is.
struct Largest {
  template <class T>
  MK_INLINE T operator()(T a, T b) const {
    return a > b || a != a ? a : b;
  }
};

// All lanes of the warp get the merged value of all; merge(a, b) must be merge(b, a) to the bit.
template <class T, class Merge>
MK_INLINE T merge_warp(T value, Merge merge) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) {
    value = merge(value, __shfl_xor_sync(kAllLanes, value, step));
  }
  return value;
}
template <class T>
MK_INLINE T sum_warp(T value) {
  return merge_warp(value, Sum());
}
template <class T>
MK_INLINE T max_warp(T value) {
  return merge_warp(value, Largest());
}

// The same for a block of `threads` threads, a multiple of 32, and `count` values at once.
// `scratch` has room for count * threads / 32 values in shared memory; the next call may use it
// again.
template <int threads, int count, class T, class Merge>
MK_INLINE void merge_block(T (&values)[count], T* scratch, Merge merge) {
  constexpr int warps = threads / kWarp;
#pragma unroll
  for (int i = 0; i < count; ++i) values[i] = merge_warp(values[i], merge);
  if (warps == 1) return;
  __syncthreads();
  if (threadIdx.x % kWarp == 0) {
#pragma unroll
    for (int i = 0; i < count; ++i) scratch[i * warps + threadIdx.x / kWarp] = values[i];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < count; ++i) {
    T all = scratch[i * warps];
#pragma unroll
    for (int warp = 1; warp < warps; ++warp) all = merge(all, scratch[i * warps + warp]);
    values[i] = all;
  }
}
template <int threads, class T>
MK_INLINE T sum_block(T value, T* scratch) {
  T values[1] = {value};
  merge_block<threads>(values, scratch, Sum());
  return values[0];
}
template <int threads, class T>
MK_INLINE T max_block(T value, T* scratch) {
  T values[1] = {value};
  merge_block<threads>(values, scratch, Largest());
  return values[0];
}

// A block whose threads are rows of `columns` threads: row 0 gets for each column the values of all
// `rows` rows merged, a power of two; the values of other threads are not to be used. `scratch` has
// room for count values of every thread. T may be any struct.
template <int count, class T, class Merge>
MK_INLINE void merge_rows(T (&values)[count], T* scratch, int column, int columns, int row,
                          int rows, Merge merge) {
  const int threads = columns * rows;
  T* own = scratch + row * columns + column;
  __syncthreads();
  for (int half = rows / 2; half > 0; half /= 2) {
    if (row >= half && row < 2 * half) {
#pragma unroll
      for (int i = 0; i < count; ++i) own[i * threads] = values[i];
    }
    __syncthreads();
    if (row < half) {
#pragma unroll
      for (int i = 0; i < count; ++i) {
        values[i] = merge(values[i], own[i * threads + half * columns]);
      }
    }
  }
}

}  // namespace medkern::cuda
