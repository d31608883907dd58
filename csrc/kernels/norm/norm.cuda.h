// Normalization on CUDA: what the host gives the device.
#pragma once

#include "cuda/divide.h"
#include "cuda/types.h"

namespace medkern::cuda {

constexpr int kNormThreads = 256;
// Vectors of a row side by side in a block.
constexpr uint32_t kMostAcross = 64;
// Rows (or vectors of a run) that a thread reads before it uses the first of them.
constexpr int kNormRows = 8;
// Vectors of a run that a thread takes in the last pass.
constexpr int kNormVectors = 4;

// How a block goes over channels-last memory: a row is cut into tiles of `across` vectors, and
// `down` rows, a power of two, are taken at once. across * down is at most kNormThreads.
struct NormTiles {
  uint32_t across, down, tiles, vectors;  // `vectors` of a row
  Divider by_across;
};

// For rows of `columns` numbers, `lanes` to a vector.
inline NormTiles norm_tiles(uint32_t columns, uint32_t lanes) {
  NormTiles t;
  t.vectors = columns / lanes;
  t.tiles = (t.vectors + kMostAcross - 1) / kMostAcross;
  t.across = (t.vectors + t.tiles - 1) / t.tiles;
  t.down = 1;
  while (2 * t.down * t.across <= kNormThreads) t.down *= 2;
  t.by_across = divider(t.across);
  return t;
}

struct NormKernelArgs {
  // x as n samples, c channels and s positions; `groups` groups share statistics.
  int64_t n, s;
  uint32_t c, groups, per_group;
  bool channels_last, over_batch, training, relu;
  double eps, momentum;
  // How sums are cut, as NormCut says; a unit has `chunks` chunks.
  int64_t length;
  uint32_t units, chunk, chunks;
  Divider by_chunks;
  NormTiles tiles;
  // The last pass: `pixels` rows share coefficients, `blocks` blocks of `rows` rows take them;
  // contiguous memory is taken as `count` vectors, `plane` of a channel of a sample.
  int64_t count;
  uint32_t pixels, rows;
  Divider by_blocks, by_plane, by_channels, by_group;

  const void *x, *dy, *weight, *bias;
  void *y, *running_mean, *running_var, *dweight, *dbias;  // y: dx in the backward pass
  double *mean, *rstd;
  double* partials;  // [unit][chunk][2][column]: mean and sum of squared deviations, or sums of dy
                     // and dy (x - hi)
  // Moments that are given, of `given_rows` rows each, `fold` of which make a chunk.
  const double* given;
  uint32_t given_rows, given_chunks, fold;
  double* totals;  // [sample, or 1 over_batch][channel][2]: those sums
  double* slopes;  // [statistic][2]: of dx = k1 dy + slope (x - hi) + offset
};

}  // namespace medkern::cuda
