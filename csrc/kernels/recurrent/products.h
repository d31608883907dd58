// The products under the gates, for *.simd.cpp files.
//
//   sums[i, j] = start[j] or sums[i, j], then + a[i, k] b[k, j] for k = 0, 1, ...
//
// with as many columns as a block of units has gates times lanes, kVectors vectors. b lies row
// after row: whatever the tile, it is read as one stream, which the L2 cache delivers at up to 64
// bytes a cycle, and two side by side at 32.
//
// Loops     segments of k whose rows of b fit the L1 cache, tiles of rows, k.
// Flops     2 rows columns k.
// Memory    b once from where it lies, then from the L1 cache; sums once a segment.
// Numerics  each element is one chain of fma in the order of k, wherever segments and tiles begin.
#pragma once

#include "cpu/integers.h"
#include "cpu/pinned.h"
#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {
namespace {

template <class T>
struct ProductTile {
  const T* a;
  int64_t a_row;
  const T* b;
  int64_t k;
  T* sums;
  int64_t sums_row;
  const T* start;  // nullptr: as sums are
  const T* ahead;  // a line per k is fetched into the L2 cache; nullptr for none
};

// The most rows of a tile: at least 8 accumulators, and registers left for a row of b.
template <int kVectors>
constexpr int kProductRows = kVectors == 4   ? kWideRows
                             : kVectors == 3 ? kThreeRows
                                             : kTileRows;

template <class T, int kVectors, int kRows, bool kAhead>
void product_tile(const ProductTile<T>& t) {
  using V = Vec<T>;
  constexpr int kLanes = V::kLanes, kLine = 64 / sizeof(T);
  V acc[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) {
      acc[i][j] = V::load((t.start != nullptr ? t.start : t.sums + i * t.sums_row) + j * kLanes);
    }
  // Rows in threes from one pointer, as in the tiles of gemm().
  constexpr int kGroups = (kRows + 2) / 3;
  const T* a[kGroups];
#pragma GCC unroll 8
  for (int g = 0; g < kGroups; ++g) a[g] = pinned(t.a + 3 * g * t.a_row);
  const T *b = t.b, *ahead = t.ahead;
  for (int64_t k = 0; k < t.k; ++k) {
    V bk[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) bk[j] = V::load(b + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const V aik = V(a[i / 3][i % 3 * t.a_row]);
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) acc[i][j] = fma(aik, bk[j], acc[i][j]);
    }
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) a[g] = pinned(a[g] + 1);
    if constexpr (kAhead) {
      __builtin_prefetch(ahead, 0, 2);
      ahead += kLine;
    }
    b += kVectors * kLanes;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) acc[i][j].store(t.sums + i * t.sums_row + j * kLanes);
}

template <class T, int kVectors, int kRows = kProductRows<kVectors>>
MK_INLINE void run_product_tile(int64_t rows, const ProductTile<T>& t) {
  if constexpr (kRows > 0) {
    if (rows < kRows) return run_product_tile<T, kVectors, kRows - 1>(rows, t);
    t.ahead != nullptr ? product_tile<T, kVectors, kRows, true>(t)
                       : product_tile<T, kVectors, kRows, false>(t);
  }
}

template <int kVectors, class T>
void add_products(int64_t rows, int64_t k, const T* a, int64_t a_row, const T* b, T* sums,
                  int64_t sums_row, const T* start = nullptr) {
  constexpr int64_t kColumns = kVectors * Vec<T>::kLanes, kSegmentBytes = 32 << 10;
  constexpr int64_t kMost = kSegmentBytes / (kColumns * sizeof(T));
  const int64_t tiles = tiles_in(rows, kProductRows<kVectors>);
  const int64_t segments = tiles > 1 && k > kMost ? divide_up(k, kMost) : 1;
  for (int64_t s = 0; s < segments; ++s) {
    const int64_t first = tile_start(s, segments, k), last = tile_start(s + 1, segments, k);
    // While the other tiles use this segment, the next one comes nearer.
    const T* ahead = b + last * kColumns;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t row = tile_start(i, tiles, rows);
      run_product_tile<T, kVectors>(tile_start(i + 1, tiles, rows) - row,
                                    {.a = a + row * a_row + first,
                                     .a_row = a_row,
                                     .b = b + first * kColumns,
                                     .k = last - first,
                                     .sums = sums + row * sums_row,
                                     .sums_row = sums_row,
                                     .start = s == 0 ? start : nullptr,
                                     .ahead = i > 0 ? ahead : nullptr});
      if (i > 0) ahead += (last - first) * (64 / sizeof(T));
    }
  }
}

}  // namespace
}  // namespace medkern::MK_ISA
