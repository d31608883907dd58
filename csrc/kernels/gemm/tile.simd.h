// The micro-kernel under GEMM and convolution: one tile of c, held in registers.
//
//   c[i, j] = act(c[i, j] if accumulate + bias[j]
//                 + sum over s < steps, kk < k of a[a_offset[s] + i a_row + kk a_col]
//                                               * b[(s k + kk) b_row + j])
//
// with i < rows <= kTileRows, j < columns <= kPanel; up to kWideRows rows may have columns up to
// 2 kPanel, up to kThreeRows rows up to three vectors, those from kPanel on in b_next. Each element
// is one chain of fused multiply-adds in the order of (s, kk), whatever the shape of the tile: an
// element has the same bits in any tile. Work 2 rows columns k flops, (rows + 2) loads per k for
// rows * 2 fma.
#pragma once

#include "kernels/gemm/tiles.h"

namespace medkern::MK_ISA {

constexpr int64_t kNoOffset[1] = {0};

template <class T>
struct Tile {
  const T* a;
  int64_t a_row, a_col;  // one of them is 1
  const T* b;            // kPanel columns are read, or one vector if columns fit that
  int64_t b_row;
  const T* b_next = nullptr;  // b of columns from kPanel on: rows of b_next_row
  int64_t b_next_row = 0;
  T* c;
  int64_t c_row;
  int64_t k;
  int64_t steps = 1;  // may be 0
  const int64_t* a_offset = kNoOffset;
  int64_t rows, columns;
  bool accumulate = false;
  const T* bias = nullptr;
  bool relu = false;
  bool streams = false;  // whole vectors of c, past the caches: c and c_row are aligned to vectors
};

void run_tile(const Tile<float>& tile);
void run_tile(const Tile<double>& tile);

// Cutting `count` rows into the fewest tiles of nearly equal size: tile i starts at tile_start(i).
MK_INLINE int64_t tiles_in(int64_t count, int64_t most = kTileRows) {
  return (count + most - 1) / most;
}
MK_INLINE int64_t tile_start(int64_t i, int64_t tiles, int64_t count) {
  return count / tiles * i + (i < count % tiles ? i : count % tiles);
}

}  // namespace medkern::MK_ISA
