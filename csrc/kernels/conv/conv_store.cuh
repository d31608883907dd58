// What becomes of the sums of a convolution: bias and activation, and, while a tile's sums are
// still in registers, the moments (kernels/moments.h) of what is stored, so that a norm that
// follows doesn't have to read it for them:
//
//   mean = origin + s / count,   m2 = q - s s / count,   s = sum of x - origin,   q of its squares
//
// Order     origin is the value of a chunk's first row; the sums are those of a thread's rows of
//           the first 32, then of the other 32, then of 8 threads, pairwise: the same in any tile.
// Numerics  of the values as stored. s and q in float32: the origin is one of at most 64 values, so
//           that q is at most 64 m2, mostly about 2 m2. What is not a number makes both none.
#pragma once

#include "cuda/loops.h"
#include "cuda/product.h"
#include "cuda/tile.h"
#include "kernels/conv/conv.cuda.h"

namespace medkern::cuda {

// A sum with the bias, which may be of a 16-bit T itself, and the activation.
template <class T>
MK_INLINE Wide<T> with_bias(Wide<T> value, const void* bias, bool half_bias, int column,
                            bool relu) {
  if constexpr (is_half<T>) {
    if (half_bias) {
      if (bias != nullptr) value += static_cast<const T*>(bias)[column];
      bias = nullptr;
    }
  }
  return finished(value, static_cast<const Wide<T>*>(bias), column, relu);
}

template <class To>
MK_INLINE void store_eight(To* to, int64_t step, const float (&v)[8], uint32_t wanted) {
  constexpr int kLanes = 16 / sizeof(To);
  if (wanted == 255u && step == 1 && reinterpret_cast<size_t>(to) % 16 == 0) {
#pragma unroll
    for (int i = 0; i < 8; i += kLanes) {
      Pack<To, kLanes> pack;
#pragma unroll
      for (int j = 0; j < kLanes; ++j) pack.at[j] = To(v[i + j]);
      store_pack<kLanes>(to + i, pack);
    }
    return;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if (wanted >> i & 1) to[i * step] = To(v[i]);
  }
}

// Sums of 8 columns over the 8 lanes that hold their rows: lane (g, t) gets that of column g. Every
// step gives half of the columns away.
MK_INLINE float sum_of_lanes(const float (&v)[8]) {
  const int lane = threadIdx.x % kWarp;
  float rest[8];
#pragma unroll
  for (int n = 0; n < 8; ++n) rest[n] = v[n];
#pragma unroll
  for (int half = 4; half > 0; half /= 2) {
    const bool upper = lane & (4 * half);
#pragma unroll
    for (int n = 0; n < half; ++n) {
      const float kept = upper ? rest[n + half] : rest[n], given = upper ? rest[n] : rest[n + half];
      rest[n] = kept + __shfl_xor_sync(kAllLanes, given, 4 * half);
    }
  }
  return rest[0];
}

// Of a tile at `at`, whose first pixel begins a chunk, of the `pixels` of the result. All threads
// of the block call it after their last look at shared memory's slices.
template <class T, class Element>
MK_INLINE void store_moments(const ConvKernelArgs& p, int pixels, int group, const TilePlace& at,
                             const Sums<T>& sums) {
  constexpr bool kShared = T::kWarpRows < kMomentRows;  // two warps have half a chunk each
  static_assert(T::kWarpColumns == 32 && T::kWarpRows * (kShared ? 2 : 1) == kMomentRows);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const int down = warp / T::kWarpsAcross, across = warp % T::kWarpsAcross;
  const int row = at.row + down * T::kWarpRows + lane / 4 * 4;
  const int tile_column = across * 32 + lane % 4 * 8, column = at.column + tile_column;
  const int all = p.groups * p.columns, first = group * p.columns + column;
  float* origins = shared<float>();  // [column], then [across][s or q][column][lane]
  float* others = origins + T::kColumns + across * 16 * kWarp + lane;
  const auto stored = [&](int i, int e, int n) {
    const float v = sums.d[i][0][e / 2][n % 4][e % 2 * 2 + n / 4];
    if (column + n >= p.columns) return 0.0f;
    return static_cast<float>(
        Element(with_bias<Element>(v, p.bias, p.half_bias, first + n, p.relu)));
  };
  if constexpr (kShared) {
    __syncthreads();
    if (down == 0 && lane < 4) {
#pragma unroll
      for (int n = 0; n < 8; ++n) origins[tile_column + n] = stored(0, 0, n);
    }
    __syncthreads();
  }
  float s[8], q[8], own_origin = 0;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    float origin;
    if constexpr (kShared) {
      origin = origins[tile_column + n];
    } else {
      origin = __shfl_sync(kAllLanes, stored(0, 0, n), lane % 4);
    }
    if (lane / 4 == n) own_origin = origin;
#pragma unroll
    for (int i = 0; i < T::kGroupsDown; ++i) {
      float part_s = 0, part_q = 0;
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        const float d = row + 32 * i + e < pixels ? stored(i, e, n) - origin : 0;
        part_s += d;
        part_q = fma(d, d, part_q);
      }
      s[n] = i == 0 ? part_s : s[n] + part_s;
      q[n] = i == 0 ? part_q : q[n] + part_q;
    }
  }
  if constexpr (kShared) {
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      if (down > 0) others[n * kWarp] = s[n], others[(8 + n) * kWarp] = q[n];
    }
    __syncthreads();
    if (down > 0) return;
#pragma unroll
    for (int n = 0; n < 8; ++n) s[n] += others[n * kWarp], q[n] += others[(8 + n) * kWarp];
  }
  const double sum = sum_of_lanes(s), squares = sum_of_lanes(q);
  const int begin = at.row + (kShared ? 0 : down * kMomentRows), own = column + lane / 4;
  if (begin >= pixels || own >= p.columns) return;
  const double share = 1.0 / min(kMomentRows, pixels - begin);
  const double m2 = squares - sum * sum * share;
  double* to = p.moments + int64_t{begin / kMomentRows} * 2 * all + first + lane / 4;
  to[0] = own_origin + sum * share;
  to[all] = m2 < 0 ? 0 : m2;
}

}  // namespace medkern::cuda
