// The tile of a matrix product on the tensor cores, for all families:
//
//   sum[m, n] = sum over k of a[m, k] b[n, k],   m < kRows, n < kColumns, float32 in and out
//
// A block keeps kStages slices of kDepth of k in shared memory; cp.async fills them while the warps
// multiply, each warp its kWarpRows x kWarpColumns of the tile.
//
// Fragments are read as 16-byte vectors with no bank conflict: which element of the tile is which
// of an mma instruction is free to choose as long as a and b agree on k. Lane (g, t) = (lane / 4,
// lane % 4) holds, of each 32 rows (of a, or of b) and each 16 of k, rows 4 g .. 4 g + 3 and k
// 4 t .. 4 t + 3; rows 4 g + e are row g of instruction tile e. Of the result it then holds rows
// 4 g .. 4 g + 3 and columns 8 t .. 8 t + 7 of each 32 x 32.
//
// How float32 numbers are multiplied (Exact, Tf32, Bf16) is a type. Exact splits x = high + low
// into two tf32 numbers and sums high high + high low + low high: an error of at most 5 units of
// 2^-24 |a b| for a product, mostly below one. Tensor cores cut sums off instead of rounding them,
// so each 16 of k are summed from 0 and added to the rest as float32. An infinite x has a low part
// that is not a number: where a sum is none, it is computed once more with tf32 (ExactProduct),
// which keeps infinities.
//
// Sums go over k in order, 16 at a time, whatever the tile: all tiles give the same bits.
// Source: Ootomo and Yokota, Recovering single precision accuracy from Tensor Cores, 2022.
#pragma once

#include "cuda/device.h"

namespace medkern::cuda {

constexpr int kDepth = 32;
constexpr int kStages = 3;

// Of the two halves of a slice kUnroll are unrolled, as registers allow (one where products are
// exact).
template <int kRows_, int kColumns_, int kWarpRows_, int kWarpColumns_, int kUnroll_ = 2>
struct Tile {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kWarpRows = kWarpRows_, kWarpColumns = kWarpColumns_;
  static constexpr int kUnroll = kUnroll_;
  static constexpr int kWarpsAcross = kColumns / kWarpColumns;
  static constexpr int kThreads = kRows / kWarpRows * kWarpsAcross * kWarp;
  static constexpr int kGroupsDown = kWarpRows / 32, kGroupsAcross = kWarpColumns / 32;
  static constexpr int kStageFloats = (kRows + kColumns) * kDepth;
};

// What products are cut into.
using Large = Tile<128, 128, 64, 32>;
using Narrow = Tile<128, 64, 64, 32>;
using Small = Tile<64, 64, 32, 32>;
// Of a small tile's blocks, which have 128: with this bound the compiler takes the registers it
// needs.
constexpr int kSmallBound = 192;

// A slice of an operand in shared memory: kRows rows of kDepth floats (by row), or kDepth rows of
// kRows floats. Vectors of 4 floats are swapped about in each row, so that neither copies nor reads
// of fragments meet in a bank.
template <int kRows_, bool kByRow_>
struct Slice {
  static constexpr int kRows = kRows_;
  static constexpr bool kByRow = kByRow_;

  MK_INLINE static int at(int row, int k) {
    if constexpr (kByRow) return row * kDepth + (((k >> 2) ^ (row & 7)) << 2) + (k & 3);
    return k * kRows + (((row >> 2) ^ ((k >> 1) & 6)) << 2) + (row & 3);
  }
  // v[e][c] = element (first + 4 g + e, 16 half + 4 t + c).
  MK_INLINE static void read(const float* slice, int first, int half, float (&v)[4][4]) {
    const int lane = threadIdx.x % kWarp, row = first + lane / 4 * 4, k = 16 * half + lane % 4 * 4;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (kByRow) {
        const float4 x = load16(slice + at(row + i, k));
        v[i][0] = x.x, v[i][1] = x.y, v[i][2] = x.z, v[i][3] = x.w;
      } else {
        const float4 x = load16(slice + at(row, k + i));
        v[0][i] = x.x, v[1][i] = x.y, v[2][i] = x.z, v[3][i] = x.w;
      }
    }
  }
};

// The ways to multiply. A Row is four numbers along k of one row, as the tensor cores take them;
// `add` gives d[n] += the products of rows a0, a1 (16 rows of a) with row b[n] (8 of b).
struct Tf32 {
  static constexpr bool kAgain = false;
  struct Row {
    uint32_t x[4];
  };
  MK_INLINE static Row row(const float (&v)[4]) {
    return {{to_tf32(v[0]), to_tf32(v[1]), to_tf32(v[2]), to_tf32(v[3])}};
  }
  MK_INLINE static void add(float (&d)[4][4], const Row& a0, const Row& a1, const Row (&b)[4]) {
#pragma unroll
    for (int s = 0; s < 4; s += 2) {
      const uint32_t a[4] = {a0.x[s], a1.x[s], a0.x[s + 1], a1.x[s + 1]};
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const uint32_t bn[2] = {b[n].x[s], b[n].x[s + 1]};
        mma_tf32(d[n], a, bn);
      }
    }
  }
};

struct Bf16 {
  static constexpr bool kAgain = false;
  struct Row {
    uint32_t x[2];
  };
  MK_INLINE static Row row(const float (&v)[4]) {
    return {{to_bf16x2(v[0], v[1]), to_bf16x2(v[2], v[3])}};
  }
  MK_INLINE static void add(float (&d)[4][4], const Row& a0, const Row& a1, const Row (&b)[4]) {
    const uint32_t a[4] = {a0.x[0], a1.x[0], a0.x[1], a1.x[1]};
#pragma unroll
    for (int n = 0; n < 4; ++n) mma_bf16(d[n], a, b[n].x);
  }
};

struct Exact {
  static constexpr bool kAgain = true;
  struct Row {
    uint32_t high[4], low[4];
  };
  MK_INLINE static Row row(const float (&v)[4]) {
    Row r;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // To nearest, ties away from 0, in whole numbers: conversions are slow.
      r.high[i] = (__float_as_uint(v[i]) + 0x1000u) & 0xffffe000u;
      r.low[i] = __float_as_uint(v[i] - __uint_as_float(r.high[i]));  // loses at most its last bit
    }
    return r;
  }
  MK_INLINE static void add(float (&d)[4][4], const Row& a0, const Row& a1, const Row (&b)[4]) {
    float part[4][4] = {};
#pragma unroll
    for (int term = 0; term < 3; ++term) {  // small ones first
#pragma unroll
      for (int s = 0; s < 4; s += 2) {
        const auto& x0 = term == 0 ? a0.low : a0.high;
        const auto& x1 = term == 0 ? a1.low : a1.high;
        const uint32_t a[4] = {x0[s], x1[s], x0[s + 1], x1[s + 1]};
#pragma unroll
        for (int n = 0; n < 4; ++n) {
          const auto& y = term == 1 ? b[n].low : b[n].high;
          const uint32_t bn[2] = {y[s], y[s + 1]};
          mma_tf32(part[n], a, bn);
        }
      }
    }
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) d[n][i] += part[n][i];
    }
  }
};

// A warp's part of the result, in the order of the instructions: [down][across][pair of rows][n].
template <class T>
struct Sums {
  float d[T::kGroupsDown][T::kGroupsAcross][2][4][4];

  MK_INLINE void clear() {
    float* x = &d[0][0][0][0][0];
#pragma unroll
    for (int i = 0; i < T::kGroupsDown * T::kGroupsAcross * 32; ++i) x[i] = 0;
  }
  // Calls what(row, column, v[8], group, e) for the 8 columns of each row that this thread holds.
  template <class Do>
  MK_INLINE void each(Do what) const {
    const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
    const int row = warp / T::kWarpsAcross * T::kWarpRows + lane / 4 * 4;
    const int column = warp % T::kWarpsAcross * T::kWarpColumns + lane % 4 * 8;
#pragma unroll
    for (int i = 0; i < T::kGroupsDown; ++i) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
#pragma unroll
        for (int j = 0; j < T::kGroupsAcross; ++j) {
          float v[8];
#pragma unroll
          for (int n = 0; n < 4; ++n) {
            v[n] = d[i][j][e / 2][n][e % 2 * 2];
            v[n + 4] = d[i][j][e / 2][n][e % 2 * 2 + 1];
          }
          what(row + 32 * i + e, column + 32 * j, v, i * T::kGroupsAcross + j, e);
        }
      }
    }
  }
};

// sums += the products of one slice.
template <class T, class Math, class A, class B>
MK_INLINE void multiply(const float* a, const float* b, Sums<T>& sums) {
  const int warp = threadIdx.x / kWarp;
  const int row = warp / T::kWarpsAcross * T::kWarpRows;
  const int column = warp % T::kWarpsAcross * T::kWarpColumns;
#pragma unroll Math::kAgain ? 1 : T::kUnroll
  for (int half = 0; half < kDepth / 16; ++half) {
    typename Math::Row bs[T::kGroupsAcross][4];
#pragma unroll
    for (int j = 0; j < T::kGroupsAcross; ++j) {
      float v[4][4];
      B::read(b, column + 32 * j, half, v);
#pragma unroll
      for (int e = 0; e < 4; ++e) bs[j][e] = Math::row(v[e]);
    }
#pragma unroll
    for (int i = 0; i < T::kGroupsDown; ++i) {
      float v[4][4];
      A::read(a, row + 32 * i, half, v);
#pragma unroll
      for (int pair = 0; pair < 2; ++pair) {
        const auto a0 = Math::row(v[2 * pair]), a1 = Math::row(v[2 * pair + 1]);
#pragma unroll
        for (int j = 0; j < T::kGroupsAcross; ++j) Math::add(sums.d[i][j][pair], a0, a1, bs[j]);
      }
    }
  }
}

// Brings slices 0 .. slices - 1 to shared memory, ahead of what is multiplied: load(a, b, slice)
// starts the copies of a slice to a and b, multiply(a, b) takes it; both in the order of the
// slices. A stage has kStage elements, b begins kOfA after a.
template <class Element, int kOfA, int kStage, class Load, class Multiply>
MK_INLINE void each_slice(int slices, Load load, Multiply multiply) {
  Element* memory = shared<Element>();
#pragma unroll
  for (int s = 0; s < kStages - 1; ++s) {
    Element* stage = memory + s * kStage;
    if (s < slices) load(stage, stage + kOfA, s);
    cp_async_commit();
  }
  int reading = 0, writing = kStages - 1;
  for (int s = 0; s < slices; ++s) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // slice s is there, and all have read slice s - 1
    Element* stage = memory + writing * kStage;
    if (s + kStages - 1 < slices) load(stage, stage + kOfA, s + kStages - 1);
    cp_async_commit();
    const Element* from = memory + reading * kStage;
    multiply(from, from + kOfA);
    reading = reading + 1 == kStages ? 0 : reading + 1;
    writing = writing + 1 == kStages ? 0 : writing + 1;
  }
  cp_async_wait<0>();
}

// sums = the products of slices 0 .. slices - 1, which `load` of each_slice brings.
template <class T, class Math, class A, class B, class Load>
MK_INLINE void sum_slices(int slices, Load load, Sums<T>& sums) {
  sums.clear();
  each_slice<float, T::kRows * kDepth, T::kStageFloats>(
      slices, load, [&](const float* a, const float* b) { multiply<T, Math, A, B>(a, b, sums); });
}

// Sums all slices and calls store(row, column, v[8], wanted) for the results of this thread: bit i
// of `wanted` says whether to store v[i]. Where exact sums are not numbers, those of tf32 follow,
// after look(sums).
template <class T, class Math, class A, class B, class Load, class Store, class Look>
MK_INLINE void sum_and_store(int slices, Load load, Store store, Look look) {
  Sums<T> sums;
  sum_slices<T, Math, A, B>(slices, load, sums);
  if constexpr (!Math::kAgain) {
    sums.each([&](int row, int column, float (&v)[8], int, int) { store(row, column, v, 255u); });
    look(sums);
  } else {
    uint32_t odd[T::kGroupsDown * T::kGroupsAcross] = {};
    bool any = false;
    sums.each([&](int row, int column, float (&v)[8], int group, int e) {
      uint32_t bits = 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) bits |= (v[i] != v[i]) << i;
      odd[group] |= bits << (8 * e);
      any |= bits != 0;
      store(row, column, v, bits ^ 255u);
    });
    look(sums);
    if (!__syncthreads_or(any)) return;
    sum_slices<T, Tf32, A, B>(slices, load, sums);
    sums.each([&](int row, int column, float (&v)[8], int group, int e) {
      store(row, column, v, odd[group] >> (8 * e) & 255u);
    });
  }
}
template <class T, class Math, class A, class B, class Load, class Store>
MK_INLINE void sum_and_store(int slices, Load load, Store store) {
  sum_and_store<T, Math, A, B>(slices, load, store, [](const Sums<T>&) {});
}

}  // namespace medkern::cuda
