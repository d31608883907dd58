// The micro-kernel, once for each number of rows and vectors; see tile.simd.h.
//
// Loops: steps, then k; inside, one vector (or two) of b against each row's element of a.
// All accumulators stay in registers; a's elements are broadcast as they are loaded.
#include "kernels/gemm/tile.simd.h"

#include "cpu/lanes.h"
#include "cpu/pinned.h"
#include "cpu/stream.h"

namespace medkern::MK_ISA {
namespace {

// Rows of b that are fetched ahead of their use, where a tile has rows enough to do so in passing:
// b may come from far. (The processor's own prefetching covers a few lines.)
constexpr int kAhead = 32, kRowsToPrefetch = 7;

template <class T, int kRows, int kVectors, bool kRowsContiguous>
void tile(const Tile<T>& t) {
  using V = Vec<T>;
  constexpr int kLanes = V::kLanes;
  V acc[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; ++j) acc[i][j] = V::zero();

  const int64_t a_row = kRowsContiguous ? 1 : t.a_row;
  const int64_t a_step = kRowsContiguous ? t.a_col : 1;
  constexpr int kFirst = kVectors < kTileVectors ? kVectors : kTileVectors;  // vectors of b
  const T *b = t.b, *b_next = t.b_next;
  for (int64_t s = 0; s < t.steps; ++s) {
    // Rows in threes from one pointer: p, p + a_row, p + 2 a_row are addresses the processor forms
    // itself.
    constexpr int kGroups = kRowsContiguous ? 1 : (kRows + 2) / 3;
    const T* a[kGroups];
#pragma GCC unroll 8
    for (int g = 0; g < kGroups; ++g) a[g] = pinned(t.a + t.a_offset[s] + 3 * g * a_row);
    for (int64_t k = 0; k < t.k; ++k) {
      V bk[kVectors];
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; ++j) {
        bk[j] = V::load(j < kFirst ? b + j * kLanes : b_next + (j - kFirst) * kLanes);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const V aik = V(kRowsContiguous ? a[0][i] : a[i / 3][i % 3 * a_row]);
#pragma GCC unroll 4
        for (int j = 0; j < kVectors; ++j) acc[i][j] = fma(aik, bk[j], acc[i][j]);
      }
#pragma GCC unroll 8
      for (int g = 0; g < kGroups; ++g) a[g] = pinned(a[g] + a_step);
      if constexpr (kRows >= kRowsToPrefetch && kVectors == kTileVectors) {
#pragma GCC unroll 2
        for (int j = 0; j < kVectors; ++j) __builtin_prefetch(b + kAhead * t.b_row + j * kLanes);
      }
      b += t.b_row;
      if (kVectors > kFirst) b_next += t.b_next_row;
    }
  }

  // One question at a time for a whole column of vectors, not all of them for each.
#pragma GCC unroll 4
  for (int j = 0; j < kVectors; ++j) {
    const int64_t lanes = smaller(t.columns - j * kLanes, kLanes);
    T* c = t.c + j * kLanes;
    if (t.accumulate) {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i][j] += load_lanes(c + i * t.c_row, lanes);
    }
    if (t.bias != nullptr) {
      const V bias = load_lanes(t.bias + j * kLanes, lanes);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i][j] += bias;
    }
    if (t.relu) {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i][j] = max(acc[i][j], V::zero());
    }
    if (t.streams && lanes == kLanes) {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) stream(acc[i][j], c + i * t.c_row);
    } else if (lanes == kLanes) {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i][j].store(c + i * t.c_row);
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) acc[i][j].store(c + i * t.c_row, lanes);
    }
  }
}

template <class T>
using TileFunction = void (*)(const Tile<T>&);

template <class T, int kVectors, bool kRowsContiguous>
constexpr TileFunction<T> kByRows[] = {
    tile<T, 1, kVectors, kRowsContiguous>,  tile<T, 2, kVectors, kRowsContiguous>,
    tile<T, 3, kVectors, kRowsContiguous>,  tile<T, 4, kVectors, kRowsContiguous>,
#if MK_VECTOR_BYTES >= 32
    tile<T, 5, kVectors, kRowsContiguous>,  tile<T, 6, kVectors, kRowsContiguous>,
#endif
#if MK_VECTOR_BYTES >= 64
    tile<T, 7, kVectors, kRowsContiguous>,  tile<T, 8, kVectors, kRowsContiguous>,
    tile<T, 9, kVectors, kRowsContiguous>,  tile<T, 10, kVectors, kRowsContiguous>,
    tile<T, 11, kVectors, kRowsContiguous>, tile<T, 12, kVectors, kRowsContiguous>,
    tile<T, 13, kVectors, kRowsContiguous>, tile<T, 14, kVectors, kRowsContiguous>,
#endif
};

// Three vectors.
template <class T, bool kRowsContiguous>
constexpr TileFunction<T> kThreeByRows[] = {
    tile<T, 1, 3, kRowsContiguous>, tile<T, 2, 3, kRowsContiguous>, tile<T, 3, 3, kRowsContiguous>,
#if MK_VECTOR_BYTES >= 64
    tile<T, 4, 3, kRowsContiguous>, tile<T, 5, 3, kRowsContiguous>, tile<T, 6, 3, kRowsContiguous>,
    tile<T, 7, 3, kRowsContiguous>, tile<T, 8, 3, kRowsContiguous>, tile<T, 9, 3, kRowsContiguous>,
#endif
};

// Four vectors.
template <class T, bool kRowsContiguous>
constexpr TileFunction<T> kFourByRows[] = {
    tile<T, 1, 4, kRowsContiguous>, tile<T, 2, 4, kRowsContiguous>, tile<T, 3, 4, kRowsContiguous>,
#if MK_VECTOR_BYTES >= 64
    tile<T, 4, 4, kRowsContiguous>, tile<T, 5, 4, kRowsContiguous>, tile<T, 6, 4, kRowsContiguous>,
#endif
};

template <class T, bool kRowsContiguous>
void run_wide(const Tile<T>& t) {
  const bool three = t.columns <= 3 * Vec<T>::kLanes;
  (three ? kThreeByRows<T, kRowsContiguous> : kFourByRows<T, kRowsContiguous>)[t.rows - 1](t);
}

template <class T>
void run(const Tile<T>& t) {
  if (t.columns > kPanel<T>) {
    t.a_col == 1 ? run_wide<T, false>(t) : run_wide<T, true>(t);
    return;
  }
  const bool narrow = t.columns <= Vec<T>::kLanes;
  const int64_t i = t.rows - 1;
  if (t.a_col == 1) {
    narrow ? kByRows<T, 1, false>[i](t) : kByRows<T, 2, false>[i](t);
  } else {
    narrow ? kByRows<T, 1, true>[i](t) : kByRows<T, 2, true>[i](t);
  }
}

}  // namespace

void run_tile(const Tile<float>& tile) { run(tile); }
void run_tile(const Tile<double>& tile) { run(tile); }

}  // namespace medkern::MK_ISA
