// The tile of a matrix product of 16-bit numbers on the tensor cores, for all families:
//
//   sum[m, n] = sum over k of a[m, k] b[n, k],   m < kRows, n < kColumns, sums in float32
//
// As cuda/tile.h, with slices of 64 of k (as many bytes) and fragments by ldmatrix. An operand lies
// by row or by k. By row the rows of a fragment may be any, and are 4 r + e, as in cuda/tile.h; by
// k ldmatrix transposes 8 neighboring rows. Vectors of 8 elements are swapped about in each line,
// so that neither copies nor ldmatrix meet in a bank.
//
// Sums go over k in order, 16 at a time, whatever the tile: all tiles give the same bits.
#pragma once

#include "cuda/half.h"
#include "cuda/tile.h"

namespace medkern::cuda {

constexpr int kHalfDepth = 64;

template <class T>
struct HalfMma;
template <>
struct HalfMma<bfloat16> {
  MK_INLINE static void add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_bf16(d, a, b);
  }
};
template <>
struct HalfMma<float16> {
  MK_INLINE static void add(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    mma_f16(d, a, b);
  }
};

// A slice of an operand in shared memory: kRows lines of 64 k (by row), or 64 lines of kRows rows.
template <int kRows_, bool kByRow_>
struct HalfSlice {
  static constexpr int kRows = kRows_;
  static constexpr bool kByRow = kByRow_;

  MK_INLINE static int at(int row, int k) {
    if constexpr (kByRow) return row * kHalfDepth + (((k >> 3) ^ ((row >> 2) & 7)) << 3) + (k & 7);
    return k * kRows + (((row >> 3) ^ (k & 7)) << 3) + (row & 7);
  }
  // The rows that lane group g = lane / 4 holds, of 32: those of fragment e = 0 .. 3.
  MK_INLINE static int row_of(int g, int e) { return kByRow ? 4 * g + e : 8 * e + g; }

  // Fragments e and e + 1 of rows `first` .. `first` + 31 and of 16 k from `k` on, as `a` of an
  // instruction takes them.
  MK_INLINE static void read_a(const uint16_t* slice, int first, int k, int e, uint32_t (&a)[4]) {
    const int lane = threadIdx.x % kWarp, matrix = lane / 8, r = lane % 8;
    e += matrix % 2;
    k += matrix / 2 * 8;
    if constexpr (kByRow) {
      ldmatrix_x4(a, slice + at(first + 4 * r + e, k));
    } else {
      ldmatrix_x4_trans(a, slice + at(first + 8 * e, k + r));
    }
  }
  // The same as two `b`.
  MK_INLINE static void read_b(const uint16_t* slice, int first, int k, int e, uint32_t (&b)[2],
                               uint32_t (&next)[2]) {
    const int lane = threadIdx.x % kWarp, matrix = lane / 8, r = lane % 8;
    e += matrix / 2;
    k += matrix % 2 * 8;
    uint32_t both[4];
    if constexpr (kByRow) {
      ldmatrix_x4(both, slice + at(first + 4 * r + e, k));
    } else {
      ldmatrix_x4_trans(both, slice + at(first + 8 * e, k + r));
    }
    b[0] = both[0], b[1] = both[1];
    next[0] = both[2], next[1] = both[3];
  }
};

// sums += the products of one slice.
template <class T, class Element, class A, class B>
MK_INLINE void multiply_halves(const uint16_t* a, const uint16_t* b, Sums<T>& sums) {
  const int warp = threadIdx.x / kWarp;
  const int row = warp / T::kWarpsAcross * T::kWarpRows;
  const int column = warp % T::kWarpsAcross * T::kWarpColumns;
#pragma unroll T::kUnroll
  for (int k = 0; k < kHalfDepth; k += 16) {
    uint32_t bs[T::kGroupsAcross][4][2];
#pragma unroll
    for (int j = 0; j < T::kGroupsAcross; ++j) {
#pragma unroll
      for (int e = 0; e < 4; e += 2) {
        B::read_b(b, column + 32 * j, k, e, bs[j][e], bs[j][e + 1]);
      }
    }
#pragma unroll
    for (int i = 0; i < T::kGroupsDown; ++i) {
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        uint32_t as[4];
        A::read_a(a, row + 32 * i, k, 2 * pair, as);
#pragma unroll
        for (int j = 0; j < T::kGroupsAcross; ++j) {
#pragma unroll
          for (int n = 0; n < 4; ++n) HalfMma<Element>::add(sums.d[i][j][pair][n], as, bs[j][n]);
        }
      }
    }
  }
}

// sums = the products of slices 0 .. slices - 1, which `load` of each_slice brings.
template <class T, class Element, class A, class B, class Load>
MK_INLINE void sum_halves(int slices, Load load, Sums<T>& sums) {
  constexpr int kOfA = T::kRows * kHalfDepth, kStage = kOfA + T::kColumns * kHalfDepth;
  sums.clear();
  each_slice<uint16_t, kOfA, kStage>(slices, load, [&](const uint16_t* a, const uint16_t* b) {
    multiply_halves<T, Element, A, B>(a, b, sums);
  });
}

// Calls what(row, column, first, second) for the sums that this thread holds where both operands
// lie by k: two neighboring columns at a time.
template <class T, class Do>
MK_INLINE void each_pair(const Sums<T>& sums, Do what) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int row = warp / T::kWarpsAcross * T::kWarpRows + lane / 4;
  const int column = warp % T::kWarpsAcross * T::kWarpColumns + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < T::kGroupsDown; ++i) {
#pragma unroll
    for (int j = 0; j < T::kGroupsAcross; ++j) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const float (&d)[4] = sums.d[i][j][e / 2][n];
          what(row + 32 * i + 8 * e, column + 32 * j + 8 * n, d[e % 2 * 2], d[e % 2 * 2 + 1]);
        }
      }
    }
  }
}

}  // namespace medkern::cuda
