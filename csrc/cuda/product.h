// What products of all kinds have in common: where a block's tile lies, and what becomes of a sum.
#pragma once

#include "cuda/device.h"

namespace medkern::cuda {

struct TilePlace {
  int row, column;
};

// The place of a tile, 8 tiles of rows at a time; beyond row m where there are more blocks than
// tiles.
MK_INLINE TilePlace tile_place(int m, int n, int rows, int columns, uint32_t tile = blockIdx.x) {
  constexpr uint32_t kDown = 8;
  const uint32_t down = (m + rows - 1) / rows, across = (n + columns - 1) / columns;
  const uint32_t first = tile / (kDown * across) * kDown;
  if (first >= down) return {m, 0};
  const uint32_t rest = tile % (kDown * across);
  const uint32_t together = down - first < kDown ? down - first : kDown;
  return {static_cast<int>((first + rest % together) * rows),
          static_cast<int>(rest / together * columns)};
}

template <class T>
MK_INLINE T finished(T value, const T* bias, int column, bool relu) {
  if (bias != nullptr) value += bias[column];
  return relu && value < T(0) ? T(0) : value;
}

}  // namespace medkern::cuda
