// A thread's place where blocks go over an image row by row (rows.cuda.h).
#pragma once

#include "cuda/device.h"
#include "cuda/loops.h"
#include "kernels/rows.cuda.h"

namespace medkern::cuda {

struct RowPlace {
  bool inside;  // else the place is another thread's
  uint32_t n, channel, first_row, rows;
  int32_t column;
};

template <int lanes>
MK_INLINE RowPlace row_place(const ImageRows& r) {
  RowPlace at;
  at.n = blockIdx.x;
  uint32_t item = r.by_item_blocks.take(at.n) * kRowThreads + threadIdx.x;
  at.inside = item < r.items;
  item = min(item, r.items - 1);
  at.first_row = r.by_row_blocks.take(at.n) * r.rows;
  at.rows = min(r.rows, r.all_rows - at.first_row);
  at.channel = r.by_channels.take(at.n);
  at.channel += r.by_vectors.take(item) * lanes;
  at.column = static_cast<int32_t>(item);
  return at;
}

// A row's place along the depth and the height.
struct RowNumber {
  int32_t d, h;
};
MK_INLINE RowNumber row_number(const ImageRows& r, uint32_t row) {
  const uint32_t h = r.by_height.take(row);
  return {static_cast<int32_t>(row), static_cast<int32_t>(h)};
}

}  // namespace medkern::cuda
