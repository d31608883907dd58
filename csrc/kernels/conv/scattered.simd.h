// The micro-kernels for few channels: as run_tile (gemm/tile.simd.h) with a_offset for every single
// k (tile.k is 1, tile.steps are all of k), so that taps and channels may lie anywhere.
//
// The sum starts from the bias. Work 2 rows columns steps flops, (rows + 3) loads per step.
#pragma once

#include "kernels/gemm/tile.simd.h"

namespace medkern::MK_ISA {

void run_scattered_tile(const Tile<float>& tile);
void run_scattered_tile(const Tile<double>& tile);

// The same, with the same bits, to results whose channels lie in planes: column j of row i goes to
// c[j c_row + i]. Any number of rows; a_row is 1.
void run_planes(const Tile<float>& tile);
void run_planes(const Tile<double>& tile);

}  // namespace medkern::MK_ISA
