// How the blocks of a CUDA kernel go over an image row by row: what the host gives the device.
#pragma once

#include "cuda/divide.h"
#include "cuda/types.h"

namespace medkern::cuda {

constexpr int kRowThreads = 256;
// Rows that a block takes at most, one after the other.
constexpr int kMostRows = 16;

// A row is `items` items: the vectors of channels of its pixels, or, of images whose channels don't
// lie side by side, the pixels of one channel. A thread takes one item of each of its block's
// `rows` rows (d, h), so that what concerns columns is found once.
struct ImageRows {
  uint32_t items, rows, all_rows;
  // Blocks are numbered [sample][channel][rows][items]; a row d H + h.
  Divider by_item_blocks, by_row_blocks, by_channels, by_height, by_vectors;
  uint32_t blocks;
};

}  // namespace medkern::cuda
