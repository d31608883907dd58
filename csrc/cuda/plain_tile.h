// The tile of a matrix product without tensor cores, for float64 and for what no fast kernel takes:
//
//   sum[m, n] = sum over k of a(m, k) b(n, k)
//
// 64 x 64 for a block of 256 threads, 4 x 4 each, 16 of k at a time through shared memory. The sum
// of an element goes over k in order, in one chain of fma.
#pragma once

#include "cuda/device.h"

namespace medkern::cuda {

constexpr int kPlainTile = 64, kPlainThreads = 256, kPlainDepth = 16;

template <class T>
constexpr int kPlainFloats = 2 * kPlainDepth * (kPlainTile + 2);

// a(row, k) and b(row, k) give elements, 0 outside; rows are within the tile. Neighboring threads
// ask for neighboring k if a_by_row (b_by_row), else for neighboring rows.
template <class T, class A, class B>
MK_INLINE void plain_sum(int k_count, bool a_by_row, bool b_by_row, A a, B b, T (&sum)[4][4]) {
  constexpr int kRow = kPlainTile + 2;
  T* as = shared<T>();
  T* bs = as + kPlainDepth * kRow;
  const int thread = threadIdx.x, row = thread / 16 * 4, column = thread % 16 * 4;
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) sum[i][j] = 0;
  }
  for (int first = 0; first < k_count; first += kPlainDepth) {
#pragma unroll
    for (int i = 0; i < kPlainTile * kPlainDepth / kPlainThreads; ++i) {
      const int flat = thread + i * kPlainThreads;
      const int ak = a_by_row ? flat % kPlainDepth : flat / kPlainTile;
      const int ar = a_by_row ? flat / kPlainDepth : flat % kPlainTile;
      const int bk = b_by_row ? flat % kPlainDepth : flat / kPlainTile;
      const int br = b_by_row ? flat / kPlainDepth : flat % kPlainTile;
      as[ak * kRow + ar] = first + ak < k_count ? a(ar, first + ak) : T(0);
      bs[bk * kRow + br] = first + bk < k_count ? b(br, first + bk) : T(0);
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kPlainDepth; ++k) {
      T x[4], y[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) x[i] = as[k * kRow + row + i];
#pragma unroll
      for (int j = 0; j < 4; ++j) y[j] = bs[k * kRow + column + j];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[i][j] = fma(x[i], y[j], sum[i][j]);
      }
    }
    __syncthreads();
  }
}

// Calls store(row, column, value) for the elements of the tile that this thread holds.
template <class T, class Store>
MK_INLINE void plain_give(const T (&sum)[4][4], Store store) {
  const int row = threadIdx.x / 16 * 4, column = threadIdx.x % 16 * 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) store(row + i, column + j, sum[i][j]);
  }
}

}  // namespace medkern::cuda
